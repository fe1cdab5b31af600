"""Spans and figures of runs: their tree, their exactness, and that each ends, however its run does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from podium.agents.model import Model, Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.coordinator import RunState, Stateless, ask, decision, latest
from podium.orchestrator.engine import Settings
from podium.protocols.errors import BudgetExceeded, CoordinatorError, ModelError, ModelUnreachable, RunPaused
from podium.protocols.record import Compute, Decision, Generation, Sampling, ToolCall, Usage
from podium.protocols.task import Task
from tests.orchestrator.stage import Scripted
from tests.orchestrator.teams import PRICE, Gated, scripted
from tests.orchestrator.telemetry.watched import Watched, awaited, exact, parents, told, watched

SOON = {"attempts": 3, "wait": 0.01, "longest": 0.1}


def calling(*calls: tuple[str, str], then: str = "it is 42") -> ScriptedModel:
    """A model that asks for these tools one after another, and then answers."""
    asked = [
        Generation("", Usage(7, 3, 1, PRICE.dollars(7, 3)), Sampling(), "tool", tool_calls=(ToolCall(f"c{n}", *call),))
        for n, call in enumerate(calls)
    ]
    return ScriptedModel([*asked, then], cycle=True, price=PRICE)


class Breaking(ScriptedModel):
    """A model that says a word and breaks off, in passing, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__("at last", price=PRICE)
        self.times = times

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        if not self.times:
            return super().generate(prompt, sampling)
        self.times -= 1
        return self._broken()

    async def _broken(self) -> AsyncIterator[str | Generation]:
        yield "a word"
        raise ModelUnreachable("the line is dead")


def errors(spans: Sequence[ReadableSpan]) -> list[str]:
    """The kind of error of each span, "" where it is well."""
    for span in spans:
        assert (span.status.status_code is StatusCode.ERROR) == ("error.type" in told(span))
    return [told(span).get("error.type", "") for span in spans]


def test_a_run_is_a_tree_of_spans() -> None:
    seen = watched({"ann": scripted("a plan"), "bob": calling(("calculator", '{"expression": "6 * 7"}'))}, name="desk")
    spec = seen.team.spec.model_dump()
    spec["agents"]["bob"]["tools"] = ["calculator"]
    seen = watched(seen.team.models, changed={"agents": spec["agents"]}, name="desk")
    with seen.team as team:
        result = team.run("how much?")
    assert parents(seen.spans) == {
        "invoke_workflow desk": "",
        "plan sequential": "invoke_workflow desk",
        "invoke_agent ann": "invoke_workflow desk",
        "chat ann": "invoke_agent ann",
        "invoke_agent bob": "invoke_workflow desk",
        "chat bob": "invoke_agent bob",
        "execute_tool calculator": "invoke_agent bob",
    }
    assert [span.name for span in seen.spans][-4:] == [
        "invoke_agent bob",
        "chat bob",
        "execute_tool calculator",
        "chat bob",
    ]
    assert len({span.context.trace_id for span in seen.spans if span.context}) == 1
    assert {told(span)["gen_ai.conversation.id"] for span in seen.spans} == {result.run}
    agent = told(seen.of("invoke_agent")[1])
    assert (agent["gen_ai.agent.name"], agent["podium.step"], agent["podium.answer"]) == ("bob", 1, True)
    assert (agent["gen_ai.provider.name"], agent["gen_ai.request.model"]) == ("scripted", "bob")
    chat = told(seen.of("chat")[1])
    assert chat["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert (chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"]) == (7, 3)
    tool = told(seen.of("execute_tool")[0])
    assert (tool["gen_ai.tool.name"], tool["gen_ai.agent.name"]) == ("calculator", "bob")
    assert tool["gen_ai.tool.call.id"] == "c0"
    plan = told(seen.of("plan")[0])
    assert (plan["podium.agents"], plan["podium.finish"], plan["gen_ai.agent.name"]) == (("ann",), False, "sequential")
    run = told(seen.of("invoke_workflow")[0])
    assert (run["podium.stop"], run["podium.steps"], run["podium.answered_by"]) == ("answered", 2, "bob")
    assert errors(seen.spans) == [""] * len(seen.spans)
    exact(seen, result)


def parallel_candidates() -> Watched:
    models = {"ann": scripted("a: 1", "a: 2"), "bob": scripted("b: 1"), "cyd": scripted("c: 1", "c: 2", "c: 1")}
    return watched(models, "vote", samples=3)


def retried() -> Watched:
    models: dict[str, Model] = {"ann": ScriptedModel("yes", fail_first=2, price=PRICE), "bob": Breaking(1)}
    return watched(models, "debate", rounds=2, retry=SOON)


def one_fails_for_good() -> Watched:
    return watched({"ann": scripted("yes"), "bob": scripted(ModelError("gone"))}, "vote", retry=SOON)


def tools_some_of_which_fail() -> Watched:
    calls = ("calculator", '{"expression": "6 * 7"}'), ("calculator", '{"expression": "6 / 0"}'), ("missing", "{}")
    models = {"ann": calling(*calls), "bob": scripted("no")}
    agents = watched(models, "vote").team.spec.model_dump()["agents"]
    agents["ann"]["tools"] = ["calculator", "clock"]
    return watched(models, "vote", changed={"agents": agents})


def a_fallback() -> Watched:
    models = {"ann": scripted(ModelError("gone")), "bob": scripted("yes")}
    specs = watched(models).team.spec.model_dump()["models"]
    specs["ann"]["fallback"] = ["bob"]
    return watched(models, changed={"models": specs}, retry=SOON)


def a_model_that_decides() -> Watched:
    lead = scripted("no idea", '{"next": "bob"}', '{"next": "ann"}', '{"next": "finish"}', name="lead")
    models = {"ann": scripted("a"), "bob": scripted("b"), "lead": lead}
    agents = watched(models).team.spec.model_dump()["agents"]
    del agents["lead"]
    return watched(
        models, "llm_selector", changed={"agents": agents, "models": _specs(models)}, model="lead", retry=SOON
    )


def _specs(models: Any) -> dict[str, Any]:
    return {name: {"provider": "scripted", "replies": ("unused",)} for name in models}


def a_budget_that_ends_early() -> Watched:
    return watched({"ann": scripted("yes"), "bob": scripted("no")}, "vote", samples=4, budget={"calls": 3})


@pytest.mark.parametrize(
    "make",
    [
        parallel_candidates,
        retried,
        one_fails_for_good,
        tools_some_of_which_fail,
        a_fallback,
        a_model_that_decides,
        a_budget_that_ends_early,
    ],
)
def test_usage_is_exact_in_all_and_for_each_agent(make: Any) -> None:
    seen = make()
    with seen.team as team:
        result = team.run("how much?")
    assert result.usage.tokens > 0
    exact(seen, result)


def test_each_attempt_is_a_model_call_and_all_of_them_one_invocation() -> None:
    seen = watched({"ann": Breaking(2)}, "single", agent="ann", retry=SOON)
    with seen.team as team:
        result = team.run("how much?")
    assert errors(seen.of("chat")) == ["ModelUnreachable", "ModelUnreachable", ""]
    assert seen.of("chat")[0].status.description == "the line is dead"
    (invocation,) = seen.of("invoke_agent")
    assert errors([invocation]) == [""]
    assert told(invocation)["podium.attempts"] == 3
    assert parents(seen.spans)["chat ann"] == "invoke_agent ann"
    assert seen.sums("podium.attempts.failed", "error.type") == {"ModelUnreachable": 2}
    assert seen.sums("podium.attempts.retried", "gen_ai.agent.name") == {"ann": 2}
    exact(seen, result)


def test_an_invocation_that_failed_for_good_ends_with_its_last_attempt() -> None:
    coordinator = Scripted(
        lambda state: ask(state, ["ann", "bob"]), lambda state: ask(state, ["bob"]), latest, name="three"
    )
    models = {"ann": scripted(ModelUnreachable("gone")), "bob": scripted("yes", pace=20)}
    seen = watched(models, coordinator=coordinator, retry={**SOON, "attempts": 2})
    with seen.team as team:
        result = team.run("how much?")
    ann, *bobs = seen.of("invoke_agent")
    assert errors([ann, *bobs]) == ["ModelUnreachable", "", ""]
    assert ann.status.description == "gone"
    last = max(span.end_time or 0 for span in seen.of("chat") if told(span)["gen_ai.agent.name"] == "ann")
    assert 0 <= (ann.end_time or 0) - last < 1e9
    exact(seen, result)


def test_a_run_that_fails_says_so() -> None:
    seen = watched({"ann": scripted(ModelError("no such model"))})
    with seen.team as team, pytest.raises(ModelError):
        team.run("how much?")
    run = seen.of("invoke_workflow")[0]
    assert errors([run]) == ["ModelError"]
    assert run.status.description == "no such model"
    assert told(run)["podium.stop"] == "failed"
    assert seen.sums("podium.runs", "podium.stop") == {"failed": 1}
    assert seen.begun.open == set()


def test_a_request_that_the_budget_does_not_hold_is_counted() -> None:
    seen = watched({"ann": scripted("yes"), "bob": scripted("no")}, "vote", budget={"calls": 1})
    with seen.team as team:
        result = team.run("how much?")
    assert result.refused == 1
    assert seen.sums("podium.requests.refused", "gen_ai.workflow.name") == {"desk": 1}
    assert seen.sums("podium.runs", "podium.stop") == {result.stop: 1}
    with seen.team as team, pytest.raises(BudgetExceeded):
        team.run("how much " * 100_000)
    assert seen.begun.open == set()


def test_a_run_that_is_paused_is_counted_as_such() -> None:
    seen = watched({"ann": scripted(RunPaused("stopped", "r"))}, "single", agent="ann")
    with seen.team as team, pytest.raises(RunPaused):
        team.run("how much?")
    assert seen.sums("podium.runs", "podium.stop") == {"paused": 1}
    assert seen.begun.open == set()


@awaited
async def test_a_cancelled_run_closes_all_its_spans() -> None:
    gated = {"ann": Gated("one two"), "bob": Gated("three four")}
    seen = watched(gated, "vote")
    work = asyncio.ensure_future(seen.team.arun("how much?"))
    await asyncio.sleep(0.05)
    assert len(seen.begun.open) == 5
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    assert seen.begun.open == set()
    assert errors(seen.of("chat")) == errors(seen.of("invoke_agent")) == ["cancelled", "cancelled"]
    assert errors(seen.of("invoke_workflow")) == ["cancelled"]
    assert told(seen.of("invoke_workflow")[0])["podium.stop"] == "cancelled"
    assert seen.sums("podium.runs", "podium.stop") == {"cancelled": 1}
    await seen.team.aclose()


@awaited
async def test_a_run_that_is_cancelled_between_attempts_closes_them_too() -> None:
    patient = {"attempts": 3, "wait": 50.0, "longest": 100.0}
    seen = watched({"ann": scripted(ModelUnreachable("gone"))}, retry=patient)
    work = asyncio.ensure_future(seen.team.arun("how much?"))
    await asyncio.sleep(0.05)
    assert errors(seen.of("chat")) == ["ModelUnreachable"]
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    assert seen.begun.open == set()
    assert errors(seen.of("invoke_agent")) == ["ModelUnreachable"]
    await seen.team.aclose()


def test_an_agent_that_is_too_slow_is_told_from_one_that_is_cancelled() -> None:
    models = {"ann": Gated("one two"), "bob": scripted("yes")}
    seen = watched(models, "vote", timeouts={"ann": 0.05})
    with seen.team as team:
        result = team.run("how much?")
    assert errors(seen.of("invoke_agent")) == ["timeout", ""]
    exact(seen, result)


@pytest.mark.parametrize("delays", [(0.0, 0.0, 0.0), (0.02, 0.01, 0.0), (0.0, 0.02, 0.01)])
def test_requests_at_once_have_spans_of_their_own_beside_each_other(delays: Sequence[float]) -> None:
    models = {name: scripted("yes", delay=delay) for name, delay in zip(("ann", "bob", "cyd"), delays, strict=True)}
    seen = watched(models, "vote")
    with seen.team as team:
        result = team.run("how much?")
    assert parents(seen.spans) == {
        "invoke_workflow desk": "",
        "plan vote": "invoke_workflow desk",
        **{f"invoke_agent {name}": "invoke_workflow desk" for name in models},
        **{f"chat {name}": f"invoke_agent {name}" for name in models},
    }
    exact(seen, result)


class Together(Stateless):
    """Decides for all runs that wait at once: one agent, then the end. sizes: how many there were."""

    name = "together"
    batched = True

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        self.sizes.append(len(states))
        return [decision(self.name, each, latest(each) if each.step else ask(each, ["ann"])) for each in states]


@awaited
async def test_decisions_that_are_taken_together_belong_to_their_own_runs() -> None:
    coordinator = Together()
    seen = watched({"ann": scripted("yes")}, coordinator=coordinator)
    results = await asyncio.gather(*(seen.team.arun(f"how much is {number}?") for number in range(4)))
    assert max(coordinator.sizes) > 1
    for result in results:
        mine = [span for span in seen.spans if told(span)["gen_ai.conversation.id"] == result.run]
        assert len({span.context.trace_id for span in mine if span.context}) == 1
        assert [told(span)["podium.step"] for span in mine if span.name == "plan together"] == [0, 1]
        assert [span.name for span in mine].count("chat ann") == 1
    assert seen.begun.open == set()
    assert seen.sums("podium.decisions", "gen_ai.agent.name") == {"together": 8}
    await seen.team.aclose()


def test_model_calls_of_a_decision_are_inside_it() -> None:
    seen = a_model_that_decides()
    with seen.team as team:
        team.run("how much?")
    spans = [span for span in seen.of("chat") if told(span)["podium.model"] == "lead"]
    plans = {span.context.span_id for span in seen.of("plan") if span.context}
    assert spans
    assert {span.parent.span_id for span in spans if span.parent} <= plans
    assert {told(span)["gen_ai.agent.name"] for span in spans} == {"llm_selector"}


def test_a_coordinator_that_fails_has_a_failed_span() -> None:
    def broken(_: RunState) -> Any:
        raise ZeroDivisionError("no")

    seen = watched({"ann": scripted("yes")}, coordinator=Scripted(broken))
    with seen.team as team, pytest.raises(CoordinatorError):
        team.run("how much?")
    assert errors(seen.of("plan")) == ["ZeroDivisionError"]
    assert errors(seen.of("invoke_workflow")) == ["CoordinatorError"]
    assert seen.begun.open == set()


def everything(seen: Watched) -> str:
    """All that was told, as text."""
    return "".join(span.to_json() for span in seen.spans)


def test_what_was_said_is_told_only_where_it_is_asked_for() -> None:
    key = "hunter2-hunter2"
    models = {"ann": calling(("calculator", '{"expression": "6 * 7"}'), then=f"the sum; api_key={key}")}
    agents = watched(models).team.spec.model_dump()["agents"]
    agents["ann"]["tools"] = ["calculator"]
    for content in (False, True):
        seen = watched(models, changed={"agents": agents}, content=content)
        with seen.team as team:
            team.run("a question of mine")
        text = everything(seen)
        for said in ("a question of mine", "the sum", "6 * 7"):
            assert (said in text) == content
        assert key not in text
        if content:
            chat = told(seen.of("chat")[1])
            asked = json.loads(chat["gen_ai.input.messages"])
            assert [each["role"] for each in asked] == ["system", "user", "assistant", "tool"]
            assert asked[1]["parts"] == [{"type": "text", "content": "a question of mine"}]
            assert asked[2]["parts"][0]["type"] == "tool_call"
            assert asked[3]["parts"] == [{"type": "tool_call_response", "id": "c0", "response": "42"}]
            (answer,) = json.loads(chat["gen_ai.output.messages"])
            assert (answer["role"], answer["finish_reason"]) == ("assistant", "stop")
            assert told(seen.of("execute_tool")[0])["gen_ai.tool.call.result"] == "42"


@awaited
async def test_what_trains_is_not_watched() -> None:
    seen = watched({"ann": scripted("yes")})
    result = await seen.team.orchestrator.run(Task.of("how much?"), Settings(), id="r")
    assert result.answer == "yes"
    assert seen.spans == []
    assert seen.points("gen_ai.client.token.usage") == []
    await seen.team.aclose()


def test_figures_have_the_buckets_that_the_conventions_advise() -> None:
    seen = watched({"ann": scripted("yes")})
    with seen.team as team:
        team.run("how much?")
    bounds = {
        name: tuple(seen.points(name)[0].explicit_bounds)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
        for name in ("gen_ai.client.token.usage", "gen_ai.client.operation.duration", "gen_ai.invoke_agent.duration")
    }
    assert bounds["gen_ai.client.token.usage"][:5] == (1, 4, 16, 64, 256)
    assert bounds["gen_ai.client.token.usage"][-1] == 67108864
    assert bounds["gen_ai.client.operation.duration"][0] == 0.01
    assert bounds["gen_ai.client.operation.duration"][-1] == 81.92
    assert bounds["gen_ai.invoke_agent.duration"][-1] == pytest.approx(409.6)
    for span in (seen.of("invoke_agent")[0], seen.of("invoke_workflow")[0]):
        name = {"invoke_agent": "gen_ai.invoke_agent.duration", "invoke_workflow": "gen_ai.workflow.duration"}
        seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        sums = seen.sums(name[told(span)["gen_ai.operation.name"]], "gen_ai.workflow.name")
        assert sums == {"desk": pytest.approx(seconds)}


def test_a_run_of_several_steps_counts_its_steps() -> None:
    compute = Compute(samples=2, reduce="vote")
    coordinator = Scripted(lambda state: ask(state, ["ann"], compute=compute), latest)
    seen = watched({"ann": scripted("yes")}, coordinator=coordinator)
    with seen.team as team:
        result = team.run("how much?")
    assert [told(span)["podium.step"] for span in seen.of("invoke_agent")] == [0]
    assert result.steps == len(seen.of("plan")) == 2
