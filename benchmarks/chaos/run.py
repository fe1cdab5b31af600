"""Ten thousand runs through one process while one thing in twenty goes wrong.

Seven coordinators, one journal (SQLite), a real endpoint in another process that refuses, breaks off, falls silent and
sends garbage; models that fail in passing, fail for good or hang; a tool that crashes or hangs; runs that are
cancelled, and runs whose budget is too small. Afterwards every run has ended with an answer or a typed reason, the
journal agrees with what this process saw of every run, the event loop had nothing to complain of, no task, thread or
file descriptor is left, and memory has not grown: straight lines through the resident memory and through the blocks
that Python holds (an object is one or two), after the first fifth of the runs, rise by less than `--grown` bytes and
less than one block per run, by the upper ends of their 95 % intervals (block bootstrap). Each sample is taken in a
lull, since what is under way comes and goes by thousands of blocks: all runs have ended, what they left hanging has
come back, and garbage is collected. Caches that have a bound are filled before all.

The allocator takes memory in steps of about a mebibyte, so the line of the resident memory is never quite flat; that of
the blocks tells whether a run leaves anything.

Which run meets what is seeded; what comes first in time is not, so counts differ a little from one time to the next.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from audit import Footing, Slope, disagreements, fill_caches, left_over, resident, slope, unbounded
from storm import Seen, one, teams
from weather import FIRED, SHARE, TOOL_HANGS

from podium.orchestrator.journal import Journal

sys.path.append(str(Path(__file__).parents[1]))
from machine import made

HERE = Path(__file__).parent
SAMPLES = 50
"""Of memory, over all runs, at most: there is a lull before each."""
FEWEST = 8
"""Samples of a short storm, which otherwise has as many runs between two samples as at once."""


@dataclass
class Storm:
    """What came of it all."""

    runs: int
    seed: int
    at_once: int
    seconds: float = 0.0
    ended: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    memory: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    blocks: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    growth: Slope = field(default_factory=lambda: Slope(0.0, 0.0, 0.0))
    left: Slope = field(default_factory=lambda: Slope(0.0, 0.0, 0.0))
    wrong: list[str] = field(default_factory=list[str])


@contextmanager
def endpoint(seed: int, counts: Counter[str]) -> Generator[int]:
    """The endpoint's port; its counts, when it was stopped."""
    command = [sys.executable, str(HERE / "endpoint.py"), str(seed), str(SHARE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        yield int(process.stdout.readline())
        process.stdin.close()
        counts.update({f"endpoint {name}": count for name, count in json.loads(process.stdout.read()).items()})


async def crowd(storm: Storm, url: str, port: int) -> None:
    """All runs, so many at once; and what has to be true afterwards."""
    seen, every = Seen(storm.runs), max(1, min(storm.at_once, storm.runs // FEWEST), storm.runs // SAMPLES)
    before = Footing.now()
    journal = Journal(url)
    desks = teams(journal, port)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.wrong.append(context["message"]))

    async def worker(turns: Iterator[int]) -> None:
        for number in turns:
            await asyncio.create_task(one(number, storm.seed, desks, seen))  # a context of its own

    began = time.perf_counter()
    for first in range(0, storm.runs, every):
        done = min(first + every, storm.runs)
        turns = iter(range(first, done))
        await asyncio.gather(*(worker(turns) for _ in range(storm.at_once)))
        await asyncio.sleep(TOOL_HANGS)
        gc.collect()
        storm.blocks.append((done, sys.getallocatedblocks()))
        storm.memory.append((done, resident()))
    storm.seconds = time.perf_counter() - began
    for team in desks.values():
        await team.aclose()
    await asyncio.get_running_loop().shutdown_default_executor()  # the loop's own threads, which end with it
    storm.ended, storm.faults = seen.kinds, FIRED
    storm.wrong = [*seen.wrong, *await left_over(before, desks.values(), journal), *unbounded()]
    storm.wrong += disagreements(journal, seen)
    if sum(seen.kinds.values()) != storm.runs:
        storm.wrong.append(f"{storm.runs - sum(seen.kinds.values())} runs have no end")
    journal.close()


def table(storm: Storm) -> str:
    """The figures, aligned."""
    lines = [f"{storm.runs:,} runs, {storm.at_once} at once, {storm.seconds:.0f} s, seed {storm.seed}", ""]
    lines += [f"{'how runs ended':<32}{'runs':>8}{'share':>9}"]
    lines += [f"{name:<32}{count:>8,}{count / storm.runs:>9.2%}" for name, count in storm.ended.most_common()]
    lines += ["", f"{'what happened to them':<32}{'times':>8}"]
    lines += [f"{name:<32}{count:>8,}" for name, count in sorted(storm.faults.items())]
    first, last = storm.memory[0][1], storm.memory[-1][1]
    highest = max(size for _, size in storm.memory)
    lines += ["", f"{'resident memory, MiB':<32}{'first':>8}{'last':>9}{'highest':>9}"]
    lines += [f"{'':<32}{first / 2**20:>8.1f}{last / 2**20:>9.1f}{highest / 2**20:>9.1f}"]
    grown, left = storm.growth, storm.left
    lines += [f"{'growth, bytes per run':<32}{grown.value:>8.0f}   95 % interval {grown.low:.0f} to {grown.high:.0f}"]
    lines += [f"{'growth, blocks per run':<32}{left.value:>8.2f}   95 % interval {left.low:.2f} to {left.high:.2f}"]
    lines += ["", f"{len(storm.wrong)} things are wrong", *storm.wrong[:20]]
    return "\n".join(lines)


def saved(storm: Storm) -> dict[str, Any]:
    """The figures with what is needed to judge them."""
    counts = {"ended": dict(storm.ended), "faults": dict(storm.faults)}
    figures = {"runs": storm.runs, "seed": storm.seed, "at_once": storm.at_once, "seconds": storm.seconds}
    memory = {
        "growth": asdict(storm.growth),
        "memory": storm.memory,
        "left": asdict(storm.left),
        "blocks": storm.blocks,
    }
    return {"made": made(), "share": SHARE, **figures, **counts, **memory, "wrong": storm.wrong}


def main() -> None:
    """Run, print, write; exits with a word when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grown", type=float, help="most bytes per run that memory may grow; left out: not judged")
    parser.add_argument("--results", type=Path, help="folder for results.json and memory.png; left out: none")
    arguments = parser.parse_args()
    logging.getLogger("podium").addHandler(logging.NullHandler())  # it would tell of each tool that hangs
    fill_caches()
    storm, counts = Storm(arguments.runs, arguments.seed, arguments.at_once), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, endpoint(arguments.seed, counts) as port:
        asyncio.run(crowd(storm, f"sqlite:///{folder}/runs.db?synchronous=normal", port))
    storm.faults = storm.faults + counts
    storm.growth, storm.left = slope(storm.memory), slope(storm.blocks)
    if arguments.grown is not None and (storm.growth.high > arguments.grown or storm.left.high > 1):
        rise = f"{storm.growth.high:.0f} bytes, {storm.left.high:.2f} blocks"
        storm.wrong.append(f"memory grows by up to {rise} per run")
    print(table(storm))
    if arguments.results:
        from plot import draw

        (arguments.results / "results.json").write_text(json.dumps(saved(storm), indent=1) + "\n")
        draw(storm.memory, storm.growth, storm.runs, arguments.results / "memory.png")
    if storm.wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
