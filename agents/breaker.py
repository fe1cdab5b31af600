"""A circuit breaker: what keeps failing is not asked for a while, so that nobody waits for it in vain.

After so many failures in a row it opens: callers are refused at once. When its time is over one caller is let through;
if that works it closes, and if not it stays open for as long again. Source: M. Nygard, Release It!, 2nd ed., ch. 5.

Each model of a team has one of its own, also where several are at one base_url. Behind one address one model may be
down alone: providers limit rates and run out of capacity by model, gateways pass each name to another place, and keys
differ. And the other model there is often the fallback: to refuse it too would turn a failure of one model into one of
the agent. The price is that an address that is gone is learned once for each of its models.

A call that its agent's timeout or its run's seconds end is cancelled, and so is one whose user left or whose sibling
failed: the call is not told which. What tells them apart is how long the endpoint was silent. A cancelled call counts
as a failure if the endpoint, since the call began, gave nobody anything for a tenth (`SHARE`) of the time that the
model may take for a piece, at most. What was counted once begins a new silence, so that the calls of one run that end
together are one failure, and users must leave in vain several times, each after such a silence and with no reply to
anybody between, to be taken for an endpoint that hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from podium.agents.model import Model, Prompt, Wrapped
from podium.protocols.errors import ModelError
from podium.protocols.record import Generation, Sampling

__all__ = ["SHARE", "Breaker", "Guarded"]

SHARE = 0.1
"""Of the seconds that a model may be silent: after so much silence a call that is cut off is a failure. Healthy
endpoints begin to answer in less, and timeouts of agents and the seconds of runs are seldom shorter."""

LONGEST = 60.0
"""Seconds that a model may be silent that does not say: the team file's default."""


class Breaker:
    """Of one model or tool, for all who use it.

    failures: in a row until it opens; seconds: how long it stays so; why: the newest failure, in words.
    """

    __slots__ = ("_failed", "_heard", "_open_until", "failures", "seconds", "why")

    def __init__(self, failures: int = 5, seconds: float = 30.0) -> None:
        self.failures = failures
        self.seconds = seconds
        self.why = ""
        self._failed = 0
        self._heard = 0.0  # when there was news: a piece of an answer, or a failure
        self._open_until = 0.0

    @property
    def tripped(self) -> bool:
        """Whether it has opened, and nothing worked since: who may ask then is the one that tries."""
        return self._failed >= self.failures

    @property
    def open(self) -> bool:
        """Whether callers are refused now."""
        return self.tripped and time.monotonic() < self._open_until

    def wait(self) -> float:
        """Seconds until it may be asked again, 0: now. Who is told 0 while it is open is the one that tries."""
        if not self.tripped:
            return 0.0
        now = time.monotonic()
        if now < self._open_until:
            return self._open_until - now
        self._open_until = now + self.seconds
        return 0.0

    def heard(self) -> None:
        """A piece of an answer came: it is not silent."""
        self._heard = time.monotonic()

    def worked(self) -> None:
        """A call came back, be it with a word that the call itself was wrong."""
        self._failed = 0

    def failed(self, why: str) -> None:
        """A call failed in a way that the next one may, too."""
        self.why = why
        self._failed += 1
        self._heard = now = time.monotonic()
        if self.tripped:
            self._open_until = now + self.seconds

    def cut_off(self, began: float, patience: float) -> bool:
        """A call was cancelled: whether it counts as a failure, since it was silent for longer than patience, seconds.

        began: when it was asked, on the monotonic clock.
        """
        silent = time.monotonic() - max(began, self._heard)
        if silent < patience:
            return False
        self.failed(f"it gave no piece of an answer for {silent:.1f} s, then the call was cut off")
        return True

    def untold(self) -> None:
        """The one that tried was stopped before it found out: the next caller tries."""
        self._open_until = min(self._open_until, time.monotonic())


class Guarded(Wrapped):
    """A model behind a circuit breaker; the rest is the model's own.

    patience: seconds of silence after which a call that is cut off is a failure.
    """

    def __init__(self, model: Model, breaker: Breaker) -> None:
        super().__init__(model)
        self.breaker = breaker
        self.patience = SHARE * _longest_silence(model)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """As the model, but a ModelError at once, which no retry waits for, while the breaker is open."""
        breaker = self.breaker
        wait = breaker.wait()
        if wait:
            raise ModelError(
                f"model {self.name} has failed {breaker.failures} times in a row and is not asked for another "
                f"{wait:.0f} s; the last time: {breaker.why}",
            )
        began, open_question = time.monotonic(), breaker.tripped
        try:
            async for item in self.model.generate(prompt, sampling):
                breaker.heard()
                yield item
            breaker.worked()
            open_question = False
        except ModelError as error:
            if error.transient:
                breaker.failed(error.message)
            else:  # the endpoint is there: it is this request that it refuses
                breaker.worked()
            open_question = False
            raise
        except asyncio.CancelledError:
            if breaker.cut_off(began, self.patience):
                open_question = False
            raise
        finally:
            if open_question:
                breaker.untold()


def _longest_silence(model: Model) -> float:
    """Seconds that a model may take for a piece."""
    while isinstance(model, Wrapped):
        model = model.model
    return getattr(model, "idle_timeout", LONGEST)
