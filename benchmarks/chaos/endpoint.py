"""An endpoint of OpenAI's protocol, in a process of its own, that does not always do what it should.

`python endpoint.py SEED SHARE` prints its port, and when its input ends, how often it did what.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from typing import Any

FAULTS = ("429", "500", "reset", "hang", "garbage")


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]} | more


USED = {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48}
EVENTS: list[dict[str, Any]] = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "It is "}),
    chunk({"content": "42."}),
    chunk({}, "stop"),
    chunk({}) | {"choices": [], "usage": USED},
]
ANSWER = b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in EVENTS) + b"data: [DONE]\n\n"


def whole(status: int, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Endpoint:
    """Serves any number of requests on each connection. share: of requests that something happens to."""

    def __init__(self, seed: str, share: float) -> None:
        self.dice = random.Random(seed)
        self.share = share
        self.counts: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(x.split(":")[1]) for x in head.splitlines() if x.lower().startswith("content-length"))
                await reader.readexactly(length)
                fault = self.dice.choice(FAULTS) if self.dice.random() < self.share else "answered"
                self.counts[fault] += 1
                if not await self.answer(fault, reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the last: it is all over
            pass
        finally:
            writer.close()

    async def answer(self, fault: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; whether the connection is still good."""
        good = whole(200, "text/event-stream", ANSWER)
        half = len(good) // 2
        match fault:
            case "429" | "500":
                writer.write(whole(int(fault), "application/json", b'{"error": {"message": "not now"}}'))
            case "reset":
                writer.write(good[:half])
                await writer.drain()
                writer.transport.abort()
                return False
            case "hang":
                writer.write(good[:half])
                await reader.read()
                return False
            case "garbage":
                writer.write(good[:half] + self.dice.randbytes(len(good) - half))
            case _:
                writer.write(good)
        await writer.drain()
        return True


async def main(seed: str, share: str) -> None:
    """Serve until the input ends."""
    endpoint = Endpoint(seed, float(share))
    listener = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(endpoint.counts))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
