"""Time that nobody waits for: where nothing else is to be done, it leaps to what comes next."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest


class _Leaping(selectors.DefaultSelector):
    """Does not wait: the time is what it would be then."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0 if timeout is not None else None)
        if not found:
            self.now += timeout or 0.0
        return found


@contextmanager
def leaping() -> Generator[asyncio.Runner]:
    """A loop whose time leaps, and with it `time.monotonic` and `time.time`. Not for what waits for other threads."""
    clock = _Leaping()
    began = time.time() - clock.now
    with (
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(clock)) as runner,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(time, "monotonic", lambda: clock.now)
        patch.setattr(time, "time", lambda: began + clock.now)
        yield runner
