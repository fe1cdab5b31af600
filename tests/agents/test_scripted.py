"""ScriptedModel: every form of script, failures and pace."""

from __future__ import annotations

import asyncio
import time

import pytest

from podium.agents.model import Price, Prompt, complete
from podium.agents.scripted import ScriptedModel
from podium.protocols.errors import ModelError, ModelUnreachable
from podium.protocols.record import Generation, Sampling, Usage
from podium.protocols.task import Message

SAMPLING = Sampling()


def prompt(text: str = "What is 2 + 2?") -> Prompt:
    return Prompt("solver", text, lambda: (Message("user", text),))


def text_of(model: ScriptedModel, text: str = "What is 2 + 2?") -> str:
    return asyncio.run(complete(model, prompt(text), SAMPLING)).text


def test_a_constant_reply_does_not_read_the_messages() -> None:
    def render() -> tuple[Message, ...]:
        raise AssertionError("rendered")

    model = ScriptedModel("four", price=Price(0, 1.0))
    generation = asyncio.run(complete(model, Prompt("solver", "task", render), SAMPLING))
    assert generation.text == "four"
    assert generation.usage == Usage(2, 2, 1, 2e-6)


def test_a_list_is_given_in_order_and_ends() -> None:
    model = ScriptedModel(["a", "b"])
    assert text_of(model) == "a"
    with pytest.raises(AssertionError, match="1 of the 2 replies"):
        model.assert_complete()
    assert text_of(model) == "b"
    model.assert_complete()
    with pytest.raises(ModelError, match="all its 2 replies"):
        text_of(model)


def test_a_list_may_begin_again() -> None:
    model = ScriptedModel(["a", "b"], cycle=True)
    assert [text_of(model) for _ in range(3)] == ["a", "b", "a"]


def test_a_mapping_looks_for_its_keys_in_the_prompt() -> None:
    model = ScriptedModel({"2 + 2": "4", "capital": "Paris"})
    assert text_of(model, "the capital of France?") == "Paris"
    with pytest.raises(ModelError, match="none of them is in"):
        text_of(model, "hello")


def test_a_function_of_the_prompt() -> None:
    assert text_of(ScriptedModel(lambda asked: asked.task.upper()), "abc") == "ABC"


def test_generations_and_exceptions_are_replies() -> None:
    made = Generation("x", Usage(1, 2, 1), SAMPLING)
    assert asyncio.run(complete(ScriptedModel(made), prompt(), SAMPLING)) is made
    model = ScriptedModel([ModelUnreachable("down"), "up"])
    with pytest.raises(ModelUnreachable, match="down"):
        text_of(model)
    assert text_of(model) == "up"


def test_the_first_calls_can_fail() -> None:
    model = ScriptedModel("ok", fail_first=1)
    with pytest.raises(ModelError, match="on purpose"):
        text_of(model)
    assert text_of(model) == "ok"
    assert model.calls == 2


def test_words_come_at_a_pace() -> None:
    async def main() -> list[object]:
        model = ScriptedModel("one two three", tokens_per_second=200, delay=0.01)
        return [item async for item in model.generate(prompt(), SAMPLING)]

    started = time.perf_counter()
    items = asyncio.run(main())
    assert items[:-1] == ["one ", "two ", "three"]
    assert time.perf_counter() - started >= 0.03


def test_an_empty_list_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one reply"):
        ScriptedModel([])
