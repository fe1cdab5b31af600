"""Periods of the calendar, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.orchestrator.period import LONGEST, Every, begins, ends


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("every", "now", "began", "over"),
    [
        ("hour", "2026-11-22 04:44:25.5", "2026-11-22 04:00", "2026-11-22 05:00"),
        ("day", "2026-12-31 23:59:59", "2026-12-31", "2027-01-01"),
        ("day", "2027-01-01", "2027-01-01", "2027-01-02"),
        ("week", "2026-11-22 12:00", "2026-11-16", "2026-11-23"),  # a Sunday
        ("month", "2028-02-29 01:00", "2028-02-01", "2028-03-01"),
        ("month", "2026-12-31 12:00", "2026-12-01", "2027-01-01"),
    ],
)
def test_a_period_is_that_of_the_calendar(every: Every, now: str, began: str, over: str) -> None:
    assert (begins(every, at(now)), ends(every, at(now))) == (at(began), at(over))


@given(st.sampled_from(sorted(LONGEST)), st.floats(0, 4e9))
def test_periods_lie_end_to_end(every: Every, now: float) -> None:
    first, last = begins(every, now), ends(every, now)
    assert first <= now < last
    assert 0 < last - first <= LONGEST[every]
    assert begins(every, last) == last
    assert ends(every, first) == last
