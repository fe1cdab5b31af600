"""What a run may spend, checked before each call and settled after it.

A call is reserved at its worst case (prompt estimate plus token cap) before it starts, so that two calls in flight
can never exceed together what each alone would respect, and settled at what it really used. An endpoint that bills
more than was reserved is recorded as overshoot, never hidden.
"""

from __future__ import annotations

import math
import time

from podium.protocols.frozen import frozen


@frozen
class Limits:
    """The most a run may use. tokens, calls: counts; seconds: wall clock; dollars. Infinite where not limited."""

    tokens: float = math.inf
    calls: float = math.inf
    seconds: float = math.inf
    dollars: float = math.inf


@frozen
class Left:
    """What a budget still holds, reservations taken off."""

    tokens: float
    calls: float
    seconds: float
    dollars: float
    limits: Limits = Limits()

    @property
    def fractions(self) -> tuple[float, float, float, float]:
        """How much of each limit that is, 0 to 1: tokens, calls, seconds, dollars."""
        limits = self.limits
        return (
            _fraction(self.tokens, limits.tokens),
            _fraction(self.calls, limits.calls),
            _fraction(self.seconds, limits.seconds),
            _fraction(self.dollars, limits.dollars),
        )


class Budget:
    """The account of one run."""

    __slots__ = (
        "calls",
        "dollars",
        "limits",
        "reserved_calls",
        "reserved_dollars",
        "reserved_tokens",
        "started",
        "tokens",
    )

    def __init__(self, limits: Limits, started: float | None = None) -> None:
        self.limits = limits
        self.started = time.monotonic() if started is None else started
        self.tokens = self.calls = 0
        self.dollars = 0.0
        self.reserved_tokens = self.reserved_calls = 0
        self.reserved_dollars = 0.0

    @property
    def deadline(self) -> float:
        """When the run must have ended, in `time.monotonic()` seconds."""
        return self.started + self.limits.seconds

    def left(self, now: float | None = None) -> Left:
        """What can still be reserved."""
        limits = self.limits
        tokens = limits.tokens - self.tokens - self.reserved_tokens
        calls = limits.calls - self.calls - self.reserved_calls
        dollars = limits.dollars - self.dollars - self.reserved_dollars
        seconds = self.deadline - (time.monotonic() if now is None else now)
        return Left(tokens, calls, seconds, dollars, limits)

    def admits(self, tokens: int, calls: int, dollars: float) -> bool:
        """Whether a call of this worst case fits what is left."""
        limits = self.limits
        return (
            self.tokens + self.reserved_tokens + tokens <= limits.tokens
            and self.calls + self.reserved_calls + calls <= limits.calls
            and self.dollars + self.reserved_dollars + dollars <= limits.dollars
        )

    def reserve(self, tokens: int, calls: int, dollars: float) -> None:
        """Set a worst case aside. Ask `admits` first."""
        self.reserved_tokens += tokens
        self.reserved_calls += calls
        self.reserved_dollars += dollars

    def release(self, tokens: int, calls: int, dollars: float) -> None:
        """Give a reservation back, once what it covered is spent or has failed."""
        self.reserved_tokens -= tokens
        self.reserved_calls -= calls
        self.reserved_dollars -= dollars

    def spend(self, tokens: int, calls: int, dollars: float) -> None:
        """Record what calls really used."""
        self.tokens += tokens
        self.calls += calls
        self.dollars += dollars


def _fraction(left: float, limit: float) -> float:
    return 1.0 if limit == math.inf else max(0.0, left / limit)
