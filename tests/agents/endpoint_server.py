"""A real HTTP server on this machine that speaks OpenAI's protocol, well and badly."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from podium.agents.endpoint import EndpointModel
from podium.agents.model import Price

KEY = "sk-very-secret-key"


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish} | more.pop("choice", {})
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]} | more


USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
GOOD: list[Any] = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "It is "}),
    chunk({"content": "4."}),
    chunk({}, "stop"),
    {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE},
]


class Server:
    """What the endpoint sends next, and what it was asked.

    parts: raw texts, chunks (as JSON events) or pauses. turns: what to arrange before each request, in order. deaf: the
    connection is cut without a word.
    """

    def __init__(self) -> None:
        self.turns: list[Callable[[Server], None]] = []
        self.deaf = False
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        self.kind = "text/event-stream"
        self.headers = ""
        self.parts: list[Any] = GOOD
        self.done = "data: [DONE]\n\n"
        self.cut = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if head.startswith("GET"):
                self.write(writer, 200, "application/json", json.dumps(self.models()))
                return
            length = next(int(x.split(":")[1]) for x in head.splitlines() if x.lower().startswith("content-length"))
            body = json.loads(await reader.readexactly(length))
            self.requests.append({"head": head, **body})
            if self.turns:
                self.turns.pop(0)(self)
            if self.deaf:
                writer.transport.abort()
                return
            if self.status != 200 or self.kind != "text/event-stream":
                self.write(writer, self.status, self.kind, str(self.parts[0]))
                return
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
                b"connection: close\r\n\r\n"  # else a client may send its next request while this one is closed
            )
            for part in [*self.parts, self.done]:
                if isinstance(part, float):
                    await asyncio.sleep(part)
                    continue
                text = part if isinstance(part, str) else f"data: {json.dumps(part)}\n\n"
                writer.write(b"%x\r\n%s\r\n" % (len(text.encode()), text.encode()) if text else b"")
                await writer.drain()
            if not self.cut:
                writer.write(b"0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def write(self, writer: asyncio.StreamWriter, status: int, kind: str, body: str) -> None:
        data = body.encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\nconnection: close\r\n"
        writer.write(f"{head}{self.headers}\r\n".encode() + data)

    @staticmethod
    def models() -> dict[str, Any]:
        names = ("qwen-small", "qwen-large")
        return {"object": "list", "data": [{"id": n, "object": "model", "created": 1, "owned_by": "x"} for n in names]}


def token(text: str, log_prob: float, id: int | None = None, finish: str | None = None) -> dict[str, Any]:
    """A chunk with one token, as an endpoint sends it that was asked for log-probs; with an id, as vLLM does."""
    log_probs: dict[str, Any] = {"content": [{"token": text, "logprob": log_prob, "top_logprobs": []}]}
    choice: dict[str, Any] = {"logprobs": log_probs} | ({} if id is None else {"token_ids": [id]})
    return chunk({"content": text}, finish, choice=choice)


@contextmanager
def in_a_thread(server: Server) -> Generator[int]:
    """The port that a server listens at, in an event loop of its own, while the caller's own is busy or not there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = asyncio.run_coroutine_threadsafe(asyncio.start_server(server.serve, "127.0.0.1", 0), loop).result(5)

    async def leave() -> None:
        listener.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for each in rest:
            each.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(leave(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def listening() -> AsyncGenerator[tuple[Server, str]]:
    """A server, and the base_url that it answers at."""
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield server, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    finally:
        listener.close()


@asynccontextmanager
async def endpoint(**settings: Any) -> AsyncGenerator[tuple[Server, EndpointModel]]:
    async with listening() as (server, base_url):
        model = EndpointModel(
            "small",
            "qwen-small",
            base_url=base_url,
            api_key=KEY,
            key_setting="models.small.api_key",
            price=Price(1.0, 10.0),
            **settings,
        )
        try:
            yield server, model
        finally:
            await model.close()
