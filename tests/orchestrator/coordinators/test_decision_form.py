"""The form of a decision: what obeys its schema is one, and OpenAI and vLLM take the schema."""

from __future__ import annotations

import json
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from podium.orchestrator.coordinator import RunState
from podium.orchestrator.coordinators.decision_form import (
    Choices,
    Form,
    NoDecisionError,
    caps,
    form_of,
    json_in,
    why_in,
)
from podium.protocols.record import PLANS, Finish, Plan
from tests.orchestrator.by_schema import instance

PORTABLE = {"type", "properties", "required", "additionalProperties", "enum", "anyOf", "items", "minItems", "maxItems"}
"""Keywords that OpenAI's strict mode and xgrammar know; `maxLength` is left out for OpenAI."""

CREW = ("anna", "bert", 'c "q"')
FORMS = [
    Choices(CREW, ()),
    Choices(("anna",), (2,), (2,)),
    Choices((), (2, 5)),
    Choices(CREW, (2, 5, 7), (2, 5, 7), ("propose", "verify"), width=4, samples=3, caps=caps(700)),
    Choices(CREW, (2,), (2,), plans=PLANS),
]


def state() -> RunState:
    cards = [SimpleNamespace(name=name, max_tokens=700) for name in CREW]
    return cast(RunState, SimpleNamespace(run="r", step=4, cards=cards))


def keywords(schema: Any) -> set[str]:
    """All keywords of a schema, names of properties left out."""
    if isinstance(schema, list):
        return set[str]().union(*map(keywords, cast(list[Any], schema)))
    if not isinstance(schema, dict):
        return set()
    parts = cast(dict[str, Any], schema)
    inner = [*parts.get("properties", {}).values(), *(part for key, part in parts.items() if key != "properties")]
    return set(parts).union(*map(keywords, inner))


@pytest.mark.parametrize("choices", FORMS)
def test_what_obeys_the_schema_is_a_decision(choices: Choices) -> None:
    form, random = form_of(choices), Random(0)
    for _ in range(200):
        value = instance(form.schema, random)
        text = json.dumps(value).replace("\\u0007", "\x07")  # xgrammar lets control characters through
        action = form.read(text, state())
        if isinstance(action, Finish):
            assert action.answer == value["decision"]["finish"]
        else:
            assert [each.agent for each in action] == [each["agent"] for each in value["decision"]["ask"]]
            assert len({each.id for each in action}) == len(action) <= choices.width


@pytest.mark.parametrize("choices", FORMS)
def test_the_schema_is_portable(choices: Choices) -> None:
    schema = form_of(choices).schema
    assert keywords(schema) <= PORTABLE | {"maxLength"}
    assert schema["type"] == "object", "OpenAI takes no union at the top"


def test_forms_are_made_once() -> None:
    assert form_of(FORMS[3]) is form_of(Choices(**{each: getattr(FORMS[3], each) for each in Choices.__annotations__}))


def test_caps_end_with_the_longest_reply() -> None:
    assert (caps(700), caps(64), caps(20)) == ((64, 128, 256, 512, 700), (64,), (20,))


def test_a_cap_that_is_no_limit_is_left_to_the_agent() -> None:
    def cap(tokens: int) -> int | None:
        text = {"decision": {"ask": [{"agent": "anna", "max_tokens": tokens}]}}
        (directive,) = cast(Any, Form(FORMS[3]).read(json.dumps(text), state()))
        return directive.compute.max_tokens

    assert (cap(128), cap(700)) == (128, None)


def test_what_is_told_of_plans_is_asked_where_there_is_a_choice() -> None:
    def plan(plans: tuple[Plan, ...], **given: str) -> str:
        text = {"decision": {"ask": [{"agent": "anna", **given}]}}
        (directive,) = cast(Any, Form(Choices(CREW, (), plans=plans)).read(json.dumps(text), state()))
        return directive.compute.plan

    assert (plan(PLANS, plan="renew"), plan(PLANS)) == ("renew", "none")
    assert (plan(("none",)), plan(("keep",))) == ("none", "keep")
    with pytest.raises(NoDecisionError, match="plan"):
        plan(("none",), plan="renew")


def test_the_object_with_a_decision_is_the_one() -> None:
    assert json_in('{"a": {"decision": 1}} {"decision": 2} {"decision": 3}') == {"decision": 2}
    assert json_in('{"a": 1} {"b": 2}') == {"a": 1}
    assert json_in("<think>{}</think> no") is None
    assert json_in('{"a": ' + "9" * 5_000 + "}") is None


def test_the_reason_is_one_line() -> None:
    assert why_in('{"why": "a\\n b", "decision": {}}') == "a b"
    assert len(why_in(json.dumps({"why": "x" * 999}))) == 300
    assert why_in('{"why": 3}') == why_in("?") == ""
