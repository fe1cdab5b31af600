"""An endpoint's answer as it arrives: the pieces of a stream, or one body of a server that does not stream.

The openai client builds chunks without checking them, so what is missing or misplaced is found here.
"""

from __future__ import annotations

from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from podium.agents.model import whole_characters

__all__ = ["SHOWN", "Answer", "NotAnAnswerError"]

SHOWN = 200
"""Characters of a foreign text that an error message quotes."""


class NotAnAnswerError(Exception):
    """What came is no chat completion; the text ends a sentence that begins "it answered, but"."""


class Answer:
    """What has arrived of one completion."""

    def __init__(self) -> None:
        self.text = ""
        self.finish: str | None = None
        self.used: tuple[int, int] | None = None
        self.prompt_ids: tuple[int, ...] | None = None
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.calls: dict[int, dict[str, str]] = {}
        self.unstreamed = False
        self._choices = 0

    def take(self, chunk: ChatCompletionChunk) -> str:
        """Add one chunk of a stream; returns its piece of text. The client does not check chunks, so this does."""
        if chunk.usage is not None:
            self.used = (int(chunk.usage.prompt_tokens), int(chunk.usage.completion_tokens))
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
            for call in delta.tool_calls or []:
                mine = self.calls.setdefault(call.index or 0, {"id": "", "name": "", "arguments": ""})
                mine["id"] = call.id or mine["id"]
                if call.function is not None:
                    mine["name"] += call.function.name or ""
                    mine["arguments"] += whole_characters(call.function.arguments or "")
        return piece

    def take_whole(self, body: bytes, kind: str) -> None:
        """Take an answer that came in one piece from a server that does not stream."""
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
        if completion.usage is not None:
            self.used = (completion.usage.prompt_tokens, completion.usage.completion_tokens)
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
