"""What a policy may know of a run, as numbers: agreement, authorship, samples, budget, and nothing of the reference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from podium.orchestrator.learned import facts as features
from podium.orchestrator.learned.facts import Event, Facts
from podium.protocols.bus import Card
from podium.protocols.record import Node, Usage
from podium.protocols.task import Message
from tests.orchestrator.learned.parts import reply

CARDS = tuple(Card(name, "solver", price=(1.0, price)) for name, price in (("a", 2.0), ("b", 2.0), ("c", 8.0)))
FULL = (1.0, 1.0, 1.0, 1.0)
NO_PLAN = (0, 0, 0, 0)
"""The figures of the newest plan, where there is none."""


def told(*nodes: Node) -> tuple[Facts, list[Event]]:
    facts, events = Facts.of((Message("user", "what?"),), CARDS), list[Event]()
    for node in nodes:
        facts, event = facts.after(node)
        if event is not None:
            events.append(event)
    return facts, events


def test_agreement_between_agents() -> None:
    facts, events = told(
        reply(1, "a", "it is 4", "4"), reply(2, "b", "4!", "4"), reply(3, "a", "5", "5"), reply(4, "c", "?")
    )
    same, new, others, known, first = 4, 5, 6, 7, 8
    assert [event.figures[first] for event in events] == [1, 0, 0, 0]
    assert [event.figures[same] for event in events] == [0, 1, 0, 0]
    assert [event.figures[new] for event in events] == [0, 0, 1, 1]
    assert [event.figures[others] for event in events] == [0, 0.25, 0, 0]
    assert [event.figures[known] for event in events] == [0, 0.25, 0.25, 0.5]
    assert [event.figures[3] for event in events] == [0, 0, 0, 1]  # no answer
    assert events[1].views[:, 0].tolist() == [0, 1, 0]  # author
    assert events[1].views[:, 1].tolist() == [1, 0, 0]  # said the same
    assert events[2].views[:, 2].tolist() == [1, 1, 0]  # said another
    assert events[3].views[:, 3].tolist() == [1, 1, 1]  # nothing to compare
    assert events[2].views[:, 4].tolist() == [1, 1, 0]  # spoke before
    assert [event.views[0, 5] for event in events] == [0, 0, 1, 0]  # its author spoke before
    agents = features.agent_figures(facts, (True, False, True), None, 1e-5)
    assert agents[:, 0].tolist() == [1, 0, 1]
    assert agents[:, 1].tolist() == [1, 0.5, 0.5]
    assert agents[:, 2].tolist() == [0, 0, 1]
    assert agents[:, 3].tolist() == [1, 1, 0]
    assert agents[:, 4].tolist() == [0, 1, 0]  # with the plurality
    assert agents[:, 6].tolist() == [1, 0, 0]  # against it


def test_candidate_answers() -> None:
    facts, _ = told(reply(1, "a", "4", "4"), reply(2, "b", "44", "4"), reply(3, "c", "5", "5"))
    figures, authors, backers = features.node_figures(facts)
    assert authors.tolist() == [0, 1, 2] + [-1] * (features.MOST - 3)
    assert figures[:4, 0].tolist() == [0, 0, 1, 0]  # newest
    assert figures[:3, 1] == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert figures[:3, 2].tolist() == [0.5, 0.5, 0.25]
    assert figures[:3, 6].tolist() == [0.5, 0.25, 0]  # age
    assert figures[:3, 8].tolist() == [0, 1, 0]  # had already
    assert not figures[3:].any()
    assert backers[:4].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_only_the_newest_answers_are_candidates() -> None:
    facts, _ = told(*(reply(number, "a", str(number), str(number)) for number in range(1, 16)))
    figures, authors, _ = features.node_figures(facts)
    assert (authors == 0).all()
    assert figures[-1, 0] == 1
    assert figures[:, 1] == pytest.approx([1 / 15] * features.MOST)


def test_samples_of_one_directive() -> None:
    def candidate(id: int, answer: str) -> Node:
        return replace(reply(id, "a", answer, answer, tokens=7), kind="candidate")

    voted = replace(reply(4, "a", "4", "4"), usage=Usage())
    facts, events = told(
        candidate(1, "4"), candidate(2, "5"), candidate(3, "4"), voted, reply(5, "b", "4", "4", tokens=3)
    )
    assert len(events) == 2
    assert events[0].figures[0] == pytest.approx(math.log1p(21) / 6)
    assert events[0].figures[1] == pytest.approx(2 / 3)
    assert events[0].figures[2] == pytest.approx(math.log2(3) / 3)
    assert events[1].figures[:3] == pytest.approx([math.log1p(3) / 6, 1, 0])  # the next directive starts anew
    assert facts.dollars == pytest.approx(4e-5)
    assert [each.node for each in facts.said] == [4, 5]


def test_other_nodes_say_nothing() -> None:
    facts, events = told(replace(reply(1, "selector", "a, please"), kind="decision"), reply(2, "stranger", "4", "4"))
    assert not events
    assert not facts.said


def test_cards_with_equal_prices_are_equal() -> None:
    figures = features.card_figures(CARDS)
    assert figures[:, 2].tolist() == [0, 0, 1]
    assert (figures[0] == figures[1]).all()
    turned = features.card_figures(CARDS[::-1])
    assert (turned[::-1] == figures).all()
    assert features.card_figures(CARDS[:1])[0, 2] == 0
    tools = features.card_figures([replace(CARDS[0], tools=("python",))])
    assert tools[0, 4] == 1
    assert figures[0, 4] == 0


def test_the_state() -> None:
    facts, _ = told(reply(1, "a", "4", "4"), reply(2, "b", "4", "4"), reply(3, "c", "5", "5"))
    state = features.state_figures(facts, 2, (0.5, 0.25, 0.125, 0.75), 1e-4, 1e-5)
    knob = math.log10(10 / 40)
    assert state == pytest.approx([0.5, 0.25, 0.75, 2 / 6, 0, 1, knob, 0.3, 2 / 3, 0.5, 0.5, 1, *NO_PLAN], abs=1e-6)
    nothing, _ = told()
    fresh = features.state_figures(nothing, 0, FULL, None, 1e-5)
    assert fresh.tolist() == [1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, *NO_PLAN]


def test_the_newest_plan() -> None:
    plan = replace(reply(1, "b", "left, then right", None), kind="plan", usage=Usage())
    old = replace(plan, author="a", content="left")
    facts, events = told(old, reply(2, "a", "on my way"), plan, reply(4, "b", "going"), reply(5, "a", "gone"))
    assert len(events) == 3, "a plan by itself is no reply"
    state = features.state_figures(facts, 3, FULL, None, 1e-5)
    assert state[-4:] == pytest.approx([1, 2 / 8, 1 / 2, math.log1p(16) / 6])
    assert features.agent_figures(facts, (True,) * 3, None, 1e-5)[:, 9].tolist() == [0, 1, 0]
    stranger, _ = told(replace(plan, author="stranger"))
    assert features.state_figures(stranger, 0, FULL, None, 1e-5)[-4:].tolist() == [*NO_PLAN]


def test_what_an_agent_costs_is_told_in_passed_answers() -> None:
    facts, _ = told()
    dollars = np.array([(5 / 4 * 1 + features.TYPICAL_REPLY * price) * 1e-6 for price in (2.0, 2.0, 8.0)])
    agents = features.agent_figures(facts, (True,) * 3, 1e-3, 1e-5)
    assert agents[:, 7] == pytest.approx(np.log10(dollars / 1e-3) / 2 + 1)
    assert agents[:, 8] == pytest.approx(dollars / 1e-3)
    without = features.agent_figures(facts, (True,) * 3, None, 1e-6)
    assert without[:, 7] == pytest.approx(np.log10(dollars / (features.GENEROUS * 1e-6)) / 2 + 1)
    assert without[:, 8].max() == 3


def test_a_backer_is_who_says_so_now() -> None:
    facts, _ = told(reply(1, "a", "4", "4"), reply(2, "b", "4", "4"), reply(3, "a", "5", "5"), reply(4, "c", "?", None))
    backers = features.node_figures(facts)[2]
    assert backers[:4].tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_the_knob_has_no_unit() -> None:
    facts, _ = told()
    cheap = features.state_figures(facts, 0, FULL, 4e-5, 1e-6)
    dear = features.state_figures(facts, 0, FULL, 4e-2, 1e-3)
    assert np.allclose(cheap, dear)


def test_several_teams_at_once() -> None:
    several = [
        told()[0],
        told(reply(1, "a", "4", "4"), reply(2, "b", "?"), reply(3, "a", "?"), reply(4, "c", "4", "4"))[0],
        told(reply(1, "c", "5", "5"), replace(reply(2, "b", "left, then right"), kind="plan"), reply(3, "c", "6", "6"))[
            0
        ],
    ]
    can, knobs = [(True, False, True), (True, True, True), (False, False, True)], [None, 1e-3, 1e-4]
    agents = features.agents_figures(several, can, knobs, 1e-5)
    nodes = features.nodes_figures(several, 3)
    for at, (facts, may, knob) in enumerate(zip(several, can, knobs, strict=True)):
        np.testing.assert_array_equal(agents[at], features.agent_figures(facts, may, knob, 1e-5))
        for together, alone in zip(nodes, features.node_figures(facts, 3), strict=True):
            np.testing.assert_array_equal(together[at], alone)


def test_replies_without_an_answer() -> None:
    facts, events = told(reply(1, "a", "?"), reply(2, "b", "?"), reply(3, "b", "4", "4"), reply(4, "c", "?"))
    same, new, others, known = 4, 5, 6, 7
    assert [event.figures[same] for event in events] == [0, 0, 0, 0]
    assert [event.figures[new] for event in events] == [0, 1, 1, 1]
    assert [event.figures[others] for event in events] == [0, 0.25, 0, 0.5]  # others who had none either
    assert [event.figures[known] for event in events] == [0, 0, 0, 0.25]
    figures, _, backers = features.node_figures(facts, 4)
    assert figures[:, 1].tolist() == [0, 0, 0.25, 0]
    assert figures[:, 2].tolist() == [0, 0, 0.25, 0]
    assert backers.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
