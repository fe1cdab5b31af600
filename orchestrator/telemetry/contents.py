"""What was said, in the form that OpenTelemetry's conventions give messages: JSON of roles and parts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from podium.protocols.record import Generation, ToolCall
from podium.protocols.task import Message

__all__ = ["reply_json", "said_json"]

FINISHES = {"tool": "tool_call", "length": "length", "stop": "stop", "cancelled": "error"}


def said_json(messages: Iterable[Message]) -> str:
    """What a model is asked, or what a team is."""
    return json.dumps([_message(message) for message in messages], ensure_ascii=False)


def reply_json(text: str, generation: Generation | None = None) -> str:
    """What a model replies, or what a team answers. generation: where the text is from, with the tools it asks for."""
    finish = "stop" if generation is None else FINISHES[generation.finish]
    parts = _parts(text, () if generation is None else generation.tool_calls)
    return json.dumps([{"role": "assistant", "parts": parts, "finish_reason": finish}], ensure_ascii=False)


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        answer = {"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}
        return {"role": "tool", "parts": [answer]}
    made: dict[str, Any] = {"role": message.role, "parts": _parts(message.content, message.tool_calls)}
    return made if message.name is None else {**made, "name": message.name}


def _parts(text: str, calls: Iterable[object]) -> list[dict[str, Any]]:
    asked = [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in calls
        if isinstance(call, ToolCall)
    ]
    return [{"type": "text", "content": text}, *asked] if text or not asked else asked
