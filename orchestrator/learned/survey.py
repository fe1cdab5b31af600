"""Everybody is asked: for seeing whether a policy's beliefs are honest, and for beginning to learn.

A policy asks whom it believes in, so what it says of the others is never put to the test. A survey asks every agent of
the team once, in an order drawn anew for each run, and writes down with each decision what the policy believed then.
Where it is to show what an action space is good for, it draws how to ask as well, all choices of a head alike, and ends
where a policy would have to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log
from typing import Any

from podium.orchestrator.coordinator import RunState, ask, decision, directive_id, latest
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy
from podium.protocols.bus import Card
from podium.protocols.noise import gumbel
from podium.protocols.record import NOTHING, Action, Decision, Directive, Factor, Node
from podium.protocols.task import Message

__all__ = ["Survey"]


class Survey:
    """Asks all agents one after the other, each without a look at what others said; the answer is the newest reply.

    policy: whose beliefs are the reasons of its decisions; without one there are none. options: an action space, of
    which everything besides the agent is drawn and told as a policy's decisions tell it.
    """

    name = "survey"
    batched = True

    def __init__(self, policy: Policy | None = None, options: Options | None = None) -> None:
        self._learned = LearnedCoordinator(policy) if policy else None
        self._options = options

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Any:
        """The policy's memory."""
        return self._learned.begin(task, cards) if self._learned else None

    def observe(self, memory: Any, node: Node) -> Any:
        """The policy's memory after one more node."""
        return self._learned.observe(memory, node) if self._learned else None

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """Whoever is next, with what the policy believes now."""
        made = [self._next(state) for state in states]
        if self._learned is None:
            return [
                replace(decision(self.name, state, action), factors=factors, log_prob=_sum(factors))
                for state, (action, factors) in zip(states, made, strict=True)
            ]
        return [
            replace(believed, action=action, policy=self.name, factors=factors, log_prob=_sum(factors), value=None)
            for believed, (action, factors) in zip(self._learned.decide(states), made, strict=True)
        ]

    def _next(self, state: RunState) -> tuple[Action, tuple[Factor, ...]]:
        """What is asked next, and how that was drawn."""
        heard = {node.author for node in state.nodes}
        open_to = [
            card.name
            for card, enough in zip(state.cards, state.affordable, strict=True)
            if enough and card.name not in heard
        ]
        if not open_to or (self._options and state.step >= self._options.max_steps):
            return latest(state), ()
        chosen = max(open_to, key=lambda name: gumbel(state.seed, name, "survey"))
        if self._options is None:
            return ask(state, [chosen], visible=NOTHING), ()
        directive, factors = _asked(state, chosen, self._options)
        place = [card.name for card in state.cards].index(chosen)
        pick = Factor("pick", place, -log(len(open_to)), (*state.affordable, bool(heard)))
        return (directive,), (pick, *factors)


def _asked(state: RunState, agent: str, options: Options) -> tuple[Directive, list[Factor]]:
    """A request of which everything is drawn, and the draws: of heads that have more than one choice now."""
    heard, plan = (any(node.kind == kind for node in state.nodes) for kind in ("reply", "plan"))
    chosen: dict[str, int] = {}
    factors: list[Factor] = []
    for head in options.words():
        mask = options.mask(head, heard, plan)
        open_to = [choice for choice, may in enumerate(mask) if may]
        chosen[head] = max(open_to, key=lambda choice: gumbel(state.seed, agent, head, choice, "survey"))
        if len(open_to) > 1:
            factors.append(Factor(head, chosen[head], -log(len(open_to)), mask))
    return options.directive(directive_id(state, 0), agent, chosen), factors


def _sum(factors: Sequence[Factor]) -> float:
    return sum((factor.log_prob for factor in factors), 0.0)
