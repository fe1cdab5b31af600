"""What a run may spend, checked before each call and settled after it.

A call is reserved at its worst case (prompt estimate plus token cap) before it starts, so that two calls in flight
can never exceed together what each alone would respect, and settled at what it really used. An endpoint that bills
more than was reserved is recorded as overshoot, never hidden.

Of attempts that failed those count that may have been billed, against every budget that they fall under:

- Refused: no connection, or an HTTP error. It counts nothing, unless the refusal itself reports usage.
- Answered, but badly: a stream that began and broke off, did not end or made no sense, a body that is no completion.
  It counts one call, with the tokens that the endpoint reported; else, where anything of an answer came, with an
  estimate from what was sent and received; else with none.
- Given up for time by the model's own timeout: as one that was answered badly, since it was sent.
- Cancelled, by the user, the run's deadline or an agent's timeout: from its first piece on, with such an estimate.

Dollars follow from the tokens, by the model's price.

Seconds of a run are those since it began. Those of an agent in it are metered: they count while at least one request of
the agent is under way; and those of the pool while at least one run is.
"""

from __future__ import annotations

import math
import time

from podium.orchestrator import period
from podium.orchestrator.meter import Meter
from podium.orchestrator.period import Every
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
        return Left(
            min(self.tokens, outer.tokens),
            min(self.calls, outer.calls),
            min(self.seconds, outer.seconds),
            min(self.dollars, outer.dollars),
            self.limits,
        )

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


ROUNDING = 1e-12
"""Dollars that two sums of the same amounts may differ by."""

Hold = tuple[int, int, float]
"""What is set aside for one request, until it ends: tokens, calls, dollars."""


class Budget:
    """One account: a run's, an agent's in a run, or the pool that all runs of a team share.

    tokens, calls, dollars: spent; held_...: set aside. overshoot: tokens above a hold, or written above a reply's cap,
    whichever is more; overshoot_dollars: dollars above a hold. shared: by several runs. meter: of its seconds, None
    where they are not limited or not metered. every: how often it fills again; fills: when next, since the epoch. What
    is set aside stays so then, and is paid for when it ends.
    """

    __slots__ = (
        "_timed",
        "calls",
        "deadline",
        "dollars",
        "every",
        "fills",
        "held_calls",
        "held_dollars",
        "held_tokens",
        "limits",
        "meter",
        "overshoot",
        "overshoot_dollars",
        "shared",
        "started",
        "tokens",
    )

    def __init__(
        self, limits: Limits, *, shared: bool = False, metered: bool = False, every: Every | None = None
    ) -> None:
        self.limits = limits
        self.shared = shared
        self.meter = Meter(limits.seconds) if metered and limits.seconds < math.inf else None
        self.every: Every | None = every
        self.fills = math.inf if every is None else period.ends(every, time.time())
        self._timed = self.meter is not None or every is not None
        self.started = time.monotonic()
        self.deadline = self.started + limits.seconds
        self.tokens = self.calls = self.overshoot = 0
        self.dollars = self.overshoot_dollars = 0.0
        self.held_tokens = self.held_calls = 0
        self.held_dollars = 0.0

    def left(self) -> Left:
        """What can still be reserved."""
        if self._timed:
            self._fill()
        limits = self.limits
        tokens = limits.tokens - self.tokens - self.held_tokens
        calls = limits.calls - self.calls - self.held_calls
        dollars = limits.dollars - self.dollars - self.held_dollars
        seconds = self.deadline - time.monotonic() if self.meter is None else self.meter.left
        return Left(tokens, calls, seconds, dollars, limits)

    def room(self, estimate: int, price: tuple[float, float]) -> float:
        """Tokens that a reply may have, to a prompt of so many tokens at such a price; 0 when one call does not fit.

        price: dollars per million (input, output) tokens.
        """
        if self._timed and self.over:
            return 0
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
        if self._timed and self.over:
            return False
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

    def settle(self, hold: Hold, usage: Usage, above: int = 0) -> None:
        """A request ended: give its hold back and record what it really used. above: tokens written past their cap."""
        tokens, calls, dollars = hold
        used = usage.input_tokens + usage.output_tokens
        self.held_tokens -= tokens
        self.held_calls -= calls
        self.held_dollars -= dollars
        self.tokens += used
        self.calls += usage.calls
        self.dollars += usage.dollars
        if above or used > tokens:
            self.overshoot += max(above, used - tokens)
        if usage.dollars > dollars + ROUNDING:
            self.overshoot_dollars += usage.dollars - dollars

    @property
    def over(self) -> bool:
        """Whether its seconds are, as far as they are metered."""
        self._fill()
        return self.meter is not None and not self.meter.left

    @property
    def lasts(self) -> float:
        """For how long its metered seconds hold what is under way, if nothing ends: it may fill again meanwhile."""
        if self.meter is None:
            return math.inf
        self._fill()
        left, fills = self.meter.left, self.fills - time.time()
        if self.every is None or left <= fills:
            return left
        again = self.limits.seconds - self.meter.kept
        return fills + again if again < period.LONGEST[self.every] else math.inf

    def _fill(self) -> None:
        """Where its period is over, all of it is there again."""
        if time.time() >= self.fills and self.every is not None:
            self.fills = period.ends(self.every, time.time())
            self.tokens = self.calls = 0
            self.dollars = 0.0
            if self.meter is not None:
                self.meter.renew()

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
