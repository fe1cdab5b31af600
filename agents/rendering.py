"""How a conversation between several speakers becomes the two-speaker form that chat models were trained on.

A team's transcript has many voices: the task, other agents' replies, the directive. Chat templates know `user` and
`assistant`, and the strict ones (Mistral, Gemma, Llama-2) refuse two messages of one role in a row. So every model gets
its messages through here: neighbours of one role are joined by a blank line, and a `user` message with a name says who
speaks. Tool calls and tool results are never joined, because each answers to an id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podium.protocols.record import ToolCall
from podium.protocols.task import Message

__all__ = ["as_plain_text", "merged", "without_system"]


def merged(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in OpenAI's chat form, with no two joinable messages of one role next to each other.

    Consecutive `system`, `user` or `assistant` messages are joined with a blank line; a `user` message with a name is
    prefixed with "NAME: ". Messages with tool calls and tool results keep to themselves.
    """
    rendered: list[dict[str, Any]] = []
    joinable: str | None = None
    for message in messages:
        content = message.content
        if message.role == "user" and message.name:
            content = f"{message.name}: {content}"
        if message.role == "tool":
            rendered.append({"role": "tool", "content": content, "tool_call_id": message.tool_call_id or ""})
            joinable = None
        elif message.tool_calls:
            calls = [_tool_call(call) for call in message.tool_calls]
            rendered.append({"role": message.role, "content": content, "tool_calls": calls})
            joinable = None
        elif message.role == joinable:
            rendered[-1]["content"] += "\n\n" + content
        else:
            rendered.append({"role": message.role, "content": content})
            joinable = message.role
    return rendered


def without_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same conversation for templates that have no system role: its text opens the first user message."""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if not system:
        return rest
    if rest and rest[0]["role"] == "user":
        rest[0]["content"] = f"{system}\n\n{rest[0]['content']}"
        return rest
    return [{"role": "user", "content": system}, *rest]


def as_plain_text(messages: Sequence[dict[str, Any]]) -> str:
    """A prompt for models without a chat template: paragraphs, each opened by its role, ended by the model's turn."""
    lines = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
    return "\n\n".join([*lines, "Assistant:"])


def _tool_call(call: object) -> dict[str, Any]:
    if isinstance(call, ToolCall):
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    if isinstance(call, dict):
        return call  # pyright: ignore[reportUnknownVariableType]  # already in OpenAI's form
    raise TypeError(f"a message's tool call is a ToolCall or a dict in OpenAI's form, not {type(call).__name__}")
