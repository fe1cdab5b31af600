"""The plan bit and the token cap as choices of a policy: what is open when, what a directive gets, what it costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.protocols.events import Result
from podium.protocols.record import PLANS, Decision, Directive, Finish
from tests.orchestrator.learned.parts import NAMES, loud, play, reply, state_of, task

PLANNING = Options(plans=PLANS, max_tokens=(None, 16), max_steps=5)
TASKS = [task(number) for number in range(24)]


@pytest.fixture(scope="module")
def runs() -> list[Result]:
    return play(loud(PLANNING), TASKS)


def directives(results: list[Result]) -> list[tuple[Result, Decision, Directive]]:
    return [
        (result, decision, directive)
        for result in results
        for decision in result.decisions
        if not isinstance(decision.action, Finish)
        for directive in decision.action
    ]


def test_a_plan_is_kept_only_where_there_is_one(runs: list[Result]) -> None:
    seen = set[tuple[bool, str]]()
    for result, decision, directive in directives(runs):
        planned = any(node.kind == "plan" for node in result.nodes[: decision.seen])
        seen.add((planned, directive.compute.plan))
        factor = next(each for each in decision.factors if each.head == "plan")
        assert factor.mask == (True, planned, True)
    assert seen == {(False, "none"), (False, "renew"), *((True, plan) for plan in PLANS)}


def test_a_cap_is_the_directives(runs: list[Result]) -> None:
    caps = {directive.compute.max_tokens for _, _, directive in directives(runs)}
    assert caps == {None, 16}


@pytest.mark.parametrize(
    ("plans", "without", "with_one"),
    [
        (("none",), (True,), (True,)),
        (("keep",), (True,), (True,)),
        (("none", "keep"), (True, False), (True, True)),
        (("none", "keep", "renew"), (True, False, True), (True, True, True)),
        (("keep", "renew"), (True, True), (True, True)),
    ],
)
def test_what_stands_where_there_is_no_plan(
    plans: tuple[str, ...], without: tuple[bool, ...], with_one: tuple[bool, ...]
) -> None:
    options = Options.model_validate({"plans": plans})
    assert (options.mask("plan", 1), options.mask("plan", 1, True)) == (without, with_one)


def test_one_choice_is_not_drawn() -> None:
    for result in play(loud(Options(max_steps=2)), TASKS[:4]):
        assert {factor.head for decision in result.decisions for factor in decision.factors} <= {
            *("pick", "context", "answer"),
        }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"plans": ["always"]}, "'none', 'keep' or 'renew'"),
        ({"plans": ["keep", "keep"]}, "at least one choice, each only once"),
        ({"plans": []}, "at least one choice, each only once"),
        ({"max_tokens": [None, 8]}, "at least 16 tokens, or null"),
        ({"max_tokens": []}, "at least one choice, each only once"),
        ({"finish": "never"}, "'any' or 'answered'"),
    ],
)
def test_what_cannot_be_chosen_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Options.model_validate(given)


def test_what_a_reply_is_believed_to_take_depends_on_what_was_chosen() -> None:
    policy, dearer = loud(PLANNING), loud(PLANNING)
    start, _ = policy.card.options.heads.spans()["plan"]
    dearer.weights["cost.options"][start + PLANS.index("renew")] = math.log(4)
    chosen = set[str]()
    for seed in range(20):
        plain, priced = (
            LearnedCoordinator(each).decide([state_of(LearnedCoordinator(each), task(1), seed=seed)])[0].reasons
            for each in (policy, dearer)
        )
        coordinator = LearnedCoordinator(policy)
        action = coordinator.decide([state_of(coordinator, task(1), seed=seed)])[0].action
        assert not isinstance(action, Finish)
        asked = action[0]
        chosen.add(asked.compute.plan)
        for name in NAMES:
            times = 4 if name == asked.agent and asked.compute.plan == "renew" else 1
            assert priced[f"tokens({name})"] + 1 == pytest.approx(times * (plain[f"tokens({name})"] + 1))
    assert chosen == {"none", "renew"}


def test_it_finishes_with_an_answer_where_it_has_to() -> None:
    policy = loud(Options(finish="answered", max_steps=3))
    policy.weights["finish.b"] += np.float32(100)
    coordinator = LearnedCoordinator(policy)
    silent = [reply(1, NAMES[0], "hm")]
    decided = coordinator.decide([state_of(coordinator, task(1), silent, step=1)])[0]
    assert not isinstance(decided.action, Finish), "there is no answer yet"
    late = coordinator.decide([state_of(coordinator, task(1), silent, step=3)])[0]
    assert isinstance(late.action, Finish), "but after its last step it has to"
    answered = [*silent, reply(2, NAMES[1], "4", "4"), reply(3, NAMES[2], "?")]
    made = coordinator.decide([state_of(coordinator, task(1), answered, step=2)])[0]
    assert isinstance(made.action, Finish)
    assert made.action.answer == 2
