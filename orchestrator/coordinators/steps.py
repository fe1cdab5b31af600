"""A list of steps, carried out one after another as far as the budget holds them.

A step names an agent and how many samples it draws. Fixed schedules, routers and oracles differ only in where their
list comes from; walking it is one idea and lives here. The memory of a run is its place in the list, so deciding costs
the same at step 200 as at step 2. A step whose agent no longer fits the budget is skipped; the reply to the last step
is the run's answer, so that no further decision is needed to end the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from podium.orchestrator.coordinator import RunState, decision, directive_id, latest, plurality
from podium.protocols.record import ALL, ONE, Compute, Decision, Directive, Finish, Node, View

__all__ = ["SAMPLE_OPTIONS", "Ending", "Step", "advance", "compute_of", "fits", "fitting", "follow"]

SAMPLE_OPTIONS = (1, 3, 5)
"""How many samples a directive may draw, where a coordinator chooses: odd, so that a vote between two cannot tie."""

Ending = Literal["last", "vote"]
"""What the answer is: the reply to the last step, or the most frequent answer of all steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: who speaks, and how many samples are drawn (more than one are voted on)."""

    agent: str
    samples: int = 1

    def __str__(self) -> str:
        return self.agent if self.samples == 1 else f"{self.agent}x{self.samples}"


def compute_of(samples: int) -> Compute:
    """The compute of a directive that draws this many samples and votes among them."""
    return ONE if samples == 1 else Compute(samples=samples, reduce="vote")


def fits(state: RunState, agent: str) -> bool:
    """Whether one more request to an agent fits the budget. True for a stranger: the engine will say who is missing."""
    if all(state.affordable):
        return True
    return next(
        (enough for card, enough in zip(state.cards, state.affordable, strict=True) if card.name == agent), True
    )


def fitting(state: RunState, agents: Sequence[str]) -> Sequence[str]:
    """Those of the agents that fit the budget, in the same order."""
    if all(state.affordable):
        return agents
    return tuple(agent for agent in agents if fits(state, agent))


def advance(steps: Sequence[Step], place: int, node: Node) -> int:
    """The place in the list after one more node: behind the step that the node answers."""
    if node.kind == "reply":
        for ahead in range(place, len(steps)):
            if steps[ahead].agent == node.author:
                return ahead + 1
    return place


def follow(
    name: str, state: RunState, steps: Sequence[Step], place: int, *, visible: View = ALL, ending: Ending = "last"
) -> Decision:
    """The decision at a place in the list: the next step that fits the budget, or finish when there is none."""
    for ahead in range(place, len(steps)):
        if fits(state, steps[ahead].agent):
            ends = ending == "last" and ahead == len(steps) - 1
            return decision(name, state, (_directive(state, steps[ahead], visible, ends),))
    if place == 0:  # nobody has spoken: ask all the same, and the engine says what the budget lacks
        return decision(name, state, (_directive(state, steps[0], visible, False),))
    return decision(name, state, latest(state) if ending == "last" else Finish(plurality(state.replies).id))


def _directive(state: RunState, step: Step, visible: View, answer: bool) -> Directive:
    return Directive(
        directive_id(state, 0), step.agent, visible=visible, compute=compute_of(step.samples), answer=answer
    )
