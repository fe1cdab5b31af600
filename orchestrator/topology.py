"""The topology: who may be shown whose messages, and what of a record that leaves of a view.

A directed graph over the agents; an edge u -> v means that v may be shown u's messages. It limits what a coordinator
may pass on, so it is asked for every message of every prompt: the answers are sets, worked out once. An agent always
sees its own messages, and what no agent of the team wrote (the task, a human's word) is seen by all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import networkx as nx

from podium.orchestrator.team_file import TopologySpec
from podium.protocols.record import Node, View

__all__ = ["Topology", "graph"]


def graph(spec: TopologySpec, agents: Sequence[str]) -> nx.DiGraph[str]:
    """The graph that a team file means. agents: names in the order of the file, which is the order of a chain.

    star: the coordinator stands in the middle and may pass anybody's messages on to anybody, so between agents every
    edge is there, as in full; what an agent is shown is the coordinator's choice, not the topology's.
    Raises ValueError for an edge between agents that are not in the team.
    """
    made: nx.DiGraph[str] = nx.DiGraph()
    made.add_nodes_from(agents)
    made.add_edges_from(_edges(spec, agents))
    strangers = [name for name in made if name not in agents]
    if strangers:
        raise ValueError(f"topology names agents that are not in the team: {', '.join(strangers)}")
    made.remove_edges_from([(name, name) for name in agents])
    return made


def _edges(spec: TopologySpec, agents: Sequence[str]) -> Iterable[tuple[str, str]]:
    if spec.edges is not None:
        return spec.edges
    if spec.kind == "chain":
        return pairwise(agents)
    return ((author, viewer) for author in agents for viewer in agents)


class Topology:
    """Who may see whom, looked up in constant time. Immutable.

    edges: (author, viewer), who may be shown whose messages, each agent's own included; None where all may see all.
    """

    __slots__ = ("_sees", "_viewers", "agents", "edges")

    def __init__(self, spec: TopologySpec, agents: Sequence[str]) -> None:
        """As `graph`. Raises ValueError for an edge between agents that are not in the team."""
        made = graph(spec, agents)
        self.agents = tuple(agents)
        self._sees = {name: frozenset((*made.predecessors(name), name)) for name in agents}
        self._viewers = {name: frozenset((*made.successors(name), name)) for name in agents}
        self.edges = self._pairs()

    @staticmethod
    def full(agents: Sequence[str]) -> Topology:
        """All see all."""
        return Topology(TopologySpec(kind="full"), agents)

    def renamed(self, names: Mapping[str, str]) -> Topology:
        """The same, for some of the agents and under other names. names: by their own; KeyError for a stranger."""
        return _of(
            {new: frozenset(names[each] for each in self._sees[old] if each in names) for old, new in names.items()}
        )

    def among(self, names: Sequence[str]) -> Topology:
        """The same for these agents. Where not all may see all, nobody said what one that it does not know may see: its
        own messages, which nobody else is shown.
        """
        return _among(self, tuple(names))

    def who_may_see(self, viewer: str) -> frozenset[str]:
        """The agents whose messages a viewer may be shown, itself included. Raises KeyError for a stranger."""
        return self._sees[viewer]

    def viewers(self, author: str) -> frozenset[str]:
        """The agents that may be shown an author's messages, itself included. Raises KeyError for a stranger."""
        return self._viewers[author]

    def may_see(self, viewer: str, author: str) -> bool:
        """Whether a viewer may be shown what an author wrote."""
        return author in self._sees[viewer] or author not in self._sees

    def shown(self, viewer: str, view: View, nodes: Sequence[Node], upto: int) -> tuple[Node, ...]:
        """What a view shows of the first `upto` nodes of a record, oldest first, without what the viewer may not see.

        Nodes that it names, or replies; the last ones are counted among those that the viewer may see.
        """
        if view.kind == "none":
            return ()
        end = upto if view.upto is None else min(upto, view.upto + 1)
        may_see = self.may_see
        if view.kind == "only":
            named = [nodes[place] for place in sorted(view.only) if 0 < place < end]
            return tuple(node for node in named if may_see(viewer, node.author))
        if view.kind == "last":  # from the end, so that it costs the same however long the run is
            found: list[Node] = []
            for place in range(end - 1, 0, -1):
                if len(found) == view.count:
                    break
                node = nodes[place]
                if node.kind == "reply" and may_see(viewer, node.author):
                    found.append(node)
            return tuple(reversed(found))
        return tuple(node for node in nodes[:end] if node.kind == "reply" and may_see(viewer, node.author))

    def newest_plan(self, viewer: str, plans: Sequence[Node], upto: int | None) -> str:
        """The newest plan that a viewer may see, up to a node; empty where there is none. plans: oldest first."""
        for node in reversed(plans):
            if (upto is None or node.id <= upto) and self.may_see(viewer, node.author):
                return node.content
        return ""

    def _pairs(self) -> tuple[tuple[str, str], ...] | None:
        if all(len(sees) == len(self.agents) for sees in self._sees.values()):
            return None
        pairs = ((author, viewer) for author in self.agents for viewer in self.agents)
        return tuple((author, viewer) for author, viewer in pairs if author in self._sees[viewer])


@lru_cache(maxsize=64)
def _among(topology: Topology, names: tuple[str, ...]) -> Topology:
    """As `Topology.among`: each run of a team that is another one than its file's asks for the same."""
    if topology.edges is None:
        return Topology.full(names)
    sees = {name: topology.who_may_see(name) if name in topology.agents else frozenset((name,)) for name in names}
    return _of({name: authors & frozenset(names) for name, authors in sees.items()})


def _of(sees: dict[str, frozenset[str]]) -> Topology:
    """The topology in which each agent is shown these agents' messages."""
    return Topology(
        TopologySpec(edges=tuple((author, viewer) for viewer, authors in sees.items() for author in sorted(authors))),
        tuple(sees),
    )
