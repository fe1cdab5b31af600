"""What the agents of a run were shown, in words, from its record alone.

The engine gives a directive's view what the topology lets through: "only" names nodes; "all" and "last" mean replies,
and the last are counted among those that the agent may see. Here the same is worked out afterwards, from the record
and from who may be shown whose messages, which a run's beginning keeps. What was held back is what the same view would
have shown besides, had everybody been allowed to see everybody.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from podium.protocols.record import Directive, Node, NodeId
from podium.protocols.words import enumerated

__all__ = ["Shown"]

NOTHING = "the task only"

FEW = 3
"""So many messages are named where the view does not name or count them itself; of more, the number is told."""


class Shown:
    """Who was shown what in one run.

    Replies are sorted once for each agent that was asked, so that an answer costs the same however long the run is.
    """

    __slots__ = ("_agents", "_edges", "_nodes", "_plans", "_replies", "_sorted")

    def __init__(self, nodes: Sequence[Node], edges: Sequence[tuple[str, str]] | None) -> None:
        """nodes: the whole record; edges: as in `SavedRun`."""
        self._nodes = nodes
        self._edges = None if edges is None else frozenset(edges)
        self._agents = frozenset(author for author, _ in edges or ())
        self._replies = [node.id for node in nodes if node.kind == "reply"]
        self._plans = [node.id for node in nodes if node.kind == "plan"]
        self._sorted: dict[str, tuple[Sequence[NodeId], Sequence[NodeId]]] = {}

    def words(self, directive: Directive, upto: int) -> str:
        """What a directive showed its agent. upto: how many nodes there were when it was sent."""
        said = self._replied(directive, upto)
        return f"{said}; {self._plan(directive, upto)}" if directive.compute.plan == "keep" else said

    def _plan(self, directive: Directive, upto: int) -> str:
        """The plan that an agent was told to follow: the newest that it may see."""
        end = upto if directive.visible.upto is None else min(upto, directive.visible.upto + 1)
        seen, _ = self._parted(directive.agent, [place for place in self._plans if place < end])
        return f"the plan of node {seen[-1]} by {self._nodes[seen[-1]].author}" if seen else "no plan yet"

    def _replied(self, directive: Directive, upto: int) -> str:
        """The replies among it, or other nodes that the view names."""
        view, agent = directive.visible, directive.agent
        end = upto if view.upto is None else min(upto, view.upto + 1)
        if view.kind == "none":
            return NOTHING
        if view.kind == "only":
            seen, hidden = self._parted(agent, [place for place in sorted(view.only) if 0 < place < end])
            return self._named(seen) + self._held(hidden, len(hidden))
        if agent not in self._sorted:
            self._sorted[agent] = self._parted(agent, self._replies)
        seen, hidden = self._sorted[agent]
        count = bisect_left(seen, end)
        if view.kind == "last":
            place = bisect_left(self._replies, end)
            _, hidden = self._parted(agent, self._replies[max(0, place - view.count) : place])
            return self._named(seen[max(0, count - view.count) : count]) + self._held(hidden, len(hidden))
        back = bisect_left(hidden, end)
        if count <= FEW:
            return self._named(seen[:count]) + self._held(hidden, back)
        many = f"{count} of the {count + back}" if back else f"all {count}"
        when = "so far" if end == upto else f"up to node {end - 1}"
        return f"{many} replies {when}" + self._held(hidden, back)

    def _parted(self, agent: str, nodes: Sequence[NodeId]) -> tuple[Sequence[NodeId], Sequence[NodeId]]:
        """Nodes that an agent may see, and those that it may not. What no agent of the team wrote is seen by all; who
        joined is not in the topology: it sees its own, which nobody else does.
        """
        edges, agents = self._edges, self._agents
        if edges is None:
            return nodes, ()
        seen: list[NodeId] = []
        hidden: list[NodeId] = []
        for node in nodes:
            said = self._nodes[node]
            author = said.author
            nobodys = author not in agents and said.directive is None
            (seen if nobodys or author == agent or (author, agent) in edges else hidden).append(node)
        return seen, hidden

    def _named(self, nodes: Sequence[NodeId]) -> str:
        return enumerated([f"node {node} by {self._nodes[node].author}" for node in nodes]) if nodes else NOTHING

    def _held(self, hidden: Sequence[NodeId], count: int) -> str:
        """What the topology took out: the first so many of what the agent may not see."""
        if not count:
            return ""
        return f" (the topology held back {self._named(hidden[:count]) if count <= FEW else f'{count} messages'})"
