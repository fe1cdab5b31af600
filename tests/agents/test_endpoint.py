"""EndpointModel against a real HTTP server on this machine that speaks OpenAI's protocol, well and badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from podium.agents.endpoint import EndpointModel
from podium.agents.model import Prompt, ToolSchema, complete
from podium.agents.request_fields import SET_BY_PODIUM
from podium.protocols.errors import InputError, ModelError, ModelGarbage, ModelUnreachable, PromptTooLong
from podium.protocols.record import Generation, Sampling, ToolCall
from podium.protocols.task import Message
from tests.agents.endpoint_server import GOOD, KEY, USAGE, Server, chunk, endpoint, token

pytestmark = pytest.mark.timeout(30)

GREEDY = Sampling(temperature=0.0, max_tokens=16)
WEATHER = ToolSchema(
    "weather", "The weather in a city.", {"type": "object", "properties": {"city": {"type": "string"}}}
)


def prompt(*messages: Message, tools: tuple[ToolSchema, ...] = ()) -> Prompt:
    shown = messages or (Message("user", "What is 2 + 2?"),)
    return Prompt("solver", shown[-1].content, lambda: shown, tools=tools)


def ask(
    arrange: Callable[[Server], None] = lambda server: None, question: Prompt | None = None, **settings: Any
) -> tuple[list[str], Generation, Server]:
    async def main() -> tuple[list[str], Generation, Server]:
        async with endpoint(**settings) as (server, model):
            arrange(server)
            items = [item async for item in model.generate(question or prompt(), GREEDY)]
            assert isinstance(items[-1], Generation)
            return [item for item in items[:-1] if isinstance(item, str)], items[-1], server

    return asyncio.run(main())


def test_streams_pieces_and_reports_the_endpoints_usage() -> None:
    pieces, generation, server = ask()
    assert pieces == ["It is ", "4."]
    assert generation.text == "It is 4."
    assert generation.finish == "stop"
    assert (generation.usage.input_tokens, generation.usage.output_tokens, generation.usage.calls) == (11, 3, 1)
    assert generation.usage.dollars == pytest.approx((11 + 30) * 1e-6)
    assert server.requests[0]["max_tokens"] == 16
    assert server.requests[0]["stream_options"] == {"include_usage": True}
    assert "return_token_ids" not in server.requests[0]


def test_half_characters_are_replaced() -> None:
    def arrange(server: Server) -> None:
        call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": '{"city": "\udc9f"}'}}
        server.parts = [chunk({"content": "\ud83d\ude00 \ud800!"}), chunk({"tool_calls": [call]}, "tool_calls")]

    pieces, generation, _ = ask(arrange, prompt(tools=(WEATHER,)))
    assert pieces == ["\U0001f600 \ufffd!"]
    assert generation.text == "\U0001f600 \ufffd!"
    assert generation.tool_calls[0].arguments == '{"city": "\ufffd"}'


def test_neighbours_of_one_role_are_merged() -> None:
    messages = (Message("system", "Be brief."), Message("user", "Task"), Message("user", "Hint", name="critic"))
    _, _, server = ask(question=prompt(*messages))
    assert server.requests[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Task\n\ncritic: Hint"},
    ]


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    def arrange(server: Server) -> None:
        def piece(**function: str) -> dict[str, Any]:
            return {"tool_calls": [{"index": 0, "function": function}]}

        first = {"tool_calls": [{"index": 0, "id": "call_7", "function": {"name": "weather", "arguments": ""}}]}
        server.parts = [
            chunk(first),
            chunk(piece(arguments='{"city":')),
            chunk(piece(arguments='"Rome"}'), "tool_calls"),
        ]

    _, generation, server = ask(arrange, prompt(tools=(WEATHER,)))
    assert generation.finish == "tool"
    assert generation.tool_calls == (ToolCall("call_7", "weather", '{"city":"Rome"}'),)
    assert server.requests[0]["tools"][0]["function"]["name"] == "weather"


def test_usage_is_estimated_and_said_so_when_the_endpoint_reports_none(caplog: pytest.LogCaptureFixture) -> None:
    _, generation, _ = ask(lambda server: setattr(server, "parts", GOOD[:-1]))
    assert generation.usage.output_tokens == len("It is 4.") // 3 + 1
    assert "reports no usage" in caplog.text


def test_vllm_returns_ids_and_log_probs() -> None:
    def arrange(server: Server) -> None:
        server.parts = [
            chunk({"content": ""}, prompt_token_ids=[1, 2, 3]),
            token("4", -0.5, 7),
            token(".", -0.1, 8, "stop"),
        ]

    _, generation, server = ask(arrange, vllm=True)
    assert generation.prompt_ids == (1, 2, 3)
    assert generation.ids == (7, 8)
    assert generation.log_probs == (-0.5, -0.1)
    assert server.requests[0]["return_token_ids"] is True
    assert server.requests[0]["logprobs"] is True


def test_log_probs_without_ids() -> None:
    def arrange(server: Server) -> None:
        server.parts = [token("4", -0.5), token(".", 0, finish="stop")]

    _, generation, server = ask(arrange, log_probs=True, log_prob_kind="processed")
    assert (generation.ids, generation.log_probs, generation.log_prob_kind) == (None, (-0.5, 0.0), "processed")
    assert server.requests[0]["logprobs"] is True
    assert "return_token_ids" not in server.requests[0]


def test_an_endpoint_may_leave_log_probs_out(caplog: pytest.LogCaptureFixture) -> None:
    _, generation, _ = ask(log_probs=True)
    assert (generation.text, generation.log_probs) == ("It is 4.", None)
    assert "was asked for log-probs and sends none" in caplog.text


def test_log_probs_that_are_no_numbers_are_garbage() -> None:
    with pytest.raises(ModelGarbage, match="not a chat completion"):
        ask(lambda server: setattr(server, "parts", [token("4", None)]), log_probs=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "You are not allowed to request logprobs from this model"),
        (400, "Unrecognized request argument supplied: logprobs"),
        (422, "logprobs: extra fields not permitted"),
    ],
)
def test_an_endpoint_that_refuses_log_probs_is_one_error(status: int, said: str) -> None:
    def arrange(server: Server) -> None:
        server.status, server.kind = status, "application/json"
        server.parts = [json.dumps({"error": {"message": said}})]

    with pytest.raises(ModelError, match="gives no log-probs") as caught:
        ask(arrange, log_probs=True)
    assert str(caught.value).endswith(f"(HTTP {status}): {said}; leave models.small.log_probs out")
    assert not caught.value.transient
    with pytest.raises(ModelError, match="refused") as caught:
        ask(arrange)
    assert "gives no" not in str(caught.value)


def test_further_fields_are_passed_on() -> None:
    extra = {"reasoning_effort": "low", "top_k": 20, "top_p": 0.9, "chat_template_kwargs": {"enable_thinking": False}}
    _, _, server = ask(extra=extra, vllm=True)
    assert {field: server.requests[0][field] for field in extra} == extra
    assert server.requests[0]["return_token_ids"] is True


def test_what_podium_sets_itself_cannot_be_said_twice() -> None:
    with pytest.raises(InputError, match="extra holds temperature, n, which Podium sets itself"):
        EndpointModel("small", "m", extra={"temperature": 0, "n": 2, "top_k": 1})
    shaped = Prompt(
        "solver", "x", lambda: (Message("user", "x"),), tools=(WEATHER,), response_schema={"type": "object"}
    )

    async def everything() -> set[str]:
        async with endpoint(vllm=True) as (server, model):
            await complete(model, shaped, Sampling(seed=1))
            return set(server.requests[0]) - {"head"}

    assert asyncio.run(everything()) | {"max_completion_tokens", "n"} == set(SET_BY_PODIUM)


def test_replies_that_lack_log_probs_are_not_those_of_who_asks_for_them() -> None:
    settings: list[dict[str, Any]] = [{}, {"log_probs": True}, {"log_probs": True, "log_prob_kind": "processed"}]
    settings += [{"vllm": True}, {"extra": {"a": 1}}]
    made = [EndpointModel("small", "m", **given).identity for given in settings]
    assert len(set(made)) == len(made)


def test_an_endpoint_that_does_not_stream_is_understood() -> None:
    message = {"role": "assistant", "content": "It is 4."}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": USAGE}

    def arrange(server: Server) -> None:
        server.kind, server.parts = "application/json", [json.dumps(whole)]

    pieces, generation, _ = ask(arrange)
    assert pieces == ["It is 4."]
    assert generation.usage.input_tokens == 11


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, ModelError, "models.small.api_key"),
        (404, {"error": {"message": "no such model"}}, ModelError, "it serves: qwen-large, qwen-small"),
        (429, {"error": {"message": "slow down"}}, ModelError, "asks to wait 7 s"),
        (500, {"error": {"message": "exploded"}}, ModelError, "(HTTP 500): exploded"),
        (400, {"object": "error", "message": "no such parameter"}, ModelError, "no such parameter"),
        (400, {"object": "error", "message": "context too long"}, PromptTooLong, "a fallback with a longer context"),
        (400, {"error": {"message": "no", "code": "context_length_exceeded"}}, PromptTooLong, "show its agent less"),
        (400, {"message": "This model's maximum context length is 64 tokens."}, PromptTooLong, "is 64 tokens"),
        (400, {"error": {"message": "the maximum value for max_tokens is 64"}}, ModelError, "refused the request"),
        (500, {"error": {"message": "no", "type": "exceed_context_size_error"}}, PromptTooLong, "show its agent less"),
        (503, "<html>busy</html>", ModelUnreachable, "HTTP 503"),
    ],
)
def test_refusals_are_told_in_the_endpoints_words(status: int, body: Any, error: type[ModelError], said: str) -> None:
    def arrange(server: Server) -> None:
        server.status, server.kind, server.headers = status, "application/json", "retry-after: 7\r\n"
        server.parts = [json.dumps(body)]

    with pytest.raises(error) as caught:
        ask(arrange)
    assert type(caught.value) is error
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "again"), [(408, True), (409, True), (425, True), (500, True), (529, True), (422, False)]
)
def test_what_may_pass_is_asked_again_when_the_endpoint_says(status: int, again: bool) -> None:
    def arrange(server: Server) -> None:
        server.status, server.kind, server.headers = status, "application/json", "retry-after: 7\r\n"
        server.parts = ['{"error": {"message": "no"}}']

    with pytest.raises(ModelError) as caught:
        ask(arrange)
    assert caught.value.transient is again
    assert not again or caught.value.after == 7


@pytest.mark.parametrize(
    ("parts", "kind", "said"),
    [
        (["<html><body>Welcome</body></html>"], "text/html", "is base_url right"),
        (["{not json"], "application/json", "not a chat completion"),
        (['{"hello": "world"}'], "application/json", "not a chat completion"),
        (["data: {broken\n\n"], "text/event-stream", "not a chat completion"),
        (["data: [1, 2]\n\n"], "text/event-stream", "not a chat completion"),
        (['data: {"choices": "none"}\n\n'], "text/event-stream", "not a chat completion"),
        ([], "text/event-stream", "no choices"),
        (GOOD[:2], "text/event-stream", "without a finish reason"),
    ],
)
def test_what_is_not_an_answer_is_garbage(parts: list[Any], kind: str, said: str) -> None:
    def arrange(server: Server) -> None:
        server.parts, server.kind = parts, kind

    with pytest.raises(ModelGarbage, match=said):
        ask(arrange)


def test_a_stream_that_breaks_off_is_garbage() -> None:
    def arrange(server: Server) -> None:
        server.parts, server.done, server.cut = GOOD[:2], "", True

    with pytest.raises(ModelGarbage, match="broke off"):
        ask(arrange)


def test_an_error_inside_a_stream_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="engine died"):
        ask(lambda server: setattr(server, "parts", [GOOD[1], {"error": {"message": "engine died"}}]))


def test_a_secret_that_an_endpoint_repeats_is_not_told() -> None:
    said = {"error": {"message": f"no: {KEY}, in-the-body, somebody"}}
    with pytest.raises(ModelError, match=r"no: \*\*\*, \*\*\*, somebody"):
        ask(lambda server: setattr(server, "parts", [said]), extra={"x_api_key": "in-the-body", "user": "somebody"})


def test_a_silent_endpoint_is_given_up() -> None:
    with pytest.raises(ModelUnreachable, match="gave up after"):
        ask(lambda server: setattr(server, "parts", [20.0]), timeout=0.3)


def test_a_stream_that_stalls_is_given_up() -> None:
    with pytest.raises(ModelUnreachable, match=r"gave up after .*: raise its timeout"):
        ask(lambda server: setattr(server, "parts", [*GOOD[:2], 20.0]), timeout=20.0, idle_timeout=0.3)


def test_a_password_in_the_url_is_not_told() -> None:
    model = EndpointModel("small", "m", base_url="http://me:pass99word@127.0.0.1:9/v1?k=sk-1", api_key=KEY)
    with pytest.raises(ModelUnreachable, match=r"\(m at http://127\.0\.0\.1:9/v1\)"):
        asyncio.run(complete(model, prompt(), GREEDY))


def test_nobody_there() -> None:
    model = EndpointModel("small", "m", base_url="http://127.0.0.1:9/v1", api_key=KEY)
    with pytest.raises(ModelUnreachable, match=r"cannot reach model small.*is its base_url right\?"):
        asyncio.run(complete(model, prompt(), GREEDY))


def test_one_model_serves_one_event_loop_after_another() -> None:
    model = EndpointModel("small", "m", base_url="http://127.0.0.1:9/v1")
    for _ in range(2):
        with pytest.raises(ModelUnreachable):
            asyncio.run(complete(model, prompt(), GREEDY))
