"""What a chat completions request says about the form of the reply, from the JSON Schema that a prompt holds.

OpenAI's API and vLLM's take the same field: {"type": "json_schema", "json_schema": {"name", "schema", "strict"}}. With
strict, OpenAI decodes under the schema; vLLM does so anyway. Servers that know no schemas often know {"type":
"json_object"}: any JSON object, which is what the schema ANY_OBJECT stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

__all__ = ["ANY_OBJECT", "response_format"]

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""The schema of every JSON object."""

UNKNOWN_TO_OPENAI = ("maxLength", "minLength")
"""Keywords that OpenAI refuses under strict; elsewhere they keep a text from running on until its cap."""


def response_format(schema: Mapping[str, Any], *, at_openai: bool) -> dict[str, Any]:
    """The field `response_format`. at_openai: the request goes to OpenAI itself.

    A schema is strict where its objects are closed; an open one is a wish, which a server may meet as it can.
    """
    if schema == ANY_OBJECT:
        return {"type": "json_object"}
    sent = _without(schema, UNKNOWN_TO_OPENAI) if at_openai else schema
    named: dict[str, Any] = {"name": "reply", "schema": sent}
    if schema.get("additionalProperties") is False:
        named["strict"] = True
    return {"type": "json_schema", "json_schema": named}


def _without(part: Any, keywords: tuple[str, ...]) -> Any:
    """A schema without some keywords; what is called so within `properties` stays."""
    if isinstance(part, list):
        return [_without(each, keywords) for each in cast(list[Any], part)]
    if not isinstance(part, Mapping):
        return part
    out: dict[str, Any] = {}
    for key, value in cast(Mapping[str, Any], part).items():
        if key == "properties":
            out[key] = {name: _without(each, keywords) for name, each in value.items()}
        elif key not in keywords:
            out[key] = _without(value, keywords)
    return out
