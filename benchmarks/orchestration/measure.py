"""One measurement in this process: `python measure.py CASE FOLDER`, both JSON; prints one line of JSON.

Speed: wall and CPU time per step (a step is one agent's turn), over batches of runs, after a few runs to warm up;
threads that write journals count. Beside it the event loop's lag: how late a timer of 5 ms was, where a wait of L also
counts as those that a timer would have had while it was blocked.

Memory: `concurrent` runs are held in the middle, each waiting for its model; what the process has grown by then, per
run, and what is left of it when the runs have ended. "traced" is Python's own count of live bytes.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import Case, Gate, Opened, Work

from podium import collect_seldom

MODULES = {
    "podium": "side_podium",
    "podium-reading": "side_podium",
    "langgraph": "side_langgraph",
    "langgraph-sync": "side_langgraph",
    "langgraph-invoke": "side_langgraph",
    "autogen": "side_autogen",
    "asyncio": "side_asyncio",
}
PAUSE = 0.005
"""Seconds between two beats of the timer that measures lag."""
WARM = 3
"""Runs before the measurement."""
PATIENCE = 120.0
"""Seconds in which all runs have to come to the gate."""
PAGE = resource.getpagesize()


async def batch(work: Work, case: Case) -> None:
    """`concurrent` runs at once, each checked to have done its work."""
    if case.concurrent == 1:
        done = [await work()]
    else:
        done = await asyncio.gather(*(work() for _ in range(case.concurrent)))
    assert done == [case.turns] * case.concurrent, f"a run did not have {case.turns} replies"


async def speed(case: Case, work: Work) -> dict[str, Any]:
    """Batches until the time is up."""
    lags: list[float] = []
    beats = asyncio.create_task(heartbeat(lags))
    await asyncio.sleep(4 * PAUSE)
    gc.collect()
    lags.clear()
    began, used, runs = time.perf_counter(), time.process_time(), 0
    while not runs or time.perf_counter() - began < case.seconds:
        await batch(work, case)
        runs += case.concurrent
    took, used = time.perf_counter() - began, time.process_time() - used
    await asyncio.sleep(2 * PAUSE)  # the beat that was late last
    beats.cancel()
    steps = runs * case.turns
    return {
        "batches": runs // case.concurrent,
        "wall": took * case.concurrent / runs,
        "steps_per_second": steps / took,
        "cpu": 1e6 * used / steps,
        "lag_p99": 1e3 * late(lags),
        "lag_longest": 1e3 * max(lags),
    }


async def heartbeat(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(PAUSE)
        lags.append(time.perf_counter() - began - PAUSE)


def late(lags: list[float]) -> float:
    """The 99th percentile of what a timer that starts every `PAUSE` would have waited."""
    waits = sorted(lag - PAUSE * beat for lag in lags for beat in range(max(0, int(lag / PAUSE)) + 1))
    return waits[int(0.99 * (len(waits) - 1))]


async def memory(case: Case, work: Work, gate: Gate, size: Callable[[], int]) -> dict[str, Any]:
    """Runs that wait, and what they take."""
    gc.collect()
    before = size()
    runs = asyncio.gather(*(work() for _ in range(case.concurrent)))
    async with asyncio.timeout(PATIENCE):
        await gate.full(case.concurrent)
    gc.collect()
    held = size() - before
    gate.open()
    assert await runs == [case.turns] * case.concurrent
    del runs
    gc.collect()
    return {"held": held / case.concurrent, "left": (size() - before) / case.concurrent}


def resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def traced() -> int:
    """Bytes that Python has allocated and not freed since tracing began."""
    return tracemalloc.get_traced_memory()[0]


async def measure(case: Case, folder: str) -> dict[str, Any]:
    """Set the side up, warm it up, measure."""
    opened: Opened = importlib.import_module(MODULES[case.side]).opened
    gate = Gate(False)
    async with opened(case, gate, folder) as work:
        for _ in range(1 if case.delay else WARM):
            await work()
        if case.served:
            collect_seldom()  # as `podium serve` does
        if case.kind == "speed":
            return await speed(case, work)
    gate = Gate(True)
    async with opened(case, gate, folder) as work:
        if case.kind == "memory":
            return await memory(case, work, gate, resident)
        tracemalloc.start()
        return await memory(case, work, gate, traced)


def main() -> None:
    case, folder = Case(**json.loads(sys.argv[1])), sys.argv[2]
    print(json.dumps(asyncio.run(measure(case, folder))))


if __name__ == "__main__":
    main()
