"""Seconds in which at least one of several things is under way: their union, not their sum.

So it is counted what an agent may use of a run (its requests), and what all runs of a team may use together (runs).
Four requests at once for a second are a second, as they are for whoever waits for them.

A meter stands still while a person is waited for, since what hangs is to be ended, and not who thinks. Whatever is
under way shares one end: that of the meter.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

__all__ = ["Meter"]

LEAST = 1e-3
"""Seconds that are none: no call is made in less, and timers ring that much early."""


class Meter:
    """limit, used: seconds; kept: of the limit, for a last turn. under_way: how many are."""

    __slots__ = ("_since", "_still", "_timeouts", "_used", "kept", "limit", "under_way")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.kept = 0.0
        self._used = 0.0
        self._since = 0.0
        self.under_way = 0
        self._still = 0  # people who are waited for
        self._timeouts: set[asyncio.Timeout] = set()

    @property
    def used(self) -> float:
        """Seconds so far."""
        return self._used + (time.monotonic() - self._since if self._ticks else 0.0)

    @property
    def left(self) -> float:
        """Seconds that are left, 0 where that is next to nothing; what is kept is not among them."""
        left = self.limit - self.kept - self.used
        return left if left > LEAST else 0.0

    @property
    def _ticks(self) -> bool:
        return self.under_way > 0 and not self._still

    def begin(self) -> None:
        """One more is under way."""
        if not self.under_way:
            self._since = time.monotonic()
        self.under_way += 1

    def end(self) -> None:
        """One fewer is."""
        used = self.used
        self.under_way -= 1
        if not self.under_way:
            self._used = used

    def spend(self, seconds: float) -> None:
        """So many were used before, or elsewhere."""
        self._used += seconds

    def renew(self) -> None:
        """All of them are there again."""
        self._used, self._since = 0.0, time.monotonic()

    @contextmanager
    def during(self) -> Generator[asyncio.Timeout]:
        """While one is under way that is to be ended with the meter: the timeout that does so, to be entered."""
        self.begin()
        left = self.left
        timeout = asyncio.timeout(None if self._still or left == math.inf else left)
        self._timeouts.add(timeout)
        try:
            yield timeout
        finally:
            self._timeouts.discard(timeout)
            self.end()

    @contextmanager
    def stopped(self) -> Generator[None]:
        """While one of those under way waits for a person: none of them uses anything."""
        if not self._still:
            self._used = self.used
            for timeout in self._entered():
                timeout.reschedule(None)
        self._still += 1
        try:
            yield
        finally:
            self._still -= 1
            if not self._still:
                self._since = time.monotonic()
                ends = asyncio.get_running_loop().time() + self.left
                for timeout in self._entered():
                    timeout.reschedule(ends)

    def _entered(self) -> Iterator[asyncio.Timeout]:
        """Timeouts that can still be set."""
        return (timeout for timeout in self._timeouts if not timeout.expired())
