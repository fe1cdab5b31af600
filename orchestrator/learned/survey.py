"""A policy's beliefs, asked of everybody: for seeing whether they are honest.

A policy asks whom it believes in, so what it says of the others is never put to the test. A survey asks every agent of
the team once, in an order drawn anew for each run, and writes down with each decision what the policy believed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from podium.orchestrator.coordinator import RunState, ask, latest
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy
from podium.protocols.bus import Card
from podium.protocols.noise import gumbel
from podium.protocols.record import NOTHING, Decision, Node
from podium.protocols.task import Message

__all__ = ["Survey"]


class Survey:
    """Asks all agents one after the other, each without a look at what others said; the answer is the newest reply.

    reasons of its decisions: as the policy's.
    """

    name = "survey"
    batched = True

    def __init__(self, policy: Policy) -> None:
        self._learned = LearnedCoordinator(policy)

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Any:
        """The policy's memory."""
        return self._learned.begin(task, cards)

    def observe(self, memory: Any, node: Node) -> Any:
        """The policy's memory after one more node."""
        return self._learned.observe(memory, node)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """Whoever is next, with what the policy believes now."""
        believed = self._learned.decide(states)
        return [self._next(state, each) for state, each in zip(states, believed, strict=True)]

    def _next(self, state: RunState, believed: Decision) -> Decision:
        heard = {node.author for node in state.nodes}
        open_to = [
            card.name
            for card, enough in zip(state.cards, state.affordable, strict=True)
            if enough and card.name not in heard
        ]
        if open_to:
            chosen = max(open_to, key=lambda name: gumbel(state.seed, name, "survey"))
            action = ask(state, [chosen], visible=NOTHING)
        else:
            action = latest(state)
        return replace(believed, action=action, policy=self.name, factors=(), log_prob=0.0, value=None)
