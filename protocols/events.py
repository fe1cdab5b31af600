"""What happens in a run, as it happens: for whoever watches it, streams it or draws it."""

from __future__ import annotations

from typing import Literal

from podium.protocols.frozen import frozen
from podium.protocols.people import Question
from podium.protocols.record import Decision, Node, NodeId, Usage
from podium.protocols.task import Task

Stop = Literal["answered", "budget", "deadline", "loop", "cancelled", "failed"]
"""Why a run ended: the coordinator finished, the budget or the time ran out, the caller cancelled, or it failed."""


@frozen
class Started:
    """A run began."""

    run: str
    task: str


@frozen
class Decided:
    """The coordinator took a decision."""

    run: str
    decision: Decision


@frozen
class Piece:
    """A piece of a reply, as it is generated. answer: it belongs to the run's answer."""

    run: str
    agent: str
    text: str
    answer: bool


@frozen
class Asked:
    """A person is waited for."""

    run: str
    question: Question


@frozen
class Added:
    """A node was committed to the record."""

    run: str
    node: Node


@frozen
class Ended:
    """The run ended; nothing follows."""

    run: str
    result: Result


Event = Started | Decided | Piece | Asked | Added | Ended


@frozen
class Result:
    """A finished run: its answer, and the whole record it came from.

    node: the answer's node. usage: of the whole team, the coordinator's own calls included. steps: decisions taken.
    refused: directives that did not start because the budget did not hold them. overshoot, overshoot_dollars: what
    endpoints billed above what was reserved, in tokens and in dollars. seconds: wall clock. why: what the pool lacked,
    in words, where that is what ended the run.
    """

    run: str
    team: str
    task: Task
    answer: str
    node: NodeId
    stop: Stop
    usage: Usage
    nodes: tuple[Node, ...]
    decisions: tuple[Decision, ...]
    seed: int = 0
    refused: int = 0
    overshoot: int = 0
    seconds: float = 0.0
    overshoot_dollars: float = 0.0
    why: str = ""

    def __repr__(self) -> str:
        """One line, however long the run was."""
        return f"Result(run={self.run!r}, stop={self.stop!r}, steps={self.steps}, answer={self.answer[:60]!r})"

    @property
    def steps(self) -> int:
        """Decisions taken, the finishing one included."""
        return len(self.decisions)

    @property
    def by_agent(self) -> dict[str, Usage]:
        """Usage of each agent that spoke (and of the coordinator, where deciding took model calls)."""
        shares: dict[str, Usage] = {}
        for node in self.nodes:
            if node.usage.calls:
                shares[node.author] = shares.get(node.author, Usage()) + node.usage
        return shares
