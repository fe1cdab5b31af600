"""Errors, redirects and lists of models whose bodies do not end, or come slowly: raw bytes from a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
from collections.abc import Iterable
from itertools import repeat

import pytest

from podium.agents.model import Prompt, complete
from podium.protocols.errors import ModelError, ModelUnreachable
from podium.protocols.record import NO_USAGE, Sampling
from podium.protocols.task import Message
from tests.agents.test_endpoint_broken import Listening, body

pytestmark = pytest.mark.timeout(30)

MEGABYTE = 1 << 20
IN_FLIGHT = 16 * MEGABYTE
"""What the buffers of two sockets and two event loops may hold besides."""
SAID = b'{"error": {"message": "out of memory"}}'


def refused(parts: Iterable[bytes | float], timeout: float = 20.0) -> tuple[ModelError, int]:
    """The error that is made of an answer, and how many bytes were sent until then."""

    async def main() -> tuple[ModelError, int]:
        async with Listening(parts, timeout) as (socket, model):
            with pytest.raises(ModelError) as caught:
                await complete(model, Prompt("a", "how?", lambda: (Message("user", "how?"),)), Sampling(max_tokens=16))
            return caught.value, socket.sent

    return asyncio.run(main())


def endless(first: bytes, part: bytes) -> Iterable[bytes]:
    """Some 10 GB."""
    yield first
    yield from repeat(part, 10_000_000_000 // len(part))


def head(status: int, *headers: str) -> bytes:
    return body(b"", *headers, status=status, length=10**12)


@pytest.mark.parametrize(
    "first",
    [head(500), b"HTTP/1.1 500 X\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n"],
    ids=["announced", "until it closes"],
)
def test_an_error_that_does_not_end_is_read_in_part(first: bytes) -> None:
    began = time.monotonic()
    tracemalloc.start()
    try:
        error, sent = refused(endless(first, b"no, " * 16_384))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 10
    assert error.transient
    assert "failed (HTTP 500): no, no, " in error.message
    assert len(error.message) < 500
    assert error.usage is NO_USAGE
    assert sent < IN_FLIGHT
    assert peak < IN_FLIGHT


def test_an_error_that_unpacks_to_far_more_is_unpacked_in_part() -> None:
    bomb = gzip.compress(b" " * (256 * MEGABYTE), 1)
    tracemalloc.start()
    try:
        error, _ = refused([body(bomb, "content-encoding: gzip", status=503)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, ModelUnreachable)
    assert "HTTP 503" in error.message
    assert peak < 128 * MEGABYTE


def test_an_error_that_comes_slowly_keeps_its_status_and_when_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.agents.short_bodies.SECONDS", 0.3)
    began = time.monotonic()
    error, _ = refused([body(SAID, "retry-after: 7", status=429, length=10**6), 60.0])
    assert time.monotonic() - began < 5
    assert (error.transient, error.after) == (True, 7.0)
    assert "HTTP 429" in error.message


def test_an_error_that_drips_is_not_waited_for_beyond_the_timeout() -> None:
    began = time.monotonic()
    error, sent = refused([head(500), *[b"x", 0.05] * 400], timeout=1.0)
    assert time.monotonic() - began < 4
    assert isinstance(error, ModelUnreachable)
    assert "gave no (further) answer" in error.message
    assert sent < 1000


def test_an_error_of_the_usual_length_is_as_it_was() -> None:
    error, _ = refused([body(SAID, status=500)])
    assert error.message.endswith("failed (HTTP 500): out of memory")
    packed, _ = refused([body(gzip.compress(SAID), "content-encoding: gzip", status=500)])
    assert packed.message.endswith("failed (HTTP 500): out of memory")


def test_a_redirect_that_does_not_end_is_not_read_to_its_end() -> None:
    error, sent = refused(endless(head(301, "location: /v2"), b"x" * 65_536))
    assert isinstance(error, ModelError)
    assert sent < 25 * IN_FLIGHT  # it is followed some twenty times


def test_a_list_of_models_that_does_not_end_is_left_out() -> None:
    lists = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lists
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            if asked.startswith(b"POST"):
                writer.write(body(json.dumps({"error": {"message": "no such model"}}).encode(), status=404))
                return
            for part in endless(body(b"", length=10**12), b'{"data": [' + b" " * 65_536):
                writer.write(part)
                await writer.drain()
                lists += len(part)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def main() -> ModelError:
        async with Listening(()) as (_, model):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            model.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            with pytest.raises(ModelError) as caught:
                await complete(model, Prompt("a", "how?", lambda: (Message("user", "how?"),)), Sampling(max_tokens=16))
            server.close()
            return caught.value

    error = asyncio.run(main())
    assert "was not found (HTTP 404): no such model; mend its model or base_url" in error.message
    assert 0 < lists < IN_FLIGHT
