"""What an endpoint's broken answers are, and what they count for: raw bytes from a socket on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import repeat

import pytest

from podium.agents.agent import Agent
from podium.agents.endpoint import EndpointModel
from podium.agents.model import Price, Prompt, complete
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.retrying import Retry
from podium.orchestrator.topology import Topology
from podium.protocols.bus import MemoryBus
from podium.protocols.errors import BudgetExceeded, ModelError, ModelGarbage
from podium.protocols.events import Result
from podium.protocols.record import NO_USAGE, Sampling, Usage
from podium.protocols.task import Message, Task
from tests.agents.endpoint_server import GOOD, USAGE, chunk

pytestmark = pytest.mark.timeout(30)

ASKED = "What is 2 + 2?"
READ = len(ASKED) // 3 + 1
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def body(data: bytes, *headers: str, status: int = 200, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", "connection: close", *headers]
    return "\r\n".join([*lines, f"content-length: {len(data) if length is None else length}", "", ""]).encode() + data


def events(*parts: object) -> bytes:
    return STREAM + b"".join(b"data: %s\n\n" % json.dumps(part).encode() for part in parts)


def completion(usage: object) -> bytes:
    choices = [{"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}]
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    return body(json.dumps(whole).encode())


class Socket:
    """Sends the same to everybody. sent: bytes that were taken; requests: how many came."""

    def __init__(self, parts: Iterable[bytes | float]) -> None:
        self.parts = parts
        self.sent = self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
            self.requests += 1
            for part in self.parts:
                if not isinstance(part, bytes):
                    await asyncio.sleep(part)
                    continue
                writer.write(part)
                await writer.drain()
                self.sent += len(part)
        except ConnectionError:
            pass
        finally:
            writer.close()


class Listening:
    """A socket that somebody listens at, and the model behind it."""

    def __init__(self, parts: Iterable[bytes | float], timeout: float = 20.0) -> None:
        self.socket = Socket(parts)
        self.timeout = timeout

    async def __aenter__(self) -> tuple[Socket, EndpointModel]:
        self.server = await asyncio.start_server(self.socket.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        self.model = EndpointModel("small", "m", base_url=url, price=Price(1.0, 10.0), timeout=self.timeout)
        return self.socket, self.model

    async def __aexit__(self, *_: object) -> None:
        await self.model.close()
        self.server.close()


def ask(*parts: bytes | float, timeout: float = 20.0) -> Usage:
    async def main() -> Usage:
        async with Listening(parts, timeout) as (_, model):
            shown = (Message("user", ASKED),)
            return (await complete(model, Prompt("a", ASKED, lambda: shown), Sampling(max_tokens=16))).usage

    return asyncio.run(main())


def failed(*parts: bytes | float, timeout: float = 20.0) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ask(*parts, timeout=timeout)
    return caught.value


BROKEN = [body(b'{"id":', length=1000), body(b"not gzip at all", "content-encoding: gzip")]


@pytest.mark.parametrize("sent", BROKEN)
def test_a_body_that_breaks_is_as_a_stream_that_breaks(sent: bytes) -> None:
    error = failed(sent)
    assert isinstance(error, ModelGarbage)
    assert "broke off in the middle of its answer" in error.message
    assert error.usage.calls == 1


@pytest.mark.parametrize("sent", BROKEN)
def test_a_body_that_breaks_is_asked_for_again_and_then_of_the_fallback(sent: bytes) -> None:
    async def main() -> tuple[Result, int]:
        async with Listening([sent]) as (socket, model):
            agent = Agent("ann", "solver", model, fallbacks=[ScriptedModel("fine")])
            return await led(agent, Limits()).run(Task.of(ASKED), id="r"), socket.requests

    result, requests = asyncio.run(main())
    assert (result.answer, requests, result.usage.calls) == ("fine", 3, 4)


def test_a_broken_refusal_is_asked_again() -> None:
    error = failed(body(b"{", status=500, length=1000))
    assert error.transient
    assert error.message.endswith("failed (HTTP 500): {")
    assert error.usage is NO_USAGE


def led(agent: Agent, limits: Limits) -> Orchestrator:
    bus, retry = MemoryBus({"ann": agent}), Retry(3, wait=0.01, longest=0.1)
    return Orchestrator("t", bus, Single("ann"), Topology.full(["ann"]), limits, retry=retry)


HALF: Sequence[object] = GOOD[:2]
FINISHED: dict[str, object] = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [],
    "usage": USAGE,
}


@pytest.mark.parametrize(
    ("sent", "used"),
    [
        ((events(*HALF),), (READ, 3, 1)),  # estimated from what came: "It is "
        ((events(*HALF, FINISHED),), (11, 3, 1)),
        ((events(FINISHED),), (11, 3, 1)),
        ((events(),), (0, 0, 1)),
        ((events(*HALF, {"error": {"message": "died"}}),), (READ, 3, 1)),
        ((body(b"{}"),), (READ, 1, 1)),
        ((body(b'{"usage": {"prompt_tokens": 5, "completion_tokens": 0}}', status=500),), (5, 0, 1)),
        ((body(b'{"usage": "none"}', status=429),), (0, 0, 0)),
        ((body(b"[]", status=503),), (0, 0, 0)),
        ((b"",), (0, 0, 0)),
        ((STREAM, 5.0), (0, 0, 1)),
        ((events(*HALF), 5.0), (READ, 3, 1)),
        ((5.0,), (0, 0, 1)),
    ],
)
def test_an_attempt_counts_for_what_may_have_been_billed(
    sent: tuple[bytes | float, ...], used: tuple[int, int, int]
) -> None:
    usage = failed(*sent, timeout=0.5).usage
    assert (usage.input_tokens, usage.output_tokens, usage.calls) == used
    assert usage.dollars == pytest.approx((used[0] + 10 * used[1]) * 1e-6)


def test_a_budget_of_one_call_is_one_request() -> None:
    async def main() -> tuple[Result, int]:
        async with Listening([events(*HALF)]) as (socket, model):
            with pytest.raises(BudgetExceeded, match=r"after an attempt that failed: .* without a finish reason") as no:
                await led(Agent("ann", "solver", model), Limits(calls=1, tokens=800)).run(Task.of(ASKED), id="r")
            assert isinstance(no.value.partial, Result)
            return no.value.partial, socket.requests

    result, requests = asyncio.run(main())
    assert (requests, result.usage.calls) == (1, 1)
    assert result.usage.tokens > 0


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1000, "completion_tokens": -1000, "total_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 10**20, "total_tokens": 1},
        {"prompt_tokens": 2**53 + 1, "completion_tokens": 1, "total_tokens": 1},
    ],
)
def test_usage_that_cannot_be_is_estimated(usage: object) -> None:
    for sent in (completion(usage), events(*GOOD[:-1], {**FINISHED, "usage": usage})):
        used = ask(sent)
        assert used.input_tokens == READ
        assert 0 < used.output_tokens < 10


@pytest.mark.parametrize("tokens", [1.5, "12", None, True, float("inf")])
def test_usage_that_is_no_count_is_estimated(tokens: object) -> None:
    usage = {"prompt_tokens": tokens, "completion_tokens": 3}
    assert ask(events(*GOOD[:-1], {**FINISHED, "usage": usage})).input_tokens == READ


@pytest.mark.parametrize(
    ("first", "part"),
    [
        (STREAM, b"data: %s\n\n" % json.dumps(chunk({"content": "x" * 1000})).encode()),
        (STREAM, b"data: " + b"x" * 10_000),
        (STREAM, b": still here\n\n" * 100),
        (body(b"", length=10**9), b" " * 10_000),
    ],
)
def test_an_answer_without_an_end_is_cut_off(first: bytes, part: bytes) -> None:
    async def main() -> tuple[ModelError, int]:
        async with Listening(_then(first, part)) as (socket, model):
            shown = (Message("user", ASKED),)
            with pytest.raises(ModelGarbage, match="does not end") as caught:
                await complete(model, Prompt("a", ASKED, lambda: shown), Sampling(max_tokens=16))
            return caught.value, socket.sent

    error, sent = asyncio.run(main())
    assert sent < 20_000_000
    assert error.usage.calls == 1


def _then(first: bytes, part: bytes) -> Iterable[bytes]:
    yield first
    yield from repeat(part, 100_000)


def test_what_came_before_a_call_was_cancelled_is_kept() -> None:
    async def main() -> Result:
        async with Listening([events(*HALF), 20.0]) as (_, model):
            work = asyncio.create_task(led(Agent("ann", "solver", model), Limits()).run(Task.of(ASKED), id="r"))
            await asyncio.sleep(0.3)
            work.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await work
            return cancelled.value.args[0]

    result = asyncio.run(main())
    (call,) = result.nodes[-1].calls
    assert (call.error, result.usage.calls) == ("stopped in the middle of its answer", 1)
    assert result.usage.output_tokens == len("It is ") // 3 + 1


class Slow(ScriptedModel):
    """Says the first half of its reply, and no more."""

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str]:  # type: ignore[override]
        return self._slowly()

    async def _slowly(self) -> AsyncIterator[str]:
        yield "It is "
        await asyncio.sleep(20)


def test_what_came_before_the_deadline_is_kept() -> None:
    team = led(Agent("ann", "solver", Slow("")), Limits(seconds=0.1))
    with pytest.raises(BudgetExceeded) as caught:
        asyncio.run(team.run(Task.of(ASKED), id="r"))
    assert isinstance(caught.value.partial, Result)
    assert caught.value.partial.usage.output_tokens == 2
