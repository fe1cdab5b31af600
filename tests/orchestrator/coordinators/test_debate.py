"""Debate and mixture of agents: rounds, layers, who saw what, and who has the last word."""

from __future__ import annotations

from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinators import Debate, MixtureOfAgents
from podium.protocols.bus import Envelope
from tests.orchestrator.stage import Speaker, Stage, authors


def numbered(name: str) -> Speaker:
    """Says its name and how often it has spoken."""
    count = iter(range(1, 100))
    return Speaker(name, lambda envelope: f"{name}{next(count)}")


def crew(*names: str, limits: Limits | None = None) -> Stage:
    return Stage(*(numbered(name) for name in names), limits=limits)


def test_the_first_round_is_blind_and_later_rounds_see_all() -> None:
    stage = crew("a", "b")
    result = stage.run(Debate(["a", "b"], rounds=3))
    assert authors(result) == ["a", "b"] * 3
    assert result.steps == 4
    assert stage.shown("a", 0) == stage.shown("b", 0) == []
    assert stage.shown("a", 1) == stage.shown("b", 1) == ["a1", "b1"]
    assert stage.shown("b", 2) == ["a1", "b1", "a2", "b2"]
    assert [heard.directive.objective for heard in stage["a"].heard] == ["propose", "refine", "refine"]


def test_only_the_last_round_votes() -> None:
    def turncoat(first: str, then: str) -> Speaker:
        said = iter((first, then))
        return Speaker(first + then, lambda envelope: next(said))

    stage = Stage(turncoat("x", "z"), turncoat("x", "y"), turncoat("w", "y"))
    assert stage.run(Debate(stage.names, rounds=2)).answer == "y"


def test_an_aggregator_reads_the_last_round_and_answers() -> None:
    stage = crew("a", "b", "judge")
    result = stage.run(Debate(["a", "b"], rounds=2, aggregator="judge"))
    assert result.answer == "judge1"
    assert result.steps == 3
    assert stage.shown("judge") == ["a2", "b2"]
    assert stage["judge"].heard[0].directive.answer


def test_a_debate_goes_on_without_those_who_do_not_fit() -> None:
    dear = Speaker("dear", "no", price=(1000.0, 1000.0))
    stage = Stage(Speaker("a", "A"), dear, limits=Limits(dollars=0.001))
    result = stage.run(Debate(["a", "dear"], rounds=2, aggregator="dear"))
    assert authors(result) == ["a", "a"]
    assert result.answer == "A"
    assert result.stop == "answered"


def test_each_layer_sees_the_layer_before_it_and_nothing_else() -> None:
    stage = crew("a", "b", "judge")
    result = stage.run(MixtureOfAgents(["a", "b"], "judge", layers=3))
    assert result.answer == "judge1"
    assert result.steps == 4
    assert [stage.shown("b", layer) for layer in range(3)] == [[], ["a1", "b1"], ["a2", "b2"]]
    assert stage.shown("judge") == ["a3", "b3"]


def test_one_layer_is_proposers_and_aggregator() -> None:
    stage = crew("a", "b", "judge")
    result = stage.run(MixtureOfAgents(["a", "b"], "judge", layers=1))
    assert authors(result) == ["a", "b", "judge"]
    assert stage.shown("judge") == ["a1", "b1"]


def test_a_budget_that_ends_between_layers_still_answers() -> None:
    stage = crew("a", "b", "judge", limits=Limits(calls=4))
    result = stage.run(MixtureOfAgents(["a", "b"], "judge", layers=2))
    assert result.stop == "budget"
    assert result.answer == "a2"
    assert stage.turns("judge") == 0


def test_an_aggregator_that_does_not_fit_leaves_it_to_the_vote() -> None:
    judge = Speaker("judge", "J", price=(1000.0, 1000.0))
    stage = Stage(Speaker("a", "x"), Speaker("b", "y"), Speaker("c", "y"), judge, limits=Limits(dollars=0.001))
    result = stage.run(MixtureOfAgents(["a", "b", "c"], "judge", layers=1))
    assert result.answer == "y"
    assert result.stop == "answered"


def test_samples_within_a_round_count_as_their_reply() -> None:
    """newest_round returns replies only, whatever candidates lie between them."""
    from podium.orchestrator.coordinators.debate import newest_round
    from podium.protocols.record import Compute, Directive, Finish
    from tests.orchestrator.stage import Scripted

    def said(envelope: Envelope) -> str:
        return f"{envelope.directive.agent}{envelope.sample}"

    stage = Stage(Speaker("a", said), Speaker("b", said))
    three = Compute(3, "vote")
    coordinator = Scripted(
        (Directive("r.0.0", "a"),),
        (Directive("r.1.0", "a", compute=three), Directive("r.1.1", "b", compute=three)),
        lambda state: Finish(newest_round(state)[1].id),
    )
    result = stage.run(coordinator)
    assert result.answer == "b0"
    assert [n.author for n in newest_round(coordinator.states[2])] == ["a", "b"]
