"""The last turn: set aside from the beginning, made when a run can go on no more, and never on top of a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from podium.agents.scripted import ScriptedModel
from podium.orchestrator import narrate
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.journal import Journal
from podium.orchestrator.last_turn import INSTRUCTION
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import parse_team
from podium.orchestrator.topology import Topology, TopologySpec
from podium.protocols.bus import Envelope
from podium.protocols.errors import BudgetExceeded, ModelError, TeamFileError
from podium.protocols.record import Finish, Node
from podium.protocols.task import Task
from tests.orchestrator.stage import Scripted, Speaker, Stage, authors
from tests.orchestrator.teams import scripted, team
from tests.orchestrator.test_engine import FOREVER, tell
from tests.orchestrator.test_resume import Recorded, cut_after, timeless, voices

ON_AND_ON = [(tell(name, str(place)),) for place, name in enumerate("ab" * 50)]


def desk(limits: Limits, *, pool: Budget | None = None, topology: Topology | None = None, **last: Any) -> Stage:
    """Two who talk, and one who sums up."""

    def line(name: str) -> Any:
        def say(envelope: Envelope) -> str:
            return f"{name} saw {len(envelope.visible())}"

        return say

    speakers = (Speaker("a", line("a")), Speaker("b", line("b")), Speaker("sum", "all in all", **last))
    return Stage(*speakers, limits=limits, pool=pool, topology=topology, wind_down="sum")


@pytest.mark.parametrize(
    "limits", [Limits(calls=5), Limits(tokens=400), Limits(dollars=4e-4), Limits(tokens=500, calls=9)]
)
def test_it_is_the_last_call_that_fits(limits: Limits) -> None:
    stage = desk(limits)
    result = stage.run(Scripted(*ON_AND_ON))
    assert (result.answer, result.stop) == ("all in all", "budget")
    assert authors(result)[-1] == "sum"
    assert len(authors(result)) >= 3
    assert result.usage.calls <= limits.calls
    assert result.usage.tokens <= limits.tokens
    assert result.usage.dollars <= limits.dollars
    (heard,) = stage["sum"].heard
    assert heard.directive.instruction == INSTRUCTION
    assert heard.directive.answer
    assert result.decisions[-1].policy == "last turn: budget"
    assert [node.author for node in heard.visible] == authors(result)[:-1][-len(heard.visible) :]


def test_its_prompt_counts_by_what_is_in_it() -> None:
    stage = desk(Limits(tokens=100_000, calls=3))
    stage.run(Scripted(*ON_AND_ON))
    (heard,) = stage["sum"].heard
    shown = len(INSTRUCTION) + sum(len(node.content) + len(node.author) + 4 for node in heard.visible)
    assert heard.envelope.estimate == int((len("what?") + shown) / 4) + 1


def test_it_costs_nothing_where_the_run_finishes() -> None:
    pool = Budget(Limits(tokens=10_000), shared=True)
    stage = desk(Limits(tokens=400), pool=pool)
    result = stage.run(Scripted((tell("a"),), Finish(1)))
    assert (result.answer, result.usage.calls, stage.turns("sum")) == ("a saw 0", 1, 0)
    assert (pool.tokens, pool.held_tokens, pool.held_calls, pool.held_dollars) == (15, 0, 0, 0)


def test_a_coordinator_may_finish_when_nothing_more_fits() -> None:
    stage = desk(Limits(calls=3))
    result = stage.run(Scripted((tell("a"),), (tell("b", "1"),), Finish(1)))
    assert (result.answer, result.stop, stage.turns("sum")) == ("a saw 0", "budget", 0)


def test_it_is_shown_the_newest_replies_that_fit() -> None:
    stage = desk(Limits(tokens=400))
    stage["a"].line = stage["b"].line = "many words, " * 5
    result = stage.run(Scripted(*ON_AND_ON))
    (heard,) = stage["sum"].heard
    assert 0 < len(heard.visible) < len(authors(result)) - 1
    assert heard.visible[-1].author == authors(result)[-2]


def test_it_is_shown_nothing_that_the_topology_forbids() -> None:
    edges = TopologySpec(edges=(("b", "sum"), ("a", "b"), ("b", "a")))
    stage = desk(Limits(calls=5), topology=Topology(edges, ("a", "b", "sum")))
    stage.run(Scripted(*ON_AND_ON))
    (heard,) = stage["sum"].heard
    assert [node.author for node in heard.visible] == ["b", "b"]


def test_a_loop_ends_with_it() -> None:
    stage = desk(Limits(repeats=2))
    stage["a"].line = "again"
    result = stage.run(Scripted(*[(tell("a", str(place)),) for place in range(9)]))
    assert (result.answer, result.stop) == ("all in all", "loop")


@pytest.mark.parametrize("error", [ModelError("no"), ValueError("no")])
def test_where_it_fails_the_newest_reply_is_the_answer(error: Exception) -> None:
    stage = desk(Limits(calls=4), error=error)
    result = stage.run(Scripted(*ON_AND_ON))
    assert (result.answer, result.stop) == ("a saw 2", "budget")
    assert result.nodes[-1].kind == "failure"


class TestTime:
    def test_a_tenth_of_the_seconds_is_kept_for_it(self) -> None:
        stage = desk(Limits(seconds=2.0))
        stage["b"].seconds = FOREVER
        result = stage.run(Scripted(*ON_AND_ON))
        assert (result.answer, result.stop) == ("all in all", "deadline")
        assert 1.7 < result.seconds < 2.6
        assert stage["b"].closed == 1

    def test_it_has_no_more_than_that(self) -> None:
        stage = desk(Limits(seconds=0.6), seconds=FOREVER)
        stage["b"].seconds = FOREVER
        result = stage.run(Scripted(*ON_AND_ON))
        assert (result.answer, result.stop, stage["sum"].closed) == ("a saw 0", "deadline", 1)
        assert 0.55 < result.seconds < 3.0

    def test_it_may_begin_before_the_time_is_up_and_end_after(self) -> None:
        stage = desk(Limits(seconds=2.0, calls=3), seconds=0.4)
        stage["b"].seconds = 1.45
        result = stage.run(Scripted(*ON_AND_ON))
        assert (result.answer, result.stop) == ("all in all", "budget")


class TestNotSetAside:
    @pytest.mark.parametrize("limits", [Limits(calls=1), Limits(tokens=60), Limits(dollars=6e-5)])
    def test_a_budget_too_small_for_it_is_used_without(self, limits: Limits) -> None:
        stage = desk(limits)
        result = stage.run(Scripted(*ON_AND_ON))
        assert (result.stop, stage.turns("sum")) == ("budget", 0)
        assert len(authors(result)) >= 1

    def test_a_pool_that_is_empty_has_none(self) -> None:
        pool = Budget(Limits(calls=3), shared=True)
        stage = desk(Limits(), pool=pool)
        assert stage.run(Scripted(*ON_AND_ON)).answer == "all in all"
        with pytest.raises(BudgetExceeded):
            stage.run(Scripted(*ON_AND_ON))
        assert (pool.calls, pool.held_calls) == (3, 0)


def test_runs_at_once_never_exceed_their_pool() -> None:
    pool = Budget(Limits(calls=17, tokens=700), shared=True)
    stage = desk(Limits(calls=6), pool=pool)
    for name in ("a", "b", "sum"):
        stage[name].seconds = 0.01

    async def many() -> list[Any]:
        led = [stage.led_by(Scripted(*ON_AND_ON)) for _ in range(8)]
        runs = (each.run(Task.of("?"), id=f"r{place}") for place, each in enumerate(led))
        return await asyncio.gather(*runs, return_exceptions=True)

    ended = asyncio.run(many())
    assert all(isinstance(each, BudgetExceeded) or each.stop == "budget" for each in ended)
    assert any(not isinstance(each, BudgetExceeded) and each.answer == "all in all" for each in ended)
    assert pool.calls <= 17
    assert pool.tokens <= 700
    assert (pool.held_calls, pool.held_tokens) == (0, 0)


def newsroom(journal: Journal) -> tuple[Team, Mapping[str, ScriptedModel]]:
    models = voices()
    budget = {"calls": 4, "wind_down": "cyd"}
    return team(models, "round_robin", rounds=3, budget=budget, journal=journal), models


def test_a_run_that_was_killed_at_its_end_ends_as_it_would_have(tmp_path: Path) -> None:
    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    first, _ = newsroom(whole)
    with first:
        expected = first.run("how much?", seed=5)
    assert (authors(expected), expected.stop) == (["ann", "bob", "cyd", "cyd"], "budget")
    assert expected.answer == expected.nodes[-1].content
    assert narrate.tell(whole.load(expected.run)).ending.endswith("the best answer so far was written")
    assert [decision.policy for decision in expected.decisions[-2:]] == ["round_robin", "last turn: budget"]
    *steps, last = noted.transactions
    for kept, cut in enumerate([*(steps[:number] for number in range(1, len(steps) + 1)), [*steps, last[:-1]]]):
        journal = Journal(f"sqlite:///{tmp_path}/{kept}.db")
        asyncio.run(cut_after(journal, cut))
        again, models = newsroom(Journal(journal.url))
        with again:
            assert timeless(again.resume(expected.run)) == timeless(expected)
            assert again.journal is not None
            assert len(again.journal.load(expected.run).decisions) == len(expected.decisions) == 5
        done = sum(len(entry.calls) for entries in cut for entry in entries if isinstance(entry, Node))
        assert sum(model.calls for model in models.values()) == 4 - done


class TestFile:
    FILE = """
name: desk
models: {m: {provider: scripted, replies: [yes]}, me: {provider: human}}
agents: {ann: {role: solver, model: m}, boss: {role: x, model: me}}
coordinator: {kind: single, agent: ann}
budget: {%s}
"""

    def test_the_agent_is_named_in_the_budget(self) -> None:
        assert parse_team(self.FILE % "wind_down: ann").budget.wind_down == "ann"

    @pytest.mark.parametrize(
        ("budget", "words"),
        [
            ("wind_down: anne", "did you mean .ann"),
            ("wind_down: boss", "a person cannot be waited for"),
            ("wind_down: ann, calls: 1", "the only call would be kept for wind_down"),
        ],
    )
    def test_mistakes(self, budget: str, words: str) -> None:
        with pytest.raises(TeamFileError, match=words):
            parse_team(self.FILE % budget)


def test_a_team_says_whether_a_last_turn_is_set_aside() -> None:
    pool = {"calls": 8, "tokens": 100}
    with team({"ann": scripted("yes")}, budget={"wind_down": "ann"}, pool=pool) as desk:
        asked = Task.of("how much?")
        assert not desk.orchestrator.winds_down(asked)
        assert desk.orchestrator.pool is not None
        assert desk.orchestrator.pool.held_calls == 0
    with team({"ann": scripted("yes")}, budget={"wind_down": "ann"}) as desk:
        assert desk.orchestrator.winds_down(asked)
        assert not desk.orchestrator.winds_down(asked, Limits(calls=1))
        assert not desk.orchestrator.winds_down(Task.of("how much? " * 2000), Limits(tokens=8000))
    with team({"ann": scripted("yes")}) as desk:
        assert not desk.orchestrator.winds_down(asked)
