"""Fixed schedules: who speaks when is settled before the run begins.

They are what a learned coordinator has to beat. One agent alone, agents in turn, a chain, and the general case of all
three: a pipeline of steps, each one agent or several at once, with their numbers of samples. The best pipeline found on
training tasks is the strongest of them (see `podium.training.baselines`).
"""

from __future__ import annotations

from collections.abc import Sequence

from podium.orchestrator.coordinator import RunState, Stateless, ask, decision
from podium.orchestrator.coordinators.steps import START, Ending, Place, Step, advance, follow
from podium.protocols.bus import Card
from podium.protocols.record import ALL, Decision, Node, View
from podium.protocols.task import Message

__all__ = ["Pipeline", "RoundRobin", "Sequential", "Single"]


class Single(Stateless):
    """One agent answers; nobody else is asked."""

    name = "single"

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self._agents = (agent,)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """Ask the agent for the answer."""
        return [decision(self.name, state, ask(state, self._agents, answer=True)) for state in states]


class Pipeline:
    """A fixed list of steps.

    steps: in order. ending: "last", the answer is the reply to the last step, or the most frequent answer where it asks
    several; "vote", the most frequent answer of all steps. visible: what each step is shown of the ones before it.
    Raises ValueError when there are no steps.
    """

    batched = False

    def __init__(
        self, steps: Sequence[Step], *, ending: Ending = "last", visible: View = ALL, name: str = "pipeline"
    ) -> None:
        if not steps:
            raise ValueError(f"a {name} needs at least one step")
        self.name = name
        self.steps = tuple(steps)
        self.ending: Ending = ending
        self.visible = visible

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Place:
        """The first place of the list."""
        return START

    def observe(self, memory: Place, node: Node) -> Place:
        """The place behind the step that was answered."""
        return advance(self.steps, memory, node)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The next step that fits the budget, or finish."""
        return [
            follow(self.name, state, self.steps, state.memory, visible=self.visible, ending=self.ending)
            for state in states
        ]


class RoundRobin(Pipeline):
    """The agents speak in turn for some rounds, each seeing all that was said; the last reply is the answer."""

    def __init__(self, order: Sequence[str], rounds: int = 1) -> None:
        super().__init__([Step(agent) for agent in order] * rounds, name="round_robin")


class Sequential(Pipeline):
    """A chain: each agent works once on what those before it said; the last reply is the answer."""

    def __init__(self, order: Sequence[str]) -> None:
        super().__init__([Step(agent) for agent in order], name="sequential")
