"""Plans in a run: made, kept apart from replies, shown to those who may see them, paid for, and there again later."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from podium.agents.agent import Agent
from podium.agents.model import Prompt
from podium.agents.plans import RENEW
from podium.agents.roles import DETAILS, OBJECTIVES
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.coordinator import RunState, ask
from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.leases import Leases
from podium.orchestrator.narrate import tell
from podium.orchestrator.team_file import TopologySpec
from podium.orchestrator.topology import Topology
from podium.orchestrator.worst_case import INSTRUCTION_TOKENS
from podium.protocols.bus import Card, Envelope, MemoryBus
from podium.protocols.errors import CoordinatorError
from podium.protocols.events import Added, Ended, Event, Piece, Result
from podium.protocols.record import NO_USAGE, Action, Compute, Finish, View
from podium.protocols.saved import saved
from podium.protocols.task import Task
from tests.orchestrator.stage import Scripted, Speaker, Stage

RENEWED, KEPT = Compute(plan="renew"), Compute(plan="keep")
PLANS = "<plan>first {0}, then rest</plan>\n{0} it is"


def to(agent: str, compute: Compute, **more: object):
    """A step that asks one agent."""

    def action(state: RunState) -> Action:
        return ask(state, (agent,), compute=compute, **more)  # pyright: ignore[reportArgumentType]

    return action


def planner(name: str, text: str = PLANS) -> Speaker:
    return Speaker(name, lambda envelope: text.format(f"{name} {len(envelope.visible())}"))


def kinds(result: Result) -> list[tuple[str, str]]:
    return [(node.kind, node.content) for node in result.nodes[1:]]


def test_a_renewed_plan_is_a_node_before_the_reply() -> None:
    stage = Stage(planner("ann"))
    result = stage.run(Scripted(to("ann", RENEWED), Finish(2)))
    plan, reply = result.nodes[1:]
    assert kinds(result) == [("plan", "first ann 0, then rest"), ("reply", "ann 0 it is")]
    assert (plan.author, plan.directive, plan.parents, plan.usage, plan.calls) == ("ann", "r.0.0", (0,), NO_USAGE, ())
    assert (reply.parents, reply.usage.output_tokens, len(reply.calls)) == ((1,), 5, 1)
    assert result.answer == "ann 0 it is"
    assert result.usage == reply.usage


def test_without_a_closed_block_the_reply_stands() -> None:
    for text in ("no plan", "<plan>cut off"):
        result = Stage(Speaker("ann", text)).run(Scripted(to("ann", RENEWED), Finish(1)))
        assert kinds(result) == [("reply", text)]


def test_who_was_not_told_to_plan_may_write_what_it_likes() -> None:
    for compute in (Compute(), KEPT):
        result = Stage(planner("ann")).run(Scripted(to("ann", compute), Finish(1)))
        assert kinds(result) == [("reply", PLANS.format("ann 0"))]


def test_nobody_sees_a_plan_with_the_replies_but_who_keeps_it() -> None:
    stage = Stage(planner("ann"), Speaker("bob"))
    stage.run(Scripted(to("ann", RENEWED), to("bob", KEPT), to("bob", Compute()), Finish(2)))
    assert stage.shown("bob") == ["ann 0 it is"]
    assert [heard.envelope.plan for heard in stage["bob"].heard] == ["first ann 0, then rest", ""]


def test_the_newest_plan_that_the_topology_lets_through() -> None:
    chain = Topology(TopologySpec(kind="chain"), ("ann", "bob", "cy"))
    stage = Stage(planner("ann"), planner("bob"), planner("cy"), topology=chain)
    asks = (to("ann", RENEWED), to("cy", RENEWED), to("bob", KEPT), to("ann", KEPT), to("cy", KEPT), Finish(2))
    stage.run(Scripted(*asks))
    kept = [stage["bob"].heard[0], stage["ann"].heard[1], stage["cy"].heard[1]]
    assert [each.envelope.plan.split(",")[0] for each in kept] == ["first ann 0", "first ann 0", "first cy 0"]


def test_a_view_that_ends_earlier_holds_earlier_plans() -> None:
    stage = Stage(planner("ann"))
    then = View("all", upto=2)
    steps = (to("ann", RENEWED), to("ann", RENEWED), to("ann", KEPT, visible=then), to("ann", KEPT), Finish(2))
    stage.run(Scripted(*steps))
    assert [heard.envelope.plan for heard in stage["ann"].heard[2:]] == [
        "first ann 0, then rest",
        "first ann 1, then rest",
    ]


def test_keeping_without_a_plan_adds_nothing() -> None:
    said = [rendered("keep", ""), rendered("none", ""), rendered("keep", "left"), rendered("renew", "")]
    assert said[0] == said[1]
    assert said[2][-1] == "The plan so far:\nleft\nFollow it."
    assert said[3][-1] == RENEW


def rendered(plan: str, known: str) -> list[str]:
    """What a model is shown, by the engine and an agent as they are."""
    prompts: list[list[str]] = []

    def reply(prompt: Prompt) -> str:
        prompts.append([message.content for message in prompt.messages])
        return f"<plan>{known}</plan>go" if known and len(prompts) == 1 else "go"

    agents = {"ann": Agent("ann", "walker", ScriptedModel(reply, "m"))}
    steps = [to("ann", Compute(plan=plan), visible=View("none"))]  # pyright: ignore[reportArgumentType]
    if known:
        steps.insert(0, to("ann", RENEWED))
    led = Orchestrator(
        "t", MemoryBus(agents), Scripted(*steps, Finish(1 + bool(known))), Topology.full(("ann",)), Limits()
    )
    asyncio.run(led.run(Task.of("where?"), Settings(), id="r"))
    return prompts[-1]


def test_the_winner_of_several_samples_gives_the_plan() -> None:
    texts = iter(["<plan>a</plan>4", "<plan>b</plan>5", "5"])
    stage = Stage(Speaker("ann", lambda _: next(texts)))
    compute = Compute(3, "vote", plan="renew")
    task = replace(Task.of("what?"), answer=str)
    result = stage.run(Scripted(to("ann", compute), Finish(5)), task)
    assert kinds(result) == [("candidate", "4"), ("candidate", "5"), ("candidate", "5"), ("plan", "b"), ("reply", "5")]
    assert result.nodes[4].parents == (2,)
    assert result.nodes[5].parents == (1, 2, 3)


def test_no_run_ends_with_a_plan() -> None:
    stage = Stage(planner("ann"))
    with pytest.raises(CoordinatorError, match="node 1, which is not an answer; replies so far: 2"):
        stage.run(Scripted(to("ann", RENEWED), Finish(1)))


def test_the_plan_that_is_shown_is_paid_for() -> None:
    long = "x" * 4000

    def line(envelope: Envelope) -> str:
        return f"<plan>{long}</plan>go" if envelope.directive.compute == RENEWED else "go"

    stage = Stage(Speaker("ann", line))
    steps = (to("ann", RENEWED), to("ann", Compute()), to("ann", KEPT), to("ann", RENEWED), Finish(2))
    stage.run(Scripted(*steps))
    first, plain, kept, renewed = (heard.envelope.estimate for heard in stage["ann"].heard)
    assert kept - plain >= 1000 + 1, "as many tokens as the plan has"
    assert first < renewed < plain + 40, "to be told to plan costs a sentence"


def test_what_fits_counts_the_newest_plan() -> None:
    card = Card("ann", "solver", price=(1.0, 1.0), max_tokens=20)
    leases = Leases(Budget(Limits(tokens=100)), (card,), 40)
    assert leases.affordable() == (True,)
    leases.planned(("ann",), 300)
    assert leases.affordable() == (False,), "75 tokens of a plan are more than what is left"
    leases.planned(("ann",), 40)
    assert leases.affordable() == (True,), "only the newest is shown"


def test_what_is_told_of_plans_is_no_more_than_a_worst_case_counts() -> None:
    words = max(map(len, OBJECTIVES.values())) + max(map(len, DETAILS.values())) + len(RENEW)
    assert words / 4 + 3 <= INSTRUCTION_TOKENS


def test_clients_see_no_plan() -> None:
    events: list[Event] = []
    model = ScriptedModel("<plan>left, then right</plan>\n\nI go left.", "m", tokens_per_second=1e6)
    agents = {"ann": Agent("ann", "walker", model)}
    leader = Scripted(to("ann", RENEWED, answer=True))
    led = Orchestrator("t", MemoryBus(agents), leader, Topology.full(("ann",)), Limits())
    asyncio.run(led.run(Task.of("where?"), Settings(), id="r", emit=events.append))
    pieces = [event.text for event in events if isinstance(event, Piece)]
    assert len(pieces) > 1, "the reply still comes in pieces"
    assert "".join(pieces) == "I go left."
    ended = next(event for event in events if isinstance(event, Ended))
    assert ended.result.answer == "I go left."
    assert [event.node.kind for event in events if isinstance(event, Added)] == ["task", "plan", "reply"]


def test_a_kept_run_tells_of_its_plans() -> None:
    stage = Stage(planner("ann"), Speaker("bob"))
    result = stage.run(Scripted(to("ann", RENEWED), to("bob", KEPT), to("bob", KEPT, visible=View("none")), Finish(3)))
    first, second, third, _ = tell(saved(result, 0.0)).steps
    assert first.told[0].asked == "to answer, with a new plan first"
    assert [said.kind for said in first.said] == ["plan", "reply"]
    assert second.told[0].asked == "to answer, keeping to the plan so far"
    assert second.told[0].shown == "node 2 by ann; the plan of node 1 by ann"
    assert third.told[0].shown == "the task only; the plan of node 1 by ann"
    early = stage.run(Scripted(to("bob", KEPT), Finish(1)))
    assert tell(saved(early, 0.0)).steps[0].told[0].shown == "the task only; no plan yet"
