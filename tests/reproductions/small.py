"""Studies run small: the program as it is, in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(study: str, output: Path, *arguments: str, name: str = "", seconds: float = 120) -> dict[str, Any]:
    """A study's tiny form; its figures. name: of their file, where it is not the study's.

    Raises AssertionError where the study fails, with what it said.
    """
    command = [sys.executable, str(ROOT / "reproductions" / study / "run.py"), "--tiny", "--jobs", "1"]
    done = subprocess.run(
        [*command, "--output", str(output), *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(output.glob("*.png")), "a study draws a plot"
    return json.loads((output / f"{name or study}.json").read_text())
