"""The garbage collector, set for many runs at once."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest

import podium
from podium.orchestrator.collecting import SELDOM


@pytest.fixture(autouse=True)
def as_it_was() -> Generator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_it_looks_seldom_and_not_at_what_is_there() -> None:
    rest = gc.get_threshold()[1:]
    podium.collect_seldom()
    assert gc.get_threshold() == (SELDOM, *rest)
    assert gc.get_freeze_count() > 0


def test_cycles_are_still_found() -> None:
    podium.collect_seldom()
    begun = gc.get_stats()[0]["collections"]
    kept = [[number] for number in range(2 * SELDOM)]
    assert len(kept) == 2 * SELDOM
    assert gc.get_stats()[0]["collections"] > begun
