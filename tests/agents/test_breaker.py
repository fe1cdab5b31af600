"""Circuit breakers: what keeps failing is left alone for a while."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from podium.agents.breaker import Breaker, Guarded
from podium.agents.model import Prompt, complete
from podium.agents.scripted import ScriptedModel
from podium.agents.tools import Tool, load_tool
from podium.protocols.errors import ModelError, ModelUnreachable, PromptTooLong
from podium.protocols.record import Sampling

PROMPT = Prompt("ann", "?", tuple)


def ask(model: Guarded) -> str:
    return asyncio.run(complete(model, PROMPT, Sampling())).text


def test_it_opens_after_failures_in_a_row_and_refuses_at_once() -> None:
    inner = ScriptedModel(ModelUnreachable("down"))
    model = Guarded(inner, Breaker(3, 60))
    for _ in range(3):
        with pytest.raises(ModelUnreachable):
            ask(model)
    with pytest.raises(
        ModelError, match=r"has failed 3 times in a row and is not asked for another 60 s; the last time: down"
    ) as caught:
        ask(model)
    assert inner.calls == 3
    assert not caught.value.transient  # nobody waits for it: the next model is asked, or the request has failed


def test_a_success_between_failures_starts_the_count_again() -> None:
    model = Guarded(ScriptedModel([ModelUnreachable("down"), "yes"], cycle=True), Breaker(2, 60))
    for _ in range(4):
        with pytest.raises(ModelUnreachable):
            ask(model)
        assert ask(model) == "yes"


def test_what_is_refused_for_good_is_no_failure_of_the_endpoint() -> None:
    inner = ScriptedModel(ModelError("no such model"))
    model = Guarded(inner, Breaker(2, 60))
    for _ in range(5):
        with pytest.raises(ModelError, match="no such model"):
            ask(model)
    assert inner.calls == 5


@pytest.mark.parametrize("refusal", [ModelError("HTTP 400"), PromptTooLong("too long")])
def test_an_endpoint_that_refuses_the_one_that_tries_is_there_again(refusal: ModelError) -> None:
    down = ModelUnreachable("down")
    model = Guarded(ScriptedModel([down, down, refusal, "yes"]), Breaker(2, 0.05))
    for _ in range(2):
        with pytest.raises(ModelUnreachable):
            ask(model)
    time.sleep(0.06)
    with pytest.raises(type(refusal), match=refusal.message):
        ask(model)
    assert ask(model) == "yes"


def test_a_refusal_between_failures_starts_the_count_again() -> None:
    model = Guarded(ScriptedModel([ModelUnreachable("down"), ModelError("HTTP 400")], cycle=True), Breaker(2, 60))
    for error in ("down", "HTTP 400") * 4:
        with pytest.raises(ModelError, match=error):
            ask(model)


def test_a_tool_that_refuses_its_arguments_is_there_again() -> None:
    raising: list[Exception] = [OSError("no"), ValueError("not that one"), OSError("no"), ValueError("nor that one")]

    def look() -> str:
        """Look."""
        raise raising.pop(0)

    tool = replace(Tool.from_function(look), breaker=Breaker(2, 60))
    told = [asyncio.run(tool.call("{}")).text for _ in range(4)]
    assert [each.split(": ")[-1] for each in told] == ["no", "not that one", "no", "nor that one"]
    tool = replace(tool, breaker=Breaker(1, 0.05))
    raising[:] = [OSError("no"), ValueError("not that one"), ValueError("nor that one")]
    asyncio.run(tool.call("{}"))
    time.sleep(0.06)
    assert "not that one" in asyncio.run(tool.call("{}")).text
    assert "nor that one" in asyncio.run(tool.call("{}")).text


def test_when_its_time_is_over_one_caller_tries() -> None:
    breaker = Breaker(1, 0.05)
    breaker.failed("down")
    assert 0 < breaker.wait() <= 0.05
    while breaker.wait():
        pass
    assert breaker.wait() > 0  # the others wait for what the first one finds
    breaker.worked()
    assert breaker.wait() == 0
    breaker.failed("down")
    assert breaker.wait() > 0


def test_a_tool_that_keeps_crashing_is_not_run_again() -> None:
    runs: list[int] = []

    def crash(number: int) -> str:
        """Crash."""
        runs.append(number)
        raise OSError("no")

    tool = replace(Tool.from_function(crash), breaker=Breaker(2, 60))
    for _ in range(5):
        asyncio.run(tool.call('{"number": "wrong"}'))  # the model's mistake does not count
    results = [asyncio.run(tool.call(f'{{"number": {number}}}')) for number in range(4)]
    assert runs == [0, 1]
    assert results[-1].failed
    assert results[-1].text == (
        "crash has failed 2 times in a row and is not run for another 60 s; the last time: crash failed: OSError: no\n"
        "Go on without it."
    )


def test_an_error_about_the_arguments_does_not_open_it() -> None:
    calculator = load_tool("calculator", Path())
    for _ in range(9):
        assert "ZeroDivisionError" in asyncio.run(calculator.call('{"expression": "1 / 0"}')).text
    assert load_tool("calculator", Path()).breaker is not calculator.breaker


def test_a_caller_without_time_is_no_failure_of_the_tool() -> None:
    async def slow() -> str:
        """Take long."""
        await asyncio.sleep(60)
        return ""

    tool = replace(Tool.from_function(slow), breaker=Breaker(1, 60))

    async def given_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await tool.call("{}")

    asyncio.run(given_up())
    assert tool.breaker.wait() == 0


def test_cancelling_a_call_is_no_failure_of_the_endpoint() -> None:
    model = Guarded(ScriptedModel("yes", delay=60), Breaker(1, 60))

    async def given_up() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await complete(model, PROMPT, Sampling())

    asyncio.run(given_up())
    assert model.breaker.wait() == 0
