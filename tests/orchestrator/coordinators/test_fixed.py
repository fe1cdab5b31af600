"""Fixed schedules: who speaks when, who sees what, and what happens when the budget is short."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinator import RunState
from podium.orchestrator.coordinators import Pipeline, RoundRobin, Sequential, Single, Step
from podium.orchestrator.decision_words import why
from podium.orchestrator.topology import Topology, TopologySpec
from podium.protocols.errors import BudgetExceeded, CoordinatorError
from podium.protocols.record import LAST, Decision
from tests.orchestrator.stage import Speaker, Stage, authors


def three() -> Stage:
    return Stage(Speaker("a", "A"), Speaker("b", "B"), Speaker("c", "C"))


def test_single_answers_in_one_decision() -> None:
    result = three().run(Single("b"))
    assert (result.answer, result.steps, result.usage.calls, result.stop) == ("B", 1, 1, "answered")


def test_single_names_an_agent_that_is_missing() -> None:
    with pytest.raises(CoordinatorError, match="no agent 'z'"):
        three().run(Single("z"))


def test_round_robin_takes_turns_and_shows_everything_said() -> None:
    stage = three()
    result = stage.run(RoundRobin(["b", "a"], rounds=2))
    assert authors(result) == ["b", "a", "b", "a"]
    assert result.steps == 4
    assert result.answer == "A"
    assert stage.shown("a", 1) == ["B", "A", "B"]


def test_sequential_lets_each_build_on_those_before() -> None:
    stage = three()
    result = stage.run(Sequential(stage.names))
    assert result.answer == "C"
    assert stage.shown("a") == []
    assert stage.shown("c") == ["A", "B"]


def test_pipeline_draws_samples_and_votes_among_them() -> None:
    stage = Stage(Speaker("a", lambda envelope: "x" if envelope.sample == 0 else "y"), Speaker("b", "done"))
    result = stage.run(Pipeline([Step("a", 3), Step("b")]))
    assert result.answer == "done"
    assert result.usage.calls == 4
    assert stage.shown("b") == ["y"]


def test_pipeline_may_end_with_a_vote_over_all_steps() -> None:
    stage = Stage(Speaker("a", "x"), Speaker("b", "y"))
    result = stage.run(Pipeline([Step("a"), Step("a"), Step("b")], ending="vote"))
    assert result.answer == "x"
    assert result.steps == 4


def test_pipeline_may_show_the_newest_reply_only() -> None:
    stage = three()
    stage.run(Pipeline([Step("a"), Step("b"), Step("c")], visible=LAST))
    assert stage.shown("c") == ["B"]


def test_agents_of_one_step_do_not_see_each_other_and_the_next_sees_both() -> None:
    stage = three()
    result = stage.run(Pipeline([Step("a", beside=(Step("b", 3),)), Step("b"), Step("c")]))
    assert authors(result) == ["a", "b", "b", "c"]
    assert result.steps == 3
    assert result.usage.calls == 6
    assert stage.shown("b", 0) == []
    assert stage.shown("b", 3) == ["A", "B"]
    assert stage.shown("c") == ["A", "B", "B"]


def test_the_step_before_is_shown_whole_where_it_asked_several() -> None:
    stage = three()
    stage.run(Pipeline([Step("c"), Step("a", beside=(Step("b"),)), Step("c"), Step("a")], visible=LAST))
    assert stage.shown("a", 0) == stage.shown("b", 0) == ["C"]
    assert stage.shown("c", 1) == ["A", "B"]
    assert stage.shown("a", 1) == ["C"]


def test_what_the_topology_holds_back_of_the_step_before_is_not_made_up_for() -> None:
    stage = three()
    stage.topology = Topology(TopologySpec(edges=(("a", "c"), ("a", "b"), ("b", "a"))), stage.names)
    stage.run(Pipeline([Step("a"), Step("a", beside=(Step("b"),)), Step("c")], visible=LAST))
    assert stage.shown("c") == ["A"]


def test_a_last_step_that_asks_several_ends_with_a_vote_among_its_answers() -> None:
    unsure = Speaker("b", lambda envelope: "x" if envelope.sample == 0 else "y")
    stage = Stage(Speaker("a", "x"), unsure, Speaker("c", "z"))
    result = stage.run(Pipeline([Step("c"), Step("a", beside=(Step("b", 5),))]))
    assert result.answer == "y"
    assert why(result.decisions[-1], result.nodes) == ["The most frequent answer: 4 of 6 agree."]
    assert stage.run(Pipeline([Step("c"), Step("a", beside=(Step("b"),))])).answer == "x"


def test_those_of_a_step_that_fit_the_budget_are_asked() -> None:
    dear = Speaker("b", "B", price=(1000.0, 1000.0))
    stage = Stage(Speaker("a", "A"), dear, Speaker("c", "C"), limits=Limits(dollars=0.001))
    result = stage.run(Pipeline([Step("b", beside=(Step("a"),)), Step("b"), Step("a", beside=(Step("b"),))]))
    assert authors(result) == ["a", "a"]
    assert (result.answer, result.stop, result.steps) == ("A", "answered", 2)


def test_steps_that_do_not_fit_the_budget_are_skipped_and_the_rest_goes_on() -> None:
    dear = Speaker("b", "B", price=(1000.0, 1000.0))
    stage = Stage(Speaker("a", "A"), dear, Speaker("c", "C"), limits=Limits(dollars=0.001))
    result = stage.run(Sequential(["a", "b", "c"]))
    assert authors(result) == ["a", "c"]
    assert result.answer == "C"
    assert result.stop == "answered"


def test_a_pipeline_whose_last_agent_is_too_dear_answers_with_what_it_has() -> None:
    dear = Speaker("b", "B", price=(1000.0, 1000.0))
    stage = Stage(Speaker("a", "A"), dear, limits=Limits(dollars=0.001))
    result = stage.run(Sequential(["a", "b"]))
    assert result.answer == "A"
    assert result.stop == "answered"
    assert stage.turns("b") == 0


def test_a_budget_that_ends_midway_keeps_the_newest_reply() -> None:
    stage = Stage(Speaker("a", "A"), Speaker("b", "B"), limits=Limits(calls=3))
    result = stage.run(RoundRobin(["a", "b"], rounds=5))
    assert authors(result) == ["a", "b", "a"]
    assert result.stop == "budget"
    assert result.usage.calls == 3


def test_a_budget_too_small_for_anybody_is_an_error_before_any_call() -> None:
    stage = Stage(Speaker("a"), limits=Limits(tokens=5))
    with pytest.raises(BudgetExceeded):
        stage.run(Sequential(["a"]))
    assert stage.turns("a") == 0


def test_a_pipeline_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        Pipeline([])


def test_deciding_costs_the_same_at_turn_400_as_at_turn_20() -> None:
    deciding: list[float] = []

    class Timed(RoundRobin):
        def decide(self, states: Sequence[RunState]) -> list[Decision]:
            start = time.perf_counter()
            made = super().decide(states)
            deciding.append(time.perf_counter() - start)
            return made

    Stage(Speaker("a"), Speaker("b")).run(Timed(["a", "b"], rounds=200))
    early, late = sorted(deciding[10:110])[50], sorted(deciding[-100:])[50]
    assert late < 3 * early
