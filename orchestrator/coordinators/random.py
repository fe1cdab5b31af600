"""A policy without preferences: the floor of every comparison, and the behaviour policy of exploration data.

It has the learned coordinator's action space (whom to ask, what they are shown, how many samples, or finish with the
newest reply) and logs the same things: one factor per choice, with its log-probability under the mask. Its noise is a
hash of (seed, step, agent name, head, pick), so the draw for an agent does not depend on where the agent is listed:
permuting the team permutes nothing (Gumbel-max trick; Gumbel 1954, see also arXiv 1903.06059).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TypeVar

from podium.orchestrator.coordinator import RunState, Stateless, directive_id, latest
from podium.orchestrator.coordinators.steps import SAMPLE_OPTIONS, compute_of
from podium.protocols.noise import gumbel
from podium.protocols.record import ALL, Action, Decision, Detail, Directive, Factor, Objective, View

__all__ = ["Random"]

T = TypeVar("T")

FINISH = ""
"""What finishing, or asking nobody else in this step, is called where an agent's name goes into the noise; no agent has
an empty name."""


class Random(Stateless):
    """Asks agents drawn at random, with a random number of samples, and finishes at random.

    max_steps: steps of a run at most. finish_probability: of ending after each step. samples, views, objectives,
    details: the options; one alone is no choice, samples apart. width: agents that are asked at once, at most; after
    each of them all others and stopping are equally likely.
    """

    name = "random"

    def __init__(
        self,
        max_steps: int = 4,
        finish_probability: float = 0.25,
        samples: Sequence[int] = SAMPLE_OPTIONS,
        *,
        views: Sequence[View] = (ALL,),
        objectives: Sequence[Objective] = ("propose",),
        details: Sequence[Detail] = ("normal",),
        width: int = 1,
    ) -> None:
        self.max_steps = max_steps
        self.finish_probability = finish_probability
        self.samples = tuple(samples)
        self.views = tuple(views)
        self.objectives = tuple(objectives)
        self.details = tuple(details)
        self.width = width

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """A draw for each state; the mode of the run changes nothing, there is no likeliest action."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        factors: list[Factor] = []
        asked = self._asked(state, factors)
        last = state.step + 1 >= self.max_steps
        action: Action = (
            latest(state)
            if not asked
            else tuple(
                self._directive(state, pick, name, factors, answer=last and pick == len(asked) - 1)
                for pick, name in enumerate(asked)
            )
        )
        return Decision(
            f"{state.run}.{state.step}",
            state.step,
            action,
            self.name,
            mode="sample",
            factors=tuple(factors),
            log_prob=sum(factor.log_prob for factor in factors),
            seen=len(state.nodes),
            budget_left=state.left.fractions,
        )

    def _asked(self, state: RunState, factors: list[Factor]) -> list[str]:
        """Whom to ask now, by name; nobody: finish. factors: what was drawn is added to them."""
        asked: list[str] = []
        probabilities = self._pointer(state)
        while True:
            names = list(probabilities)
            choice, log_prob = _draw(state, "pick", probabilities, len(asked))
            mask = tuple(probability > 0 for probability in probabilities.values())
            factors.append(Factor("pick", choice, log_prob, mask))
            if names[choice] == FINISH:
                return asked
            asked.append(names[choice])
            others = {name for name, may in zip(names, mask, strict=True) if may and name != FINISH} - set(asked)
            if len(asked) == self.width or not others:
                return asked
            share = 1.0 / (len(others) + 1)
            probabilities = {name: share if name in others or name == FINISH else 0.0 for name in names}

    def _directive(self, state: RunState, pick: int, name: str, factors: list[Factor], *, answer: bool) -> Directive:
        """What an agent is told. factors: what was drawn is added to them."""

        def even(head: str, options: Sequence[T]) -> T:
            scores = [gumbel(state.seed, state.step, name, head, option) for option in range(len(options))]
            choice = scores.index(max(scores))
            factors.append(Factor(head, choice, log(1.0 / len(options)), (True,) * len(options)))
            return options[choice]

        def chosen(head: str, options: Sequence[T]) -> T:
            return even(head, options) if len(options) > 1 else options[0]

        return Directive(
            directive_id(state, pick),
            name,
            compute=compute_of(even("samples", self.samples)),
            visible=chosen("context", self.views),
            objective=chosen("objective", self.objectives),
            detail=chosen("detail", self.details),
            answer=answer,
        )

    def _pointer(self, state: RunState) -> dict[str, float]:
        """The probability of each agent, by name, and of finishing; 0 for what is not allowed."""
        cards, affordable = state.cards, state.affordable
        open_to = sum(affordable) or len(cards)
        nobody_yet = state.step == 0 or not state.replies
        finish = 0.0 if nobody_yet else 1.0 if not any(affordable) else self.finish_probability
        share = (1.0 - finish) / open_to
        everybody = open_to == len(cards)
        probabilities = {
            card.name: share if everybody or enough else 0.0 for card, enough in zip(cards, affordable, strict=True)
        }
        probabilities[FINISH] = finish
        return probabilities


def _draw(state: RunState, head: str, probabilities: dict[str, float], pick: int) -> tuple[int, float]:
    """The index drawn and its log-probability. Noise is keyed by name, never by position."""
    best, drawn, log_prob = float("-inf"), 0, 0.0
    for index, (name, probability) in enumerate(probabilities.items()):
        if probability > 0.0:
            logit = log(probability)
            score = logit + gumbel(state.seed, state.step, name, head, pick)
            if score > best:
                best, drawn, log_prob = score, index, logit
    return drawn, log_prob
