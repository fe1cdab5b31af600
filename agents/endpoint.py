"""A model behind any endpoint that speaks OpenAI's chat completions: vendors, vLLM, Ollama, llama.cpp.

The official client does the talking; its own retries are off, because the engine is the only layer that retries. An
endpoint is a stranger, so everything it sends is checked here and ends as one of three typed errors:

- ModelUnreachable: nobody answers there, or not in time (in total, or between two pieces);
- ModelGarbage: something answers, and it is not a chat completion (a web page, broken JSON, half a stream);
- ModelError: the endpoint refuses, in its own words (wrong key, unknown model, too many requests).

Usage is what the endpoint reports. Where it reports none, or what cannot be (fewer than none, parts of a token, more
than 2**53), tokens are estimated from the text, once with a warning in the log, and counted in `estimated_calls`. What
an attempt that failed used stands on its error, by the rule of `podium.orchestrator.budget`.

vLLM returns token ids and log-probs as its sampler used them (`return_token_ids`, vLLM 0.10.2 and later), which is what
training needs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletionChunk

from podium.agents.answer import SHOWN, Answer, BrokenOffError, NotAnAnswerError, at_most, counts
from podium.agents.model import FREE, Price, Prompt, usage_of
from podium.agents.rendering import merged
from podium.agents.request_fields import SET_BY_PODIUM, secrets_in
from podium.agents.response_format import response_format
from podium.agents.short_bodies import keep_short
from podium.agents.too_long import too_long
from podium.protocols.errors import InputError, ModelError, ModelGarbage, ModelUnreachable, PromptTooLong
from podium.protocols.record import NO_USAGE, Generation, Sampling, StopReason, ToolCall, Usage

__all__ = ["EndpointModel"]

LOG = logging.getLogger("podium.endpoint")
CHARS_PER_TOKEN = 3.0
"""Careful guess for English and code with today's vocabularies (3.5 to 4.5 measured in the wild)."""
LOG_PROBS = re.compile(r"log[ _-]?prob", re.I)
"""What a refusal that is about log-probs speaks of."""
PASSING = (408, 409, 425)
"""HTTP statuses below 500 that mean "again, later", as OpenAI's own client takes them; 429 is told in its own words."""
LATE = (TimeoutError, openai.APITimeoutError)
NEVER_SENT = ("ConnectTimeout", "PoolTimeout")
"""What the causes are called that nothing was sent in time."""
FINISHES: dict[str, StopReason] = {"stop": "stop", "length": "length", "tool_calls": "tool", "function_call": "tool"}


class EndpointModel:
    """A chat model at an OpenAI-compatible endpoint.

    name: how the team calls it; model: how the endpoint calls it; base_url: up to and including /v1, None for OpenAI's.
    api_key: never printed; key_setting: what an error about the key tells the user to change.
    timeout: seconds for a whole call; idle_timeout: seconds without a new piece (None: the same).
    log_probs: ask for the chosen tokens' log-probs; who refuses them is an error, who leaves them out is not.
    vllm: ask for token ids too (then `gives_ids`).
    log_prob_kind: what the server was started with (vLLM: --logprobs-mode processed_logprobs).
    extra: further fields of the request body, for instance {"reasoning_effort": "low"}; InputError for those
    that Podium sets itself.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str = "none",
        key_setting: str = "api_key",
        price: Price = FREE,
        max_tokens: int = 512,
        temperature: float = 1.0,
        timeout: float = 60.0,
        idle_timeout: float | None = None,
        vllm: bool = False,
        log_probs: bool = False,
        log_prob_kind: Literal["raw", "processed"] = "raw",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.base_url = base_url or "https://api.openai.com/v1"
        self.identity = f"{self.base_url} {model} {json.dumps(dict(extra or {}), sort_keys=True)}"
        if log_probs or vllm:  # what was stored without them does not serve who asks for them
            self.identity += f" {log_prob_kind} log-probs{' and ids' if vllm else ''}"
        self.price = price
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.gives_ids = vllm
        self.chars_per_token = CHARS_PER_TOKEN
        self.timeout = timeout
        self.idle_timeout = timeout if idle_timeout is None else idle_timeout
        self.log_probs = log_probs or vllm
        self.log_prob_kind: Literal["raw", "processed"] = log_prob_kind
        self.estimated_calls = 0
        self._key = api_key
        self._key_setting = key_setting
        self._extra = dict(extra or {})
        self._missed_log_probs = False
        if own := [field for field in self._extra if field in SET_BY_PODIUM]:
            raise InputError(f"model {name}: extra holds {', '.join(own)}, which Podium sets itself")
        self._client: openai.AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Stream the completion. Raises ModelUnreachable, ModelGarbage or ModelError; closing it hangs up."""
        started = time.perf_counter()
        request = self._request(prompt, sampling)
        answer = Answer(sampling.max_tokens)
        response: Any = None
        try:
            async with asyncio.timeout(self._wait(started)):
                create: Callable[..., Awaitable[Any]] = self._connected().chat.completions.with_raw_response.create
                response = await create(**request)
                chunks: AsyncIterator[ChatCompletionChunk] | None = None
                body = response.http_response
                # the client reads by this, too
                body.aiter_bytes = partial(_bounded, body.aiter_bytes, sampling.max_tokens, _characters(prompt))
                kind: str = response.headers.get("content-type", "")
                if kind.startswith("text/event-stream"):
                    chunks = aiter(response.parse())
                else:
                    await answer.take_whole(body.aiter_bytes(), kind)
            while chunks is not None:
                async with asyncio.timeout(self._wait(started)):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                piece = answer.take(chunk)
                if piece:
                    yield piece
            answer.check()
        except Exception as error:  # wrong JSON, JSON of a wrong shape, and whatever else a stranger's answer raises
            failure = await self._failure(error, started, began=response is not None)
            failure.usage = self._used_in_vain(error, answer, prompt, started, began=response is not None)
            raise failure from None
        finally:
            if response is not None:
                await response.http_response.aclose()
        if answer.unstreamed:
            yield answer.text
        yield self._generation(answer, prompt, sampling, time.perf_counter() - started)

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    @property
    def _where(self) -> str:
        return f"model {self.name} ({self.model} at {_public(self.base_url)})"

    def _connected(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:  # connections belong to the loop that opened them
            self._client = openai.AsyncOpenAI(
                api_key=self._key,
                base_url=self.base_url,
                max_retries=0,
                timeout=self.timeout,
                http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [keep_short]}),
            )
            self._loop = loop
        return self._client

    def _wait(self, started: float) -> float:
        """Seconds that the next piece may take: the idle limit, or what is left of the whole call's."""
        return max(0.0, min(self.idle_timeout, self.timeout - (time.perf_counter() - started)))

    def _request(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": merged(prompt.messages),
            "temperature": sampling.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        # OpenAI's newer models refuse the old name of this field, most other servers do not know the new one.
        at_openai = "api.openai.com" in self.base_url
        request["max_completion_tokens" if at_openai else "max_tokens"] = sampling.max_tokens
        if sampling.top_p < 1:
            request["top_p"] = sampling.top_p
        if sampling.seed is not None:
            request["seed"] = sampling.seed & (2**63 - 1)
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        if self.log_probs:
            request["logprobs"] = True
        if prompt.tools:
            request["tools"] = [tool.as_function() for tool in prompt.tools]
        if prompt.response_schema is not None:
            request["response_format"] = response_format(prompt.response_schema, at_openai=at_openai)
        extra = {field: value for field, value in self._extra.items() if field not in request}
        if self.gives_ids:
            extra["return_token_ids"] = True
        if extra:
            request["extra_body"] = extra
        return request

    def _generation(self, answer: Answer, prompt: Prompt, sampling: Sampling, seconds: float) -> Generation:
        if answer.used is None:
            if not self.estimated_calls:
                LOG.warning("%s reports no usage; its tokens are estimated from the length of the text", self._where)
            self.estimated_calls += 1
            written = len(answer.text) + sum(len(call["arguments"]) for call in answer.calls.values())
            answer.used = (int(_characters(prompt) / CHARS_PER_TOKEN) + 1, int(written / CHARS_PER_TOKEN) + 1)
        if self.log_probs and answer.text and not answer.log_probs and not self._missed_log_probs:
            LOG.warning("%s was asked for log-probs and sends none", self._where)
            self._missed_log_probs = True
        return Generation(
            text=answer.text,
            usage=usage_of(self.price, *answer.used, seconds),
            sampling=sampling,
            finish=FINISHES.get(answer.finish or "", "stop"),
            prompt_ids=answer.prompt_ids,
            ids=tuple(answer.ids) if answer.ids else None,
            log_probs=tuple(answer.log_probs) if answer.log_probs else None,
            log_prob_kind=self.log_prob_kind,
            tool_calls=tuple(
                ToolCall(call["id"] or f"call-{index}", call["name"], call["arguments"] or "{}")
                for index, call in sorted(answer.calls.items())
            ),
        )

    def _used_in_vain(self, error: Exception, answer: Answer, prompt: Prompt, started: float, *, began: bool) -> Usage:
        """What an attempt that failed counts for. began: the endpoint had begun to answer."""
        seconds = time.perf_counter() - started
        if isinstance(error, openai.APIStatusError):
            used = _reported(error)
            return NO_USAGE if used is None else usage_of(self.price, *used, seconds)
        late = isinstance(error, LATE) and type(error.__cause__).__name__ not in NEVER_SENT
        if not (began or late):
            return NO_USAGE
        used = answer.used or (self._estimated(answer, prompt) if answer.received else (0, 0))
        return usage_of(self.price, *used, seconds)

    def _estimated(self, answer: Answer, prompt: Prompt) -> tuple[int, int]:
        """Tokens read and written, from what was sent and received."""
        return int(_characters(prompt) / CHARS_PER_TOKEN) + 1, int(answer.received / CHARS_PER_TOKEN) + 1

    async def _failure(self, error: Exception, started: float, *, began: bool) -> ModelError:
        """What is told of something that was caught. began: the endpoint had begun to answer."""
        where = self._where
        if isinstance(error, LATE):
            waited = time.perf_counter() - started
            return ModelUnreachable(
                f"{where} gave no (further) answer; gave up after {waited:.1f} s: raise its timeout, or the seconds of "
                "the budget"
            )
        if isinstance(error, openai.APIStatusError):
            return await self._refusal(error)
        if not began:
            cause = _root_cause(error)
            return ModelUnreachable(f"cannot reach {where}: {cause}; is it running, and is its base_url right?")
        if isinstance(error, openai.APIConnectionError | BrokenOffError):
            return ModelGarbage(f"{where} broke off in the middle of its answer: {_root_cause(error)}")
        if isinstance(error, openai.APIError):
            said = f"{where} reported an error while streaming: {self._clean(error.message)}"
            return ModelError(said, transient=True)
        if isinstance(error, NotAnAnswerError):
            return ModelGarbage(f"{where} answered, but {self._clean(str(error))}")
        return ModelGarbage(f"{where} sent something that is not a chat completion: {error}")

    async def _refusal(self, error: openai.APIStatusError) -> ModelError:
        status, asked = error.status_code, error.response.headers.get("retry-after")
        after = _seconds(asked)
        words = _endpoint_message(error)
        said = self._clean(words)
        if self.log_probs and status in (400, 403, 422) and LOG_PROBS.search(words):
            hint = "" if self.gives_ids else f"; leave models.{self.name}.log_probs out"
            return ModelError(f"{self._where} gives no log-probs (HTTP {status}): {said}{hint}")
        if status in (401, 403):
            hint = f"check the setting {self._key_setting}"
            return ModelError(f"{self._where} refused the key (HTTP {status}); {hint}: {said}")
        if status == 404:
            return ModelError(
                f"{self._where} was not found (HTTP 404): {said}{await self._served()}; mend its model or base_url"
            )
        if status == 429:
            hint = f"; it asks to wait {asked} s" if asked else ""
            said = f"{self._where} has too many requests or no credit left (HTTP 429){hint}: {said}"
            return ModelError(said, transient=True, after=after)
        if status in (502, 503, 504):
            return ModelUnreachable(f"{self._where} is not available (HTTP {status}): {said}", after=after)
        if too_long(words if status in (400, 413, 422) else "", error.code, error.type):
            hint = "show its agent less, lower max_tokens, or name a fallback with a longer context"
            return PromptTooLong(f"{self._where} takes no prompt of this length (HTTP {status}): {said}; {hint}")
        if status >= 500 or status in PASSING:
            return ModelError(f"{self._where} failed (HTTP {status}): {said}", transient=True, after=after)
        return ModelError(f"{self._where} refused the request (HTTP {status}): {said}")

    async def _served(self) -> str:
        """The names of the models that the endpoint serves, as the end of a sentence; empty when it does not say."""
        try:
            async with asyncio.timeout(min(5.0, self.timeout)):
                names = [model.id for model in (await self._connected().models.list()).data]
        except (TimeoutError, openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError):
            return ""
        return f"; it serves: {', '.join(sorted(names)[:20])}" if names else ""

    def _clean(self, text: str) -> str:
        """A foreign text in one short line, without secrets even if the endpoint repeats them."""
        line = " ".join(text.split())
        for secret in (self._key, *secrets_in(self.base_url, self._extra)):
            if len(secret) > 5:
                line = line.replace(secret, "***")
        return line if len(line) <= SHOWN else line[:SHOWN] + "..."


def _characters(prompt: Prompt) -> int:
    return sum(len(message.content) for message in prompt.messages)


def _bounded(
    read: Callable[..., AsyncIterator[bytes]], tokens: int, asked: int, chunk_size: int | None = None
) -> AsyncIterator[bytes]:
    """What httpx reads of a body, but no more than an answer can have."""
    return at_most(read(chunk_size), tokens, asked)


def _reported(error: openai.APIStatusError) -> tuple[int, int] | None:
    """Tokens that a refusal says it used all the same; None where it says nothing of them."""
    try:
        body: Any = error.response.json()
    except (ValueError, RuntimeError):  # no JSON, or nothing was read of it
        return None
    return counts(cast(dict[str, Any], body).get("usage")) if isinstance(body, dict) else None


def _seconds(after: str | None) -> float | None:
    """What a Retry-After header says, in seconds (RFC 9110, section 10.2.3); None where it says nothing usable."""
    if not after:
        return None
    try:
        return max(0.0, float(after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except ValueError:
        return None


def _endpoint_message(error: openai.APIStatusError) -> str:
    """The endpoint's own words, out of OpenAI's error form where it uses it."""
    body: Any = error.body
    if isinstance(body, dict):
        inner: Any = body.get("error", body)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        said: Any = inner.get("message", inner) if isinstance(inner, dict) else inner  # pyright: ignore
        return said if isinstance(said, str) else json.dumps(said, default=str)
    return str(body or error.message)


def _public(url: str) -> str:
    """A URL as errors may show it: without what stands before an @ or behind a ?, which may be a password or a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _root_cause(error: BaseException) -> str:
    """The deepest cause that says something: "[Errno 111] Connection refused" rather than "Connection error."."""
    words = str(error)
    cause = error.__cause__ or error.__context__
    while cause is not None:
        words = str(cause) or words
        cause = cause.__cause__ or cause.__context__
    return words
