"""What a coordinator is: the policy that looks at a run's state and emits one decision.

Three verbs. `begin` makes a memory for a run, `observe` folds a new node into it, `decide` emits decisions for
whatever runs are waiting, all at once, because a batch of thirty-two costs little more than one. A memory is opaque,
immutable and recomputed by replay; a decision is plain data that the engine, the console, the trainer and off-policy
evaluation read alike. No coordinator has a private path to an agent, to a budget or to a reference answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Literal, Protocol

from podium.orchestrator.budget import Left
from podium.orchestrator.leases import OwnCalls
from podium.protocols.bus import Card
from podium.protocols.frozen import slotted
from podium.protocols.record import (
    ALL,
    NO_REASONS,
    ONE,
    Action,
    Compute,
    Decision,
    Directive,
    Finish,
    Node,
    Objective,
    View,
)
from podium.protocols.task import Message

Memory = Any
"""Whatever a coordinator remembers of a run. Immutable; nobody else looks inside."""


@slotted
class RunState:
    """What a coordinator may know of a run when it decides.

    Neither the task's id, tags, reference nor score is here. nodes: the record so far, node 0 is the task. left: what
    the budgets still hold, the pool of all runs included. affordable: per card, whether one more request fits them.
    preference: dollars that one passed answer is worth, None where the user did not say. seed: for sampling noise.
    own: leases for calls that the coordinator makes itself to decide; None where nobody keeps account of them.
    absent: agents of the team's file that had left before the run began. gone: who left later, and is not affordable,
    but stays among the cards.
    """

    run: str
    task: tuple[Message, ...]
    cards: tuple[Card, ...]
    nodes: Sequence[Node]
    step: int
    left: Left
    affordable: tuple[bool, ...]
    memory: Memory
    seed: int
    mode: Literal["sample", "greedy"] = "greedy"
    preference: float | None = None
    own: OwnCalls | None = None
    absent: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()

    @property
    def replies(self) -> list[Node]:
        """The replies so far, oldest first."""
        return [node for node in self.nodes if node.kind == "reply"]


class Coordinator(Protocol):
    """A policy over macro-actions.

    name: how reports call it. batched: deciding for many runs at once is cheaper than one by one.
    """

    name: str
    batched: bool

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Memory:
        """The memory of a run that has not started."""
        ...

    def observe(self, memory: Memory, node: Node) -> Memory:
        """The memory after one more node (every kind but the task itself)."""
        ...

    def decide(self, states: Sequence[RunState]) -> list[Decision] | Awaitable[list[Decision]]:
        """One decision per state, in the same order. Awaitable where deciding takes model calls."""
        ...


class Stateless:
    """A coordinator that reads all it needs from the record: it remembers nothing."""

    batched = False

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> None:
        """Nothing to remember."""

    def observe(self, memory: None, node: Node) -> None:
        """Nothing to remember."""


def decision(name: str, state: RunState, action: Action, **reasons: float) -> Decision:
    """A deterministic decision: log-probability 0, no factors."""
    return Decision(
        f"{state.run}.{state.step}",
        state.step,
        action,
        name,
        reasons=reasons or NO_REASONS,
        seen=len(state.nodes),
        budget_left=state.left.fractions,
    )


def directive_id(state: RunState, pick: int) -> str:
    """The id of the pick-th directive of the decision that a state leads to."""
    return f"{state.run}.{state.step}.{pick}"


def latest(state: RunState) -> Finish:
    """Finish with the newest reply. Raises IndexError when nobody has replied yet."""
    for node in reversed(state.nodes):
        if node.kind == "reply":
            return Finish(node.id)
    raise IndexError("no reply to finish with")


def plurality(nodes: Sequence[Node]) -> Node:
    """The node whose answer is the most frequent; the earliest wins a tie; nodes without an answer never win.

    Where no node has an answer, the newest node is taken.
    """
    votes: dict[str, int] = {}
    for node in nodes:
        if node.answer is not None:
            votes[node.answer] = votes.get(node.answer, 0) + 1
    if not votes:
        return nodes[-1]
    most = max(votes.values())
    return next(node for node in nodes if node.answer is not None and votes[node.answer] == most)


def elected(name: str, state: RunState, nodes: Sequence[Node]) -> Decision:
    """Finish with the winner of a vote. Reasons: agree, how many of the ballots have its answer; 0 if none has any."""
    best = plurality(nodes)
    agree = 0 if best.answer is None else sum(node.answer == best.answer for node in nodes)
    return decision(name, state, Finish(best.id), agree=agree, ballots=len(nodes))


def ask(
    state: RunState,
    agents: Sequence[str],
    *,
    objective: Objective = "propose",
    instruction: str = "",
    visible: View = ALL,
    compute: Compute = ONE,
    answer: bool = False,
) -> tuple[Directive, ...]:
    """One directive per agent, all alike but for the address."""
    return tuple(
        [
            Directive(
                f"{state.run}.{state.step}.{pick}", agent, objective, instruction, visible, "normal", compute, answer
            )
            for pick, agent in enumerate(agents)
        ]
    )
