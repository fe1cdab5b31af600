"""Runs that were killed go on: as they would have, and without a call that was completed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from podium.agents.agent import Agent
from podium.agents.model import Prompt
from podium.agents.scripted import Reply, ScriptedModel
from podium.agents.tools import Tool
from podium.orchestrator.coordinator import Coordinator, RunState, Stateless, ask, decision, latest
from podium.orchestrator.journal import Begun, Completed, End, Entry, Head, Journal
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy
from podium.orchestrator.team import Team
from podium.protocols.bus import Envelope, MemoryBus, Send
from podium.protocols.errors import InputError
from podium.protocols.events import Result
from podium.protocols.record import PLANS, Call, Decision, Generation, Node, Sampling, ToolCall, Usage
from podium.protocols.task import Message, Task
from tests.orchestrator.by_schema import instance
from tests.orchestrator.teams import PRICE, scripted, team

TEAMS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "round_robin": {"rounds": 2},
    "vote": {"samples": 3},
    "debate": {"rounds": 2},
    "moa": {"aggregator": "cyd"},
    "skill_table": {},
    "random": {},
    "learned": {},
    "planned": {},
    "llm": {"model": "ann", "max_steps": 4},
}
NAMES = ("ann", "bob", "cyd")


def voices() -> dict[str, ScriptedModel]:
    """Models whose replies depend on all that they are shown: a run that goes on differently ends differently."""

    def reply(prompt: Prompt) -> Reply:
        seen = sum(map(ord, "".join(message.content for message in prompt.messages))) % 997
        if "<plan>" in prompt.messages[-1].content:
            return f"<plan>{prompt.agent} plans {seen}</plan>{prompt.agent} saw {seen}"
        if prompt.response_schema is None or seen % 3 == 0:  # a third of what leads is no decision
            return f"{prompt.agent} saw {seen}"
        return json.dumps(instance(prompt.response_schema, Random(seen)))

    return {name: ScriptedModel(reply, name, price=PRICE) for name in NAMES}


def desk(kind: str, journal: Journal) -> tuple[Team, dict[str, ScriptedModel]]:
    models = voices()
    learned: Coordinator | None = None
    if kind == "learned":
        learned = LearnedCoordinator(Policy.fresh(Options(samples=(1, 3), width=2), NAMES, seed=3))
    if kind == "planned":
        policy = Policy.fresh(Options(samples=(1, 2), plans=PLANS[1:], max_steps=4), NAMES, seed=2)
        policy.weights["finish.b"] -= 5
        _, renew = policy.card.options.heads.spans()["plan"]
        policy.weights["options.b"][renew - 1] += 1.0
        learned = LearnedCoordinator(policy)
    return team(models, "vote" if learned else kind, coordinator=learned, journal=journal, **TEAMS[kind]), models


class Recorded:
    """A journal's entries in the order they were written, as `Journal.append` is given them."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.transactions: list[Sequence[Entry]] = []
        self._append = journal.append
        journal.append = self._noted

    def _noted(self, run: str, entries: Sequence[Entry]) -> asyncio.Future[None]:
        self.transactions.append(tuple(entries))
        return self._append(run, entries)


def timeless(result: Result) -> tuple[Any, ...]:
    """What of a result does not depend on the clock."""
    nodes = tuple(replace(node, clock=0.0, usage=replace(node.usage, seconds=0.0)) for node in result.nodes)
    decisions = tuple(replace(each, budget_left=(), reasons={}, factors=()) for each in result.decisions)
    return result.answer, result.node, result.stop, nodes, decisions, replace(result.usage, seconds=0.0)


async def cut_after(journal: Journal, transactions: Sequence[Sequence[Entry]]) -> str:
    """A journal as a process leaves it that was killed after these transactions; the run's id."""
    head = transactions[0][0]
    assert isinstance(head, Head)
    for entries in transactions:
        await journal.append(head.run, entries)
    journal.close()
    return head.run


def made(entry: Entry) -> tuple[Call, ...]:
    """Calls that an entry keeps."""
    return entry.calls if isinstance(entry, Node) else (entry.call,) if isinstance(entry, Completed) else ()


@pytest.mark.parametrize("kind", TEAMS)
def test_a_run_that_was_killed_anywhere_ends_as_it_would_have(kind: str, tmp_path: Path) -> None:
    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    first, models = desk(kind, whole)
    with first:
        expected = first.run("how much?", seed=5, mode="sample")
    calls = sum(model.calls for model in models.values())
    kinds = [node.kind for node in expected.nodes]
    assert (kinds.count("plan") >= 2) == (kind == "planned")
    assert isinstance(noted.transactions[-1][-1], End)
    for kept in range(1, len(noted.transactions)):
        journal = Journal(f"sqlite:///{tmp_path}/{kept}.db")
        asyncio.run(cut_after(journal, noted.transactions[:kept]))
        written = [entry for entries in noted.transactions[:kept] for entry in entries]
        paid = {call.id for entry in written for call in made(entry) if isinstance(call.result, Generation)}
        again, fresh = desk(kind, Journal(journal.url))
        with again:
            resumed = again.resume(expected.run)
            assert timeless(resumed) == timeless(expected)
            assert sum(model.calls for model in fresh.values()) == calls - len(paid)
            assert again.journal is not None
            assert again.journal.load(expected.run).nodes == resumed.nodes
            with pytest.raises(InputError, match="has ended"):
                again.resume(expected.run)


def tool_user(uses: list[str], idempotent: bool) -> tuple[Agent, ScriptedModel]:
    def send(to: str) -> str:
        """Send a letter."""
        uses.append(to)
        return f"sent to {to}"

    asked = [
        Generation("", Usage(10, 5, 1), Sampling(), tool_calls=(ToolCall(f"c{place}", "send", f'{{"to": "{to}"}}'),))
        for place, to in enumerate(("ann", "bob"))
    ]
    model = ScriptedModel([*asked, "done"], price=PRICE)
    tool = replace(Tool.from_function(send), idempotent=idempotent)
    return Agent("ann", "solver", model, tools=[tool]), model


def with_tools(journal: Journal, agent: Agent) -> Team:
    desk = team({"ann": agent.model}, "single", agent="ann", journal=journal)
    desk.orchestrator.bus = MemoryBus({"ann": agent})
    return desk


@pytest.fixture(params=[True, False], ids=["idempotent", "once"])
def idempotent(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_a_tool_user_goes_on_after_its_last_completed_call(idempotent: bool, tmp_path: Path) -> None:
    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    uses: list[str] = []
    agent, model = tool_user(uses, idempotent)
    with with_tools(whole, agent) as first:
        expected = first.run("send them letters", seed=1)
    assert (uses, model.calls, expected.answer) == (["ann", "bob"], 3, "done")
    began = [entry for entries in noted.transactions for entry in entries if isinstance(entry, Begun)]
    assert len(began) == (0 if idempotent else 2)
    for kept in range(1, len(noted.transactions)):
        written = [entry for entries in noted.transactions[:kept] for entry in entries]
        journal = Journal(f"sqlite:///{tmp_path}/{kept}.db")
        asyncio.run(cut_after(journal, noted.transactions[:kept]))
        completed = [entry.call for entry in written if isinstance(entry, Completed)]
        done = [call.target for call in completed if call.target == "send"]
        flying = [each for each in written if isinstance(each, Begun) and each.call not in {c.id for c in completed}]
        more: list[str] = []
        again, fresh = tool_user(more, idempotent)
        generations = len(completed) - len(done)
        fresh._next = generations  # pyright: ignore[reportPrivateUsage]
        with with_tools(Journal(journal.url), again) as second:
            resumed = second.resume(expected.run)
        assert resumed.answer == "done"
        assert fresh.calls == 3 - generations
        assert more == ["ann", "bob"][len(done) + len(flying) :]
        told = [call.result.text for call in resumed.nodes[-1].calls if call.target == "send"]
        assert len(told) == 2
        assert sum("is not known" in text for text in told) == len(flying)


def test_calls_of_an_earlier_life_are_off_the_lease(tmp_path: Path) -> None:
    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    agent, _ = tool_user([], True)
    with with_tools(whole, agent) as first:
        run = first.run("send them letters", seed=1).run
    leases: list[tuple[float, float]] = []

    class Looking:
        card = agent.card

        async def answer(self, envelope: Envelope, send: Send) -> str:
            leases.append((envelope.lease.calls, envelope.lease.tokens))
            return "done"

    for name, kept in (("none", 1), ("one", 2)):
        journal = Journal(f"sqlite:///{tmp_path}/{name}.db")
        asyncio.run(cut_after(journal, noted.transactions[:kept]))
        again, _ = tool_user([], True)
        with with_tools(Journal(journal.url), again) as second:
            second.orchestrator.bus = MemoryBus({"ann": Looking()})
            second.resume(run)
    (calls, tokens), after = leases
    assert after == (calls - 1, tokens - 15)


def test_what_failed_attempts_of_an_earlier_life_used_is_counted(tmp_path: Path) -> None:
    wants = Generation("", Usage(7, 3, 1, 0.5), Sampling(), "tool", tool_calls=(ToolCall("c", "shop", "{}"),))

    def shopping(journal: Journal) -> Team:
        agent = Agent("ann", "solver", ScriptedModel(wants, "first"), fallbacks=[ScriptedModel("12", "second")])
        return with_tools(journal, agent)

    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    with shopping(whole) as first:
        run = first.run("how much?", seed=1).run
    failed = [each for each in noted.transactions if any(isinstance(entry, Completed) for entry in each)]
    assert len(failed) == 1
    cut = Journal(f"sqlite:///{tmp_path}/cut.db")
    asyncio.run(cut_after(cut, noted.transactions[: noted.transactions.index(failed[0]) + 1]))
    assert cut.load(run).usage == Usage(7, 3, 1, 0.5)
    with shopping(Journal(cut.url)) as second:
        result = second.resume(run)
    assert [(call.id, call.error is None) for call in result.nodes[-1].calls] == [
        (f"{run}.0.0.failed.1", False),
        (f"{run}.0.0.failed.2", False),
        (f"{run}.0.0.0", True),
    ]
    assert result.answer == "12"
    assert result.usage.calls == 3
    assert result.usage.dollars == pytest.approx(1.0)


def unfinished(tmp_path: Path) -> Journal:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    task = Node(0, (), "task", "user", "how much?")
    asyncio.run(cut_after(journal, [(Head("r1", "desk", (Message("user", "how much?"),), 1.0), task)]))
    return Journal(journal.url)


def test_a_run_goes_on_with_its_own_settings_and_clock(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    noted = Recorded(journal)
    first, _ = desk("sequential", journal)
    with first:
        first.run("how much?")
    late = Journal(f"sqlite:///{tmp_path}/late.db")
    began = [
        replace(each, clock=25.0) if isinstance(each, Node) and each.id else each for each in noted.transactions[1]
    ]
    run = asyncio.run(cut_after(late, [noted.transactions[0], began]))
    again, _ = desk("sequential", Journal(late.url))
    with again:
        resumed = again.resume(run[:6])
    assert 25 <= resumed.seconds < 35
    assert resumed.nodes[2].clock >= 25


def test_what_cannot_be_resumed_is_told(tmp_path: Path) -> None:
    other = team(voices(), "sequential", name="other", journal=unfinished(tmp_path))
    with other, pytest.raises(InputError, match="begun by team desk, and this is team other"):
        other.resume("r1")
    same, _ = desk("sequential", Journal(f"sqlite:///{tmp_path}/runs.db"))
    with same:
        with pytest.raises(InputError, match="works on another task"):
            same.resume("r1", task=Task.of("how little?"))
        with pytest.raises(InputError, match="no run 'r2'"):
            same.resume("r2")
    without = team(voices(), "sequential")
    with without, pytest.raises(InputError, match="keeps no journal"):
        without.resume("r1")


def test_a_resume_that_is_refused_does_not_stand_in_the_way_of_the_right_one(tmp_path: Path) -> None:
    journal = unfinished(tmp_path)
    other, (same, _) = team(voices(), "sequential", name="other", journal=journal), desk("sequential", journal)
    with other, same:
        with pytest.raises(InputError, match="this is team other"):
            other.resume("r1")
        with pytest.raises(InputError, match="works on another task"):
            same.resume("r1", task=Task.of("how little?"))
        assert same.resume("r1").stop == "answered"


def test_a_team_whose_file_changed_does_not_take_its_runs_over(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    noted = Recorded(journal)
    first, _ = desk("sequential", journal)
    with first:
        first.run("how much?")
    cut = Journal(f"sqlite:///{tmp_path}/cut.db")
    run = asyncio.run(cut_after(cut, noted.transactions[:2]))
    changed = team(voices(), "sequential", journal=Journal(cut.url), budget={"calls": 99})
    with changed, pytest.raises(InputError, match="before its file was changed"):
        changed.resume(run)


def test_decisions_are_written_before_they_are_carried_out(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    noted = Recorded(journal)
    first, _ = desk("sequential", journal)
    with first:
        first.run("how much?")
    kinds = [[type(entry) for entry in entries] for entries in noted.transactions]
    assert kinds == [[Head, Node, Decision], [Node, Decision], [Node, Decision], [Node, End]]


class Asking(Stateless):
    """A coordinator that takes its time, as one does that asks a model, and looks what is written meanwhile."""

    name = "asking"

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.written: list[int] = []

    def decide(self, states: Sequence[RunState]) -> Awaitable[list[Decision]]:
        return self._decide(states[0])

    async def _decide(self, state: RunState) -> list[Decision]:
        if not state.step:
            return [decision(self.name, state, ask(state, ["ann"]))]
        for _ in range(200):
            self.written.append(len(self.journal.load(state.run).nodes))
            if self.written[-1] == len(state.nodes):
                break
            await asyncio.sleep(0.01)
        return [decision(self.name, state, latest(state))]


def test_a_reply_is_written_before_a_coordinator_that_takes_its_time_has_decided(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    asking = Asking(journal)
    with team({"ann": scripted("42")}, coordinator=asking, journal=journal) as desk:
        result = desk.run("task")
    assert (result.answer, asking.written[-1]) == ("42", 2)
    assert journal.load(result.run).nodes == result.nodes
