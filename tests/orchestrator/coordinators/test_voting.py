"""Votes: who votes, that nobody sees the others, and how ties are broken."""

from __future__ import annotations

from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinators import ParallelVote, SelfConsistency
from podium.orchestrator.decision_words import why
from podium.protocols.task import Message, Task
from tests.orchestrator.stage import Speaker, Stage, authors


def test_the_most_frequent_answer_wins_and_nobody_sees_the_others() -> None:
    stage = Stage(Speaker("a", "1"), Speaker("b", "2"), Speaker("c", "2"))
    result = stage.run(ParallelVote(stage.names))
    assert result.answer == "2"
    assert result.steps == 2
    assert result.usage.calls == 3
    assert all(stage.shown(name) == [] for name in stage.names)


def test_the_earliest_wins_a_tie_whoever_is_faster() -> None:
    stage = Stage(Speaker("a", "slow", seconds=0.02), Speaker("b", "fast"))
    assert stage.run(ParallelVote(["a", "b"])).answer == "slow"
    assert stage.run(ParallelVote(["b", "a"])).answer == "fast"


def test_answers_are_compared_by_what_the_task_extracts() -> None:
    task = Task("t", (Message("user", "?"),), answer=lambda text: text.split()[-1] if text else None)
    stage = Stage(Speaker("a", "it is 7"), Speaker("b", "surely 8"), Speaker("c", "I say 8"))
    result = stage.run(ParallelVote(stage.names), task)
    assert result.answer == "surely 8"
    assert why(result.decisions[-1], result.nodes) == ["The most frequent answer: 2 of 3 agree."]


def test_replies_without_an_answer_do_not_vote() -> None:
    task = Task("t", (Message("user", "?"),), answer=lambda text: text if text.isdigit() else None)
    stage = Stage(Speaker("a", "hm"), Speaker("b", "hm"), Speaker("c", "3"))
    assert stage.run(ParallelVote(stage.names), task).answer == "3"
    mute = Stage(Speaker("a", "hm"), Speaker("b", "hm"), Speaker("c", "ha"))
    result = mute.run(ParallelVote(mute.names), task)
    told = "None of 3 answers could be compared with another; the newest was taken."
    assert (result.answer, why(result.decisions[-1], result.nodes)) == ("ha", [told])


def test_every_sample_is_a_ballot() -> None:
    """x wins with three ballots although it is the majority of nobody's own samples."""
    lines = {"a": ("p", "p", "x"), "b": ("q", "q", "x"), "c": ("r", "x", "s")}
    stage = Stage(*(Speaker(name, lambda e, said=said: said[e.sample]) for name, said in lines.items()))
    result = stage.run(ParallelVote(stage.names, samples=3))
    assert result.answer == "x"
    assert result.nodes[result.node].kind == "candidate"


def test_voters_that_do_not_fit_the_budget_stay_out() -> None:
    dear = Speaker("b", "no", price=(1000.0, 1000.0))
    stage = Stage(Speaker("a", "yes"), dear, limits=Limits(dollars=0.001))
    result = stage.run(ParallelVote(stage.names))
    assert result.answer == "yes"
    assert authors(result) == ["a"]


def test_a_budget_for_some_of_the_voters_takes_the_first() -> None:
    stage = Stage(Speaker("a", "1"), Speaker("b", "2"), Speaker("c", "2"), limits=Limits(calls=2))
    result = stage.run(ParallelVote(stage.names))
    assert authors(result) == ["a", "b"]
    assert result.answer == "1"
    assert why(result.decisions[-1], result.nodes) == ["No two of 2 answers agree; the earliest was taken."]
    assert result.refused == 1


def test_self_consistency_is_one_decision_and_keeps_all_samples() -> None:
    stage = Stage(Speaker("a", lambda envelope: "xyyxy"[envelope.sample]))
    result = stage.run(SelfConsistency("a", 5))
    assert (result.answer, result.steps, result.usage.calls) == ("y", 1, 5)
    assert [node.content for node in result.nodes if node.kind == "candidate"] == list("xyyxy")


def test_self_consistency_draws_what_the_budget_holds() -> None:
    stage = Stage(Speaker("a", lambda envelope: "xyyxy"[envelope.sample]), limits=Limits(calls=3))
    result = stage.run(SelfConsistency("a", 5))
    assert result.answer == "y"
    assert result.usage.calls == 3
