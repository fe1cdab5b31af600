"""One span per directive, however many samples it has, how many of them the budget holds, and how they end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from podium.orchestrator.coordinator import ask, latest
from podium.protocols.errors import ModelError, ModelUnreachable
from podium.protocols.record import Compute
from tests.orchestrator.stage import Scripted
from tests.orchestrator.teams import Gated, scripted
from tests.orchestrator.telemetry.watched import Watched, awaited, exact, parents, told, watched

SOON = {"attempts": 2, "wait": 0.01, "longest": 0.1}


def drawing(model: Any, samples: int, **more: Any) -> Watched:
    """A team whose ann is asked once, for so many samples, and whose answer that is."""
    compute = Compute(samples=samples, reduce="vote" if samples > 1 else "none")
    coordinator = Scripted(lambda state: ask(state, ["ann"], compute=compute), latest)
    return watched({"ann": model}, coordinator=coordinator, **more)


def test_a_directive_of_five_samples_is_one_span_with_five_inside() -> None:
    seen = drawing(scripted("a: 1", "a: 2", "a: 1", "a: 1", "a: 2"), 5)
    with seen.team as team:
        result = team.run("how much?")
    assert parents(seen.spans) == {
        "invoke_workflow desk": "",
        "plan scripted": "invoke_workflow desk",
        "invoke_agent ann": "invoke_workflow desk",
        "sample ann": "invoke_agent ann",
        "chat ann": "sample ann",
    }
    (directive,) = seen.of("invoke_agent")
    samples = seen.of("sample")
    assert [told(span)["podium.sample"] for span in samples] == list(range(5))
    assert {told(span)["podium.directive"] for span in samples} == {told(directive)["podium.directive"]}
    assert len(seen.of("chat")) == 5
    assert (told(directive)["podium.samples"], told(directive)["podium.reduce"]) == (5, "vote")
    assert (told(directive)["podium.outcome"], told(directive)["podium.samples.answered"]) == ("answered", 5)
    assert directive.end_time == max(span.end_time or 0 for span in samples)
    assert "podium.usage.calls" not in told(samples[0])
    exact(seen, result)


def test_a_directive_of_one_sample_has_no_layer_in_between() -> None:
    seen = drawing(scripted("yes"), 1)
    with seen.team as team:
        exact(seen, team.run("how much?"))
    assert parents(seen.spans)["chat ann"] == "invoke_agent ann"
    assert seen.of("sample") == []
    (directive,) = seen.of("invoke_agent")
    assert (told(directive)["podium.samples"], told(directive)["podium.reduce"]) == (1, "none")
    assert "podium.samples.answered" not in told(directive)


def test_samples_that_the_budget_does_not_hold_are_not_waited_for() -> None:
    seen = drawing(scripted("yes"), 4, budget={"calls": 2})
    with seen.team as team:
        result = team.run("how much?")
    (directive,) = seen.of("invoke_agent")
    assert (told(directive)["podium.samples"], told(directive)["podium.samples.answered"]) == (4, 2)
    assert len(seen.of("sample")) == 2
    assert directive.end_time == max(span.end_time or 0 for span in seen.of("sample"))
    exact(seen, result)


def test_it_is_answered_where_one_of_its_samples_is() -> None:
    seen = drawing(scripted(ModelError("gone"), "yes", ModelError("gone")), 3, retry=SOON)
    with seen.team as team:
        result = team.run("how much?")
    (directive,) = seen.of("invoke_agent")
    assert (told(directive)["podium.outcome"], told(directive)["podium.samples.answered"]) == ("answered", 1)
    assert "error.type" not in told(directive)
    assert [told(span).get("error.type", "") for span in seen.of("sample")] == ["ModelError", "", "ModelError"]
    exact(seen, result)


@pytest.mark.parametrize("samples", [1, 2])
def test_it_fails_where_all_of_them_do(samples: int) -> None:
    seen = drawing(scripted(ModelUnreachable("no line")), samples, retry=SOON)
    with seen.team as team, pytest.raises(ModelUnreachable):
        team.run("how much?")
    (directive,) = seen.of("invoke_agent")
    assert (told(directive)["podium.outcome"], told(directive)["error.type"]) == ("failed", "ModelUnreachable")
    assert directive.status.description == "no line"
    assert len(seen.of("chat")) == 2 * samples
    assert seen.begun.open == set()


@awaited
async def test_the_samples_of_a_cancelled_run_end_before_their_directive() -> None:
    seen = drawing(Gated("one two"), 3)
    work = asyncio.ensure_future(seen.team.arun("how much?"))
    await asyncio.sleep(0.05)
    assert len(seen.begun.open) == 1 + 1 + 3 + 3
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    assert seen.begun.open == set()
    (directive,) = seen.of("invoke_agent")
    assert (told(directive)["podium.outcome"], told(directive)["error.type"]) == ("cancelled", "cancelled")
    assert [told(span)["error.type"] for span in seen.of("sample")] == ["cancelled"] * 3
    await seen.team.aclose()


def test_one_that_is_too_slow_is_told_from_one_that_failed() -> None:
    seen = watched({"ann": Gated("one two"), "bob": scripted("yes")}, "vote", samples=2, timeouts={"ann": 0.05})
    with seen.team as team:
        result = team.run("how much?")
    outcomes = {told(span)["gen_ai.agent.name"]: told(span)["podium.outcome"] for span in seen.of("invoke_agent")}
    assert outcomes == {"ann": "timeout", "bob": "answered"}
    exact(seen, result)
