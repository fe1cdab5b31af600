"""Router and oracle: steps chosen from the task before anybody speaks."""

from __future__ import annotations

import pytest

from podium.orchestrator.coordinators import Oracle, Routed, Step
from podium.protocols.errors import CoordinatorError
from podium.protocols.task import Message
from tests.orchestrator.stage import Speaker, Stage, authors


def crew() -> Stage:
    return Stage(Speaker("a", "A"), Speaker("b", "B"), Speaker("c", "C"))


def by_first_word(task: tuple[Message, ...]) -> list[Step]:
    return {"add": [Step("a")], "chain": [Step("a"), Step("b"), Step("c", 3)]}.get(task[-1].content.split()[0], [])


def test_each_task_gets_its_own_steps() -> None:
    assert authors(crew().run(Routed(by_first_word), "add 1 1")) == ["a"]
    result = crew().run(Routed(by_first_word), "chain it")
    assert authors(result) == ["a", "b", "c"]
    assert result.answer == "C"
    assert result.usage.calls == 5


def test_later_steps_are_shown_the_reply_before_them() -> None:
    stage = crew()
    stage.run(Routed(by_first_word), "chain it")
    assert stage.shown("a") == []
    assert stage.shown("b") == ["A"]
    assert stage.shown("c") == ["B"]


def test_a_task_without_a_route_is_a_typed_error() -> None:
    with pytest.raises(CoordinatorError, match="gives no step for the task 'sing'"):
        crew().run(Routed(by_first_word), "sing")


def test_the_oracle_follows_what_was_found_and_knows_nothing_else() -> None:
    oracle = Oracle({(Message("user", "x"),): [Step("b")]})
    assert crew().run(oracle, "x").answer == "B"
    with pytest.raises(CoordinatorError, match="has not searched the task 'y'"):
        crew().run(oracle, "y")
