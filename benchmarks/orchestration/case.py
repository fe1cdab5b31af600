"""What one measurement is, and what every side works with: the same agents, the same order, the same words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

AGENTS = ("first", "second", "third")
TASK = "What is six times seven?"

REPLIES = [f"the answer is {number}" for number in range(997)]
"""Given in turn. A prime number of them: no agent of no run is given the same one again and again, however many runs
share the list (Podium would stop such a run as one that loops)."""

HELD = 4
"""Replies that a run has when its model is held, for the measurement of memory: it is in the middle of ten turns."""

Kind = Literal["speed", "memory", "traced"]

Work = Callable[[], Awaitable[int]]
"""Work one run; how many replies it has."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement, in a process of its own.

    side: who runs. journal: it is written down. concurrent: runs at once. delay: seconds a model takes. seconds: for
    how long batches of runs are repeated; 0: one batch. kind: speed, or the memory of runs that wait for their model
    (memory: as the system sees it; traced: as Python's own count of live bytes).
    """

    side: str
    journal: bool = False
    concurrent: int = 1
    turns: int = 10
    delay: float = 0.0
    seconds: float = 0.0
    kind: Kind = "speed"
    served: bool = False


Opened = Callable[[Case, "Gate", str], AbstractAsyncContextManager[Work]]
"""A side, set up for a case; the last argument is a folder for its files."""


class Gate:
    """Where runs are held until all of them have come. closed: it holds them at all."""

    def __init__(self, closed: bool) -> None:
        self.closed = closed
        self._come = asyncio.Semaphore(0)
        self._open = asyncio.Event()

    async def passed(self, replies: int) -> None:
        """A model is asked in a run that has so many replies."""
        if self.closed and replies == HELD:
            self._come.release()
            await self._open.wait()

    async def full(self, runs: int) -> None:
        """Wait until so many runs have come."""
        for _ in range(runs):
            await self._come.acquire()

    def open(self) -> None:
        """Let them go on."""
        self._open.set()


class Words:
    """The model of every side but Podium's: an asynchronous function from a conversation to the next reply."""

    def __init__(self, delay: float, gate: Gate) -> None:
        self.delay = delay
        self.gate = gate
        self._next = 0

    async def __call__(self, messages: Sequence[object]) -> str:
        """The next reply. messages: the task and all replies so far."""
        if self.gate.closed:
            await self.gate.passed(len(messages) - 1)
        if self.delay:
            await asyncio.sleep(self.delay)
        return self.now()

    def now(self) -> str:
        """The next reply, for callers that do not await."""
        self._next += 1
        return REPLIES[self._next % len(REPLIES)]
