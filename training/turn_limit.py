"""A coordinator that is cut off after some turns: what a team would answer, had it to answer then.

A turn is a step that asks agents, the round of interaction that arXiv 2604.14877 limits in its Pass@(k,T). At the limit
the coordinator is asked once more and may choose the answer, which is free; it is told that it can ask nobody. If it
would go on all the same, as fixed schedules do, what most replies agree on is the answer, else the newest reply: as
when a budget is used up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from inspect import isawaitable
from typing import cast

from podium.orchestrator.coordinator import Coordinator, Memory, RunState, plurality
from podium.protocols.bus import Card
from podium.protocols.record import Decision, Finish, Node
from podium.protocols.task import Message

__all__ = ["TurnLimit"]


class TurnLimit:
    """The same coordinator, with so many turns at most. turns: from 1 on."""

    def __init__(self, coordinator: Coordinator, turns: int) -> None:
        self.name = coordinator.name
        self.batched = coordinator.batched
        self.inner = coordinator
        self.turns = turns

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Memory:
        """As the coordinator."""
        return self.inner.begin(task, cards)

    def observe(self, memory: Memory, node: Node) -> Memory:
        """As the coordinator."""
        return self.inner.observe(memory, node)

    def decide(self, states: Sequence[RunState]) -> list[Decision] | Awaitable[list[Decision]]:
        """As the coordinator, and finish where the turns are used up."""
        seen = [
            replace(state, affordable=(False,) * len(state.affordable)) if self._over(state) else state
            for state in states
        ]
        made = self.inner.decide(seen)
        if isawaitable(made):
            return self._later(states, cast(Awaitable[list[Decision]], made))
        return self._ended(states, made)

    def _over(self, state: RunState) -> bool:
        return state.step >= self.turns and bool(state.replies)

    async def _later(self, states: Sequence[RunState], made: Awaitable[list[Decision]]) -> list[Decision]:
        return self._ended(states, await made)

    def _ended(self, states: Sequence[RunState], made: Sequence[Decision]) -> list[Decision]:
        return [
            replace(decision, action=Finish(plurality(state.replies).id))
            if self._over(state) and not isinstance(decision.action, Finish)
            else decision
            for state, decision in zip(states, made, strict=True)
        ]
