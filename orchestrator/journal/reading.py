"""From a run's entries to what readers want: the run as it is kept, or what is needed to go on with it; and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar

from podium.orchestrator.journal.entries import Completed, End, Entry, Head
from podium.protocols.errors import InputError
from podium.protocols.record import NO_USAGE, Begun, Call, Decision, Generation, Node, ToolResult, Usage
from podium.protocols.saved import SavedRun
from podium.protocols.task import Message

T = TypeVar("T")

IN_FLIGHT = (
    "This tool was running when the run broke off. It is not run again, because it must not run twice; whether it took "
    "effect is not known."
)
"""What a model is told of such a tool after its run was resumed."""


@dataclass(frozen=True, slots=True)
class ResumeState:
    """A run that has no end, as far as it was written.

    completed: calls of requests that have no reply yet, and of decisions that were not made. begun: tools that must not
    run twice, were about to, and did not report back: whether they ran is not known. place: of its next entry. owner:
    who had it under way.
    """

    head: Head
    nodes: tuple[Node, ...]
    decisions: tuple[Decision, ...]
    completed: tuple[Completed, ...]
    begun: tuple[Begun, ...]
    place: int
    owner: str | None = None

    def calls(self) -> dict[tuple[str, int], tuple[Call, ...]]:
        """Calls that were made, by directive and sample; what was completed is not to be made again.

        A tool that was in flight and must not run twice is one of them: its result says that nobody knows.
        """
        out: dict[tuple[str, int], tuple[Call, ...]] = {}
        for each in self.completed:
            key = each.directive, each.sample
            out[key] = (*out.get(key, ()), each.call)
        for tool in self.begun:
            key = tool.directive, tool.sample
            out[key] = (*out.get(key, ()), Call(tool.call, tool.tool, ToolResult(IN_FLIGHT, failed=True)))
        return out


def resume_state(entries: Sequence[Entry]) -> ResumeState:
    """What is needed to go on. Raises InputError where the head is missing."""
    if not entries or not isinstance(entries[0], Head):
        raise InputError("not a saved run: it does not begin with a head")
    nodes = _only(Node, entries)
    answered = {node.directive for node in nodes}
    decided = {call.id for node in nodes if node.directive is None for call in node.calls}  # by a coordinator's calls
    completed = tuple(
        each for each in _only(Completed, entries) if each.directive not in answered and each.call.id not in decided
    )
    returned = {each.call.id for each in completed}
    begun = (each for each in _only(Begun, entries) if each.directive not in answered and each.call not in returned)
    return ResumeState(entries[0], nodes, _only(Decision, entries), completed, tuple(begun), len(entries))


def saved_run(entries: Sequence[Entry]) -> SavedRun:
    """The run as it is kept. Raises InputError where the head is missing."""
    state = resume_state(entries)
    head, nodes, end = state.head, state.nodes, entries[-1]
    ended = isinstance(end, End)
    if not ended:
        results = [each.call.result for each in state.completed]
        usages = [node.usage for node in nodes] + [each.usage for each in results if isinstance(each, Generation)]
        end = End("failed", 0, Usage.total(usages), nodes[-1].clock if nodes else 0.0)
    return SavedRun(
        head.run,
        head.team,
        head.messages[-1].content,
        nodes[end.node].content if end.node else "",
        end.node,
        end.stop if ended else "unfinished",
        end.usage,
        nodes,
        state.decisions,
        end.seconds,
        head.started,
        end.refused,
        end.overshoot,
        head.seed,
        why=end.why,
        edges=head.edges,
        overshoot_dollars=end.overshoot_dollars,
    )


def entries_of(run: SavedRun) -> list[Entry]:
    """The entries that a run would have left; nodes go before the decision that saw them."""
    head = Head(run.run, run.team, (Message("user", run.task),), run.started, run.seed, edges=run.edges)
    out: list[Entry] = [head]
    place = 0
    for decision in run.decisions:
        out += [*run.nodes[place : decision.seen], decision]
        place = max(place, decision.seen)
    out += run.nodes[place:]
    if run.stop != "unfinished":
        above = run.overshoot, run.why, run.overshoot_dollars
        out.append(End(run.stop, run.node, run.usage, run.seconds, run.refused, *above))
    return out


def used(entries: Iterable[tuple[str, float, Entry]]) -> Usage:
    """What runs used together; its seconds are those in which at least one of them was under way.

    entries: of each run in order, with its id and when it began; of one that has ended, its end is enough.
    """
    usage, seconds, over = NO_USAGE, 0.0, 0.0
    for (_, began), rows in groupby(entries, lambda row: row[:2]):
        given = [entry for _, _, entry in rows]
        end = given[-1] if isinstance(given[-1], End) else saved_run(given)
        usage = usage + end.usage
        ends = began + end.seconds
        seconds += max(0.0, ends - max(began, over))
        over = max(over, ends)
    return replace(usage, seconds=seconds)


def _only(kind: type[T], entries: Iterable[Entry]) -> tuple[T, ...]:
    return tuple(entry for entry in entries if isinstance(entry, kind))
