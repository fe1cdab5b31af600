"""Agents join and leave while runs are under way: the runs go on, with coordinators of every kind."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from podium.agents.agent import Agent
from podium.agents.model import Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinator import Coordinator, RunState, ask, latest
from podium.orchestrator.coordinators import RoundRobin
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.journal import Head, Journal
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy
from podium.orchestrator.membership import Change, Members, change_in, change_words
from podium.orchestrator.narrate import tell
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TopologySpec
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Card, Envelope, Lease, MemoryBus
from podium.protocols.errors import AgentLeft, CoordinatorError, DeadlineExceeded, InputError
from podium.protocols.events import Result
from podium.protocols.record import Directive, Finish, Generation, Node, Usage
from podium.protocols.saved import SavedRun
from podium.protocols.task import Task
from tests.orchestrator.stage import Scripted, Speaker, Stage, authors
from tests.orchestrator.teams import PRICE, team
from tests.orchestrator.test_resume import Recorded, cut_after, made, timeless

KINDS: dict[str, dict[str, Any]] = {
    "round_robin": {"rounds": 2},
    "sequential": {},
    "vote": {"samples": 3},
    "debate": {"rounds": 3},
    "moa": {"aggregator": "cyd"},
    "skill_table": {},
    "random": {"max_steps": 5, "finish_probability": 0.1},
    "llm_selector": {"model": "ann"},
    "learned": {},
}
NAMES = ("ann", "bob", "cyd")
SEEDS = {"learned": 4, "random": 4}
"""With which ann or bob is asked first, and dee later."""


def learner(seed: int = 3) -> Coordinator:
    """A policy that goes on for some steps, and knows three of four agents."""
    policy = Policy.fresh(Options(samples=(1, 3), width=2, max_steps=5), NAMES, seed=seed)
    policy.weights["finish.b"] -= 3
    return LearnedCoordinator(policy)


def voices(happens: Callable[[], None] | None) -> dict[str, ScriptedModel]:
    """Models that read all they are shown. happens: once, when ann or bob is asked for the first time."""
    left = [happens] if happens else []

    def reply(prompt: Prompt) -> str:
        if left and prompt.agent in ("ann", "bob"):
            left.pop()()
        seen = sum(map(ord, "".join(message.content for message in prompt.messages))) % 997
        return f"{prompt.agent} saw {seen}"

    return {name: ScriptedModel(reply, name, price=PRICE) for name in (*NAMES, "dee")}


class World:
    """A team, of which cyd leaves and which dee joins, when ann or bob is asked for the first time."""

    def __init__(self, kind: str, journal: Journal | None, *, changed: bool = False) -> None:
        self.models = voices(None if changed else self.change)
        learned = learner() if kind == "learned" else None
        of_team = {name: self.models[name] for name in NAMES}
        own = "vote" if learned else kind
        self.team = team(of_team, own, coordinator=learned, journal=journal, **KINDS[kind])
        if changed:
            self.change()

    def change(self) -> None:
        self.team.leave("cyd")
        self.team.join(Agent("dee", "solver", self.models["dee"], description="came later"))


def changes(result: Result) -> list[str]:
    return [change_words(change_in(node)) for node in result.nodes if node.kind == "team"]


@pytest.mark.parametrize("kind", KINDS)
def test_runs_go_on_with_who_is_there(kind: str) -> None:
    world = World(kind, None)
    with world.team as desk:
        result = desk.run("how much?", seed=SEEDS.get(kind, 5), mode="sample")
    assert result.stop == "answered"
    at = next((node.id for node in result.nodes if node.kind == "team"), len(result.nodes))
    assert all(node.author != "cyd" for node in result.nodes[at:])
    if kind not in ("sequential", "vote"):  # which asked all at once, or cyd last
        assert changes(result) == ["dee joined, cyd left"]
    if kind == "learned":
        assert {node.author for node in result.nodes[at:]} & {"dee"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_killed_around_a_change_ends_as_it_would_have(kind: str, tmp_path: Path) -> None:
    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    first = World(kind, whole)
    with first.team as desk:
        expected = desk.run("how much?", seed=SEEDS.get(kind, 5), mode="sample")
    for kept in range(1, len(noted.transactions)):
        journal = Journal(f"sqlite:///{tmp_path}/{kept}.db")
        asyncio.run(cut_after(journal, noted.transactions[:kept]))
        written = [entry for entries in noted.transactions[:kept] for entry in entries]
        paid = [call for entry in written for call in made(entry) if isinstance(call.result, Generation)]
        again = World(kind, Journal(journal.url), changed=any(call.result.text[:3] in ("ann", "bob") for call in paid))
        with again.team as desk:
            resumed = desk.resume(expected.run)
        assert timeless(resumed) == timeless(expected)


def test_who_was_there_is_in_the_journal(tmp_path: Path) -> None:
    models = voices(None)
    desk = team({name: models[name] for name in NAMES}, "round_robin", journal=Journal(f"sqlite:///{tmp_path}/j.db"))
    with desk:
        desk.leave("bob")
        desk.join(Agent("dee", "solver", models["dee"]))
        result = desk.run("how much?", seed=1)
        assert desk.journal
        desk.leave("dee")
        second = desk.run("how much?", seed=1)
        saved = desk.journal.load(result.run)
    assert authors(result) == ["ann", "cyd"]  # a list that was given goes on without those who left
    assert not changes(result)
    assert not changes(second)
    assert tell(saved).answer == result.answer


@pytest.mark.parametrize("gone", ["bob", "ann"])
def test_the_head_says_who_began_where_that_is_not_the_file(gone: str, tmp_path: Path) -> None:
    models = voices(None)
    desk = team({name: models[name] for name in NAMES}, "round_robin", journal=Journal(f"sqlite:///{tmp_path}/j.db"))
    assert desk.journal
    noted = Recorded(desk.journal)
    with desk:
        desk.run("how much?", seed=1)
        desk.leave(gone)
        desk.run("how much?", seed=1)
    heads = [entry for entries in noted.transactions for entry in entries if isinstance(entry, Head)]
    assert [head.agents for head in heads] == [None, tuple(name for name in NAMES if name != gone)]


def crew(stage: Stage, coordinator: Coordinator) -> tuple[Orchestrator, MemoryBus]:
    """A team, and the bus that its agents join and leave."""
    led = stage.led_by(coordinator)
    assert isinstance(led.bus, MemoryBus)
    return led, led.bus


def test_a_change_is_told() -> None:
    stage = Stage(Speaker("ann"), Speaker("bob"))

    def leaves(state: RunState) -> Any:
        bus.leave("bob")
        bus.join(Speaker("dee"))
        return ask(state, ["ann"])

    led, bus = crew(stage, Scripted(leaves, latest))
    result = asyncio.run(led.run(Task.of("what?"), id="r"))
    node = result.nodes[2]
    assert (node.kind, node.usage, node.author) == ("team", Usage(0, 0, 0, 0.0), "")
    assert change_in(node) == Change((Speaker("dee").card,), (Speaker("bob").card,))
    saved = SavedRun("r", "stage", "what?", "yes", 1, "answered", Usage(), result.nodes, result.decisions, 1.0, 0.0)
    assert "Node 2: dee joined, bob left." in tell(saved).notes
    assert [share.agent for share in tell(saved).shares] == ["ann"]


async def worked(
    stage: Stage, coordinator: Coordinator, between: Callable[[MemoryBus], Awaitable[None]], **more: Any
) -> Result:
    """A run; between: what happens while it is under way."""
    led, bus = crew(stage, coordinator)
    run = asyncio.ensure_future(led.run(Task.of("what?"), id="r", **more))
    await between(bus)
    return await run


def test_a_request_in_flight_to_an_agent_that_leaves_is_a_failure_and_the_run_goes_on() -> None:
    stage = Stage(Speaker("ann", "first"), Speaker("bob", seconds=60), Speaker("cyd", "last"))

    async def leaves(bus: MemoryBus) -> None:
        await asyncio.sleep(0.05)
        assert stage["bob"].heard
        bus.leave("bob")

    result = asyncio.run(worked(stage, RoundRobin(("ann", "bob", "cyd")), leaves))
    assert authors(result) == ["ann", "cyd"]
    assert result.answer == "last"
    assert [node.kind for node in result.nodes] == ["task", "reply", "failure", "team", "reply"]
    assert result.nodes[2].content == "bob has left the team"
    assert stage["bob"].closed == 1


def test_one_that_another_takes_the_place_of_is_a_failure_and_the_run_goes_on_with_the_other() -> None:
    stage = Stage(Speaker("ann", "first"), Speaker("bob", seconds=60))

    async def replaced(bus: MemoryBus) -> None:
        await asyncio.sleep(0.05)
        bus.leave("bob")
        bus.join(Speaker("bob", "the new one"))

    result = asyncio.run(worked(stage, RoundRobin(("ann", "bob")), replaced))
    assert [node.kind for node in result.nodes] == ["task", "reply", "failure", "reply"]
    assert result.answer == "the new one"


@pytest.mark.parametrize("share", [Limits(calls=1), Limits(seconds=0.05)])
def test_the_share_of_one_that_joins_is_kept(share: Limits) -> None:
    stage = Stage(Speaker("ann", "first"), Speaker("bob", "b", seconds=0.1 if share.calls > 1 else 0))

    def joins(state: RunState) -> Any:
        bus.join(stage["bob"])
        return ask(state, ["ann"])

    def asks(state: RunState) -> Any:
        return ask(state, ["bob"])

    bus = MemoryBus({"ann": stage["ann"]})
    scripted = Scripted(joins, asks, asks, latest)
    led = Orchestrator("stage", bus, scripted, stage.topology, stage.limits, shares={"bob": share})
    result = asyncio.run(led.run(Task.of("what?"), id="r"))
    assert authors(result) == (["ann", "bob"] if share.calls == 1 else ["ann"])
    assert scripted.states[-1].affordable == (True, False)


def test_one_that_leaves_another_thread_is_heard_of() -> None:
    stage = Stage(Speaker("ann", "first"), Speaker("bob", seconds=60))

    async def leaves(bus: MemoryBus) -> None:
        await asyncio.sleep(0.05)
        assert stage["bob"].heard
        threading.Thread(target=bus.leave, args=("bob",)).start()

    result = asyncio.run(worked(stage, RoundRobin(("ann", "bob")), leaves))
    assert result.answer == "first"


def test_it_may_come_back() -> None:
    stage = Stage(Speaker("ann", "first"), Speaker("bob", "b"))
    bob = stage["bob"]

    def leaves(state: RunState) -> Any:
        bus.leave("bob")
        return ask(state, ["ann"])

    def returns(state: RunState) -> Any:
        assert state.affordable == (True, False)
        bus.join(bob)
        return ask(state, ["ann"])

    def asks(state: RunState) -> Any:
        assert state.affordable == (True, True)
        return ask(state, ["bob"], answer=True)

    led, bus = crew(stage, Scripted(leaves, returns, asks))
    result = asyncio.run(led.run(Task.of("what?"), id="r"))
    assert changes(result) == ["bob left", "bob joined"]
    assert result.answer == "b"


def test_one_that_left_and_is_back_within_a_step_is_in_the_record_too() -> None:
    """The order of the agents has changed, and order is a thing that coordinators may go by."""
    stage = Stage(*(Speaker(name, name) for name in ("ann", "bob", "cyd")))

    def replaced(state: RunState) -> Any:
        bus.leave("bob")
        bus.join(stage["bob"])
        return ask(state, ["ann"])

    scripted = Scripted(replaced, latest)
    led, bus = crew(stage, scripted)
    result = asyncio.run(led.run(Task.of("what?"), id="r"))
    assert changes(result) == ["bob left and joined again"]
    assert [card.name for card in scripted.states[-1].cards] == ["ann", "cyd", "bob"]
    again = Members.restored(("ann", "bob", "cyd"), result.nodes, {})
    assert [card.name for card in again.present] == ["ann", "cyd", "bob"]


@pytest.mark.parametrize(
    ("after", "words", "present"),
    [
        ("acdb", "d joined, b left and joined again", "acdb"),
        ("bc", "a left", "bc"),
        ("bca", "a left and joined again", "bca"),
        ("cab", "a left and joined again, b left and joined again", "cab"),
        ("dc", "d joined, c left and joined again, a left, b left", "dc"),
        ("abc", "", "abc"),
    ],
)
def test_changes_of_a_team_are_told_so_that_they_can_be_repeated(after: str, words: str, present: str) -> None:
    cards = {name: Card(name, "solver") for name in "abcd"}
    members = Members(tuple(cards[name] for name in "abc"))
    change = members.now(tuple(cards[name] for name in after))
    assert change_words(change) == words
    again = Members.restored("abc", [Node(1, (0,), "team", "", change.content)], cards)
    assert "".join(card.name for card in again.present) == present
    assert again.closed == members.closed


def test_who_left_cannot_be_asked() -> None:
    stage = Stage(Speaker("ann", "first"), Speaker("bob", "b"))

    def leaves(state: RunState) -> Any:
        bus.leave("bob")
        return ask(state, ["ann"])

    led, bus = crew(stage, Scripted(leaves, lambda state: ask(state, ["bob"])))
    with pytest.raises(CoordinatorError, match="bob has left this team; there are: ann"):
        asyncio.run(led.run(Task.of("what?"), id="r"))


def test_when_all_have_left_the_best_answer_is_taken_or_the_run_says_so() -> None:
    def leaves(state: RunState) -> Any:
        bus.leave("ann")
        return Finish(1) if state.step else ask(state, ["ann"])

    for said in (True, False):
        stage = Stage(Speaker("ann", "first"))
        led, bus = crew(stage, Scripted(lambda state: ask(state, ["ann"]), leaves) if said else Scripted(leaves))
        work = led.run(Task.of("what?"), id="r")
        if said:
            assert asyncio.run(work).answer == "first"
        else:
            with pytest.raises(AgentLeft, match="all agents have left the team; a run needs one"):
                asyncio.run(work)


@pytest.mark.parametrize("lead", [learner(), Scripted(latest)])
def test_a_run_of_a_team_that_all_have_left_says_so(lead: Coordinator) -> None:
    led, bus = crew(Stage(Speaker("ann")), lead)
    bus.leave("ann")
    with pytest.raises(AgentLeft, match="all agents have left the team; a run needs one"):
        asyncio.run(led.run(Task.of("what?"), id="r"))


def test_the_last_turn_of_one_that_left_is_given_back() -> None:
    stage = Stage(
        Speaker("ann", "first"), Speaker("bob", "b"), limits=Limits(tokens=600, calls=8, seconds=60), wind_down="bob"
    )
    left: list[float] = []

    def leaves(state: RunState) -> Any:
        left.append(state.left.calls)
        bus.leave("bob")
        return ask(state, ["ann"])

    def finishes(state: RunState) -> Any:
        left.append(state.left.calls)
        return latest(state)

    led, bus = crew(stage, Scripted(leaves, finishes))
    assert asyncio.run(led.run(Task.of("what?"), id="r")).answer == "first"
    assert left == [7, 7]  # one used, and the one that was set aside is free


def test_a_resumed_run_has_a_last_turn_where_it_had_one(tmp_path: Path) -> None:
    """Its agent leaves and is back: what was set aside was given back, and is not set aside again by the resume."""

    def desk(journal: Journal, *happens: str) -> Team:
        left = list(happens)

        def reply(prompt: Prompt) -> str:
            if left and prompt.agent == "ann":
                what = left.pop(0)
                made.leave("cyd") if what == "leave" else made.join(Agent("cyd", "solver", models["cyd"]))
            return f"{prompt.agent} has {len(left)}"

        models = {name: ScriptedModel(reply, name, price=PRICE) for name in ("ann", "cyd")}
        budget = {"calls": 6, "wind_down": "cyd", "repeats": None}
        made = team(models, "round_robin", journal=journal, budget=budget, order=["ann"], rounds=9)
        return made

    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    with desk(whole, "leave", "join") as first:
        expected = first.run("how much?", seed=1)
    assert changes(expected) == ["cyd left", "cyd joined"]
    assert authors(expected) == ["ann"] * 6
    resumed = 0
    for kept in range(1, len(noted.transactions)):
        entries = [entry for each in noted.transactions[:kept] for entry in each]
        if sum(isinstance(entry, Node) and entry.kind == "team" for entry in entries) < 2:
            continue
        journal = Journal(f"sqlite:///{tmp_path}/{kept}.db")
        asyncio.run(cut_after(journal, noted.transactions[:kept]))
        with desk(Journal(journal.url)) as again:
            assert timeless(again.resume(expected.run)) == timeless(expected)
        resumed += 1
    assert resumed


def test_the_time_that_was_kept_for_the_last_turn_of_one_that_left_is_given_back() -> None:
    stage = Stage(Speaker("ann", seconds=9), Speaker("bob", seconds=9), limits=Limits(seconds=0.5), wind_down="bob")

    async def leaves(bus: MemoryBus) -> None:
        await asyncio.sleep(0.01)
        bus.leave("bob")

    scripted = Scripted(lambda state: ask(state, ["bob"]), lambda state: ask(state, ["ann"]))
    with pytest.raises(DeadlineExceeded) as raised:
        asyncio.run(worked(stage, scripted, leaves))
    assert isinstance(raised.value.partial, Result)
    assert raised.value.partial.seconds > 0.49  # not 0.45


def test_those_who_join_a_restricted_topology_see_and_are_seen_by_nobody() -> None:
    plain = Topology.full(("a", "b")).among(("a", "b", "c"))
    assert plain.edges is None
    assert plain.viewers("c") == {"a", "b", "c"}
    chain = Topology(TopologySpec(kind="chain"), ("a", "b", "c"))
    wider = chain.among(("a", "b", "c", "d"))
    assert wider.viewers("a") == {"a", "b"}
    assert wider.viewers("d") == {"d"}
    assert not wider.may_see("d", "a")
    fewer = chain.among(("a", "b"))
    assert fewer.viewers("b") == {"b"}
    assert chain.renamed({"b": "x", "a": "y"}).viewers("y") == {"x", "y"}
    assert chain.renamed({"b": "x", "c": "z"}).may_see("z", "x")


def test_members_are_restored_from_the_record() -> None:
    ann, bob, dee = (Card(name, "solver", price=(1.0, 2.0)) for name in ("ann", "bob", "dee"))
    members = Members((ann, bob))
    nodes = [Node(1, (0,), "team", "", members.now((ann, dee)).content)]
    nodes.append(Node(2, (1,), "team", "", members.now((dee, bob)).content))
    assert (members.cards, members.closed) == ((dee, bob, ann), {"ann"})
    found = Members.restored(("ann", "bob"), nodes, {"dee": dee})
    assert (set(found.present), found.gone) == ({dee, bob}, (ann,))
    assert Members.restored(("ann", "zed"), [], {"ann": ann}).present == (ann, Card("zed", ""))


def test_under_another_coordinator_a_team_has_who_is_in_it_now() -> None:
    bus = MemoryBus({name: Speaker(name, name) for name in ("ann", "bob", "cyd")})
    bus.leave("ann")
    bus.join(Speaker("dee", "dee"))
    again = MemoryBus({name: Speaker(name, "again") for name in ("ann", "bob", "cyd")})
    again.follow(bus)
    assert [card.name for card in again.cards()] == ["bob", "cyd", "dee"]
    again.leave("dee")
    assert [card.name for card in bus.cards()] == ["bob", "cyd", "dee"]
    with team({name: ScriptedModel(lambda prompt: "", price=PRICE) for name in ("ann", "bob")}) as first:
        first.leave("ann")
        with pytest.raises(InputError, match="agent finish: no agent can have this name"):
            first.join(Speaker("finish"))
        with first.led_by(RoundRobin(("bob",))) as other:
            assert [card.name for card in other.orchestrator.bus.cards()] == ["bob"]


def test_a_bus_says_what_is_wrong() -> None:
    bus = MemoryBus({"ann": Speaker("ann")})
    with pytest.raises(InputError, match="agent ann: the team has one of this name already"):
        bus.join(Speaker("ann"))
    with pytest.raises(InputError, match="agent bob: not in the team; there are: ann"):
        bus.leave("bob")
    bus.leave("ann")
    envelope: Any = None
    with pytest.raises(AgentLeft, match="ann has left the team"):
        asyncio.run(bus.request("ann", envelope, lambda _: None))


def test_all_that_join_at_once_are_there() -> None:
    bus = MemoryBus({})
    interval = sys.getswitchinterval()

    def many(name: str) -> None:
        for number in range(200):
            bus.join(Speaker(f"{name}{number}"))

    threads = [threading.Thread(target=many, args=(name,)) for name in "abcd"]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(bus.cards()) == 800


def test_nothing_is_left_under_way() -> None:
    bus = MemoryBus({"ann": Speaker("ann", "x")})
    directive = Directive("d", "ann")
    envelope = Envelope("e", "r", (), directive, tuple, Lease(1, 1, 1, 1))
    assert asyncio.run(bus.request("ann", envelope, lambda _: None)) == "x"
    assert not any(bus._asked.values())  # pyright: ignore[reportPrivateUsage]
