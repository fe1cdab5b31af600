"""Coroutines in parallel: what each comes to, what stops them all, and that none is left running."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from podium.orchestrator.together import together

PLACE = ContextVar("PLACE", default="the caller")


class Work:
    """What coroutines of a test do, and which of them began and ended."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []

    async def one(self, name: str, *waits: float, error: BaseException | None = None) -> tuple[str, str]:
        """Its name, and where it found itself. waits: seconds, one after another."""
        found = PLACE.get()
        PLACE.set(name)
        self.begun.append(name)
        try:
            for seconds in waits:
                await asyncio.sleep(seconds)
            if error is not None:
                raise error
        finally:
            self.ended.append(name)
        assert PLACE.get() == name
        return name, found


async def carried_out(*work: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    before = asyncio.all_tasks()
    came = await together(list(work))
    assert asyncio.all_tasks() == before
    return came


def test_nothing_is_done() -> None:
    assert asyncio.run(carried_out()) == ([], None)


@pytest.mark.parametrize("waits", [(), (0,), (0, 0.01, 0)], ids=["at once", "a moment", "a while"])
def test_each_has_the_context_of_the_caller_once_one_waits(waits: tuple[float, ...]) -> None:
    work = Work()
    done, stopped = asyncio.run(carried_out(*(work.one(name, 0, *waits) for name in "abc")))
    assert (done, stopped) == ([(name, "the caller") for name in "abc"], None)
    assert sorted(work.ended) == ["a", "b", "c"]


def test_they_run_at_the_same_time() -> None:
    work = Work()
    asyncio.run(carried_out(work.one("slow", 0.05), work.one("quick", 0.01), work.one("at once")))
    assert (work.begun, work.ended) == (["slow", "quick", "at once"], ["at once", "quick", "slow"])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_stops_the_others(place: int) -> None:
    work, error = Work(), ValueError("no")
    given = [work.one("012"[each], 60) for each in range(3)]
    given[place].close()
    given[place] = work.one("012"[place], 0, error=error)
    done, stopped = asyncio.run(asyncio.wait_for(carried_out(*given), 10))
    assert (done, stopped) == ([None] * 3, error)
    assert sorted(work.ended) == ["0", "1", "2"]


def test_an_error_at_once_begins_none_of_those_behind() -> None:
    work, error = Work(), ValueError("no")
    done, stopped = asyncio.run(carried_out(work.one("a"), work.one("b", error=error), work.one("c")))
    assert (done, stopped, work.begun) == ([("a", "the caller"), None, None], error, ["a", "b"])


def test_what_was_done_before_an_error_is_kept() -> None:
    work, error = Work(), ValueError("no")
    done, stopped = asyncio.run(carried_out(work.one("a"), work.one("b", 0), work.one("c", 0.02, error=error)))
    assert (done[:2], stopped) == ([("a", "the caller"), ("b", "a")], error)


@pytest.mark.parametrize("waits", [(0.0, 60.0), (60.0,)])
def test_a_cancelled_caller_leaves_none_running(waits: tuple[float, ...]) -> None:
    work = Work()

    async def go() -> tuple[Any, BaseException | None]:
        given = [work.one("a", 0.01), work.one("b", *waits), work.one("c", 60)]
        task = asyncio.create_task(carried_out(*given))
        await asyncio.sleep(0.05)
        task.cancel()
        return await task

    done, stopped = asyncio.run(go())
    assert done == [("a", "the caller"), None, None]
    assert isinstance(stopped, asyncio.CancelledError)
    assert sorted(work.ended) == ["a", "b", "c"]
