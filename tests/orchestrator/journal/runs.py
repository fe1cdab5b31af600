"""Runs to write down: a head, then steps of one reply and one decision."""

from __future__ import annotations

from podium.orchestrator.journal import End, Entry, Head
from podium.protocols.record import Call, Decision, Directive, Factor, Generation, Node, Sampling, Usage
from podium.protocols.task import Message


def beginning(run: str, *, task: str = "how much?", started: float = 1.0) -> list[Entry]:
    """Head and task of a run, and its first decision."""
    return [
        Head(run, "desk", (Message("system", "be brief"), Message("user", task)), started, seed=7, reply_seed=9),
        Node(0, (), "task", "user", task),
        decision(run, 0),
    ]


def step(run: str, number: int, *, text: str = "it is 42") -> list[Entry]:
    """Reply `number` (from 1) to the decision before, and the next decision."""
    directive = f"{run}.{number - 1}.0"
    generation = Generation(text, Usage(30, 8, 1, 0.0001, 0.25), Sampling(0.7, seed=3), ids=(5, 6, 7))
    call = Call(f"{directive}.0", "small", generation)
    return [
        Node(number, (number - 1,), "reply", "ann", text, "42", (call,), generation.usage, 0.5 * number, directive),
        decision(run, number),
    ]


def decision(run: str, number: int) -> Decision:
    """The decision that follows reply `number`."""
    action = (Directive(f"{run}.{number}.0", "ann", instruction="say how much"),)
    factors = (Factor("agent", 1, -0.25, (True, True)), Factor("stop", 0, -0.125, (True, True)))
    return Decision(
        f"{run}.{number}", number, action, "test", 3, factors=factors, log_prob=-0.375, value=0.5, seen=number + 1
    )


def ending(node: int) -> list[Entry]:
    """The end of a run with that node as its answer."""
    return [End("answered", node, Usage(60, 16, 2, 0.0002, 0.5), 1.5, refused=1)]
