"""Coroutines carried out in parallel, at the least cost: no task is made for what never has to wait.

asyncio.gather and a task group make a task for each coroutine, and none of them begins before the next round of the
event loop. That costs more than all else in a step whose replies are there at once, as recorded and cached ones are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Sequence
from contextvars import copy_context
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")

__all__ = ["together", "went_on"]


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> tuple[list[T | None], BaseException | None]:
    """What came of each, and what stopped them all: the caller's cancellation, or an error. Nothing is left running.

    They run in the caller's own task, one after another, as long as none has to wait; the first that does stays there,
    and those behind it get tasks of their own, each in the context that the caller had.
    """
    done: list[T | None] = [None] * len(work)
    tasks: list[asyncio.Task[T]] = []
    stopped: BaseException | None = None
    place, context = 0, copy_context()  # what the first does to its context is not seen by those behind it
    try:
        for place, each in enumerate(work):
            try:
                waits_for = each.send(None)
            except StopIteration as ended:
                done[place] = ended.value
                continue
            create = asyncio.get_running_loop().create_task
            tasks = [create(further, context=context.copy()) for further in work[place + 1 :]]
            with _Alarm(tasks):
                done[place] = await went_on(each, waits_for)
            await asyncio.sleep(0)  # who is as fast is done then
            if _under_way(tasks):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            break
    except BaseException as raised:
        stopped = raised
        if not tasks:
            for never in work[place + 1 :]:
                never.close()
    if _under_way(tasks):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for behind, task in enumerate(tasks, place + 1):
        if task.cancelled():
            continue
        failure = task.exception()
        if failure is None:
            done[behind] = task.result()
        else:
            stopped = stopped or failure
    return done, stopped


class _Alarm:
    """Stops what the caller's task does as soon as one of some other tasks fails, whose error it raises then.

    As `asyncio.TaskGroup` it cancels the task for that, and takes the cancellation back if nobody else asked for it.
    """

    __slots__ = ("_before", "_error", "_task", "_tasks")

    def __init__(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        self._tasks = tasks
        self._task = asyncio.current_task()
        self._before = self._task.cancelling() if self._task else 0
        self._error: BaseException | None = None

    def __enter__(self) -> None:
        for task in self._tasks:
            task.add_done_callback(self._ring)

    def _ring(self, ended: asyncio.Task[Any]) -> None:
        if self._task and not self._error and not ended.cancelled():
            self._error = ended.exception()
            if self._error:
                self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self._task = self._task, None
        if self._error and task and task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise self._error


@coroutine
def went_on(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """What comes of a coroutine that has begun in this task, and waits for something."""
    try:
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as raised:
                waits_for = work.throw(raised)
            else:
                waits_for = work.send(sent)
    except StopIteration as ended:
        return ended.value


def _under_way(tasks: Sequence[asyncio.Task[Any]]) -> bool:
    """Whether any of them is not done."""
    for task in tasks:  # noqa: SIM110 - any() with a generator costs three times as much, at every step
        if not task.done():
            return True
    return False
