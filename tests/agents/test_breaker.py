"""Circuit breakers: what keeps failing is left alone for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from podium.agents.breaker import Breaker, Guarded
from podium.agents.model import Prompt, Wrapped, complete
from podium.agents.scripted import ScriptedModel
from podium.agents.tools import Tool, load_tool
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import parse_team
from podium.protocols.errors import ModelError, ModelUnreachable, PromptTooLong
from podium.protocols.record import Generation, Sampling

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


class Hanging(ScriptedModel):
    """A model that may be silent for half a second, and says nothing while it hangs; pieces: what it says before."""

    def __init__(self, *pieces: str) -> None:
        super().__init__("yes", "small")
        self.idle_timeout = 0.5  # a tenth of it are 50 ms
        self.pieces = pieces
        self.asked = 0
        self.hangs = True

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        self.asked += 1
        for piece in self.pieces:
            yield piece
        if self.hangs:
            await asyncio.sleep(60)
        async for item in super().generate(prompt, sampling):
            yield item


class Around(Wrapped):
    """As telemetry has it."""

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        return self.model.generate(prompt, sampling)


async def cut_off(model: Guarded, after: float, times: int = 1) -> None:
    """Calls made together and ended together, as by a deadline or because their user left."""
    with suppress(TimeoutError):
        async with asyncio.timeout(after):
            await asyncio.gather(*(complete(model, PROMPT, Sampling()) for _ in range(times)))


@pytest.mark.parametrize("pieces", [(), ("well",)])
def test_an_endpoint_that_hangs_until_a_deadline_has_failed(pieces: tuple[str, ...]) -> None:
    inner = Hanging(*pieces)
    model = Guarded(Around(inner), Breaker(3, 60))
    for _ in range(3):
        asyncio.run(cut_off(model, 0.06))
    with pytest.raises(ModelError, match=r"for another 60 s; the last time: it gave no piece of an answer for 0\.\d s"):
        ask(model)
    assert inner.asked == 3


def test_who_leaves_early_says_nothing_about_the_endpoint() -> None:
    model = Guarded(ScriptedModel("yes", delay=60), Breaker(3, 60))  # which may be silent for a minute
    for _ in range(9):
        asyncio.run(cut_off(model, 0.001))
    assert model.breaker.wait() == 0


def test_calls_that_are_cut_off_together_are_one_failure() -> None:
    model = Guarded(Hanging(), Breaker(2, 60))
    asyncio.run(cut_off(model, 0.06, times=9))
    assert model.breaker.wait() == 0
    asyncio.run(cut_off(model, 0.06, times=9))
    assert model.breaker.wait() > 0


def test_an_endpoint_that_speaks_to_others_does_not_hang() -> None:
    inner = Hanging()
    model = Guarded(inner, Breaker(1, 60))
    model.patience = 0.3

    async def work() -> None:
        leaving = asyncio.create_task(cut_off(model, 0.4))
        await asyncio.sleep(0.25)
        inner.hangs = False
        await complete(model, PROMPT, Sampling())
        await leaving

    asyncio.run(work())
    assert model.breaker.wait() == 0


def test_who_tries_and_hangs_keeps_it_open_and_who_tries_and_leaves_does_not() -> None:
    inner = Hanging()
    model = Guarded(inner, Breaker(1, 0.1))
    asyncio.run(cut_off(model, 0.06))
    assert model.breaker.wait() > 0
    time.sleep(0.11)
    asyncio.run(cut_off(model, 0.06))  # tries, and hangs
    assert model.breaker.open
    time.sleep(0.11)
    model.patience = 5
    asyncio.run(cut_off(model, 0.001))  # tries, and leaves: nobody knows, so the next one tries
    inner.hangs = False
    assert ask(model) == "yes"
    assert not model.breaker.tripped


def test_an_agents_timeout_opens_the_breaker_of_an_endpoint_that_hangs() -> None:
    spec = parse_team(ONE_ADDRESS.replace("solver,", "solver, timeout: 0.06,"))
    inner = Hanging()
    with Team(spec, {"large": inner, "small": ScriptedModel("yes", cycle=True)}) as team:
        for _ in range(2):
            with pytest.raises(ModelUnreachable, match=r"no reply within 0\.06 seconds"):
                team.run("how much?")
        for _ in range(3):
            assert team.run("how much?").answer == "yes"  # from the fallback, which there is time for now
    assert inner.asked == 2


def test_a_model_that_is_down_does_not_take_the_other_one_of_its_address_with_it() -> None:
    down = ScriptedModel(ModelUnreachable("HTTP 503: no capacity for large"), cycle=True)
    with Team(parse_team(ONE_ADDRESS), {"large": down, "small": ScriptedModel("yes")}) as team:
        for _ in range(5):
            assert team.run("how much?").answer == "yes"
    assert down.calls == 2


ONE_ADDRESS = """
name: desk
models:
  large: {provider: openai, base_url: "http://llm.example.com/v1", model: large, fallback: [small]}
  small: {provider: openai, base_url: "http://llm.example.com/v1", model: small}
agents: {ann: {role: solver, model: large}}
coordinator: {kind: single, agent: ann}
retry: {attempts: 1, open_after: 2}
"""
