"""The hours, days, weeks and months of the calendar in which a pool fills again, all of them in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

__all__ = ["LONGEST", "Every", "begins", "ends"]

Every = Literal["hour", "day", "week", "month"]
"""How often. A week begins on Monday (ISO 8601)."""

LONGEST = {"hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 31 * 86_400}
"""Seconds that a period can have."""


def begins(every: Every, now: float) -> float:
    """When the period began that a time is in. now: seconds since the epoch, as the result."""
    return _begin(every, now).timestamp()


def ends(every: Every, now: float) -> float:
    """When the next one begins."""
    after = _begin(every, now) + timedelta(seconds=LONGEST[every])
    return (after.replace(day=1) if every == "month" else after).timestamp()


def _begin(every: Every, now: float) -> datetime:
    at = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
    if every == "hour":
        return at
    day = at.replace(hour=0)
    if every == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if every == "month" else day
