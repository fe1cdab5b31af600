"""Runs in which one decision is drawn, and all others are the likeliest: what a single change to a policy brings.

A policy that draws all of its decisions learns what is best for one that goes on drawing: where a plan of four steps is
worth a little more than one of a single step, a careless choice in four costs more than that, and the gradient points
to fewer steps, though greedily more are worth more. With one decision drawn, the return is that of the decision as the
policy stands otherwise, Q of the greedy policy, so that the gradient improves what will be served (policy iteration;
Howard 1960). Which decision it is, is hashed from the run's seed, evenly among the steps that the policy may ask in;
where the run ended before, nothing was drawn, and it is what others of its task are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from podium.orchestrator.coordinator import RunState
from podium.orchestrator.learned.policy import LearnedCoordinator, Memory
from podium.protocols.bus import Card
from podium.protocols.noise import seed_of
from podium.protocols.record import Decision, Node
from podium.protocols.task import Message

__all__ = ["OneDrawn"]


class OneDrawn:
    """A learned coordinator that draws one decision of a run. steps: among which of them, from 1 on."""

    batched = True

    def __init__(self, coordinator: LearnedCoordinator, steps: int) -> None:
        self.name = coordinator.name
        self.inner = coordinator
        self.steps = steps

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Memory:
        """As the coordinator."""
        return self.inner.begin(task, cards)

    def observe(self, memory: Memory, node: Node) -> Memory:
        """As the coordinator."""
        return self.inner.observe(memory, node)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """As the coordinator, greedily but in one step; `Decision.mode` says in which."""
        return self.inner.decide([state if self.draws(state) else replace(state, mode="greedy") for state in states])

    def draws(self, state: RunState) -> bool:
        """Whether this is the step."""
        return state.step == seed_of("drawn step", state.seed) % self.steps
