"""The time of a run, which stands still while a person is waited for.

A run's seconds are there to end what hangs, and a person who sleeps on a question does not hang. How long that may
take is said with the question.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from podium.orchestrator.budget import Budget
from podium.protocols.bus import Lease

__all__ = ["Clock"]


class Clock:
    """Of one run. timeout: ends the run when its time is up; None: nothing does. leases: of requests under way."""

    __slots__ = ("_asked", "_budget", "_deadlines", "_ends", "_since", "leases", "timeout")

    def __init__(self, budget: Budget) -> None:
        self.timeout: asyncio.Timeout | None = None
        self.leases: Sequence[Lease] = ()
        self._budget = budget
        self._asked = 0  # people who are waited for
        self._since = 0.0
        self._ends: float | None = None
        self._deadlines: list[float] = []

    @contextmanager
    def stopped(self, own: asyncio.Timeout | None) -> Generator[None]:
        """While a request waits for a person. own: its own timeout, if it has one.

        Where several requests wait, the run's time goes on when the last of them has its answer.
        """
        loop = asyncio.get_running_loop()
        began, ends = loop.time(), _stop(own)
        if not self._asked:
            self._since, self._ends = began, _stop(self.timeout)
            self._deadlines = [lease.deadline for lease in self.leases]
            for lease in self.leases:
                lease.deadline = math.inf
        self._asked += 1
        try:
            yield
        finally:
            now = loop.time()
            _go_on(own, ends, now - began)
            self._asked -= 1
            if not self._asked:
                self._budget.pause(now - self._since)
                _go_on(self.timeout, self._ends, now - self._since)
                for lease, deadline in zip(self.leases, self._deadlines, strict=True):
                    lease.deadline = deadline + now - self._since


def _stop(timeout: asyncio.Timeout | None) -> float | None:
    """Have it not end; when it would have."""
    if timeout is None:
        return None
    ends = timeout.when()
    timeout.reschedule(None)
    return ends


def _go_on(timeout: asyncio.Timeout | None, ends: float | None, later: float) -> None:
    if timeout is not None and ends is not None:
        timeout.reschedule(ends + later)
