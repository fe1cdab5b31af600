"""What all studies share: the sizes they come in, work in several processes, and how figures are written.

A study is a folder here: `run.py`, its claim and findings on one page (README.md), raw figures as JSON, and a plot.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeVar

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from machine import made

__all__ = ["Size", "Study", "asked"]

Size = Literal["full", "quick", "tiny"]
"""What a figure is quoted from; about a minute, to see it work; seconds, for the tests."""

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class Study:
    """One study as it was asked for. seeds: how many; output: where figures and plots go; began: monotonic seconds."""

    size: Size
    seeds: int
    jobs: int
    output: Path
    began: float
    arguments: argparse.Namespace

    def spread(self, work: Callable[[In], Out], items: Iterable[In], what: str = "parts") -> list[Out]:
        """Work done on each item, in order; by several processes where there are several jobs. Shows progress."""
        todo, out = list(items), list[Out]()
        with ProcessPoolExecutor(self.jobs, get_context("spawn")) as workers:
            for each in workers.map(work, todo):
                out.append(each)
                minutes = (time.monotonic() - self.began) / 60
                left = minutes / len(out) * (len(todo) - len(out))
                print(f"{len(out)} of {len(todo)} {what}, {minutes:.1f} min, about {left:.1f} left", file=sys.stderr)
        return out

    def write(self, name: str, figures: dict[str, Any], *packages: str) -> None:
        """Raw figures as NAME.json, with how they were made. packages: whose versions matter."""
        self.output.mkdir(parents=True, exist_ok=True)
        whole = {
            **made("numpy", "torch", *packages),
            "size": self.size,
            "minutes": round((time.monotonic() - self.began) / 60, 1),
            **figures,
        }
        (self.output / f"{name}.json").write_text(json.dumps(whole) + "\n")


def asked(
    about: str | None, folder: Path, *, seeds: int = 3, more: Callable[[argparse.ArgumentParser], object] | None = None
) -> Study:
    """What the command line asks for. about: the program's docstring; seeds: of the full size; more: adds arguments."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="about a minute: to see it work, not to quote")
    size.add_argument("--tiny", action="store_true", help="seconds: for the tests")
    parser.add_argument("--seeds", type=int, help=f"how many; {seeds} in the full form")
    parser.add_argument("--jobs", type=int, default=2, help="processes that work at once")
    parser.add_argument("--output", type=Path, default=folder / "results", help="where figures and plots go")
    if more:
        more(parser)
    given = parser.parse_args()
    chosen: Size = "tiny" if given.tiny else "quick" if given.quick else "full"
    number = given.seeds if given.seeds is not None else seeds if chosen == "full" else 1
    if number < 1 or given.jobs < 1:
        parser.error("--seeds and --jobs must be at least 1")
    if chosen != "full" and given.output == folder / "results":
        parser.error(f"--{chosen} would write over the results of the full form; say where with --output FOLDER")
    return Study(chosen, number, given.jobs, given.output, time.monotonic(), given)
