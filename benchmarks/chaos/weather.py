"""What happens to the runs: models and a tool that fail at random, and the dice they are thrown with.

Every run has dice of its own, seeded by its number, which its models and tools share; they reach them through the
context, as nothing of a run is kept anywhere else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextvars import ContextVar

from podium.agents.model import Price, Prompt
from podium.agents.scripted import ScriptedModel
from podium.protocols.errors import ModelError, ModelGarbage
from podium.protocols.record import Generation, Sampling, ToolCall, Usage

DICE: ContextVar[random.Random] = ContextVar("DICE")
FIRED: Counter[str] = Counter()
"""How often each fault struck."""
SHARE = 0.05
"""Of model calls, of tool calls and of runs that something happens to, each."""
FAULTS = ("transient", "permanent", "hang", "garbage")
FOR_EVER = 3600.0
TOOL_HANGS = 0.3
"""Seconds; more than the tool's timeout. Python cannot end a thread, so it should not be for ever."""
PRICE = Price(1.0, 2.0)


class Stormy(ScriptedModel):
    """Answers at once, mostly. uses: asks for the tool before it answers."""

    def __init__(self, name: str, *, uses: bool = False) -> None:
        super().__init__("unused", name, price=PRICE)
        self.uses = uses

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """As every model; raises ModelError or ModelGarbage, or does not come back."""
        dice = DICE.get()
        await asyncio.sleep(dice.random() * 0.004)
        if dice.random() < SHARE:
            fault = dice.choice(FAULTS)
            FIRED[f"model {fault}"] += 1
            if fault == "hang":
                await asyncio.sleep(FOR_EVER)
            if fault == "garbage":
                raise ModelGarbage(f"model {self.name} answered, and it is nothing")
            raise ModelError(f"model {self.name} fails", transient=fault == "transient")
        usage = Usage(prompt.estimate or 1, 8, 1, PRICE.dollars(prompt.estimate or 1, 8))
        if self.uses and prompt.messages[-1].role != "tool":
            call = ToolCall("c0", "weigh", f'{{"what": "{dice.random():.6f}"}}')
            yield Generation("", usage, sampling, tool_calls=(call,))
            return
        text = f"It is {dice.randrange(3)}."
        yield text
        yield Generation(text, usage, sampling)


def weigh(what: str) -> str:
    """Weigh something."""
    dice = DICE.get()
    FIRED["tool used"] += 1
    if dice.random() < SHARE:
        if dice.random() < 0.5:
            FIRED["tool crash"] += 1
            raise RuntimeError(f"the scales broke under {what}")
        FIRED["tool hang"] += 1
        time.sleep(TOOL_HANGS)
    return f"{what} kg"
