"""Merging a team's messages into the two roles that chat templates know."""

from __future__ import annotations

import pytest

from podium.agents.rendering import as_plain_text, merged, without_system
from podium.protocols.record import ToolCall
from podium.protocols.task import Message


def test_neighbours_are_joined_and_names_shown() -> None:
    messages = (
        Message("system", "S"),
        Message("user", "task"),
        Message("user", "one", name="ann"),
        Message("user", "two", name="bob"),
        Message("assistant", "x"),
        Message("user", "go"),
    )
    assert merged(messages) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "task\n\nann: one\n\nbob: two"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "go"},
    ]


def test_tool_messages_keep_to_themselves() -> None:
    messages = (
        Message("user", "q"),
        Message("assistant", "", tool_calls=(ToolCall("1", "f", "{}"),)),
        Message("tool", "a", tool_call_id="1"),
        Message("tool", "b", tool_call_id="2"),
        Message("assistant", "done"),
    )
    roles = [message["role"] for message in merged(messages)]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]
    assert merged(messages)[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_a_tool_call_of_another_kind_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="ToolCall"):
        merged((Message("assistant", "", tool_calls=("f",)),))


def test_templates_without_a_system_role() -> None:
    messages = merged((Message("system", "S"), Message("user", "q")))
    assert without_system(messages) == [{"role": "user", "content": "S\n\nq"}]
    assert without_system(messages[:1]) == [{"role": "user", "content": "S"}]
    assert without_system(messages[1:]) == messages[1:]


def test_plain_text_ends_with_the_models_turn() -> None:
    assert as_plain_text(merged((Message("user", "q"),))) == "User: q\n\nAssistant:"
