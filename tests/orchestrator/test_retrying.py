"""Calls that fail and are made again: over real HTTP against a server that misbehaves, and with scripted models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from podium.agents.agent import Agent
from podium.agents.model import Model
from podium.agents.scripted import ScriptedModel
from podium.agents.tools import Tool
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy
from podium.orchestrator.requests import STOPPED
from podium.orchestrator.retrying import Retry
from podium.orchestrator.team_file import parse_team
from podium.orchestrator.topology import Topology
from podium.protocols.bus import MemoryBus
from podium.protocols.errors import BudgetExceeded, ModelError, ModelGarbage, ModelUnreachable, RunError, TeamFileError
from podium.protocols.events import Event, Piece, Result
from podium.protocols.record import Generation, Sampling, ToolCall, Usage
from podium.protocols.task import Task
from tests.agents.endpoint_server import GOOD, Server, chunk, endpoint
from tests.orchestrator.teams import scripted, team

pytestmark = pytest.mark.timeout(60)

SOON = Retry(3, wait=0.01, longest=0.2)

Arrange = Callable[[Server], None]


def well(server: Server) -> None:
    server.status, server.kind, server.parts, server.headers, server.deaf = 200, "text/event-stream", GOOD, "", False
    server.cut, server.done = False, "data: [DONE]\n\n"


def refusing(status: int, after: str | None = None) -> Arrange:
    def arrange(server: Server) -> None:
        well(server)
        server.status, server.kind, server.parts = status, "application/json", ['{"error": {"message": "no"}}']
        server.headers = f"retry-after: {after}\r\n" if after else ""

    return arrange


def deaf(server: Server) -> None:
    server.deaf = True


def cut(server: Server) -> None:
    well(server)
    server.parts, server.done, server.cut = [chunk({"content": "It is "})], "", True


def garbage(server: Server) -> None:
    well(server)
    server.parts = ["data: {not json}\n\n"]


def leading(agent: Agent, retry: Retry = SOON, coordinator: Coordinator | None = None) -> Orchestrator:
    bus = MemoryBus({agent.card.name: agent})
    names = [agent.card.name]
    return Orchestrator("t", bus, coordinator or Single(names[0]), Topology.full(names), Limits(), retry=retry)


def ask(*turns: Arrange, second: Sequence[Arrange] | None = None, retry: Retry = SOON) -> tuple[Result, list[Server]]:
    """A run of one agent whose endpoint does these things in turn; second: those of its fallback's endpoint."""

    async def main() -> tuple[Result, list[Server]]:
        async with AsyncExitStack() as stack:
            servers: list[Server] = []
            models: list[Model] = []
            for each in [turns] if second is None else [turns, second]:
                server, model = await stack.enter_async_context(endpoint())
                server.turns = list(each)
                servers.append(server)
                models.append(model)
            agent = Agent("ann", "solver", models[0], fallbacks=models[1:])
            return await leading(agent, retry).run(Task.of("2 + 2?"), id="r"), servers

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "counted"),
    [(refusing(429), 1), (refusing(500), 1), (refusing(503), 1), (deaf, 1), (cut, 3), (garbage, 3)],
)
def test_what_fails_in_passing_is_asked_again(fault: Arrange, counted: int) -> None:
    result, (server,) = ask(fault, fault, well)
    assert (result.answer, len(server.requests)) == ("It is 4.", 3)
    assert result.usage.calls == counted, "what was refused was not billed; what was answered, and badly, may be"
    calls = result.nodes[1].calls
    assert [(call.attempt, call.error is None) for call in calls] == [(1, False), (2, False), (3, True)]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_fails_for_good_is_not(status: int) -> None:
    async def main() -> list[dict[str, Any]]:
        async with endpoint() as (server, model):
            server.turns = [refusing(status)]
            with pytest.raises(ModelError):
                await leading(Agent("ann", "solver", model)).run(Task.of("?"), id="r")
            return server.requests

    assert len(asyncio.run(main())) == 1


@pytest.mark.parametrize(("fault", "error"), [(deaf, ModelUnreachable), (garbage, ModelGarbage)])
def test_the_last_error_is_raised_with_all_attempts_in_the_record(fault: Arrange, error: type[ModelError]) -> None:
    with pytest.raises(error) as caught:
        ask(fault, fault, fault)
    partial = caught.value.partial
    assert isinstance(partial, Result)
    assert [node.kind for node in partial.nodes] == ["task", "failure"]
    assert [call.attempt for call in partial.nodes[1].calls] == [1, 2, 3]


def test_the_endpoints_own_wait_is_kept() -> None:
    result, (server,) = ask(refusing(429, "0.15"), well)
    assert len(server.requests) == 2
    assert result.seconds >= 0.15


def test_an_endpoint_that_asks_for_too_long_is_given_up_for_the_next_model() -> None:
    result, (first, second) = ask(refusing(429, "3600"), second=[well])
    assert (len(first.requests), len(second.requests), result.answer) == (1, 1, "It is 4.")
    assert result.seconds < 5


def test_a_date_to_come_back_at_is_understood() -> None:
    result, (first, _) = ask(refusing(503, "Fri, 31 Dec 2100 23:59:59 GMT"), second=[well])
    assert (len(first.requests), result.answer) == (1, "It is 4.")


def test_a_fallback_answers_where_the_first_model_fails_for_good() -> None:
    result, (first, second) = ask(refusing(401), second=[refusing(503), well])
    assert (len(first.requests), len(second.requests)) == (1, 2)
    assert result.answer == "It is 4."
    assert [call.attempt for call in result.nodes[1].calls] == [1, 2, 3]


def test_what_a_failed_call_used_is_paid_for_and_in_the_record() -> None:
    wants = Generation("", Usage(7, 3, 1, 0.5), Sampling(), "tool", tool_calls=(ToolCall("c", "shop", "{}"),))
    agent = Agent("ann", "solver", ScriptedModel(wants, "first"), fallbacks=[ScriptedModel("12", "second")])
    orchestrator = Orchestrator(
        "desk", MemoryBus({"ann": agent}), Single("ann"), Topology.full(("ann",)), Limits(), retry=SOON
    )
    result = asyncio.run(orchestrator.run(Task.of("how much?"), id="r"))
    failed, answered = result.nodes[-1].calls
    assert (failed.target, result.answer) == ("first", "12")
    assert failed.error == "asked for the tool 'shop', and was given none"
    assert isinstance(failed.result, Generation)
    assert isinstance(answered.result, Generation)
    assert failed.result.usage == Usage(7, 3, 1, 0.5)
    assert result.usage == failed.result.usage + answered.result.usage


def overspender(limits: Limits) -> tuple[Orchestrator, ScriptedModel]:
    """An agent whose first model uses 70 tokens and one call for nothing, and the fallback that has to pay for it."""
    wants = Generation("", Usage(10, 60, 1, 7e-5), Sampling(), "tool", tool_calls=(ToolCall("c", "shop", "{}"),))
    second = ScriptedModel("12", "second", max_tokens=60)
    agent = Agent("ann", "own", ScriptedModel(wants, "first", max_tokens=60), prompt="p", fallbacks=[second])
    bus, full = MemoryBus({"ann": agent}), Topology.full(("ann",))
    return Orchestrator("desk", bus, Single("ann"), full, limits, retry=SOON), second


@pytest.mark.parametrize("limits", [Limits(tokens=100, calls=1), Limits(calls=1), Limits(tokens=72)])
def test_no_budget_is_overspent_for_what_a_failed_call_used(limits: Limits) -> None:
    orchestrator, second = overspender(limits)
    with pytest.raises(BudgetExceeded) as caught:
        asyncio.run(orchestrator.run(Task.of("how much?"), id="r"))
    assert second.calls == 0
    assert isinstance(caught.value.partial, Result)
    assert caught.value.partial.usage == Usage(10, 60, 1, 7e-5)
    assert caught.value.partial.overshoot == 0


def test_what_a_failed_call_leaves_of_a_budget_is_there_for_the_next() -> None:
    orchestrator, _ = overspender(Limits(tokens=100, calls=2))
    result = asyncio.run(orchestrator.run(Task.of("how much?"), id="r"))
    assert result.answer == "12"
    answered = result.nodes[-1].calls[-1].result
    assert isinstance(answered, Generation)
    assert answered.sampling.max_tokens < 30, "the first model used 70 of the 100"


def test_of_what_a_failed_call_used_nothing_stays_set_aside() -> None:
    orchestrator, _ = overspender(Limits())
    pool = orchestrator.pool = Budget(Limits(tokens=10_000, calls=10), shared=True)
    result = asyncio.run(orchestrator.run(Task.of("how much?"), id="r"))
    assert (pool.held_tokens, pool.held_calls) == (0, 0)
    assert pool.held_dollars == pytest.approx(0)
    assert (pool.tokens, pool.calls) == (result.usage.tokens, 2)


def test_one_attempt_means_one() -> None:
    with pytest.raises(ModelUnreachable):
        ask(refusing(503), well, retry=Retry(1))


class Halting(ScriptedModel):
    """Says half of its reply, fails, and says all of it when it is asked again."""

    def generate(self, prompt: Any, sampling: Any) -> AsyncIterator[str | Generation]:
        return self._halting(prompt, sampling)

    async def _halting(self, prompt: Any, sampling: Any) -> AsyncIterator[str | Generation]:
        self.calls += 1
        if self.calls == 1:
            yield "It is "
            raise ModelUnreachable("cut")
        async for item in ScriptedModel("It is 4.").generate(prompt, sampling):
            yield item


def test_a_stream_is_not_told_twice() -> None:
    events: list[Event] = []
    team = leading(Agent("ann", "solver", Halting("")))
    result = asyncio.run(team.run(Task.of("?"), id="r", emit=events.append))
    assert result.answer == "It is 4."
    assert [event.text for event in events if isinstance(event, Piece)] == ["It is "]


def test_completed_calls_are_not_made_again() -> None:
    used: list[int] = []

    def double(number: int) -> int:
        """Twice a number."""
        used.append(number)
        return 2 * number

    asked = Generation("", Usage(10, 5, 1), Sampling(), tool_calls=(ToolCall("c", "double", '{"number": 4}'),))
    model = ScriptedModel([asked, ModelUnreachable("cut"), "It is 8."])
    result = asyncio.run(
        leading(Agent("ann", "solver", model, tools=[Tool.from_function(double)])).run(Task.of("?"), id="r")
    )
    assert (result.answer, used, model.calls) == ("It is 8.", [4], 3)
    assert result.usage.calls == 2
    assert [call.error for call in result.nodes[1].calls] == [None, None, "cut", None]


def test_no_run_waits_past_its_deadline_for_another_attempt() -> None:
    async def main() -> None:
        agent = Agent("ann", "solver", ScriptedModel(ModelUnreachable("cut")))
        bus = MemoryBus({"ann": agent})
        slow = Retry(50, wait=20, longest=60)
        led = Orchestrator("t", bus, Single("ann"), Topology.full(["ann"]), Limits(seconds=0.2), retry=slow)
        with pytest.raises(RunError, match=r"within 0\.2 seconds"):
            await led.run(Task.of("?"), id="r")

    asyncio.run(main())


KINDS: dict[str, dict[str, Any]] = {
    "round_robin": {"rounds": 2},
    "vote": {},
    "debate": {"rounds": 2},
    "moa": {"layers": 2, "aggregator": "cyd"},
    "random": {},
    "skill_table": {},
}
LEARNED = LearnedCoordinator(Policy.fresh(Options(width=2), ("ann", "bob", "cyd"), seed=3))


@pytest.mark.parametrize("kind", [*KINDS, "learned"])
def test_every_coordinator_lives_with_an_agent_that_is_down(kind: str) -> None:
    models = {"ann": scripted("yes"), "bob": scripted(ModelUnreachable("down")), "cyd": scripted("yes")}
    outcomes: list[str] = []
    for seed in range(12):
        learned = LEARNED if kind == "learned" else None
        with team(models, kind if learned is None else "vote", coordinator=learned, **KINDS.get(kind, {})) as desk:
            try:
                outcomes.append(desk.run("?", seed=seed, mode="sample").answer)
            except ModelUnreachable:  # it asked bob alone
                outcomes.append("down")
    assert set(outcomes) <= {"yes", "down"}
    if kind in ("vote", "debate", "moa"):
        assert set(outcomes) == {"yes"}


FILE = """
name: desk
models:
  big: {provider: scripted, replies: [yes], fallback: [FALLBACK]}
  small: {provider: scripted, replies: [no]}
agents: {ann: {role: solver, model: big}}
coordinator: {kind: single, agent: ann}
"""


@pytest.mark.parametrize(
    ("other", "told"), [("smal", 'did you mean "small"'), ("big", "a model cannot stand in for itself")]
)
def test_a_fallback_has_to_be_another_model(other: str, told: str) -> None:
    assert parse_team(FILE.replace("FALLBACK", "small")).models["big"].fallback == ("small",)
    with pytest.raises(TeamFileError, match=told):
        parse_team(FILE.replace("FALLBACK", other))


@pytest.mark.parametrize("how", ["deadline", "cancelled", "timeout"])
def test_a_run_that_is_stopped_in_a_tool_leaves_a_valid_transcript(how: str) -> None:
    async def hang() -> str:
        """Take for ever."""
        await asyncio.sleep(3600)
        return ""

    calls = (ToolCall("a", "hang", "{}"), ToolCall("b", "hang", "{}"))
    model = ScriptedModel([Generation("", Usage(10, 5, 1), Sampling(), tool_calls=calls), "never"])
    agent = Agent("ann", "solver", model, tools=[replace(Tool.from_function(hang), timeout=3600.0)])
    bus = MemoryBus({"ann": agent})
    limits = Limits(seconds=0.1) if how == "deadline" else Limits()
    timeouts = {"ann": 0.1} if how == "timeout" else {}
    led = Orchestrator("t", bus, Single("ann"), Topology.full(["ann"]), limits, retry=SOON, timeouts=timeouts)

    async def main() -> Result:
        work = asyncio.create_task(led.run(Task.of("?"), id="r"))
        if how == "cancelled":
            await asyncio.sleep(0.1)
            work.cancel()
        partial: object = None
        try:
            await work
        except RunError as error:
            partial = error.partial
        except asyncio.CancelledError as error:
            partial = error.args[0]
        assert isinstance(partial, Result)
        return partial

    result = asyncio.run(main())
    assert [node.kind for node in result.nodes] == ["task", "failure"]
    asked, *used = result.nodes[1].calls
    assert isinstance(asked.result, Generation)
    assert [(call.id, call.result.text) for call in used] == [
        ("r.0.0.0.a", STOPPED if how != "timeout" else used[0].result.text),
        ("r.0.0.0.b", STOPPED),
    ]
    assert result.usage == Usage(10, 5, 1)
    assert result.by_agent["ann"].calls == 1
