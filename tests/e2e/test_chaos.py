"""A few hundred runs through one process while one thing in twenty goes wrong; the long form is `make chaos`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "chaos" / "run.py"


@pytest.mark.timeout(120)
def test_nothing_is_lost_left_over_or_told_wrongly() -> None:
    command = [sys.executable, "-W", "error", str(PROGRAM), "--runs", "300", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 things are wrong" in done.stdout
    told = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in done.stdout.splitlines() if line.strip()}
    for fault in ("model hang", "model garbage", "tool crash", "run cancelled", "run with a small budget"):
        assert int(told[fault]) > 0, done.stdout
    assert any(name.startswith("endpoint") and name != "endpoint answered" for name in told), done.stdout
