"""Everybody is asked: for seeing whether a policy's beliefs are honest, and for beginning to learn.

A policy asks whom it believes in, so what it says of the others is never put to the test. A survey asks every agent of
the team once, in an order drawn anew for each run, and writes down with each decision what the policy believed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from podium.orchestrator.coordinator import RunState, ask, decision, latest
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy
from podium.protocols.bus import Card
from podium.protocols.noise import gumbel
from podium.protocols.record import NOTHING, Action, Decision, Node
from podium.protocols.task import Message

__all__ = ["Survey"]


class Survey:
    """Asks all agents one after the other, each without a look at what others said; the answer is the newest reply.

    reasons of its decisions: as the policy's; without a policy there are none.
    """

    name = "survey"
    batched = True

    def __init__(self, policy: Policy | None = None) -> None:
        self._learned = LearnedCoordinator(policy) if policy else None

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Any:
        """The policy's memory."""
        return self._learned.begin(task, cards) if self._learned else None

    def observe(self, memory: Any, node: Node) -> Any:
        """The policy's memory after one more node."""
        return self._learned.observe(memory, node) if self._learned else None

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """Whoever is next, with what the policy believes now."""
        if self._learned is None:
            return [decision(self.name, state, self._next(state)) for state in states]
        return [
            replace(believed, action=self._next(state), policy=self.name, factors=(), log_prob=0.0, value=None)
            for state, believed in zip(states, self._learned.decide(states), strict=True)
        ]

    @staticmethod
    def _next(state: RunState) -> Action:
        heard = {node.author for node in state.nodes}
        open_to = [
            card.name
            for card, enough in zip(state.cards, state.affordable, strict=True)
            if enough and card.name not in heard
        ]
        if open_to:
            chosen = max(open_to, key=lambda name: gumbel(state.seed, name, "survey"))
            return ask(state, [chosen], visible=NOTHING)
        return latest(state)
