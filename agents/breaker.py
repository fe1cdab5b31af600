"""A circuit breaker: what keeps failing is not asked for a while, so that nobody waits for it in vain.

After so many failures in a row it opens: callers are refused at once. When its time is over one caller is let through;
if that works it closes, and if not it stays open for as long again. Source: M. Nygard, Release It!, 2nd ed., ch. 5.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from podium.agents.model import Model, Prompt, Wrapped
from podium.protocols.errors import ModelError
from podium.protocols.record import Generation, Sampling

__all__ = ["Breaker", "Guarded"]


class Breaker:
    """Of one endpoint or tool, for all who use it.

    failures: in a row until it opens; seconds: how long it stays so; why: the newest failure, in words.
    """

    __slots__ = ("_failed", "_open_until", "failures", "seconds", "why")

    def __init__(self, failures: int = 5, seconds: float = 30.0) -> None:
        self.failures = failures
        self.seconds = seconds
        self.why = ""
        self._failed = 0
        self._open_until = 0.0

    @property
    def open(self) -> bool:
        """Whether callers are refused now."""
        return self._failed >= self.failures and time.monotonic() < self._open_until

    def wait(self) -> float:
        """Seconds until it may be asked again, 0: now. Who is told 0 while it is open is the one that tries."""
        if self._failed < self.failures:
            return 0.0
        now = time.monotonic()
        if now < self._open_until:
            return self._open_until - now
        self._open_until = now + self.seconds
        return 0.0

    def worked(self) -> None:
        """A call came back, be it with a word that the call itself was wrong."""
        self._failed = 0

    def failed(self, why: str) -> None:
        """A call failed in a way that the next one may, too."""
        self.why = why
        self._failed += 1
        if self._failed >= self.failures:
            self._open_until = time.monotonic() + self.seconds


class Guarded(Wrapped):
    """A model behind a circuit breaker; the rest is the model's own."""

    def __init__(self, model: Model, breaker: Breaker) -> None:
        super().__init__(model)
        self.breaker = breaker

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """As the model, but a ModelError at once, which no retry waits for, while the breaker is open."""
        wait = self.breaker.wait()
        if wait:
            raise ModelError(
                f"model {self.name} has failed {self.breaker.failures} times in a row and is not asked for another "
                f"{wait:.0f} s; the last time: {self.breaker.why}",
            )
        try:
            async for item in self.model.generate(prompt, sampling):
                yield item
        except ModelError as error:
            if error.transient:
                self.breaker.failed(error.message)
            else:  # the endpoint is there: it is this request that it refuses
                self.breaker.worked()
            raise
        self.breaker.worked()
