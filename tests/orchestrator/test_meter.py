"""Seconds in which something is under way: a union, which stands still for people and ends what shares it."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from podium.orchestrator.meter import Meter
from tests.orchestrator.leaping import leaping


def test_what_is_under_way_at_once_counts_once() -> None:
    meter = Meter(10)

    async def work(before: float, seconds: float) -> None:
        await asyncio.sleep(before)
        meter.begin()
        await asyncio.sleep(seconds)
        meter.end()

    async def all_of_it() -> None:
        await asyncio.gather(work(0, 3), work(1, 1), work(2, 2), work(6, 1))

    with leaping() as runner:
        runner.run(all_of_it())
        assert (meter.used, meter.left, meter.under_way) == (pytest.approx(5), pytest.approx(5), 0)


def test_next_to_nothing_is_nothing() -> None:
    meter = Meter(1)
    meter.spend(0.9995)
    assert meter.left == 0
    meter.renew()
    assert meter.left == 1
    meter.kept = 0.2
    assert meter.left == pytest.approx(0.8)


@pytest.mark.parametrize("began", [0.0, 2.0])
def test_all_that_shares_it_ends_with_it(began: float) -> None:
    """However late it began."""
    meter = Meter(3)
    ended: list[float] = []

    async def work(after: float) -> None:
        await asyncio.sleep(after)
        with meter.during() as timeout:
            try:
                async with timeout:
                    await asyncio.sleep(60)
            except TimeoutError:
                ended.append(time.monotonic())

    async def both() -> float:
        began_at = time.monotonic()
        await asyncio.gather(work(0), work(began))
        return began_at

    with leaping() as runner:
        began_at = runner.run(both())
        assert [at - began_at for at in ended] == pytest.approx([3, 3])
        assert not meter.left


def test_it_stands_still_for_a_person_also_for_those_beside() -> None:
    meter = Meter(3)
    ended: list[float] = []

    async def beside() -> None:
        with meter.during() as timeout:
            try:
                async with timeout:
                    await asyncio.sleep(1000)
            except TimeoutError:
                ended.append(time.monotonic())

    async def asks(before: float, seconds: float) -> None:
        with meter.during() as timeout:
            async with timeout:
                await asyncio.sleep(before)
                with meter.stopped():
                    await asyncio.sleep(seconds)
                assert meter.left

    async def all_of_it() -> float:
        began = time.monotonic()
        await asyncio.gather(beside(), asks(1, 100), asks(1, 50))
        return began

    with leaping() as runner:
        began = runner.run(all_of_it())
        assert ended == [pytest.approx(began + 103)]
        assert meter.used == pytest.approx(3)


def test_without_a_limit_nothing_ends() -> None:
    async def work() -> str:
        with Meter(math.inf).during() as timeout:
            async with timeout:
                await asyncio.sleep(10**6)
        return "done"

    with leaping() as runner:
        assert runner.run(work()) == "done"
