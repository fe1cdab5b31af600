"""The time of a run, which stands still while a person is waited for.

A run's seconds are there to end what hangs, and a person who sleeps on a question does not hang. How long that may
take is said with the question.

Where the pool has seconds, a run is under way in it from its beginning to its end, but for such waits: another run may
use up the pool meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from podium.orchestrator.budget import Budget
from podium.orchestrator.together import went_on
from podium.protocols.bus import Lease

T = TypeVar("T")

__all__ = ["Clock"]


class Clock:
    """Of one run. leases: of requests under way. by_pool: the end that is set is that of the pool's seconds."""

    __slots__ = (
        "_asked",
        "_budget",
        "_deadlines",
        "_ends",
        "_free",
        "_pool",
        "_since",
        "_timeout",
        "by_pool",
        "leases",
    )

    def __init__(self, budget: Budget, pool: Budget | None = None) -> None:
        self.leases: Sequence[Lease] = ()
        self.by_pool = False
        self._budget = budget
        self._pool = pool
        self._timeout: asyncio.Timeout | None = None
        self._free = False
        self._asked = 0  # people who are waited for
        self._since = 0.0
        self._ends: float | None = None
        self._deadlines: list[float] = []

    @property
    def expired(self) -> bool:
        """Whether the time was up."""
        return self._timeout is not None and self._timeout.expired()

    def begin(self) -> None:
        """The run is under way, for the pool."""
        if self._pool is not None and self._pool.meter is not None:
            self._pool.meter.begin()

    def end(self) -> None:
        """It is no more, or not for now."""
        if self._pool is not None and self._pool.meter is not None:
            self._pool.meter.end()

    @property
    def left(self) -> float:
        """Seconds until the run has to end, as long as nobody is waited for."""
        left = self._budget.deadline - time.monotonic()
        if self._pool is None:
            return left
        pool = self._pool.lasts
        self.by_pool = pool < left
        return min(left, pool)

    async def limit(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of the run's work. Raises TimeoutError when the seconds of its budget are over, or the pool's.

        A run that never waits is not stopped, and is spared the timer: it would cost as much as half a directive.
        """
        try:
            waits_for = work.send(None)
        except StopIteration as ended:
            return ended.value
        left = self.left
        if left == math.inf or self._free:
            return await went_on(work, waits_for)
        ends = asyncio.get_running_loop().time() + left
        self._timeout = asyncio.timeout_at(None if self._asked else ends)
        if self._asked:
            self._ends = ends
        async with self._timeout:
            return await went_on(work, waits_for)

    def changed(self) -> None:
        """The budget's deadline is another one now. To be called while no person is waited for."""
        if self._timeout is not None and not self._timeout.expired() and not self._free:
            left = self.left
            self._timeout.reschedule(asyncio.get_running_loop().time() + left if left < math.inf else None)

    def release(self) -> None:
        """It ends nothing any more."""
        self._free = True
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(None)

    @contextmanager
    def stopped(self, own: asyncio.Timeout | None) -> Generator[None]:
        """While a request waits for a person. own: its own timeout, if it has one.

        Where several requests wait, the run's time goes on when the last of them has its answer.
        """
        loop = asyncio.get_running_loop()
        began, ends = loop.time(), _stop(own)
        if not self._asked:
            self._since, self._ends = began, _stop(self._timeout)
            self._deadlines = [lease.deadline for lease in self.leases]
            for lease in self.leases:
                lease.deadline = math.inf
            self.end()
        self._asked += 1
        try:
            yield
        finally:
            now = loop.time()
            _go_on(own, ends, now - began)
            self._asked -= 1
            if not self._asked:
                self._budget.pause(now - self._since)
                self.begin()
                if self._timeout is not None and self._ends is not None:
                    left = self.left
                    self._timeout.reschedule(now + left if left < math.inf else None)
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
