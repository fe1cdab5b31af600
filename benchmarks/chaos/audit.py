"""What has to be true after the storm: the journal agrees with the process, nothing is left over, nothing has grown."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic_core import from_json
from storm import Seen

from podium.orchestrator.journal import Journal
from podium.orchestrator.learned.text import REMEMBERED, encode
from podium.orchestrator.team import Team

WARM = 0.2
"""Of the runs, after which memory should not grow any more: pools, caches and the allocator have their size."""
BLOCKS = 16
"""Consecutive parts of the samples that are drawn anew for the interval: samples next to each other are alike."""
DRAWS = 2000
STRINGS = 100_000
"""Enough to fill the 16,384 places that pydantic keeps for short strings of JSON."""
FULL = 64
"""Entries above which a cache without a bound counts as one that grows."""


def disagreements(journal: Journal, seen: Seen) -> list[str]:
    """Runs of which the journal says something else than the process saw; and runs that only one of them knows."""
    listed = {line.run: line for line in journal.entries(most=len(seen.ids) + 1)}
    known = {run.decode() for run in seen.ids if run}
    found = [f"run {run} is in the journal only" for run in listed.keys() - known]
    for place, name in enumerate(seen.ids):
        run = name.decode()
        if not run:
            continue
        if run not in listed:
            found.append(f"run {run} is not in the journal")
            continue
        kept, line = journal.load(run), listed[run]
        usage = kept.usage
        numbers = (usage.tokens, usage.calls, usage.dollars, len(kept.nodes))
        if (kept.stop, line.stop) != (seen.stops[place].decode(),) * 2:
            found.append(f"run {run}: the journal says {kept.stop}, the process {seen.stops[place].decode()}")
        elif not np.allclose(numbers, seen.numbers[place], rtol=0, atol=1e-12) or line.tokens != usage.tokens:
            found.append(f"run {run}: the journal says {numbers}, the process {tuple(seen.numbers[place])}")
        elif sum(node.usage.tokens for node in kept.nodes) != usage.tokens:
            found.append(f"run {run}: its nodes do not add up to {usage.tokens} tokens")
    return found


@dataclass(frozen=True, slots=True)
class Footing:
    """What a process holds: threads, and open files."""

    threads: frozenset[str]
    files: int

    @staticmethod
    def now() -> Footing:
        """As it is, after garbage was collected."""
        gc.collect()
        names = frozenset(f"{each.name} {each.ident}" for each in threading.enumerate())
        return Footing(names, len(os.listdir("/proc/self/fd")))


async def left_over(before: Footing, desks: Iterable[Team], journal: Journal, patience: float = 3.0) -> list[str]:
    """What is still there and should not be. patience: seconds that threads and sockets have to end."""
    ends = time.monotonic() + patience
    while True:
        now = Footing.now()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        more = now.threads - before.threads
        found = [f"a task is left: {task.get_name()}" for task in tasks]
        found += [f"a thread is left: {name}" for name in more]
        if now.files > before.files:
            found.append(f"{now.files - before.files} file descriptors are left")
        if not found or time.monotonic() > ends:
            break
        await asyncio.sleep(0.1)
    tails = journal._tails  # pyright: ignore[reportPrivateUsage]
    if tails:
        found.append(f"the journal still holds {len(tails)} runs")
    waiting = sum(len(team.people._waiting) for team in desks)  # pyright: ignore[reportPrivateUsage]
    if waiting:
        found.append(f"{waiting} questions wait")
    return found


def unbounded() -> list[str]:
    """Caches of Podium's that have no bound and hold more than a few things."""
    found: list[str] = []
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper) and str(each.__module__).startswith("podium"):  # pyright: ignore
            info = each.cache_info()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if info.maxsize is None and info.currsize > FULL:  # pyright: ignore[reportUnknownMemberType]
                found.append(f"{each.__module__}.{each.__qualname__} has {info.currsize} entries")  # pyright: ignore
    return found


def fill_caches() -> None:
    """Fill the caches that have a bound: growing up to it is no leak, and would hide one."""
    for number in range(REMEMBERED):
        encode(f"text {number}")
    from_json(json.dumps([f"{number} strings" for number in range(STRINGS)]))


def resident() -> int:
    """Bytes of memory that this process has in use (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Slope:
    """Bytes or blocks per run, with the 95 % interval of a block bootstrap."""

    value: float
    low: float
    high: float


def slope(samples: Sequence[tuple[int, int]], seed: int = 0) -> Slope:
    """Growth after the first part of the samples. samples: (runs done, bytes or blocks)."""
    late = np.array([sample for sample in samples if sample[0] >= WARM * samples[-1][0]], dtype=float)
    fitted = np.polyfit(late[:, 0], late[:, 1], 1)
    left = late[:, 1] - np.polyval(fitted, late[:, 0])
    size = max(1, len(late) // BLOCKS)
    dice = np.random.default_rng(seed)
    drawn: list[float] = []
    for _ in range(DRAWS):
        starts = dice.integers(0, len(late) - size + 1, size=len(late) // size + 1)
        noise = np.concatenate([left[start : start + size] for start in starts])[: len(late)]
        drawn.append(float(np.polyfit(late[:, 0], np.polyval(fitted, late[:, 0]) + noise, 1)[0]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Slope(float(fitted[0]), float(low), float(high))
