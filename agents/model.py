"""What a model is: something that turns a prompt into text, and says what that cost.

One method. A model streams text pieces and ends with exactly one `Generation`; whoever does not care for the stream
takes the last item. Endpoints, local weights, recorded answers and scripts all stand behind this one seam, so a team
does not know which of them it talks to, and a test needs no network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from podium.protocols.frozen import slotted
from podium.protocols.people import AskPerson, nobody
from podium.protocols.record import Generation, Sampling, Usage
from podium.protocols.task import Message


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as a model sees it. parameters: a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]

    def as_function(self) -> dict[str, Any]:
        """The tool in the form of OpenAI's API, which chat templates share."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@slotted
class Prompt:
    """What a model is asked.

    `messages` is rendered when it is first read: a model that does not read them (a script, a recording) does not pay
    for a long conversation. agent: who asks; task: text of the task, for models that look answers up.
    estimate: size of the rendered prompt in tokens, roughly, known without rendering it.
    response_schema: a JSON Schema that the text has to obey, where the model can enforce one.
    run, call: for which call of which run this is asked; ask: the way to a person from there.
    """

    agent: str
    task: str
    render: Callable[[], tuple[Message, ...]]
    estimate: int = 0
    tools: tuple[ToolSchema, ...] = ()
    response_schema: dict[str, Any] | None = None
    run: str = ""
    call: str = ""
    ask: AskPerson = nobody
    _messages: tuple[Message, ...] | None = field(default=None, repr=False)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as the model is shown it."""
        if self._messages is None:
            self._messages = self.render()
        return self._messages


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens."""

    input: float = 0.0
    output: float = 0.0

    def dollars(self, input_tokens: int, output_tokens: int) -> float:
        """What a call costs, in dollars."""
        return (input_tokens * self.input + output_tokens * self.output) * 1e-6


FREE = Price()


class Model(Protocol):
    """A text generator.

    name: how reports call it. identity: what its answers come from (endpoint and model, weights, script): stored
    replies are given back to models of the same identity only. price: dollars per million tokens. max_tokens and
    temperature: what a directive that does not say otherwise gets. gives_ids: generations carry token ids and
    log-probs (needed to train the model). chars_per_token: how many characters a token of this model has, on the
    careful (low) side; the engine reserves the input tokens of a call with it before the call starts.
    """

    name: str
    identity: str
    price: Price
    max_tokens: int
    temperature: float
    gives_ids: bool
    chars_per_token: float

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Yield pieces of text (possibly none), then exactly one Generation, and end.

        Raises ModelUnreachable, ModelGarbage or ModelError. Closing the iterator cancels the call.
        """
        ...

    async def close(self) -> None:
        """Free sockets, threads and memory."""
        ...


class Wrapped:
    """The start of a model around another one: it is called, costs and samples as that one."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name = model.name
        self.identity = model.identity
        self.price = model.price
        self.max_tokens = model.max_tokens
        self.temperature = model.temperature
        self.gives_ids = model.gives_ids
        self.chars_per_token = model.chars_per_token

    async def close(self) -> None:
        """Free what the model holds."""
        await self.model.close()


async def complete(model: Model, prompt: Prompt, sampling: Sampling) -> Generation:
    """The generation alone, without the stream. Raises what `Model.generate` raises."""
    generation: Generation | None = None
    async for item in model.generate(prompt, sampling):  # to its end: a generator left half-way is closed by the loop
        if isinstance(item, Generation):
            generation = item
    if generation is not None:
        return generation
    raise TypeError(f"model {model.name} ended without a Generation; every model must yield exactly one")


def usage_of(price: Price, input_tokens: int, output_tokens: int, seconds: float = 0.0) -> Usage:
    """Usage of one call at a price."""
    return Usage(input_tokens, output_tokens, 1, price.dollars(input_tokens, output_tokens), seconds)


def whole_characters(text: str) -> str:
    """The text with U+FFFD for half characters (lone surrogates), which JSON can spell and nothing can send or keep."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def estimate_tokens(texts: Sequence[str]) -> int:
    """A rough token count where no tokenizer is at hand: four characters a token, at least one a text."""
    return sum(len(text) // 4 + 1 for text in texts)
