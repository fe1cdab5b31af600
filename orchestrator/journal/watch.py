"""Deadlines of what an event loop has given to the journal: what is not written in time counts as not written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import ref

from podium.orchestrator.journal.writer import Work
from podium.protocols.errors import JournalError

__all__ = ["Watch"]


class Watch:
    """Sees to it that no append waits for ever. They are due in the order they come, so one timer does for a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[str], JournalError]) -> None:
        self._loop = ref(loop)
        self._late = late
        self._waiting = deque[Work]()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, work: Work) -> None:
        """One more."""
        waiting = self._waiting
        while waiting and waiting[0].future.done():
            waiting.popleft()
        waiting.append(work)
        if self._timer is None:
            self._set()

    def _set(self) -> None:
        loop = self._loop()
        if loop is not None:
            self._timer = loop.call_at(self._waiting[0].due, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """What was not written in time counts as not written."""
        waiting, self._timer = self._waiting, None
        while waiting and (waiting[0].future.done() or waiting[0].due <= loop.time()):
            late = waiting.popleft()
            if not late.future.done():
                late.tail.error = late.tail.error or self._late(late.run)
                late.done()
        if waiting:
            self._set()
