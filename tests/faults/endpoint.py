"""A real HTTP endpoint of OpenAI's protocol that keeps count of what it answered, and refuses when told to.

Its answers depend on all that it is asked, so a run that takes another course ends with another answer. One connection
carries one request: what a proxy does to a connection happens to one call.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.agents.endpoint_server import USAGE, chunk
from tests.faults.account import SAID, chosen
from tests.faults.listener import Listener
from tests.faults.matrix import LEAD


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered in full. key: what was asked; port: where the connection came from."""

    agent: str
    key: str
    port: int


class Endpoint:
    """The models are named after the agents.

    refuse: model -> (HTTP status, how often); spared: model -> requests before that; refused: how often it did.
    meanwhile: what happens between a request of a model and its answer; what goes wrong there is the listener's to
    tell.
    """

    def __init__(self) -> None:
        self.answered: list[Answered] = []
        self.refuse: dict[str, tuple[int, int]] = {}
        self.spared: dict[str, int] = {}
        self.refused: Counter[str] = Counter()
        self.meanwhile: Callable[[str], Awaitable[None]] | None = None
        self.longest = 0  # bytes of a request
        self.listener = Listener(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(x.split(":")[1]) for x in head.splitlines() if x.lower().startswith("content-length"))
        body: dict[str, Any] = json.loads(await reader.readexactly(length))
        self.longest = max(self.longest, length)
        agent = str(body["model"])
        if self.meanwhile is not None:
            try:
                await self.meanwhile(agent)
            except Exception as error:  # a ConnectionError too: it is none of this connection's
                self.listener.broken = self.listener.broken or error
                raise
        status, times = self.refuse.get(agent, (0, 0))
        spared = self.spared.get(agent, 0)
        self.spared[agent] = max(0, spared - 1)
        if times and not spared:
            self.refuse[agent] = status, times - 1
            self.refused[agent] += 1
            said = b'{"error": {"message": "not now"}}'
            writer.write(_head(status, "application/json", f"content-length: {len(said)}\r\n") + said)
        else:
            key, events = _reply(agent, body)
            writer.write(_head(200, "text/event-stream", "") + events)
            self.answered.append(Answered(agent, key, writer.get_extra_info("peername")[1]))
        await writer.drain()


def _head(status: int, kind: str, more: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n{more}\r\n".encode()


def _reply(agent: str, body: dict[str, Any]) -> tuple[str, bytes]:
    """What was asked, in a word, and the events of the answer: a tool call first, where there is a tool."""
    asked = json.dumps(body["messages"], sort_keys=True).encode()
    key = f"{agent}-{zlib.crc32(asked) % 10**6}-{body.get('seed', 0) % 10**6}"
    if body.get("tools") and not any(message["role"] == "tool" for message in body["messages"]):
        call = {"id": key, "index": 0, "type": "function", "function": {"name": "look", "arguments": ""}}
        call["function"] = {"name": "look", "arguments": json.dumps({"key": key})}
        pieces, finish = [{"tool_calls": [call]}], "tool_calls"
    elif agent == LEAD:
        said = chosen(asked.decode(), key)
        pieces, finish = [{"content": said[:9]}, {"content": said[9:]}], "stop"
    else:
        pieces, finish = [{"content": SAID}, {"content": key}], "stop"
    used: dict[str, Any] = {**chunk({}), "choices": [], "usage": USAGE}
    events = [chunk({"role": "assistant", "content": ""}), *map(chunk, pieces), chunk({}, finish), used]
    return key, b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events) + b"data: [DONE]\n\n"
