"""The record of a run as it grows: who keeps it, who watches it, and what its coordinator remembers of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from podium.orchestrator.coordinator import Coordinator, Memory
from podium.orchestrator.run_log import RunLog
from podium.protocols.bus import Card
from podium.protocols.errors import CoordinatorError, ModelError, PodiumError
from podium.protocols.events import Added, Decided, Event
from podium.protocols.record import Decision, Node
from podium.protocols.task import Message

__all__ = ["Record"]


@dataclass(slots=True)
class Record:
    """Nodes and decisions so far. memory: the coordinator's; emit, log: who is told of what comes."""

    run: str
    coordinator: Coordinator
    emit: Callable[[Event], None] | None
    log: RunLog | None
    nodes: list[Node] = field(default_factory=list[Node])
    decisions: list[Decision] = field(default_factory=list[Decision])
    memory: Memory = None

    def begin(self, node: Node, task: tuple[Message, ...], cards: tuple[Card, ...], *, known: bool = False) -> None:
        """The record begins with the task, and the coordinator with it. known: from an earlier life of the run."""
        self.nodes.append(node)
        try:
            self.memory = self.coordinator.begin(task, cards)
        except Exception as error:
            raise self.blame("begin", error) from error
        if not known:
            self._tell(node)

    def rebuild(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> None:
        """The team is another one now: the coordinator begins anew, and is told all that happened."""
        try:
            memory = self.coordinator.begin(task, cards)
            for node in self.nodes[1:]:
                memory = self.coordinator.observe(memory, node)
        except Exception as error:
            raise self.blame("begin", error) from error
        self.memory = memory

    def add(self, node: Node, *, known: bool = False) -> Node:
        """One more node. known: from an earlier life of the run, which wrote and told it."""
        self.nodes.append(node)
        try:
            self.memory = self.coordinator.observe(self.memory, node)
        except Exception as error:
            raise self.blame("observe", error) from error
        if (self.log or self.emit) and not known:
            self._tell(node)
        return node

    def _tell(self, node: Node) -> None:
        if self.log:
            self.log.add(node)
        if self.emit:
            self.emit(Added(self.run, node))

    def decided(self, decision: Decision) -> None:
        """One more decision."""
        self.decisions.append(decision)
        if self.emit:
            self.emit(Decided(self.run, decision))
        if self.log:
            self.log.add(decision)

    def blame(self, verb: str, error: Exception) -> PodiumError:
        """A coordinator's own error as it is, anything else as a CoordinatorError that says where it happened.

        A model that it asks fails in its name.
        """
        if isinstance(error, ModelError):
            error.run, error.agent = error.run or self.run, error.agent or self.coordinator.name
        if isinstance(error, PodiumError):
            return error
        what = f"{self.coordinator.name} failed to {verb} at step {len(self.decisions)}"
        return CoordinatorError(f"{what}: {type(error).__name__}: {error}", run=self.run)

    def kept(self) -> str:
        """What a failed run leaves behind, in words."""
        replies = sum(node.kind == "reply" for node in self.nodes)
        if not replies:
            return "no reply had arrived"
        return f"{replies} {'reply' if replies == 1 else 'replies'} kept in the record"
