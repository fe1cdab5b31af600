"""How a result was made and on what: what every benchmark writes beside its figures, measured and not remembered.

Two figures say how fast the machine is just now, to compare results of two days or two machines: what plain Python
takes for a loop, and what the disk takes for a write that is forced to it.
"""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["forced_write", "made", "plain"]

ROOT = Path(__file__).parents[1]
ADDITIONS = 30_000
PAGE = 4096 + 24
"""Bytes of a page of SQLite's log, with its header."""
WRITES = 200
GPUS = ("nvidia[0-9]*", "kfd", "dri/renderD*")
"""Devices that are there where a GPU is (Linux): NVIDIA's, AMD's, others'."""


def made(*packages: str) -> dict[str, Any]:
    """The command that runs, the Python that runs it, the machine, and versions of Podium and of these packages."""
    asked = "with" if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") else "without"
    build = f"{platform.python_compiler()}, configured {asked} --enable-optimizations"
    gpus = any(any(Path("/dev").glob(each)) for each in GPUS)
    return {
        "command": _command(),
        "python": f"{platform.python_version()}, {build}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {'a' if gpus else 'no'} GPU",
        "versions": {name: version(name) for name in ("podium", *packages)},
    }


def _command() -> str:
    """As it was typed, with paths from the repository's root, names for those outside of it, and without passwords."""
    from podium.orchestrator.telemetry.secrets import masking

    words = [each.removeprefix(f"{ROOT}/") for each in sys.orig_argv[1:]]
    return masking([])(shlex.join(["python", *(Path(each).name if each.startswith("/") else each for each in words)]))


def plain() -> float:
    """Milliseconds of CPU for 30,000 additions in a loop: how fast this machine runs Python just now."""
    began, total = time.process_time(), 0
    for number in range(ADDITIONS):
        total += number
    return (time.process_time() - began) * 1e3


def forced_write(folder: Path | None) -> float:
    """Microseconds, median of 200, that the disk takes for one page that is forced to it, as SQLite does.

    folder: on the disk that is measured; None: the system's temporary folder.
    """
    took: list[float] = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(WRITES):
            began = time.perf_counter()
            file.write(b"x" * PAGE)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return 1e6 * statistics.median(took)
