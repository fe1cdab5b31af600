"""Podium beside LangGraph and AutoGen core on the same graph: three agents, ten turns, a model that costs nothing.

Every measurement is a process of its own (see `measure.py`), so that no side carries another's imports and garbage;
the sides take turns in every round, in an order that is turned round from round to round, and ratios are taken within
rounds. Beside them stand a loop without any framework, and what plain Python and a forced write of one page cost on the
machine in the same minutes.

    make bench-peers                     all of it, a quarter of an hour; writes results.json, plots, README's tables
    make bench-peers BENCH=--quick       about a minute, fewer measurements, writes nothing
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from case import Case
from report import machine_line, ratios, tables, write_readme
from rich.console import Console

sys.path.append(str(Path(__file__).parents[1]))
from machine import forced_write, made, plain

HERE = Path(__file__).parent
PACKAGES = ("langgraph", "langgraph-checkpoint-sqlite", "langchain-core", "aiosqlite", "autogen-core")
PACE = {"podium": 10_000, "langgraph": 900, "autogen": 2_000, "asyncio": 100_000}
PACE_ON = {"podium": 3_000, "langgraph": 300}
"""Steps per second, roughly: for a guess at the time left, before anything is measured."""


def plan(quick: bool) -> list[tuple[Case, int]]:
    """The measurements, each with the number of rounds it is taken in."""
    seconds, rounds, few = (0.2, 1, 1) if quick else (0.6, 5, 3)  # all sides of a comparison have as many
    crowd, delay = 1000, 0.05
    out: list[tuple[Case, int]] = []
    for journal in (False, True):
        for concurrent in (1, 300):
            sides = ("podium", "langgraph") if journal else ("podium", "langgraph", "autogen", "asyncio")
            out += [(Case(side, journal, concurrent, seconds=seconds), rounds) for side in sides]
    out.append((Case("langgraph-invoke", False, seconds=seconds), rounds))
    if not quick:
        out += [(Case("podium-reading", False, concurrent, seconds=seconds), rounds) for concurrent in (1, 300)]
        out += [(Case("langgraph-sync", True, concurrent, seconds=seconds), rounds) for concurrent in (1, 300)]
        out.append((Case("langgraph-invoke", True, seconds=seconds), rounds))
    for side, journal in (("podium", False), ("podium", True), ("autogen", False), ("langgraph", False)):
        out.append((Case(side, journal, crowd, delay=delay), few))
        out.append((Case(side, journal, crowd, delay=delay, served=True), few))
    if not quick:
        out.append((Case("langgraph", True, crowd, delay=delay), few))  # half a minute each
        out.append((Case("asyncio", False, crowd, delay=delay), few))
        for side, journal in (("podium", False), ("podium", True), ("autogen", False), ("langgraph", False)):
            out.append((Case(side, journal, 300, delay=delay), few))
    kinds = (("podium", False), ("podium", True)) if quick else FLAT
    for side, journal in kinds:
        for turns in (200,) if quick else (50, 200):
            out.append((Case(side, journal, 1, turns, seconds=seconds), few))
        if side != "podium-reading" and not (side == "langgraph" and journal):
            for concurrent in (1000,) if quick else (10, 100, 1000):
                out.append((Case(side, journal, concurrent, seconds=seconds), few))
    for side, journal in (("podium", False), ("podium", True), ("autogen", False), ("langgraph", False)):
        if not quick or not journal:
            out.append((Case(side, journal, 300 if quick else 1000, kind="memory"), 1))
        if not quick:
            out.append((Case(side, journal, 300, kind="traced"), 1))
    return out


FLAT = (
    ("podium", False),
    ("podium", True),
    ("podium-reading", False),
    ("autogen", False),
    ("langgraph", False),
    ("langgraph", True),
)
"""Whose cost is measured over turns and runs at once."""


def guess(case: Case) -> float:
    """Seconds a measurement will take, before one like it was made."""
    side = case.side.split("-", maxsplit=1)[0]
    steps = case.concurrent * case.turns / (PACE_ON if case.journal else PACE)[side]
    slow = {"speed": 1.0, "memory": 1.3, "traced": 6.0}[case.kind]
    return 2.0 + max(case.seconds, steps * slow) + 2 * case.turns * case.delay


def taken(case: Case, folder: Path | None) -> dict[str, Any]:
    """One measurement in a process of its own. Raises RuntimeError with what it said last, when it fails."""
    with tempfile.TemporaryDirectory(dir=folder) as files:
        command = [sys.executable, str(HERE / "measure.py"), json.dumps(asdict(case)), files]
        quiet = {"LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false"}  # whatever the user's environment says
        ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet, timeout=600, check=False)
    if ran.returncode:
        raise RuntimeError(f"{case} failed:\n{ran.stderr[-3000:]}")
    return json.loads(ran.stdout)


def told(case: Case, found: dict[str, Any]) -> str:
    """A measurement in one line."""
    name = f"{case.side}, {'journal, ' if case.journal else ''}{case.concurrent:,} x {case.turns} turns"
    if case.kind != "speed":
        return f"{name}, {case.kind}: {found['held'] / 1024:.1f} KiB per waiting run"
    model = f"{case.delay * 1000:.0f} ms" if case.delay else "instant"
    name += ", served" if case.served else ""
    return f"{name}, {model}: {found['steps_per_second']:,.0f} steps/s, {found['cpu']:.0f} us CPU"


def main() -> None:
    """Measure, print; write what is to be kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--folder", type=Path, help="where journals are made: on the disk that is to be measured")
    parser.add_argument("--output", type=Path, help="folder for results.json and plots")
    arguments = parser.parse_args()
    output: Path | None = arguments.output or (None if arguments.quick else HERE)
    cases = plan(arguments.quick)
    rounds = max(rounds for _, rounds in cases)
    work = [(number, case) for number in range(rounds) for case in _round(cases, number)]
    took: dict[Case, float] = {}
    found: dict[Case, list[dict[str, Any]]] = {case: [] for case, _ in cases}
    speed: list[float] = []
    disk: list[float] = []
    console = Console(stderr=True, highlight=False)
    last = -1
    for done, (number, case) in enumerate(work):
        if number != last:
            last = number
            speed.append(min(plain() for _ in range(20)))
            disk.append(forced_write(arguments.folder))
        began = time.perf_counter()
        one = taken(case, arguments.folder)
        took[case] = time.perf_counter() - began
        found[case].append({"round": number, **one})
        left = sum(took.get(each, guess(each)) for _, each in work[done + 1 :])
        console.print(
            f"{done + 1:>4}/{len(work)}, {left // 60:.0f}:{left % 60:02.0f} left   {told(case, one)}", soft_wrap=True
        )
    results = {
        **made(*PACKAGES),
        "plain_milliseconds": speed,
        "forced_write_microseconds": disk,
        "measurements": [{**asdict(case), "rounds": rounds} for case, rounds in found.items()],
    }
    print(machine_line(results), *tables(results), *ratios(results), sep="\n\n")
    if output:
        from plots import draw

        output.mkdir(parents=True, exist_ok=True)
        (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        draw(results, output)
        if output == HERE:
            write_readme(results, HERE / "README.md")


def _round(cases: list[tuple[Case, int]], number: int) -> list[Case]:
    """What is measured in a round, every other one in the opposite order."""
    out = [case for case, rounds in cases if number < rounds]
    return out[::-1] if number % 2 else out


if __name__ == "__main__":
    main()
