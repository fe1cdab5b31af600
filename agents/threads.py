"""Synchronous functions beside the event loop, each in a thread of its own, and what is left of those given up.

Python cannot end a thread. A function that nobody waits for any more, because its time is over or its run was
cancelled, goes on: it keeps its memory and its locks, and does what it does, until it returns by itself. So each one
that is left behind is told in the log and counted, and where too many are, no further one is started. What may hang is
better an `async` function, which is cancelled where it awaits, or a process that it waits for and kills.

The threads are daemons: asyncio's own would keep the process alive for as long as the function takes.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["MOST", "MOST_OF_ONE", "ThreadsLeftError", "in_thread", "left_behind"]

LOG = logging.getLogger("podium.tools")

MOST_OF_ONE = 8
"""Threads that one function may have left behind: more than its circuit breaker lets time out in a row."""
MOST = 64
"""Threads that all of them may: a few hundred megabytes, where each holds a little."""


class ThreadsLeftError(Exception):
    """A function was not started: too many of its threads, or of all, were left behind and go on."""


_lock = threading.Lock()
_left: dict[int, int] = {}
"""How many threads a function has left behind, by its id: none has another's while one of its own threads runs."""


def left_behind(function: Callable[..., Any] | None = None) -> int:
    """How many threads go on that nobody waits for: those of a function, or all of this process."""
    with _lock:
        return sum(_left.values()) if function is None else _left.get(id(function), 0)


async def in_thread(name: str, function: Callable[..., Any], work: Callable[[], Any]) -> Any:
    """What `work` returns or raises, which calls a function. Being cancelled leaves it behind.

    Raises ThreadsLeftError instead of starting it where too many were. name: what the log calls it.
    """
    mine, everybody = left_behind(function), left_behind()
    if mine >= MOST_OF_ONE or everybody >= MOST:
        which = f"{mine} of its calls" if mine >= MOST_OF_ONE else f"{everybody} calls of tools"
        raise ThreadsLeftError(
            f"{name} is not run: {which} were given up and still go on; it is run again when some ended."
        )
    under_way = _UnderWay(name, function)
    context = contextvars.copy_context()
    run = threading.Thread(target=under_way.run, args=(context, work), name=f"podium-tool-{name}", daemon=True)
    run.start()
    try:
        return await under_way.result
    finally:
        under_way.leave()


class _UnderWay:
    """A function in its thread. result: what it returns or raises, for whoever waits in the event loop."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self.result: asyncio.Future[Any] = self._loop.create_future()
        self._name = name
        self._function = function
        self._began = time.monotonic()
        self._left = self._over = False

    def run(self, context: contextvars.Context, work: Callable[[], Any]) -> None:
        """In the thread."""
        value: Any = None
        error: BaseException | None = None
        try:
            value = context.run(work)
        except StopIteration as stop:  # a future refuses it
            error = RuntimeError(f"StopIteration: {stop}")
        except BaseException as raised:  # SystemExit in a tool must not be lost in a thread
            error = raised if isinstance(raised, Exception) else RuntimeError(f"{type(raised).__name__}: {raised}")
        with _lock:
            self._over = True
            left = self._left
            if left:
                self._count(-1)
        if left:
            seconds = time.monotonic() - self._began
            context.run(LOG.info, "%s ended after %.0f s; nobody waited for it any more", self._name, seconds)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._settle, value, error)

    def leave(self) -> None:
        """Nobody waits any more; if it is not over, that is told."""
        with _lock:
            if self._over:
                return
            self._left = True
            self._count(1)
            mine, everybody = _left[id(self._function)], sum(_left.values())
        LOG.warning(
            "%s goes on in a thread that nobody waits for any more, and that cannot be ended: %d of this tool, %d in "
            "all; make it an async function, or a process that can be killed",
            self._name,
            mine,
            everybody,
        )

    def _count(self, more: int) -> None:
        count = _left.get(id(self._function), 0) + more
        if count:
            _left[id(self._function)] = count
        else:
            del _left[id(self._function)]

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if not self.result.done():
            if error is None:
                self.result.set_result(value)
            else:
                self.result.set_exception(error)
