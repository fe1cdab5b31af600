"""When to plan: the walker knows what it has seen and no more, plans cost what they should, and the study runs."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from random import Random

import pytest

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.engine import Settings
from podium.protocols.events import Result
from tests.reproductions.small import ROOT, run

sys.path.extend(str(ROOT / folder) for folder in ("reproductions", "reproductions/when_to_plan"))
from when_to_plan.graph_search import MOVES, NEAREST, SIGHT, Known, drawn, plan
from when_to_plan.walk import MOVE_TOKENS, PLAN_TOKENS, SITUATIONS, Period, Rule, moves, search, team, world_of


def distance(passages: dict[int, tuple[int, ...]], start: int, end: int) -> int:
    """Passages between two places, by widening circles."""
    away, reached = 0, {start}
    while end not in reached:
        reached |= {other for place in reached for other in passages[place]}
        away += 1
        assert away < 100
    return away


@pytest.mark.parametrize("number", range(0, 40, 8))
def test_a_walker_knows_what_it_has_seen(number: int) -> None:
    world = drawn(number)
    passages = dict(world.passages)
    assert distance(passages, world.start, world.goal) >= NEAREST
    known = Known.of(world, [world.start])
    assert all(distance(passages, world.start, place) <= SIGHT for place in known.passages)
    assert all(distance(passages, world.start, place) == SIGHT for place in known.frontier)
    assert all(set(known.passages[place]) == set(passages[place]) for place in set(known.passages) - known.frontier)
    targets = {plan(known, world.start, world.goal, Random(seed))[-1] for seed in range(50)}
    assert targets <= known.frontier, "the goal is not known, so no plan leads to it"
    assert len(targets) > 1 or len(known.frontier) == 1, "of frontiers that are as good any may be drawn"
    everywhere = Known.of(world, passages)
    way = plan(everywhere, world.start, world.goal, Random(0))
    assert len(way) == distance(passages, world.start, world.goal), "a goal that was seen is walked to straight"


def played(coordinator: Coordinator, number: int) -> Result:
    return asyncio.run(team().led_by(coordinator).run(search(number), Settings(1, 7), id="r"))


@pytest.mark.parametrize("period", [1, 3, None])
def test_a_search_through_the_engine(period: int | None) -> None:
    for number in range(6):
        result = played(Period(period), number)
        world = world_of(result.task.text)
        replies = [node for node in result.nodes if node.kind == "reply"]
        plans = [node for node in result.nodes if node.kind == "plan"]
        way = [world.start, *(int(node.content.split()[0]) for node in replies)]
        assert all(there in world.passages[here] for here, there in itertools.pairwise(way))
        assert (way[-1] == world.goal) == result.task.score(result.answer).passed
        assert world.goal not in way[:-1]
        assert len(replies) == MOVES or way[-1] == world.goal
        assert len(plans) == (0 if period is None else -(-len(replies) // period))
        when = list(moves(result.nodes))
        assert [planned for _, planned in when] == [
            period is not None and step % period == 0 for step in range(len(replies))
        ]
        assert {situation for situation, _ in when} <= set(SITUATIONS)
        assert [situation == "goal" for situation, _ in when[1:]] == ["goal" in node.content for node in replies[:-1]]
        assert result.usage.output_tokens == MOVE_TOKENS * len(replies) + PLAN_TOKENS * len(plans)
        for node in plans:  # a plan begins where the walker stands, and its first step is taken at once
            reply = result.nodes[node.id + 1]
            here, there, *_ = map(int, node.content.split())
            assert (here, there) == (way[replies.index(reply)], int(reply.content.split()[0]))


def test_a_plan_is_followed_to_its_end_and_then_no_more() -> None:
    for number in range(12):
        result = played(Period(MOVES), number)
        (node,) = (node for node in result.nodes if node.kind == "plan")
        planned = list(map(int, node.content.split()))[1:]
        replies = [node.content.split() for node in result.nodes if node.kind == "reply"]
        assert [int(words[0]) for words in replies[: len(planned)]] == planned
        ends = [words[-1] for words in replies if "found" not in words]
        assert ends[: len(planned) - 1] == ["ahead"] * (len(planned) - 1)
        assert set(ends[len(planned) - 1 :]) <= {"over"}
        world = world_of(result.task.text)
        way = [world.start, *(int(words[0]) for words in replies)]
        for place in range(len(planned), len(way) - 1):
            new = set(world.passages[way[place]]) - set(way[: place + 1])
            assert not new or way[place + 1] in new, "without a plan it goes where it has not been"


def test_the_rule_plans_where_it_pays() -> None:
    fewer = 0
    for number in range(6):
        ruled, often = played(Rule(), number), played(Period(1), number)
        counts = [sum(node.kind == "plan" for node in result.nodes) for result in (ruled, often)]
        fewer += counts[0] < counts[1]
    assert fewer == 6


def test_the_study(tmp_path: Path) -> None:
    figures = run("when_to_plan", tmp_path)
    assert [each["price"] for each in figures["prices"]] == [0.003, 0.01, 0.03, 0.1, 0.3]
    for each in figures["prices"]:
        assert each["best_period"] in each["periods"]
        plans = [each["periods"][name]["plans"]["mean"] for name in each["periods"]]
        assert plans == sorted(plans, reverse=True), "longer periods plan less"
        assert plans[-1] == 0
        success, returned = (each["periods"]["every 1"][name]["mean"] for name in ("success", "return"))
        assert returned < success
        assert each["more_plans"]["low"] <= each["more_plans"]["mean"] <= each["more_plans"]["high"]
        assert len(each["learned_by_seed"]["return"]) == 1
        assert sum(asked for asked, _ in each["when"][0].values()) == pytest.approx(
            figures["settings"]["held_out"] * each["learned"]["steps"]["mean"]
        )
