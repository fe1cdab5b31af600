"""How long the server waits for its clients: raw sockets that send half of what they should, or do not read."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from podium.agents.model import Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator import server_connection
from podium.orchestrator.server_connection import Connection
from podium.orchestrator.team import Team
from podium.protocols.record import Generation, Sampling
from tests.orchestrator.teams import scripted, team
from tests.orchestrator.test_server import ASK, serving, wait_for

SHORT = 0.4
"""Seconds that the tests make of each deadline."""

MEGABYTE = 1024 * 1024
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.orchestrator.server_body.BODY_SECONDS", SHORT)
    monkeypatch.setattr(server_connection, "HEAD_SECONDS", SHORT)
    monkeypatch.setattr(server_connection, "UNREAD_SECONDS", SHORT)
    monkeypatch.setattr("podium.orchestrator.server.UNREAD_SECONDS", SHORT)


def desk(model: ScriptedModel | None = None) -> Team:
    return team({"ann": model or scripted("it is 42")}, "single", agent="ann")


@contextmanager
def connected(address: str, holds: int = 4096) -> Generator[socket.socket]:
    """A client that can hold so many bytes of what it does not read."""
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, holds)
        raw.settimeout(20)
        raw.connect((host, int(port)))
        yield raw


def request(stream: bool) -> bytes:
    body = json.dumps({"model": "desk", "messages": ASK, "stream": stream}).encode()
    return HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def rest(raw: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    found = bytearray()
    with suppress(ConnectionError):
        while piece := raw.recv(MEGABYTE):
            found += piece
    return bytes(found)


def trickled(raw: socket.socket, byte: bytes) -> float:
    """Seconds until the server ends the connection of a client that sends a byte now and then."""
    began = time.monotonic()
    with suppress(ConnectionError):
        while time.monotonic() - began < 10:
            raw.sendall(byte)
            time.sleep(0.05)
    return time.monotonic() - began


def test_half_a_body_is_not_waited_for() -> None:
    with serving({"desk": desk()}) as address, connected(address) as raw:
        raw.sendall(HEAD + b'Content-Length: 1000\r\n\r\n{"model":')
        answer = raw.recv(4096)
        while not answer.endswith(b"}}"):
            answer += raw.recv(4096)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        error = json.loads(body)["error"]
        assert (error["code"], error["type"]) == ("request_timeout", "invalid_request_error")
        assert error["message"] == "the request was not sent within 0.4 seconds; 9 bytes of it came"
        assert trickled(raw, b" ") < 5
        assert httpx.get(f"{address}/health").status_code == 200


@pytest.mark.parametrize("begun", [b"", HEAD, b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n" + HEAD])
def test_half_a_head_is_not_waited_for(begun: bytes) -> None:
    with serving({"desk": desk()}) as address, connected(address) as raw:
        raw.sendall(begun)
        assert trickled(raw, b"X") < 5


def test_who_takes_its_time_between_requests_is_served() -> None:
    with serving({"desk": desk()}) as address, httpx.Client(base_url=address) as http:
        for _ in range(3):
            assert http.get("/health").status_code == 200
            time.sleep(SHORT * 0.6)


def test_a_server_that_stops_does_not_wait_for_half_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.orchestrator.server_body.BODY_SECONDS", 60)
    with serving({"desk": desk()}) as address:
        host, port = address.removeprefix("http://").split(":")
        raw = socket.create_connection((host, int(port)))
        raw.sendall(HEAD + b'Content-Length: 100\r\n\r\n{"model":')
        time.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 5  # and not the 10 s that runs under way are given
    raw.close()


class Endless(ScriptedModel):
    """A model that never ends; closed: how often it was left."""

    closed = 0

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        try:
            while True:
                yield "word " * 10_000
                await asyncio.sleep(0.01)
        finally:
            self.closed += 1


@pytest.mark.parametrize("protocol", [Connection, "h11"])
def test_a_stream_that_nobody_reads_is_cancelled(
    protocol: type[Connection] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(app: Starlette) -> uvicorn.Config:
        return uvicorn.Config(app, http=protocol, log_level="critical")  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr("tests.orchestrator.test_server.config_of", config)
    model = Endless("never")
    with serving({"desk": desk(model)}) as address, connected(address) as raw:
        raw.sendall(request(stream=True))
        assert raw.recv(15) == b"HTTP/1.1 200 OK"
        wait_for(lambda: model.closed)
        assert b"[DONE]" not in rest(raw)


def test_an_answer_that_nobody_reads_is_dropped() -> None:
    with serving({"desk": desk(scripted("word " * 4 * MEGABYTE))}) as address, connected(address) as raw:
        raw.sendall(request(stream=False))
        assert raw.recv(15) == b"HTTP/1.1 200 OK"
        time.sleep(SHORT * 3)
        assert len(rest(raw)) < 20 * MEGABYTE


def test_an_answer_that_is_read_slowly_arrives_whole() -> None:
    long = desk(scripted("word " * 4 * MEGABYTE))
    with serving({"desk": long}) as address, connected(address, holds=MEGABYTE // 4) as raw:
        raw.sendall(request(stream=False).replace(b"Host", b"Connection: close\r\nHost"))
        found, began = 0, time.monotonic()
        while piece := raw.recv(MEGABYTE // 16):
            found += len(piece)
            if time.monotonic() - began < SHORT * 4:
                time.sleep(0.01)
    assert time.monotonic() - began > SHORT * 3
    assert found > 20 * MEGABYTE
