"""A team for tests: agents that say what a test tells them to, and remember what they were shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.coordinator import Coordinator, RunState, Stateless, decision
from podium.orchestrator.engine import DEFAULTS, Orchestrator, Settings
from podium.orchestrator.retrying import Retry
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Card, Delta, Envelope, MemoryBus, Send
from podium.protocols.events import Event, Result
from podium.protocols.record import Action, Call, Decision, Directive, Generation, Node, Sampling, Usage
from podium.protocols.task import Task

Line = str | Callable[[Envelope], str]
"""What an agent says: always the same, or worked out from what it was asked."""


ONCE = Retry(attempts=1)


@dataclass
class Heard:
    """One request as the agent saw it."""

    directive: Directive
    visible: tuple[Node, ...]
    envelope: Envelope


@dataclass
class Speaker:
    """An agent that says its line. tokens: (input, output) of each call; seconds: before it answers."""

    name: str
    line: Line = "yes"
    tokens: tuple[int, int] = (10, 5)
    price: tuple[float, float] = (1.0, 1.0)
    max_tokens: int = 20
    seconds: float = 0.0
    error: Exception | None = None
    heard: list[Heard] = field(default_factory=list[Heard])
    finished: int = 0
    closed: int = 0

    @property
    def card(self) -> Card:
        return Card(self.name, "solver", price=self.price, max_tokens=self.max_tokens)

    async def answer(self, envelope: Envelope, send: Send) -> str:
        self.heard.append(Heard(envelope.directive, envelope.visible(), envelope))
        try:
            if self.seconds:
                await asyncio.sleep(self.seconds)
            if self.error:
                raise self.error
            text = self.line if isinstance(self.line, str) else self.line(envelope)
            if envelope.stream:
                for piece in text.split():
                    send(Delta(piece))
            dollars = (self.tokens[0] * self.price[0] + self.tokens[1] * self.price[1]) * 1e-6
            usage = Usage(*self.tokens, 1, dollars)
            send(Call(f"{envelope.id}.0", self.name, Generation(text, usage, Sampling())))
            self.finished += 1
            return text
        finally:
            self.closed += 1


class Stage:
    """A team of speakers under a coordinator."""

    def __init__(
        self,
        *speakers: Speaker,
        topology: Topology | None = None,
        limits: Limits | None = None,
        name: str = "stage",
        retry: Retry = ONCE,
        wind_down: str | None = None,
        pool: Budget | None = None,
    ) -> None:
        self.speakers = {speaker.name: speaker for speaker in speakers}
        self.names = tuple(self.speakers)
        self.topology = topology or Topology.full(self.names)
        self.limits = limits or Limits()
        self.name = name
        self.retry = retry
        self.wind_down = wind_down
        self.pool = pool

    def __getitem__(self, name: str) -> Speaker:
        return self.speakers[name]

    def led_by(self, coordinator: Coordinator) -> Orchestrator:
        return Orchestrator(
            self.name,
            MemoryBus(self.speakers),
            coordinator,
            self.topology,
            self.limits,
            retry=self.retry,
            wind_down=self.wind_down,
            pool=self.pool,
        )

    def run(
        self,
        coordinator: Coordinator,
        task: Task | str = "what?",
        *,
        settings: Settings = DEFAULTS,
        emit: Callable[[Event], None] | None = None,
        id: str = "r",
    ) -> Result:
        """One run, to its end."""
        work = Task.of(task) if isinstance(task, str) else task
        return asyncio.run(self.led_by(coordinator).run(work, settings, id=id, emit=emit))

    def shown(self, name: str, turn: int = 0) -> list[str]:
        """The words of others that an agent was shown in one of its turns."""
        return [node.content for node in self.speakers[name].heard[turn].visible]

    def turns(self, name: str) -> int:
        """How often an agent was asked."""
        return len(self.speakers[name].heard)


class Scripted(Stateless):
    """A coordinator for tests of the engine: one prepared action per step, or a function of the state."""

    def __init__(self, *actions: Action | Callable[[RunState], Action], name: str = "scripted") -> None:
        self.name = name
        self.actions = actions
        self.states: list[RunState] = []

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        self.states.extend(states)
        return [decision(self.name, state, self._action(state)) for state in states]

    def _action(self, state: RunState) -> Action:
        action = self.actions[state.step]
        return action(state) if callable(action) else action


def authors(result: Result) -> list[str]:
    """Who replied, in the order of the record."""
    return [node.author for node in result.nodes if node.kind == "reply"]


def by_text(lines: Mapping[str, str]) -> Line:
    """A line that depends on the task."""
    return lambda envelope: lines[envelope.task[-1].content]
