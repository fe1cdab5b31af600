"""The HTTP server, through the official openai client, against a real uvicorn on a free port."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from starlette.testclient import TestClient

from podium.agents.endpoint import EndpointModel
from podium.agents.scripted import ScriptedModel
from podium.orchestrator import server_replies
from podium.orchestrator.budget import Limits
from podium.orchestrator.server import config_of, listen, make_app
from podium.orchestrator.server_replies import failure, tightened
from podium.orchestrator.server_stream import Cut, answer_events
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, ModelError, ModelGarbage, ModelUnreachable, RunError
from podium.protocols.openai_api import Budget
from tests.orchestrator.teams import Gated, scripted, team

ASK: Any = [{"role": "user", "content": "how much?"}]


@contextmanager
def serving(teams: Mapping[str, Team], **options: Any) -> Generator[str]:
    """A server in a thread; its address."""
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(config_of(make_app(teams, **options)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def wait_for(holds: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", timeout=20)


def extension_of(made: Any) -> dict[str, Any]:
    return made.model_extra["podium"]


def three() -> Team:
    return team({"ann": scripted("a plan"), "bob": scripted("a draft"), "cyd": scripted("it is 42")})


def test_a_completion_sums_the_whole_team() -> None:
    with serving({"desk": three()}) as address, client(address) as api:
        made = api.chat.completions.create(model="desk", messages=ASK, seed=3)
        assert made.choices[0].message.content == "it is 42"
        assert made.choices[0].finish_reason == "stop"
        assert made.object == "chat.completion"
        assert made.model == "desk"
        assert made.usage is not None
        extra = extension_of(made)
        assert list(extra["by_agent"]) == ["ann", "bob", "cyd"]
        for kind in ("prompt_tokens", "completion_tokens"):
            assert getattr(made.usage, kind) == sum(each[kind] for each in extra["by_agent"].values()) > 0
        assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
        assert extra["dollars"] == pytest.approx(sum(each["dollars"] for each in extra["by_agent"].values()))
        assert (extra["stop"], extra["steps"], extra["calls"]) == ("answered", 3, 3)
        assert made.id == f"chatcmpl-{extra['run']}"
        assert made._request_id == extra["run"]  # pyright: ignore[reportPrivateUsage]


def test_a_stream_has_the_role_the_answer_the_end_and_the_usage() -> None:
    with serving({"desk": three()}) as address, client(address) as api:
        stream = api.chat.completions.create(
            model="desk", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == "it is 42"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "stop"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-2])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens > 0
    assert extension_of(chunks[-1])["steps"] == 3
    assert len({chunk.id for chunk in chunks}) == 1


def test_without_include_usage_the_last_chunk_has_no_usage() -> None:
    with serving({"desk": three()}) as address, client(address) as api:
        chunks = list(api.chat.completions.create(model="desk", messages=ASK, stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is None
    assert set(extension_of(chunks[-1])["by_agent"]) == {"ann", "bob", "cyd"}


def text_of(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("kind", ["vote", "self_consistency"])
def test_an_answer_that_is_settled_afterwards_streams_at_the_end(kind: str) -> None:
    models = {"ann": scripted("7"), "bob": scripted("8"), "cyd": scripted("8")}
    desk = team(models, kind) if kind == "vote" else team(models, kind, agent="ann")
    wanted = "8" if kind == "vote" else "7"
    with serving({"desk": desk}) as address, client(address) as api:
        chunks = list(api.chat.completions.create(model="desk", messages=ASK, stream=True))
    assert text_of(chunks) == wanted


def test_the_first_piece_leaves_before_the_generation_has_ended() -> None:
    model = Gated("forty two")

    async def talk(address: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", timeout=20) as api:
            stream = await api.chat.completions.create(model="desk", messages=ASK, stream=True)
            role, piece = await anext(stream), await anext(stream)
            assert role.choices[0].delta.role == "assistant"
            assert piece.choices[0].delta.content == "forty "
            assert model.finished == 0
            model.gate.set()
            assert text_of([chunk async for chunk in stream]) == "two"

    with serving({"desk": team({"ann": model}, "single", agent="ann")}) as address:
        asyncio.run(talk(address))
    assert model.finished == 1


def test_who_speaks_before_the_answer_is_not_streamed() -> None:
    models = {"ann": scripted("a secret plan", pace=1000), "bob": scripted("the answer at last", pace=1000)}
    with serving({"desk": team(models)}) as address, client(address) as api:
        chunks = list(api.chat.completions.create(model="desk", messages=ASK, stream=True))
    assert text_of(chunks) == "the answer at last"
    assert len(chunks) == 6  # role, four words, end


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_cancels_its_run(stream: bool) -> None:
    model = Gated("forty two")
    body = json.dumps({"model": "desk", "messages": ASK, "stream": stream}).encode()
    with serving({"desk": team({"ann": model}, "single", agent="ann")}) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as raw:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            raw.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_for(lambda: model.started)
            if stream:
                assert b"200 OK" in raw.recv(4096)
        wait_for(lambda: model.closed)
        assert httpx.get(f"{address}/health").json() == {"status": "ok", "models": ["desk"]}
    assert model.finished == 0


def test_models_are_listed_and_looked_up() -> None:
    with serving({"desk": three(), "other": three()}) as address, client(address) as api:
        assert [model.id for model in api.models.list()] == ["desk", "other"]
        assert api.models.retrieve("other").owned_by == "podium"
        with pytest.raises(openai.NotFoundError, match="'third'; this server has: desk, other"):
            api.models.retrieve("third")


def test_an_unknown_model_names_the_known_ones() -> None:
    with serving({"desk": three()}) as address, client(address) as api:
        with pytest.raises(openai.NotFoundError, match="'gpt-4o'; this server has: desk") as caught:
            api.chat.completions.create(model="gpt-4o", messages=ASK)
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"n": 2}, "n", "one answer"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "team file"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "plain text"),
        ({"logprobs": True}, "logprobs", "log-prob"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "one of system, developer, user"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", 'found "tool"'),
        ({"messages": [*ASK, {"role": "assistant", "content": "x"}]}, "messages[1].role", "the user's"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages[0].content", "empty"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "image_url"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content", "half a character"),
        ({"messages": "hello"}, "messages", 'found "hello"'),
        ({"messages": [3]}, "messages[0]", "must be an object with role and content; found 3"),
        ({"model": None}, "model", "must be a text"),
        ({"seed": "x"}, "seed", 'must be a whole number, or null; found "x"'),
        ({"seed": 1.5}, "seed", "found 1.5"),
        ({"stop": 3}, "stop", "must be a text or a list of texts"),
        ({"stop": [""]}, "stop", "none of them empty"),
        ({"stream": "yes"}, "stream", 'must be true or false, or null; found "yes"'),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "true or false"),
        ({"temperature": 3}, "temperature", "must be a number from 0 to 2, or null; found 3"),
        ({"temperature": "hot"}, "temperature", "a number from 0 to 2"),
        ({"top_p": -0.1}, "top_p", "a number from 0 to 1"),
        ({"max_tokens": 0}, "max_tokens", "a whole number of at least 1"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens", "a whole number"),
        ({"podium": None}, "podium", "must be an object; found null"),
        ({"podium": {"preference": -1}}, "podium.preference", "a number above 0"),
        ({"podium": {"budget": {"tokens": 0}}}, "podium.budget.tokens", "0"),
        ({"podium": {"bugdet": {}}}, "podium.bugdet", "allowed: budget, preference"),
        ({"temprature": 1}, "temprature", "did you mean temperature?"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_its_field(fields: dict[str, Any], param: str, words: str) -> None:
    with serving({"desk": three()}) as address:
        answer = httpx.post(
            f"{address}/v1/chat/completions",
            content=json.dumps({"model": "desk", "messages": ASK, **fields}),
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]


def test_what_is_harmless_is_accepted() -> None:
    with serving({"desk": three()}) as address, client(address) as api:
        made = api.chat.completions.create(
            model="desk",
            messages=[
                {"role": "developer", "content": "be brief"},
                {
                    "role": "user",
                    "name": "kim",
                    "content": [{"type": "text", "text": "how"}, {"type": "text", "text": "?"}],
                },
            ],
            n=1,
            temperature=0.2,
            top_p=0.9,
            max_tokens=5,
            max_completion_tokens=5,
            user="kim",
            metadata={"a": "b"},
            response_format={"type": "text"},
            tools=[],
            logprobs=False,
            extra_body={"podium": {"preference": 0.01, "budget": {"tokens": 10_000, "seconds": 20}}},
        )
    assert made.choices[0].message.content == "it is 42"


def test_bodies_that_are_no_requests() -> None:
    with serving({"desk": three()}, max_body=100) as address:
        url, kind = f"{address}/v1/chat/completions", {"content-type": "application/json"}
        broken = httpx.post(url, content=b'{"model": ', headers=kind)
        assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")
        listed = httpx.post(url, content=b"[1]", headers=kind)
        assert (listed.status_code, listed.json()["error"]["code"]) == (400, "invalid_json")
        deep = httpx.post(url, content=b"[" * 90, headers=kind)
        assert deep.status_code == 400
        large = httpx.post(url, content=b" " * 101, headers=kind)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
        form = httpx.post(url, content=b"{}", headers={"content-type": "text/plain"})
        assert (form.status_code, "application/json" in form.text) == (415, True)
        assert httpx.get(url).status_code == 405
        lost = httpx.get(f"{address}/v1/nothing")
        assert (lost.status_code, "POST /v1/chat/completions" in lost.json()["error"]["message"]) == (404, True)


@pytest.mark.parametrize(
    ("error", "status", "code", "again"),
    [
        (ModelUnreachable("nobody there"), 502, "model_unreachable", None),
        (ModelGarbage("a web page"), 502, "model_garbage", "false"),
        (RuntimeError("a bug in a model"), 500, "run_failed", "false"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_run_that_fails_at_once_is_an_http_error(
    stream: bool, error: Exception, status: int, code: str, again: str | None
) -> None:
    with serving({"desk": team({"ann": scripted(error)})}) as address:
        answer = httpx.post(f"{address}/v1/chat/completions", json={"model": "desk", "messages": ASK, "stream": stream})
    assert answer.status_code == status
    said = answer.json()["error"]
    assert (said["code"], said["type"]) == (code, "server_error")
    assert str(error) in said["message"]
    assert said["run"] == answer.headers["x-request-id"]
    assert answer.headers.get("x-should-retry") == again


@pytest.mark.parametrize("error", [RunError, *RunError.__subclasses__(), *ModelError.__subclasses__()])
def test_the_table_of_failures_names_every_code(error: type[RunError]) -> None:
    told = failure(error("no"))
    row = next(row for row in (server_replies.__doc__ or "").splitlines() if told.body["error"]["code"] in row)
    assert f" {told.status} " in row


def test_a_budget_that_holds_nothing_is_a_bad_request_and_a_deadline_a_timeout() -> None:
    slow = team({"ann": scripted("late", delay=5.0)}, "single", name="slow", agent="ann")
    with serving({"desk": three(), "slow": slow}) as address, client(address) as api:
        with pytest.raises(openai.BadRequestError, match="budget") as caught:
            api.chat.completions.create(model="desk", messages=ASK, extra_body={"podium": {"budget": {"tokens": 1}}})
        assert caught.value.code == "budget_exceeded"
        with pytest.raises(openai.InternalServerError, match=r"0\.2 seconds") as late:
            api.chat.completions.create(model="slow", messages=ASK, extra_body={"podium": {"budget": {"seconds": 0.2}}})
        assert (late.value.status_code, late.value.code) == (504, "deadline_exceeded")


def test_a_requests_budget_only_tightens() -> None:
    team_limits = Limits(tokens=100, calls=5)
    assert tightened(team_limits, Budget(tokens=1000, calls=2)) == Limits(tokens=100, calls=2)


def test_an_error_in_mid_stream_is_an_event_and_ends_the_stream() -> None:
    with serving(
        {"desk": team({"ann": Gated("forty two", error=ModelGarbage("the line broke"))}, "single", agent="ann")}
    ) as address:
        with client(address) as api:
            stream = api.chat.completions.create(model="desk", messages=ASK, stream=True)
            assert next(stream).choices[0].delta.role == "assistant"
            assert next(stream).choices[0].delta.content == "forty "
            with pytest.raises(openai.APIError, match="the line broke") as caught:
                next(stream)
            assert caught.value.code == "model_garbage"
        raw = httpx.post(f"{address}/v1/chat/completions", json={"model": "desk", "messages": ASK, "stream": True})
    assert raw.status_code == 200
    assert "[DONE]" not in raw.text


def test_stop_texts_end_the_answer_streamed_or_not() -> None:
    desk = team({"ann": scripted("one two END three", pace=1000)}, "single", agent="ann")
    with serving({"desk": desk}) as address, client(address) as api:
        made = api.chat.completions.create(model="desk", messages=ASK, stop=["END", "five"])
        chunks = list(api.chat.completions.create(model="desk", messages=ASK, stop="END", stream=True))
    assert made.choices[0].message.content == text_of(chunks) == "one two "


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_a_stop_text_is_found_however_the_text_is_cut(size: int) -> None:
    for text, stops, wanted in [
        ("abcabd!", ["abd"], "abc"),
        ("aab", ["ab"], "a"),
        ("no stop here", ["stop it"], "no stop here"),
        ("x STOP y END", ["END", "STOP"], "x "),
        ("endin", ["ending"], "endin"),
    ]:
        cut = Cut(stops)
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert "".join(map(cut.feed, pieces)) + cut.rest() == wanted


def test_many_requests_at_once_keep_apart() -> None:
    desk = team({"ann": scripted("yes", delay=0.05)}, "single", agent="ann")

    async def all_of(address: str) -> set[str]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", timeout=20) as api:
            made = await asyncio.gather(*(api.chat.completions.create(model="desk", messages=ASK) for _ in range(20)))
        assert {each.choices[0].message.content for each in made} == {"yes"}
        return {each.id for each in made}

    with serving({"desk": desk}) as address:
        started = time.monotonic()
        assert len(asyncio.run(all_of(address))) == 20
        assert time.monotonic() - started < 5


def test_an_address_in_use_is_said() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(InputError, match="in use; choose another"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match="from 0 to 65535"):
        listen("127.0.0.1", 99999)


def test_a_long_silence_opens_the_stream_and_keeps_it_alive() -> None:
    desk = team({"ann": scripted("late", delay=0.3)}, "single", agent="ann")

    async def events() -> list[str]:
        stream = answer_events(
            desk.astream("task"),
            model="desk",
            created=1,
            fingerprint="f",
            stops=(),
            include_usage=False,
            failed=failure,
            ended=lambda _: None,
            quiet=0.1,
        )
        return [event async for event in stream]

    seen = asyncio.run(events())
    assert '"role":"assistant"' in seen[0]
    assert seen[1].startswith(": ")
    assert '"late"' in seen[-3]
    assert seen[-1] == "data: [DONE]\n\n"


def test_a_served_team_can_be_a_model_of_another_team() -> None:
    inner = team({"ann": scripted("it is 42", pace=500)}, "single", name="inner", agent="ann")
    with serving({"inner": inner}) as address:
        model = EndpointModel("served", "inner", base_url=f"{address}/v1")
        with team({"bob": model}, "single", agent="bob") as outer:
            result = outer.run("how much?", seed=4)
    assert result.answer == "it is 42"
    assert result.usage.tokens > 0
    assert model.estimated_calls == 0


def test_without_the_packages_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from typer.testing import CliRunner; from podium.cli import app\n"
        "done = CliRunner().invoke(app, ['serve', 'x.yaml']); print(done.exit_code, done.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("2 ")
    assert 'serving needs the package uvicorn; install it with: pip install "podium[serve]"' in done.stdout


def test_no_team_is_no_server() -> None:
    with pytest.raises(InputError, match="no team"):
        make_app({})


def test_a_team_that_cannot_be_closed_does_not_keep_the_others_open() -> None:
    class Breaking(ScriptedModel):
        async def close(self) -> None:
            closed.append(self.name)
            raise ValueError(f"no {self.name}")

    closed: list[str] = []
    app = make_app({name: team({"ann": Breaking("yes", name)}, name=name) for name in ("one", "two")})
    with pytest.raises(ValueError, match="no one"), TestClient(app) as api:
        assert api.get("/health").status_code == 200
    assert closed == ["one", "two"]
