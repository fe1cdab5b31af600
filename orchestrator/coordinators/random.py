"""A policy without preferences: the floor of every comparison, and the behaviour policy of exploration data.

It has the learned coordinator's action space (which agent, one, three or five samples, or finish with the newest
reply) and logs the same things: one factor per head, with its log-probability under the mask. Its noise is a hash of
(seed, step, agent name, head, pick), so the draw for an agent does not depend on where the agent is listed: permuting
the team permutes nothing (Gumbel-max trick; Gumbel 1954, see also arXiv 1903.06059).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from podium.orchestrator.coordinator import RunState, Stateless, directive_id, latest
from podium.orchestrator.coordinators.steps import SAMPLE_OPTIONS, compute_of
from podium.protocols.noise import gumbel
from podium.protocols.record import Action, Decision, Directive, Factor

__all__ = ["Random"]

FINISH = ""
"""What finishing is called where an agent's name goes into the noise; no agent has an empty name."""


class Random(Stateless):
    """Asks agents drawn at random, with a random number of samples, and finishes at random.

    max_steps: directives of a run at most. finish_probability: of ending after each reply. samples: the options.
    """

    name = "random"

    def __init__(
        self, max_steps: int = 4, finish_probability: float = 0.25, samples: Sequence[int] = SAMPLE_OPTIONS
    ) -> None:
        self.max_steps = max_steps
        self.finish_probability = finish_probability
        self.samples = tuple(samples)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """A draw for each state; the mode of the run changes nothing, there is no likeliest action."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        probabilities = self._pointer(state)
        agent, log_prob = _draw(state, "pick", probabilities)
        finish = len(state.cards)
        factors = [Factor("pick", agent, log_prob, tuple(p > 0 for p in probabilities.values()))]
        action: Action
        if agent == finish:
            action = latest(state)
        else:
            name, options = state.cards[agent].name, len(self.samples)
            even = log(1.0 / options)
            scores = [gumbel(state.seed, state.step, name, "samples", option) for option in range(options)]
            option = scores.index(max(scores))
            factors.append(Factor("samples", option, even, (True,) * options))
            compute = compute_of(self.samples[option])
            last = state.step + 1 >= self.max_steps
            action = (Directive(directive_id(state, 0), name, compute=compute, answer=last),)
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

    def _pointer(self, state: RunState) -> dict[str, float]:
        """The probability of each agent, by name, and of finishing; 0 for what is not allowed."""
        cards, affordable = state.cards, state.affordable
        open_to = sum(affordable) or len(cards)
        finish = 0.0 if state.step == 0 else 1.0 if not any(affordable) else self.finish_probability
        share = (1.0 - finish) / open_to
        everybody = open_to == len(cards)
        probabilities = {
            card.name: share if everybody or enough else 0.0 for card, enough in zip(cards, affordable, strict=True)
        }
        probabilities[FINISH] = finish
        return probabilities


def _draw(state: RunState, head: str, probabilities: dict[str, float]) -> tuple[int, float]:
    """The index drawn and its log-probability. Noise is keyed by name, never by position."""
    best, drawn, log_prob = float("-inf"), 0, 0.0
    for index, (name, probability) in enumerate(probabilities.items()):
        if probability > 0.0:
            logit = log(probability)
            score = logit + gumbel(state.seed, state.step, name, head, 0)
            if score > best:
                best, drawn, log_prob = score, index, logit
    return drawn, log_prob
