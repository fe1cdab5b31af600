"""The part of OpenAI's chat completions API that a team speaks: what is accepted, returned and refused.

A team is not one model, so some fields of a request have nothing to act on. Three fates, none of them silent:

- **used**: model, messages (text, or text parts), stream, stream_options.include_usage, seed (of the whole run), stop
  (the answer ends before the first of these texts), n = 1, and the extension `podium: {budget, preference}`;
- **accepted, without effect**: hints about sampling and bookkeeping (`IGNORED`). `temperature` and `max_tokens` are
  among them: how each agent samples is the team file's and the coordinator's to say, and what a whole run may use is
  its budget, which a request can tighten in `podium.budget`;
- **refused with 400**: what would change the meaning of the reply and cannot be honoured (`REFUSED`: tools,
  response_format, several choices, log-probs, audio), images in messages, and fields that the API does not have.

Source: the OpenAI API reference, "Create chat completion", "The chat completion chunk object" and "Error codes".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from podium.protocols.errors import InputError
from podium.protocols.task import Message

__all__ = [
    "IGNORED",
    "REFUSED",
    "AgentUsage",
    "Budget",
    "ChatMessage",
    "ChatRequest",
    "Choice",
    "Chunk",
    "ChunkChoice",
    "Completion",
    "Delta",
    "Extension",
    "ModelEntry",
    "PodiumRequest",
    "RequestError",
    "TokenUsage",
    "error_body",
    "parse_request",
]

IGNORED = frozenset(
    (
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "temperature",
        "tool_choice",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    )
)
"""Fields that change nothing, whatever they say."""

REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "n": ((None, 1), "a team gives one answer; ask again with another seed for another one"),
    "tools": ((None, []), "tools belong to the agents of the team file, a request cannot bring its own"),
    "functions": ((None, []), "tools belong to the agents of the team file, a request cannot bring its own"),
    "function_call": ((None, "none", "auto"), "tools belong to the agents of the team file"),
    "response_format": ((None, {"type": "text"}), "a team answers in plain text; ask for the format in the message"),
    "logprobs": ((None, False), "an answer of a team has no log-probabilities"),
    "logit_bias": ((None, {}), "the agents' vocabularies differ, so token ids mean nothing here"),
    "modalities": ((None, ["text"]), "a team answers in text only"),
    "audio": ((None,), "a team answers in text only"),
    "web_search_options": ((None,), "tools belong to the agents of the team file"),
}
"""Fields that are refused unless they have one of the listed values, and why."""

INVALID = "invalid_request_error"


class RequestError(InputError):
    """A request that cannot be served. status: of HTTP; param: the field; code: a word for programs."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        self.param = param
        self.code = code
        self.status = status
        super().__init__(message)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Exact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _text(value: object) -> str:
    """The content of a message: a text, or text parts put together."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise PydanticCustomError("content", "must be a text or a list of text parts")
    texts: list[str] = []
    for part in cast(list[object], value):
        kind: object = cast(dict[str, object], part).get("type") if isinstance(part, dict) else None
        text: object = cast(dict[str, object], part).get("text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(text, str):
            found = f"a part of type {kind!r}" if isinstance(kind, str) else "something else"
            raise PydanticCustomError("content", "takes text parts only, found {found}", {"found": found})
        texts.append(text)
    return "\n".join(texts)


def _whole_characters(text: str) -> str:
    """JSON can spell half a character (a lone surrogate), which no model could be sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("content", "contains half a character (a lone surrogate)") from None
    return text


Text = Annotated[str, AfterValidator(_whole_characters)]


class ChatMessage(_Part):
    """One message of the conversation. developer is another word for system."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Text, BeforeValidator(_text)]
    name: Text | None = None


class StreamOptions(_Part):
    """What a stream brings besides the text."""

    include_usage: bool = False


class Budget(_Exact):
    """What this run may use at most. Only tighter than the team's own budget; a larger value has no effect."""

    tokens: Annotated[int, Field(ge=1)] | None = None
    calls: Annotated[int, Field(ge=1)] | None = None
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    dollars: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class PodiumRequest(_Exact):
    """The extension. preference: dollars that one passed answer is worth, for a learned coordinator."""

    budget: Budget = Budget()
    preference: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


def _stops(value: object) -> object:
    return () if value is None else (value,) if isinstance(value, str) else value


class ChatRequest(_Part):
    """A request that can be served."""

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    seed: int | None = None
    stop: Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], BeforeValidator(_stops)] = ()
    podium: PodiumRequest = PodiumRequest()

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The messages as a team reads them."""
        return tuple(
            Message("system" if one.role == "developer" else one.role, one.content, one.name) for one in self.messages
        )

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage


USED = frozenset(ChatRequest.model_fields)


def parse_request(body: bytes) -> ChatRequest:
    """Read the body of a request. Raises RequestError that names the field."""
    try:
        data: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(data, dict):
        raise RequestError("the body must be a JSON object", code="invalid_json")
    fields = cast(dict[str, object], data)
    for name, value in fields.items():
        if name in REFUSED and value not in REFUSED[name][0]:
            raise RequestError(f"{name} is not supported: {REFUSED[name][1]}", param=name, code="unsupported_parameter")
        if name not in USED and name not in REFUSED and name not in IGNORED:
            near = get_close_matches(name, [*USED, *IGNORED], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise RequestError(f"unrecognized field: {name}{hint}", param=name, code="unknown_parameter")
    try:
        request = ChatRequest.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        param = _path(problem["loc"])
        found = "" if problem["type"] in ("missing", "content") else f"; found {_shown(problem['input'])}"
        missing = problem["type"] == "missing"
        message = f"{param} is missing" if missing else f"{param}: {problem['msg']}{found}"
        code = "missing_required_parameter" if missing else "invalid_value"
        raise RequestError(message, param=param, code=code) from None
    last = request.messages[-1]
    where = f"messages[{len(request.messages) - 1}]"
    if last.role != "user":
        raise RequestError(
            f"the last message must be the user's, found one of role {last.role!r}",
            param=f"{where}.role",
            code="invalid_value",
        )
    if not last.content.strip():
        raise RequestError("the last message is empty: say what the team should do", param=f"{where}.content")
    return request


def _path(place: Sequence[int | str]) -> str:
    """("messages", 0, "content") as messages[0].content."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


class TokenUsage(_Part):
    """Tokens of the whole team: every call of every agent, and the coordinator's own."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AgentUsage(_Part):
    """What one agent used."""

    prompt_tokens: int
    completion_tokens: int
    calls: int
    dollars: float


class Extension(_Part):
    """What a team can say beyond OpenAI's form. stop: why the run ended; by_agent: who used what."""

    run: str
    team: str
    stop: str
    steps: int
    calls: int
    dollars: float
    seconds: float
    by_agent: dict[str, AgentUsage]


class AnswerMessage(_Part):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


FinishReason = Literal["stop", "length"]
"""length: the answer itself was cut by its token cap. Why the run ended is in `Extension.stop`."""


class Choice(_Part):
    """The one choice of a completion."""

    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class Completion(_Part):
    """A whole answer. created: seconds since the epoch."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: TokenUsage
    system_fingerprint: str
    podium: Extension


class Delta(_Part):
    """What a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(_Part):
    """The one choice of a chunk."""

    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Chunk(_Part):
    """A piece of an answer. The last chunk of a stream has no choices where it brings the usage."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    system_fingerprint: str
    usage: TokenUsage | None = None
    podium: Extension | None = None

    def to_json(self) -> str:
        """Compact JSON, without the fields that this chunk does not bring."""
        data = self.model_dump(mode="json", exclude_none=True)
        for choice, given in zip(data["choices"], self.choices, strict=True):
            choice["finish_reason"] = given.finish_reason
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


class ModelEntry(_Part):
    """One served team, as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "podium"


def error_body(
    message: str, *, type: str = INVALID, param: str | None = None, code: str | None = None, run: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's form. run: the id of the run that failed, where there was one."""
    error: dict[str, Any] = {"message": message, "type": type, "param": param, "code": code}
    return {"error": error if run is None else error | {"run": run}}
