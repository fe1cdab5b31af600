"""A list of steps, carried out one after another as far as the budget holds them.

A step names an agent and how many samples it draws, and others that are asked at the same moment and do not see each
other. Fixed schedules, routers and oracles differ only in where their list comes from; walking it is one idea and lives
here. The memory of a run is its place in the list, so deciding costs the same at step 200 as at step 2. Agents whose
request no longer fits the budget are left out, and so is a step of which none fits. The reply to the last step is the
run's answer, and no further decision is needed to end the run; where several reply, their most frequent answer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from podium.orchestrator.coordinator import RunState, decision, directive_id, elected
from podium.protocols.record import ALL, ONE, Compute, Decision, Directive, Finish, Node, View

__all__ = [
    "SAMPLE_OPTIONS",
    "START",
    "Ending",
    "Place",
    "Step",
    "advance",
    "ballots",
    "compute_of",
    "fits",
    "fitting",
    "follow",
    "newest_round",
]

SAMPLE_OPTIONS = (1, 3, 5)
"""How many samples a directive may draw, where a coordinator chooses: odd, so that a vote between two cannot tie."""

Ending = Literal["last", "vote"]
"""What the answer is: the reply to the last step, or the most frequent answer of all steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: who speaks, how many samples are drawn (more than one are voted on), and who is asked beside."""

    agent: str
    samples: int = 1
    beside: tuple[Step, ...] = ()

    @property
    def requests(self) -> tuple[Step, ...]:
        """All that are asked in this step."""
        return (self, *self.beside)

    def __str__(self) -> str:
        own = self.agent if self.samples == 1 else f"{self.agent}x{self.samples}"
        return " + ".join((own, *map(str, self.beside)))


Place = tuple[int, str]
"""Where a run stands: the step to come, and the id of the decision that was answered last ("" before the first)."""
START: Place = (0, "")


def compute_of(samples: int) -> Compute:
    """The compute of a directive that draws this many samples and votes among them."""
    return ONE if samples == 1 else Compute(samples=samples, reduce="vote")


def fits(state: RunState, agent: str) -> bool:
    """Whether one more request to an agent fits the budget. True for a stranger: the engine will say who is missing."""
    if agent in state.absent:
        return False
    if all(state.affordable):
        return True
    return next(
        (enough for card, enough in zip(state.cards, state.affordable, strict=True) if card.name == agent), True
    )


def fitting(state: RunState, agents: Sequence[str]) -> Sequence[str]:
    """Those of the agents that fit the budget, in the same order."""
    if all(state.affordable) and not state.absent:
        return agents
    return tuple(agent for agent in agents if fits(state, agent))


def advance(steps: Sequence[Step], place: Place, node: Node) -> Place:
    """The place in the list after one more node: behind the step that the node answers."""
    if node.kind != "reply" or node.directive is None:
        return place
    decided = node.directive.rpartition(".")[0]
    if decided != place[1]:  # else another of the same step was first
        for ahead in range(place[0], len(steps)):
            step = steps[ahead]
            if step.agent == node.author or any(each.agent == node.author for each in step.beside):
                return ahead + 1, decided
    return place


def follow(
    name: str, state: RunState, steps: Sequence[Step], place: Place, *, visible: View = ALL, ending: Ending = "last"
) -> Decision:
    """The decision at a place in the list: the next step that fits the budget, or finish when there is none.

    visible: what a step is shown. The last reply means all replies of the step before, where that asked several.
    """
    at = place[0]
    if visible.kind == "last" and at and steps[at - 1].beside:
        visible = View("only", only=tuple(node.id for node in newest_round(state)))
    for ahead in range(at, len(steps)):
        asked = [each for each in steps[ahead].requests if fits(state, each.agent)]
        if asked:
            ends = ending == "last" and ahead == len(steps) - 1 and len(asked) == 1
            return decision(name, state, _directives(state, asked, visible, ends))
    if at == 0:  # nobody has spoken: ask all the same, and the engine says what the budget lacks
        return decision(name, state, _directives(state, steps[0].requests, visible, False))
    last = state.replies if ending == "vote" else newest_round(state)
    if len(last) == 1:
        return decision(name, state, Finish(last[0].id))
    return elected(name, state, last if ending == "vote" else ballots(newest_round(state, drawn=True)))


def ballots(nodes: Sequence[Node]) -> list[Node]:
    """One node per answer drawn: candidates, and the replies that were not picked from candidates."""
    sampled = {node.directive for node in nodes if node.kind == "candidate"}
    return [
        node for node in nodes if node.kind == "candidate" or (node.kind == "reply" and node.directive not in sampled)
    ]


def newest_round(state: RunState, *, drawn: bool = False) -> list[Node]:
    """The replies to the newest directives that had any, in their order. drawn: and the candidates of each."""
    found: list[Node] = []
    asked: str | None = None
    for node in reversed(state.nodes):
        if node.kind in ("failure", "team"):
            continue
        if node.directive is None:
            break
        decided = node.directive.rpartition(".")[0]
        if asked is not None and decided != asked:
            break
        asked = decided
        if node.kind == "reply" or (drawn and node.kind == "candidate"):
            found.append(node)
    return found[::-1]


def _directives(state: RunState, steps: Sequence[Step], visible: View, answer: bool) -> tuple[Directive, ...]:
    return tuple(
        Directive(
            directive_id(state, pick), step.agent, visible=visible, compute=compute_of(step.samples), answer=answer
        )
        for pick, step in enumerate(steps)
    )
