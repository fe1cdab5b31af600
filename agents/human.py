"""A person behind the seam of a model: whoever speaks with it is an agent like any other, only slower.

So a person can be a member of a team, with a role, a price and a share of the budget, and can stand in for a model
that failed (`fallback`). The words are estimated in tokens, four characters each, so that budgets bound them too.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from podium.agents.model import FREE, Price, Prompt, usage_of
from podium.protocols.people import A_DAY, Question
from podium.protocols.record import Generation, Sampling

__all__ = ["HumanModel"]


class HumanModel:
    """A person. wait: seconds that an answer may take; the run's own clock stands still meanwhile."""

    gives_ids = False
    chars_per_token = 4.0
    temperature = 0.0

    def __init__(self, name: str, *, wait: float = A_DAY, price: Price = FREE, max_tokens: int = 512) -> None:
        self.name = self.identity = name
        self.wait = wait
        self.price = price
        self.max_tokens = max_tokens

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Yield the person's answer. Raises NobodyAnswered when none comes in time, or when nobody can be asked."""
        began = time.monotonic()
        question = Question(prompt.run, prompt.call, prompt.agent, _told(prompt), wait=self.wait)
        word = await prompt.ask(question)
        asked, answered = prompt.estimate or len(question.text) // 4 + 1, len(word.text) // 4 + 1
        yield word.text
        yield Generation(word.text, usage_of(self.price, asked, answered, time.monotonic() - began), sampling)

    async def close(self) -> None:
        """Nothing to free."""


def _told(prompt: Prompt) -> str:
    """The conversation as a person reads it; who they are, they know."""
    messages = [message for message in prompt.messages if message.role != "system"]
    return "\n\n".join(f"{each.name}: {each.content}" if each.name else each.content for each in messages)
