"""Agents that answer, read each other, and answer again.

Two classics. In a debate everybody revises for some rounds with the whole discussion in view, and the last round is
put to the vote or handed to an aggregator (arXiv 2305.14325). In a mixture of agents each layer of proposers reads the
layer before it and nothing else, and an aggregator has the last word (arXiv 2406.04692).
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.orchestrator.coordinator import RunState, Stateless, ask, decision, elected
from podium.orchestrator.coordinators.steps import fits, fitting, newest_round
from podium.protocols.record import ALL, NOTHING, Decision, Node, View

__all__ = ["Debate", "MixtureOfAgents"]


class Debate(Stateless):
    """All answer without seeing each other, then refine with everything in view.

    rounds: in all, the first answers included. aggregator: writes the answer from the last round; None: the most
    frequent answer of the last round wins, as it does when the budget no longer holds the aggregator.
    """

    name = "debate"

    def __init__(self, agents: Sequence[str], rounds: int = 2, aggregator: str | None = None) -> None:
        self.agents = tuple(agents)
        self.rounds = rounds
        self.aggregator = aggregator

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The next round, or its verdict."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        agents = fitting(state, self.agents)
        if state.step == 0 or not newest_round(state):
            return decision(self.name, state, ask(state, agents or self.agents, visible=NOTHING))
        if state.step < self.rounds and agents:
            return decision(self.name, state, ask(state, agents, objective="refine", visible=ALL))
        return _close(self.name, state, self.aggregator)


class MixtureOfAgents(Stateless):
    """Layers of proposers, each shown the replies of the layer before it only; an aggregator answers.

    layers: of proposers. Where the budget no longer holds the aggregator, the last layer is put to the vote.
    """

    name = "moa"

    def __init__(self, agents: Sequence[str], aggregator: str, layers: int = 2) -> None:
        self.agents = tuple(agents)
        self.aggregator = aggregator
        self.layers = layers

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The next layer, or the aggregation."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        agents = fitting(state, self.agents)
        if state.step == 0 or not newest_round(state):
            return decision(self.name, state, ask(state, agents or self.agents, visible=NOTHING))
        if state.step < self.layers and agents:
            view = _only(newest_round(state))
            return decision(self.name, state, ask(state, agents, objective="aggregate", visible=view))
        return _close(self.name, state, self.aggregator)


def _close(name: str, state: RunState, aggregator: str | None) -> Decision:
    last = newest_round(state)
    if aggregator is None or not fits(state, aggregator):
        return elected(name, state, last)
    return decision(name, state, ask(state, (aggregator,), objective="aggregate", visible=_only(last), answer=True))


def _only(nodes: Sequence[Node]) -> View:
    return View("only", only=tuple(node.id for node in nodes))
