"""How long the agents of a run worked in its earlier lives, as far as its record knows.

No clock of the requests is written down, and none needs to be: nodes say when they were committed, and calls how long
they took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from podium.orchestrator.journal.entries import Completed
from podium.protocols.record import Decision, Finish, Generation, Node

__all__ = ["lived"]


def lived(
    nodes: Sequence[Node], decisions: Sequence[Decision], completed: Sequence[Completed] = ()
) -> Mapping[str, float]:
    """Seconds that each agent had requests under way, by a run's record.

    Of a step it is the longest of the agent's requests: the time of its calls where they all tell theirs and none
    failed or used a tool; else all the time that the step took, which is the careful side. Of requests that were cut
    off, what completed calls tell; how long the last one was under way is not in the record.
    """
    used: dict[str, float] = {}
    began = 0.0
    for step, group in groupby(nodes, _step):
        found = list(group)
        took = found[-1].clock - began
        longest: dict[str, float] = {}
        for node in found if step else ():
            if node.calls or node.kind == "failure":
                longest[node.author] = max(longest.get(node.author, 0.0), min(_calls(node, took), took))
        for agent, seconds in longest.items():
            used[agent] = used.get(agent, 0.0) + seconds
        began = found[-1].clock
    agents = {
        directive.id: directive.agent
        for decision in decisions
        if not isinstance(decision.action, Finish)
        for directive in decision.action
    }
    cut: dict[tuple[str, int], float] = {}
    for each in completed:
        if isinstance(each.call.result, Generation):
            key = each.directive, each.sample
            cut[key] = cut.get(key, 0.0) + each.call.result.usage.seconds
    under_way: dict[str, float] = {}
    for (directive, _), seconds in cut.items():
        if directive in agents:
            agent = agents[directive]
            under_way[agent] = max(under_way.get(agent, 0.0), seconds)
    for agent, seconds in under_way.items():
        used[agent] = used.get(agent, 0.0) + seconds
    return used


def _step(node: Node) -> str:
    """The decision that a node came of; "" for those of no directive."""
    directive = node.directive or ""
    return directive.rpartition(".")[0] or directive


def _calls(node: Node, took: float) -> float:
    """Seconds of a request's calls; those that its step took, where the calls do not tell."""
    seconds = 0.0
    for call in node.calls:
        if not isinstance(call.result, Generation) or call.error is not None or not call.result.usage.seconds:
            return took
        seconds += call.result.usage.seconds
    return seconds if node.calls else took
