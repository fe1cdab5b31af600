"""The model that a coordinator asks to decide: leased, retried, and paid for however it ends.

Each call is set aside in the budgets before it starts, as an agent's is. What fails in passing is asked again by the
engine's own rule. Every attempt is among the calls of the decision, those that failed included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from podium.agents.agent import BROKEN_OFF
from podium.agents.model import Model, Prompt, usage_of
from podium.orchestrator.budget import Hold
from podium.orchestrator.leases import OwnCalls
from podium.orchestrator.retrying import PATIENT, Retry, recover
from podium.protocols.errors import ModelError
from podium.protocols.record import Asked, Call, Generation, Sampling, Usage

__all__ = ["OwnModel", "ShortError"]

NO_HOLD: Hold = (0, 0, 0.0)
"""What is set aside where nobody keeps account."""


class ShortError(Exception):
    """The budgets do not hold the next question."""


class OwnModel:
    """A model, as a coordinator asks it. retry: how often, where that fails in passing."""

    def __init__(self, model: Model, retry: Retry = PATIENT) -> None:
        self.model = model
        self.retry = retry

    async def ask(
        self,
        own: OwnCalls | None,
        prompt: Prompt,
        sampling: Sampling,
        calls: list[Call],
        attempt: int,
        asked: Asked | None = None,
    ) -> Generation:
        """The completion. prompt: its `call` is the id of the call; calls: hears of every attempt.

        attempt: of the question, from 1; asked: the question, to be kept. Raises ModelError, and ShortError before a
        call that the budgets do not hold.
        """

        def again(number: int = 1, _: int = 0) -> Coroutine[Any, Any, Generation]:
            return self._attempt(own, prompt, sampling, calls, (attempt, number), asked)

        try:
            return await again()
        except ModelError as error:
            return await recover(self.retry, error, 1, again)

    async def _attempt(
        self,
        own: OwnCalls | None,
        prompt: Prompt,
        sampling: Sampling,
        calls: list[Call],
        numbers: tuple[int, int],
        asked: Asked | None,
    ) -> Generation:
        """One attempt, set aside before it starts. numbers: of the question, and of its attempt."""
        known = None if own is None else own.known(prompt.call)
        if known is not None and isinstance(known.result, Generation):
            calls.append(known)
            return known.result
        model = self.model
        price = model.price.input, model.price.output
        hold = NO_HOLD if own is None else own.hold(prompt.estimate, sampling.max_tokens, price)
        if hold is None:
            raise ShortError
        call: Call | None = None
        came = 0

        def in_vain(usage: Usage, why: str) -> Call:
            nothing = Generation("", usage, sampling, "cancelled")
            return Call(f"{prompt.call}.failed.{numbers[1]}", model.name, nothing, numbers[1], why)

        try:
            generation: Generation | None = None
            async for item in model.generate(prompt, sampling):
                if isinstance(item, Generation):
                    generation = item
                else:
                    came += len(item)
            if generation is None:
                raise ModelError(f"model {model.name} ended without an answer")
            call = Call(prompt.call, model.name, generation, numbers[0], asked=asked)
            return generation
        except ModelError as error:
            call = in_vain(error.usage, error.message)
            raise
        except asyncio.CancelledError:
            if came:
                written = int(came / model.chars_per_token) + 1
                call = in_vain(usage_of(model.price, prompt.estimate, written), BROKEN_OFF)
            raise
        finally:
            if call is not None:
                calls.append(call)
            if own is not None:
                own.settle(hold, call)
