"""What a run may spend, checked before each call and settled after it.

A call is reserved at its worst case (prompt estimate plus token cap) before it starts, so that two calls in flight
can never exceed together what each alone would respect, and settled at what it really used. An endpoint that bills
more than was reserved is recorded as overshoot, never hidden.
"""

from __future__ import annotations

import math
import time

from podium.protocols.frozen import plain
from podium.protocols.record import Usage


@plain
class Limits:
    """The most a run may use. tokens, calls: counts; seconds: wall clock; dollars. Infinite where not limited.

    repeats: how often an agent may give the same reply to the same objective and instruction.
    """

    tokens: float = math.inf
    calls: float = math.inf
    seconds: float = math.inf
    dollars: float = math.inf
    repeats: float = math.inf


@plain
class Left:
    """What a budget still holds, reservations taken off."""

    tokens: float
    calls: float
    seconds: float
    dollars: float
    limits: Limits = Limits()

    def within(self, outer: Left) -> Left:
        """What both hold; the limits stay this one's."""
        tokens, calls, dollars = (
            min(self.tokens, outer.tokens),
            min(self.calls, outer.calls),
            min(self.dollars, outer.dollars),
        )
        return Left(tokens, calls, self.seconds, dollars, self.limits)

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


Hold = tuple[int, int, float]
"""What is set aside for one request, until it ends: tokens, calls, dollars."""


class Budget:
    """One account: a run's, an agent's in a run, or the pool that all runs of a team share.

    tokens, calls, dollars: spent; held_...: set aside; overshoot: tokens above a hold. shared: by
    several runs.
    """

    __slots__ = (
        "calls",
        "deadline",
        "dollars",
        "held_calls",
        "held_dollars",
        "held_tokens",
        "limits",
        "overshoot",
        "shared",
        "started",
        "tokens",
    )

    def __init__(self, limits: Limits, *, shared: bool = False) -> None:
        self.limits = limits
        self.shared = shared
        self.started = time.monotonic()
        self.deadline = self.started + limits.seconds
        self.tokens = self.calls = self.overshoot = 0
        self.dollars = 0.0
        self.held_tokens = self.held_calls = 0
        self.held_dollars = 0.0

    def left(self) -> Left:
        """What can still be reserved."""
        limits = self.limits
        tokens = limits.tokens - self.tokens - self.held_tokens
        calls = limits.calls - self.calls - self.held_calls
        dollars = limits.dollars - self.dollars - self.held_dollars
        seconds = self.deadline - time.monotonic()
        return Left(tokens, calls, seconds, dollars, limits)

    def room(self, estimate: int, price: tuple[float, float]) -> float:
        """Tokens that a reply may have, to a prompt of so many tokens at such a price; 0 when one call does not fit.

        price: dollars per million (input, output) tokens.
        """
        limits = self.limits
        if self.calls + self.held_calls + 1 > limits.calls:
            return 0
        room = limits.tokens - self.tokens - self.held_tokens - estimate
        if limits.dollars != math.inf:
            dollars = limits.dollars - self.dollars - self.held_dollars - estimate * price[0] * 1e-6
            if dollars < 0:
                return 0
            if price[1] > 0:
                room = min(room, dollars / (price[1] * 1e-6))
        return room

    def admits(self, tokens: int, calls: int, dollars: float) -> bool:
        """Whether a call of this worst case fits what is left."""
        limits = self.limits
        return (
            self.tokens + self.held_tokens + tokens <= limits.tokens
            and self.calls + self.held_calls + calls <= limits.calls
            and self.dollars + self.held_dollars + dollars <= limits.dollars
        )

    def reserve(self, hold: Hold) -> None:
        """Set a worst case aside. Ask `admits` first."""
        tokens, calls, dollars = hold
        self.held_tokens += tokens
        self.held_calls += calls
        self.held_dollars += dollars

    def settle(self, hold: Hold, usage: Usage) -> None:
        """A request ended: give its hold back and record what it really used."""
        tokens, calls, dollars = hold
        used = usage.input_tokens + usage.output_tokens
        self.held_tokens -= tokens
        self.held_calls -= calls
        self.held_dollars -= dollars
        self.tokens += used
        self.calls += usage.calls
        self.dollars += usage.dollars
        if used > tokens:
            self.overshoot += used - tokens

    def pause(self, seconds: float) -> None:
        """So many seconds do not count."""
        self.started += seconds
        self.deadline += seconds

    def spend(self, usage: Usage) -> None:
        """Record what calls used for which nothing was set aside."""
        self.tokens += usage.tokens
        self.calls += usage.calls
        self.dollars += usage.dollars


def _fraction(left: float, limit: float) -> float:
    return 1.0 if limit == math.inf else max(0.0, left / limit)
