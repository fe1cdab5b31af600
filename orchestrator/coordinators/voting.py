"""Voting: many answers drawn without seeing each other, and the most frequent one wins.

Several agents at once, or one agent several times (self-consistency, arXiv 2203.11171). Answers are compared by the
part of the reply that the task's `answer` extracts; the earliest wins a tie, in the order of the directives.
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.orchestrator.coordinator import RunState, Stateless, ask, decision, elected
from podium.orchestrator.coordinators.steps import ballots, compute_of, fitting
from podium.protocols.record import NOTHING, Decision

__all__ = ["ParallelVote", "SelfConsistency"]


class ParallelVote(Stateless):
    """All agents answer in parallel, then the most frequent answer is taken.

    agents: who votes. samples: answers drawn from each; every sample is a ballot.
    """

    name = "vote"

    def __init__(self, agents: Sequence[str], samples: int = 1) -> None:
        self.agents = tuple(agents)
        self._compute = compute_of(samples)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """Ask everybody who fits the budget; then finish with the winner."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        cast = ballots(state.nodes)
        if cast:  # none where all that were asked have left
            return elected(self.name, state, cast)
        agents = fitting(state, self.agents) or self.agents
        return decision(self.name, state, ask(state, agents, visible=NOTHING, compute=self._compute))


class SelfConsistency(Stateless):
    """One agent answers several times; its most frequent answer is the run's. Source: arXiv 2203.11171."""

    name = "self_consistency"

    def __init__(self, agent: str, samples: int = 5) -> None:
        self.agent = agent
        self._agents = (agent,)
        self._compute = compute_of(samples)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """Draw all samples at once; the engine votes among them."""
        return [
            decision(self.name, state, ask(state, self._agents, compute=self._compute, answer=True)) for state in states
        ]
