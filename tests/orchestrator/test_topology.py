"""Who may see whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.orchestrator.team_file import TopologySpec
from podium.orchestrator.topology import Topology, graph

NAMES = ["a", "b", "c"]


def test_star_and_full_show_everybody_to_everybody() -> None:
    for kind in ("star", "full"):
        topology = Topology(TopologySpec(kind=kind), NAMES)
        assert all(topology.who_may_see(name) == frozenset(NAMES) for name in NAMES)
        assert topology.edges is None
    assert Topology.full(NAMES).who_may_see("a") == frozenset(NAMES)


def test_chain_shows_the_one_before() -> None:
    topology = Topology(TopologySpec(kind="chain"), NAMES)
    assert topology.who_may_see("a") == {"a"}
    assert topology.who_may_see("b") == {"a", "b"}
    assert topology.who_may_see("c") == {"b", "c"}
    assert topology.viewers("a") == {"a", "b"}
    assert topology.edges == (("a", "a"), ("a", "b"), ("b", "b"), ("b", "c"), ("c", "c"))
    assert Topology(TopologySpec(kind="chain"), ["a"]).edges is None


def test_edges_are_directed() -> None:
    topology = Topology(TopologySpec(edges=(("a", "c"),)), NAMES)
    assert topology.may_see("c", "a")
    assert not topology.may_see("a", "c")
    assert topology.who_may_see("b") == {"b"}


def test_what_no_agent_wrote_is_seen_by_all() -> None:
    topology = Topology(TopologySpec(edges=()), NAMES)
    assert topology.may_see("a", "human")
    assert not topology.may_see("a", "b")


def test_strangers_are_refused() -> None:
    with pytest.raises(ValueError, match="not in the team: z"):
        Topology(TopologySpec(edges=(("a", "z"),)), NAMES)
    with pytest.raises(KeyError):
        Topology.full(NAMES).who_may_see("z")


def test_a_loop_changes_nothing() -> None:
    assert list(graph(TopologySpec(edges=(("a", "a"), ("a", "b"))), NAMES).edges) == [("a", "b")]


@given(st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES))))
def test_viewers_and_seen_are_two_sides_of_one_graph(edges: set[tuple[str, str]]) -> None:
    topology = Topology(TopologySpec(edges=tuple(edges)), NAMES)
    for author in NAMES:
        for viewer in NAMES:
            expected = author == viewer or (author, viewer) in edges
            assert topology.may_see(viewer, author) is expected
            assert (author in topology.who_may_see(viewer)) is expected
            assert (viewer in topology.viewers(author)) is expected
            assert (topology.edges is None or (author, viewer) in topology.edges) is expected
