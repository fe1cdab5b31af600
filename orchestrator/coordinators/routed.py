"""A router: the steps are chosen once, from the task, before anybody speaks.

This is what a hand-written `if` over task types does, and the upper mark for coordinators that have to find the type
out by themselves. The caller brings the mapping; one that looks at a task's hidden tags compares, and never serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podium.orchestrator.coordinator import RunState
from podium.orchestrator.coordinators.steps import START, Place, Step, advance, follow
from podium.protocols.bus import Card
from podium.protocols.record import LAST, Decision, Node
from podium.protocols.task import Message

__all__ = ["Route", "Routed"]

Route = Callable[[tuple[Message, ...]], Sequence[Step]]
"""From a conversation to the steps that work it; at least one."""

Walk = tuple[tuple[Step, ...], Place]
"""The steps of a run, and the place in them."""


class Routed:
    """Follows the steps that a route gives for the task; each later step is shown the reply before it.

    route: called once per run. Raises ValueError when it gives no step.
    """

    batched = False

    def __init__(self, route: Route, name: str = "router") -> None:
        self.name = name
        self.route = route

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Walk:
        """The task's steps, and the first place in them."""
        steps = tuple(self.route(task))
        if not steps:
            raise ValueError(f"{self.name}: the route gives no step for the task {task[-1].content[:80]!r}")
        return steps, START

    def observe(self, memory: Walk, node: Node) -> Walk:
        """The place behind the step that was answered."""
        steps, place = memory
        ahead = advance(steps, place, node)
        return memory if ahead == place else (steps, ahead)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The next step that fits the budget, or finish."""
        return [follow(self.name, state, *state.memory, visible=LAST) for state in states]
