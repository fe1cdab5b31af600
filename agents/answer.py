"""An endpoint's answer as it arrives: the pieces of a stream, or one body of a server that does not stream.

The openai client builds chunks without checking them, so what is missing or misplaced is found here, and what never
ends is cut off: an answer may be 16 characters long for each token that was allowed, which is four times what a token
usually has, and a little more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from podium.agents.model import whole_characters

__all__ = ["SHOWN", "Answer", "BrokenOffError", "NotAnAnswerError", "at_most", "counts"]

SHOWN = 200
"""Characters of a foreign text that an error message quotes."""

CHARACTERS_PER_TOKEN = 16
"""The most that an allowed token may have, on average, before an answer counts as one that does not end."""

BYTES_PER_TOKEN = 4096
"""The same of what carries a token: an event of a stream, with its log-probs, has 200 to 1,000 bytes."""

SLACK = 64 * 1024
"""Characters, or bytes, that any answer may have besides."""

MOST_TOKENS = 2**53
"""What is counted beyond this no JSON number says exactly, and nothing can have used."""


class NotAnAnswerError(Exception):
    """What came is no chat completion; the text ends a sentence that begins "it answered, but"."""


class BrokenOffError(Exception):
    """What came ended in the middle, or could not be unpacked; the text says how."""


def counts(usage: object) -> tuple[int, int] | None:
    """Tokens read and written, as an endpoint reports them; None where that cannot be what it counted."""
    if isinstance(usage, dict):
        fields = cast(dict[str, object], usage)
        found = fields.get("prompt_tokens"), fields.get("completion_tokens")
    else:
        found = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    asked, written = (_count(each) for each in found)
    return None if asked is None or written is None else (asked, written)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None


async def at_most(parts: AsyncIterator[bytes], tokens: int, asked: int) -> AsyncIterator[bytes]:
    """The parts of a body. Raises NotAnAnswerError when they are more than an answer of so many tokens can have.

    Raises BrokenOffError for what else goes wrong with them: by which package the openai client talks is its affair.
    asked: characters of the prompt, whose token ids some endpoints send back.
    """
    room = SLACK + BYTES_PER_TOKEN * tokens + CHARACTERS_PER_TOKEN * asked
    while True:
        try:
            part = await anext(parts, None)
        except Exception as error:
            raise BrokenOffError(str(error) or type(error).__name__) from error
        if part is None:
            return
        room -= len(part)
        if room < 0:
            raise NotAnAnswerError(f"it does not end: cut off after far more bytes than {tokens} tokens can have")
        yield part


class Answer:
    """What has arrived of one completion.

    tokens: the most that it may have. used: tokens read and written, where that was reported. received: characters of
    the text and of the tools that it asks for; bytes, of a body that came in one piece.
    """

    def __init__(self, tokens: int) -> None:
        self.received = 0
        self.text = ""
        self.finish: str | None = None
        self.used: tuple[int, int] | None = None
        self.prompt_ids: tuple[int, ...] | None = None
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.calls: dict[int, dict[str, str]] = {}
        self.unstreamed = False
        self._choices = 0
        self._tokens = tokens

    def take(self, chunk: ChatCompletionChunk) -> str:
        """Add one chunk of a stream; returns its piece of text. The client does not check chunks, so this does."""
        if chunk.usage is not None:
            self.used = counts(chunk.usage) or self.used
        self._take_prompt_ids(chunk)
        piece = ""
        for choice in (chunk.choices or [])[:1]:
            self._choices += 1
            self.finish = choice.finish_reason or self.finish
            self._take_tokens(choice)
            delta = choice.delta
            if delta is None:  # pyright: ignore[reportUnnecessaryComparison]  # some servers leave it out at the end
                continue
            piece = whole_characters(delta.content or "")
            self.text += piece
            self.received += len(piece)
            for call in delta.tool_calls or []:
                mine = self.calls.setdefault(call.index or 0, {"id": "", "name": "", "arguments": ""})
                mine["id"] = call.id or mine["id"]
                if call.function is not None:
                    mine["name"] += call.function.name or ""
                    mine["arguments"] += whole_characters(call.function.arguments or "")
                    self.received += len(call.function.name or "") + len(call.function.arguments or "")
        if self.received > SLACK + CHARACTERS_PER_TOKEN * self._tokens:
            raise NotAnAnswerError(
                f"it does not end: cut off after {self.received} characters, where {self._tokens} tokens were allowed"
            )
        return piece

    async def take_whole(self, parts: AsyncIterator[bytes], kind: str) -> None:
        """Take an answer that comes in one piece from a server that does not stream."""
        body = b""
        async for part in parts:
            body += part
            if "json" in kind:
                self.received = len(body)
        shown = body[:SHOWN].decode("utf-8", "replace")
        if "json" not in kind:
            kind = kind or "no content type"
            raise NotAnAnswerError(f"with {kind} instead of a completion (is base_url right?): {shown!r}")
        try:
            completion = ChatCompletion.model_validate_json(body)
            choice = completion.choices[0]
        except (ValueError, LookupError):
            raise NotAnAnswerError(f"its JSON is not a chat completion: {shown!r}") from None
        self.unstreamed = True
        self._choices = 1
        self.text = whole_characters(choice.message.content or "")
        self.finish = choice.finish_reason
        self.used = counts(completion.usage)
        self._take_prompt_ids(completion)
        self._take_tokens(choice)
        for index, call in enumerate(choice.message.tool_calls or []):
            if call.type == "function":
                self.calls[index] = {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}

    def check(self) -> None:
        """Raise when what arrived is not a whole completion."""
        if not self._choices:
            raise NotAnAnswerError("its answer is empty: no choices at all")
        if self.finish is None:
            raise NotAnAnswerError(f"the stream ended without a finish reason, after {len(self.text)} characters")
        for call in self.calls.values():
            if not call["name"]:
                raise NotAnAnswerError("it asked for a tool without a name")
        if self.ids and self.log_probs and len(self.ids) != len(self.log_probs):
            raise NotAnAnswerError(f"it sent {len(self.ids)} token ids with {len(self.log_probs)} log-probs")

    def _take_prompt_ids(self, carrier: Any) -> None:
        ids = getattr(carrier, "prompt_token_ids", None)
        if ids:
            self.prompt_ids = tuple(ids)

    def _take_tokens(self, choice: Any) -> None:
        self.ids += getattr(choice, "token_ids", None) or []
        if choice.logprobs is not None and choice.logprobs.content:
            self.log_probs += [float(token.logprob) for token in choice.logprobs.content]
