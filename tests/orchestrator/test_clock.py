"""The time of a run: it ends what waits too long, stands still while a person is asked, and costs nothing else."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import patch

import pytest

from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.clock import Clock

SOON = Limits(seconds=0.3)
FOREVER = 60


def test_what_never_waits_needs_no_timer() -> None:
    async def work() -> str:
        time.sleep(0.31)  # noqa: ASYNC251 - longer than it has, and nobody could have stopped it
        return "done"

    with patch("asyncio.timeout_at", side_effect=AssertionError("a timer")):
        assert asyncio.run(Clock(Budget(SOON)).limit(work())) == "done"


def test_what_waits_too_long_is_stopped() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            ended.append("stopped")

    clock = Clock(Budget(SOON))
    with pytest.raises(TimeoutError):
        asyncio.run(clock.limit(work()))
    assert (clock.expired, ended) == (True, ["stopped"])


@pytest.mark.parametrize("limits", [SOON, Limits()])
@pytest.mark.parametrize("waits", [0, 1])
def test_its_own_errors_are_no_end_of_time(limits: Limits, waits: int) -> None:
    async def work() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise TimeoutError("its own")

    clock = Clock(Budget(limits))
    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(clock.limit(work()))
    assert not clock.expired


@pytest.mark.parametrize("first", [0.0, 0.01])
def test_a_clock_that_is_let_go_of_stops_nothing(first: float) -> None:
    clock = Clock(Budget(SOON))

    async def work() -> str:
        if first:
            await asyncio.sleep(first)
        clock.release()
        await asyncio.sleep(0.4)
        return "done"

    assert asyncio.run(clock.limit(work())) == "done"
    assert not clock.expired


@pytest.mark.parametrize("first", [0.0, 0.01])
def test_it_stands_still_for_a_person_and_then_goes_on(first: float) -> None:
    clock = Clock(Budget(SOON))
    said: list[str] = []

    async def work() -> None:
        if first:
            await asyncio.sleep(first)
        with clock.stopped(None):
            await asyncio.sleep(0.4)
        said.append("yes")
        await asyncio.sleep(FOREVER)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(clock.limit(work()))
    assert (clock.expired, said) == (True, ["yes"])
    assert 0.7 <= time.monotonic() - began < FOREVER / 2
