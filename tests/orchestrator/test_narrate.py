"""A kept run told in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from podium.orchestrator.decision_words import SCHEDULES
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy
from podium.orchestrator.narrate import ASKED, ENDINGS, Story, tell
from podium.protocols.errors import ModelError
from podium.protocols.events import Result, Stop
from podium.protocols.record import (
    Call,
    Compute,
    Decision,
    Directive,
    Finish,
    Generation,
    Node,
    Objective,
    Sampling,
    ToolResult,
    Usage,
    View,
)
from podium.protocols.saved import SavedRun, saved
from tests.orchestrator.teams import scripted, team

TASK = Node(0, (), "task", "user", "how much?")


def story(*decisions: Decision, replies: tuple[Node, ...] = (), **fields: Any) -> Story:
    usage = sum((node.usage for node in replies), Usage())
    node = replies[-1].id if replies else 0
    run: dict[str, Any] = {"stop": "answered", "usage": usage, "node": node, "answer": "42", **fields}
    return tell(
        SavedRun(run="r", team="desk", task="how much?", nodes=(TASK, *replies), decisions=decisions, seconds=1, **run)
    )


def reply(node: int, author: str, directive: str, *, kind: Any = "reply", **more: Any) -> Node:
    return Node(node, (0,), kind, author, f"said {node}", usage=Usage(10, 5, 1, 0.1, 0.5), directive=directive, **more)


def decided(action: Any, policy: str = "learned", step: int = 0, **more: Any) -> Decision:
    return Decision(f"r.{step}", step, action, policy, **more)


LEARNED: Mapping[str, float] = {
    "p(finish)": 0.09,
    "p(ann)": 0.62,
    "success(ann)": 0.71,
    "tokens(ann)": 24.2,
    "gain(ann)": 0.25,
    "gap(ann)": 0.4,
    "p(bob)": 0.29,
    "success(bob)": 0.2,
    "tokens(bob)": 8.0,
    "gain(bob)": -0.1,
    "gap(bob)": 0.9,
}


def test_a_learned_pick_is_told_against_its_rivals() -> None:
    (step,) = story(
        decided((Directive("d", "ann"),), reasons=LEARNED, value=0.5, budget_left=(0.88, 1.0, 0.999, 0.5)),
        replies=(reply(1, "ann", "d"),),
    ).steps
    assert step.action == "asks ann"
    assert step.why[0] == "Asking ann had probability 62 %, against 29 % for bob and 9 % for finishing."
    assert step.why[1] == "The run was expected to be worth 0.50 from here on."
    assert [(each.agent, each.picked, each.success, each.tokens, each.gain, each.gap) for each in step.beliefs] == [
        ("ann", True, 0.71, 24.2, 0.25, 0.4),
        ("bob", False, 0.2, 8.0, -0.1, 0.9),
    ]
    assert step.left == "tokens 88 %, dollars 50 %"


def test_a_drawn_pick_says_so_and_a_finish_says_what_is_thought_right() -> None:
    reasons = {**LEARNED, "p(finish)": 0.8, "p(ann)": 0.15, "p(bob)": 0.05, "right(node 1)": 0.9}
    first = decided((Directive("d", "bob"),), reasons=LEARNED, mode="sample")
    told = story(first, decided(Finish(1), step=1, reasons=reasons), replies=(reply(1, "bob", "d"),))
    assert told.steps[0].why[0].startswith("Asking bob was drawn with probability 29 %, against 62 % for ann")
    assert told.steps[1].action == "takes node 1, by bob, as the answer"
    assert told.steps[1].why[0] == "Finishing had probability 80 %, against 15 % for ann and 5 % for bob."
    assert told.steps[1].why[-1] == "Chance that an answer is right: node 1 by bob 90 %."


def test_a_directive_is_told_with_its_compute_and_what_it_was_shown() -> None:
    first = (Directive("a", "ann"), Directive("b", "bob", visible=View("none")))
    second = (
        Directive(
            "c",
            "cyd",
            "verify",
            "Mind the units.",
            View("last"),
            "short",
            Compute(3, "vote", 64, 0.2),
            answer=True,
        ),
    )
    third = (Directive("e", "ann", visible=View("only", only=(1,))), Directive("f", "bob"))
    replies = (
        *(reply(1, "ann", "a"), reply(2, "bob", "b")),
        *(reply(place, "cyd", "c", kind="candidate") for place in (3, 4, 5)),
        reply(6, "cyd", "c"),
        *(reply(7, "ann", "e"), reply(8, "bob", "f")),
    )
    told = story(decided(first, "debate"), decided(second, "x", 1), decided(third, "x", 2), replies=replies)
    assert told.steps[0].action == "asks ann and bob at once"
    assert [each.shown for each in told.steps[0].told] == ["the task only", "the task only"]
    (verify,) = told.steps[1].told
    assert verify.asked == (
        "to check the latest answer, 3 times, the most frequent answer wins, briefly, in at most 64 tokens, "
        "at temperature 0.2"
    )
    assert (verify.shown, verify.instruction, verify.answer) == ("node 2 by bob", "Mind the units.", True)
    assert [each.kind for each in told.steps[1].said] == ["candidate", "candidate", "candidate", "reply"]
    assert [each.shown for each in told.steps[2].told] == [
        "node 1 by ann",
        "node 1 by ann, node 2 by bob and node 6 by cyd",
    ]


def test_a_directive_that_the_budget_refused_is_not_told_as_carried_out() -> None:
    voices = {name: scripted("a short reply", name) for name in ("ann", "bob", "cyd")}
    with team(voices, "debate", budget={"calls": 4, "wind_down": "cyd"}) as desk:
        told = tell(saved(desk.run("task"), 0.0))
    assert [[each.refused for each in step.told] for step in told.steps] == [[False] * 3, [True] * 3, [False]]
    assert {each.shown for each in told.steps[1].told} == {"node 1 by ann, node 2 by bob and node 3 by cyd"}
    assert told.steps[2].why == ("The run could go on no more; this call was set aside for the best answer so far.",)
    begun = story(decided((Directive("a", "ann"),)), stop="unfinished")
    assert not begun.steps[0].told[0].refused
    lost = story(decided((Directive("a", "ann"),)), decided((Directive("b", "bob"),), step=1), stop="cancelled")
    assert [step.told[0].refused for step in lost.steps] == [True, False]


@pytest.mark.parametrize(
    ("policy", "reasons", "words"),
    [
        ("skill_table", {"skill": 3.0, "expected": 0.8}, "The best record at tasks of skill 3: expected 80 % right."),
        ("skill_table", {"skill": 3.0, "stop": 0.7, "go_on": 0.5}, "right 70 % of the time; 50 % after asking on"),
        ("skill_table", {"skill": 3.0, "stop": 0.7, "go_on": -1.0}, "no record of asking on"),
        ("llm_selector", {"invalid": 0.0, "repaired": 0.0}, "The selecting model named this."),
        ("llm_selector", {"invalid": 1.0, "repaired": 1.0}, "when asked again"),
        ("llm_selector", {"invalid": 2.0, "nearest": 1.0}, "the nearest name"),
        ("llm_selector", {"invalid": 2.0, "turn": 1.0}, "the next in turn"),
        ("llm_selector", {}, "was not asked"),
        ("sequential", {}, "A fixed chain"),
        ("mine", {}, "The coordinator mine gave no reasons."),
    ],
)
def test_why_for_every_kind_of_coordinator(policy: str, reasons: dict[str, float], words: str) -> None:
    (step,) = story(decided((Directive("d", "ann"),), policy, reasons=reasons), replies=(reply(1, "ann", "d"),)).steps
    assert words in " ".join(step.why)


def test_the_coordinators_own_calls_and_tools_are_told() -> None:
    call = Call("c", "small", Generation("ann", Usage(30, 2, 1), Sampling()))
    used = (Call("t", "python", ToolResult("4")), call)
    (step,) = story(
        decided((Directive("d", "ann"),), "llm_selector", calls=(call,)), replies=(reply(1, "ann", "d", calls=used),)
    ).steps
    assert step.deciding.tokens == 32
    assert step.said[0].tools == ("python",)


def test_shares_add_up_and_name_what_no_reply_came_of() -> None:
    replies = (reply(1, "ann", "a"), reply(2, "bob", "b"), reply(3, "ann", "c"))
    told = story(replies=replies, usage=Usage(40, 20, 4, 0.5, 2.0), refused=2, overshoot=7, overshoot_dollars=0.25)
    assert [(share.agent, share.replies, share.usage.calls) for share in told.shares] == [
        ("ann", 2, 2),
        ("bob", 1, 1),
        ("(without a reply)", 0, 1),
    ]
    assert sum(share.usage.tokens for share in told.shares) == told.usage.tokens == 60
    assert told.by == "ann"
    assert "2 of the requests" in told.notes[0]
    assert told.notes[1] == "Endpoints billed 7 tokens and $0.250000 more than was reserved."


def test_every_word_of_the_record_has_words() -> None:
    assert set(get_args(Objective)) == set(ASKED)
    assert {*get_args(Stop), "unfinished"} == set(ENDINGS)


KINDS: Mapping[str, Mapping[str, Any]] = {
    "single": {"agent": "ann"},
    "self_consistency": {"agent": "ann"},
    "round_robin": {},
    "sequential": {},
    "pipeline": {"steps": [{"agent": "ann"}]},
    "vote": {},
    "debate": {},
    "moa": {"aggregator": "bob"},
    "random": {},
    "skill_table": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_coordinator_of_a_team_file_says_why(kind: str) -> None:
    with team({"ann": scripted("a"), "bob": scripted("b")}, kind, **KINDS[kind]) as desk:
        told = tell(saved(desk.run("task", seed=1), 0.0))
    assert told.coordinator == kind
    assert all("gave no reasons" not in sentence for step in told.steps for sentence in step.why)
    assert all(step.why for step in told.steps)
    assert kind in SCHEDULES or kind == "skill_table"


def test_a_learned_run_is_told_to_its_end() -> None:
    learned = LearnedCoordinator(Policy.fresh(Options(), ("ann", "bob"), seed=3))
    with team({"ann": scripted("a"), "bob": scripted("b")}, coordinator=learned) as desk:
        told = tell(saved(desk.run("task", seed=1, mode="sample"), 0.0))
    assert all({each.agent for each in step.beliefs} == {"ann", "bob"} for step in told.steps)
    assert all("probability" in step.why[0] for step in told.steps)


def test_a_failed_run_has_no_answer() -> None:
    with (
        team({"ann": scripted("a plan"), "bob": scripted(ModelError("no"))}) as desk,
        pytest.raises(ModelError) as caught,
    ):
        desk.run("task")
    assert isinstance(caught.value.partial, Result)
    told = tell(saved(caught.value.partial, 0.0))
    assert (told.answer, told.by, told.ending) == ("", "", ENDINGS["failed"])
    assert [(said.kind, said.text) for step in told.steps for said in step.said] == [
        ("reply", "a plan"),
        ("failure", "no"),
    ]
    assert told.steps[1].said[0].trouble == ("attempt 1: no",)
