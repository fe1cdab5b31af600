"""AutoGen core as its documentation has it: routed agents that publish to each other's topics, in one runtime.

Of the ways tried, the one that costs it least: one `SingleThreadedAgentRuntime` for all runs and its sequential
workflow, in which each agent publishes the conversation to the topic of the next, with the run as the topic's source
(`send_message`, which waits for a response, took 1.3 to 1.6 times as much CPU, one runtime per run 1.5 to 1.8 times).
"""

# The peers are not installed where the types are checked.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUntypedBaseClass=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from autogen_core import (
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TopicId,
    TypeSubscription,
    message_handler,
)
from case import AGENTS, TASK, Case, Gate, Words, Work


@dataclass
class Turn:
    """Whose topic it is published to speaks next. messages: the task and all replies so far."""

    messages: list[str]


class Speaker(RoutedAgent):
    """One agent of one run."""

    def __init__(
        self, name: str, following: str, turns: int, words: Words, ends: dict[str, asyncio.Future[int]]
    ) -> None:
        super().__init__(name)
        self._following = following
        self._turns = turns
        self._words = words
        self._ends = ends

    @message_handler
    async def speak(self, message: Turn, ctx: MessageContext) -> None:
        """Add a reply, and hand on."""
        run = self.id.key
        messages = [*message.messages, await self._words(message.messages)]
        if len(messages) > self._turns:
            self._ends.pop(run).set_result(len(messages) - 1)
        else:
            await self.publish_message(Turn(messages), TopicId(self._following, run))


@asynccontextmanager
async def opened(case: Case, gate: Gate, folder: str) -> AsyncGenerator[Work]:
    """A runtime, started once; it has no journal to switch on."""
    assert not case.journal
    words = Words(case.delay, gate)
    ends: dict[str, asyncio.Future[int]] = {}
    runtime = SingleThreadedAgentRuntime()
    for place, agent in enumerate(AGENTS):
        following = AGENTS[(place + 1) % len(AGENTS)]

        def made(agent: str = agent, following: str = following) -> Speaker:
            return Speaker(agent, following, case.turns, words, ends)

        await Speaker.register(runtime, agent, made)
        await runtime.add_subscription(TypeSubscription(agent, agent))
    runtime.start()
    runs = count()

    async def work() -> int:
        run = str(next(runs))
        ends[run] = end = asyncio.get_running_loop().create_future()
        await runtime.publish_message(Turn([TASK]), TopicId(AGENTS[0], run))
        return await end

    yield work
    await runtime.stop_when_idle()
