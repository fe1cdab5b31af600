"""A model whose replies you write: test a team without a network, a key or a download.

    ScriptedModel("always the same")                            one reply, for ever
    ScriptedModel(["first", "second"])                          a list, in order (cycle=True begins it again)
    ScriptedModel({"2 + 2": "4", "": "I do not know"})          the first key that the prompt contains ("" fits all)
    ScriptedModel(lambda prompt: prompt.task.upper())           a function of the prompt

A reply may be a text, a Generation, or an Exception, which is raised: that is how failures are rehearsed.
Token counts are estimated (four characters a token); the messages are not even rendered unless they are needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from podium.agents.model import FREE, Price, Prompt
from podium.protocols.errors import ModelError
from podium.protocols.record import Generation, Sampling, Usage

__all__ = ["Reply", "ScriptedModel"]

Reply = str | Generation | Exception
Script = Reply | Sequence[Reply] | Mapping[str, str] | Callable[[Prompt], Reply]


class ScriptedModel:
    """A model that follows a script.

    delay: seconds before a reply begins. tokens_per_second: stream it word by word at this pace (None: at once).
    fail_first: the first N calls fail in passing (a
    transient ModelError), before the script begins. calls: how often it was asked.
    """

    gives_ids = False
    chars_per_token = 4.0

    def __init__(
        self,
        script: Script,
        name: str = "scripted",
        *,
        cycle: bool = False,
        delay: float = 0.0,
        tokens_per_second: float | None = None,
        fail_first: int = 0,
        price: Price = FREE,
        max_tokens: int = 512,
        temperature: float = 1.0,
    ) -> None:
        self.name = self.identity = name
        self.price = price
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.delay = delay
        self.tokens_per_second = tokens_per_second
        self.calls = 0
        self._failures = fail_first
        self._cycle = cycle
        self._next = 0
        self._constant = script if isinstance(script, str) else None
        self._list: Sequence[Reply] = ()
        self._by_text: Mapping[str, str] | None = None
        self._function: Callable[[Prompt], Reply] | None = None
        if isinstance(script, Generation | Exception):
            self._function = lambda _: script
        elif callable(script):
            self._function = script
        elif isinstance(script, Mapping):
            self._by_text = script
        elif not isinstance(script, str):
            self._list = script
            if not script:
                raise ValueError("the script is an empty list; give at least one reply")
        self._plain = self._constant is not None or (
            bool(self._list) and all(isinstance(reply, str) for reply in self._list)
        )

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Yield the next reply of the script. Raises what the script says, and ModelError when it is used up."""
        self.calls += 1
        if self._plain and not (self._failures or self.delay or self.tokens_per_second):
            reply = self._constant if self._constant is not None else self._reply(prompt)
            if isinstance(reply, str):
                return _Instant(reply, self._generation(reply, prompt, sampling))
        return self._played(prompt, sampling)

    async def _played(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        if self._failures:
            self._failures -= 1
            raise ModelError(f"the scripted model {self.name} fails on purpose", transient=True)
        reply = self._constant if self._constant is not None else self._reply(prompt)
        if isinstance(reply, Exception):
            raise reply
        if self.delay:
            await asyncio.sleep(self.delay)
        if isinstance(reply, Generation):
            yield reply
            return
        if self.tokens_per_second is None:
            if reply:
                yield reply
        else:
            for word in _words(reply):
                await asyncio.sleep((len(word) // 4 + 1) / self.tokens_per_second)
                yield word
        yield self._generation(reply, prompt, sampling)

    async def close(self) -> None:
        """Nothing to free."""

    def assert_complete(self) -> None:
        """Raise AssertionError unless every reply of a list was given."""
        left = len(self._list) - self._next
        if left > 0:
            raise AssertionError(f"{left} of the {len(self._list)} replies of model {self.name} were not asked for")

    def _generation(self, reply: str, prompt: Prompt, sampling: Sampling) -> Generation:
        asked, answered = prompt.estimate or len(prompt.task) // 4 + 1, len(reply) // 4 + 1
        return Generation(reply, Usage(asked, answered, 1, self.price.dollars(asked, answered)), sampling)

    def _reply(self, prompt: Prompt) -> Reply:
        if self._function is not None:
            return self._function(prompt)
        if self._by_text is None:
            if self._next >= len(self._list) and not self._cycle:
                raise ModelError(f"the scripted model {self.name} has given all its {len(self._list)} replies")
            self._next += 1
            return self._list[(self._next - 1) % len(self._list)]
        asked = "\n".join(message.content for message in prompt.messages)
        for key, reply in self._by_text.items():
            if key in asked:
                return reply
        raise ModelError(
            f"the scripted model {self.name} has no reply for this prompt; its keys are"
            f" {', '.join(map(repr, self._by_text))}, and none of them is in {asked[-120:]!r}"
        )


class _Instant:
    """An iterator over what is already there: a third of an async generator's price, which benchmarks would notice."""

    __slots__ = ("_left",)

    def __init__(self, text: str, generation: Generation) -> None:
        self._left: list[str | Generation] = [generation, text] if text else [generation]

    def __aiter__(self) -> _Instant:
        return self

    async def __anext__(self) -> str | Generation:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()

    async def aclose(self) -> None:
        """As a generator's: nothing more will come."""
        self._left.clear()


def _words(text: str) -> list[str]:
    """Words with the space that follows them; joined again they are the text."""
    pieces = text.split(" ")
    return [piece + " " for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
