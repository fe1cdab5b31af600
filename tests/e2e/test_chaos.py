"""A few hundred runs through one process while one thing in twenty goes wrong; the long form is `make chaos`."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "chaos" / "run.py"
RUNS = 300
NAME = 32
"""Characters of a table's first column."""


@pytest.mark.timeout(120)
def test_nothing_is_lost_left_over_or_told_wrongly() -> None:
    command = [sys.executable, "-W", "error", str(PROGRAM), "--runs", str(RUNS), "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 things are wrong" in done.stdout
    ended = counts(done.stdout, "how runs ended")
    assert sum(ended.values()) == RUNS
    assert min(ended["answered"], ended["cancelled"], ended["budget"]) > 0, done.stdout
    struck = counts(done.stdout, "what happened to them")
    for fault in ("model hang", "model garbage", "tool crash", "run cancelled", "run out of budget"):
        assert struck[fault] > 0, done.stdout
    assert any(name.startswith("endpoint") and name != "endpoint answered" for name in struck), done.stdout


def counts(told: str, table: str) -> Counter[str]:
    """A table's names and the number beside each."""
    lines = told.split(f"\n{table} ", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return Counter({line[:NAME].strip(): int(line[NAME:].split()[0].replace(",", "")) for line in lines})
