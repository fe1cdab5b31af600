"""What a request says about the form of the reply."""

from __future__ import annotations

from typing import Any

from podium.agents.response_format import ANY_OBJECT, response_format

CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "maxLength": {"type": "string", "maxLength": 3},
        "b": {"anyOf": [{"type": "string", "minLength": 1}]},
    },
    "required": ["maxLength", "b"],
    "additionalProperties": False,
}


def test_any_object() -> None:
    assert response_format(ANY_OBJECT, at_openai=False) == {"type": "json_object"}


def test_a_closed_schema_is_strict_and_goes_as_it_is() -> None:
    sent = response_format(CLOSED, at_openai=False)
    assert sent == {"type": "json_schema", "json_schema": {"name": "reply", "schema": CLOSED, "strict": True}}


def test_openai_is_spared_what_it_refuses() -> None:
    schema = response_format(CLOSED, at_openai=True)["json_schema"]["schema"]
    assert schema["properties"] == {"maxLength": {"type": "string"}, "b": {"anyOf": [{"type": "string"}]}}
    assert schema["required"] == CLOSED["required"]


def test_an_open_schema_is_no_promise() -> None:
    schema = {"type": "object", "properties": {"score": {"type": "number"}}}
    assert "strict" not in response_format(schema, at_openai=True)["json_schema"]
