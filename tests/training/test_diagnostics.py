"""What shows a collapse: known information is found, chance is not, and only policies that collapsed are told of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from podium.protocols.bus import Card
from podium.protocols.events import Result
from podium.protocols.record import Decision, Directive, Finish, Node, Usage
from podium.protocols.task import Task
from podium.training.diagnostics import Diagnosis, Group, diagnose, gradient_norms, information
from tests.training.test_coordinator_trainer import steps, trainer

CARDS = (Card("ann", "solver", price=(0.0, 10.0)), Card("bob", "solver", price=(0.0, 10.0)))
NAMES = ("ann", "bob")


def decided(
    step: int, chances: Sequence[float], success: Sequence[float] = (0.5, 0.5), taken: str = "ann", mode: str = "sample"
) -> Decision:
    reasons = dict(zip(("p(ann)", "p(bob)", "p(finish)"), chances, strict=True))
    reasons |= {f"success({name})": chance for name, chance in zip(NAMES, success, strict=True)}
    reasons |= {"tokens(ann)": 100.0, "tokens(bob)": 100.0}
    action = (Directive("a", taken),) if taken else Finish(0)
    return Decision(f"d{step}", step, action, "test", mode=mode, reasons=reasons)  # type: ignore[arg-type]


def ran(*decisions: Decision) -> Result:
    node = Node(0, (), "task", "", "?")
    return Result("r", "t", Task.of("?"), "", 0, "answered", Usage(), (node,), decisions)


def group(*results: Result, knob: float = 1.0, cards: tuple[Card, ...] = CARDS) -> Group:
    return Group(results, knob, cards, NAMES)


ADDS, TIMES = (0.9, 0.1), (0.1, 0.9)
"""Who is believed to succeed at two kinds of tasks."""


def of(policy: dict[tuple[float, float], tuple[float, float, float]], taken: Sequence[str] = NAMES) -> Diagnosis:
    """Twenty tasks of two kinds. policy: chances of ann, bob and finish by kind."""
    groups = [group(*(ran(decided(0, policy[kind], kind, taken=who)) for who in taken)) for kind in (ADDS, TIMES) * 10]
    return diagnose(groups, NAMES)


def test_information_is_what_it_is_defined_as() -> None:
    sure = [np.array([[1.0, 0.0]] * 3), np.array([[0.0, 1.0]] * 3)]
    assert information(sure) == pytest.approx(math.log(2))
    assert information([np.array([[0.5, 0.5]] * 3)] * 2) == pytest.approx(0)
    half = information([np.array([[0.75, 0.25]]), np.array([[0.25, 0.75]])])
    assert half == pytest.approx(math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    uneven = information([np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]] * 3)])  # groups weigh as they have runs
    assert uneven == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert information(sure[:1]) == information([]) == information([np.zeros((0, 2)), sure[0]]) == 0


def test_what_is_found_by_chance_is_taken_off() -> None:
    """Samples of one distribution, eight for each of sixty tasks: the plain estimate is far off."""
    random = np.random.default_rng(0)
    drawn = [np.eye(6)[random.integers(6, size=8)] for _ in range(60)]
    assert information(drawn) > 0.25
    assert information(drawn, 8) < 0.03
    told = [np.eye(6)[np.where(random.random(8) < 0.8, task % 6, random.integers(6, size=8))] for task in range(60)]
    exact = information([np.array([0.8 * np.eye(6)[task] + 0.2 / 6]) for task in range(6)])
    assert information(told, 8) == pytest.approx(exact, rel=0.15)
    assert information(told, 8, seed=1) == information(told, 8, seed=1)


def test_a_policy_that_looks_at_its_task() -> None:
    found = of({ADDS: (0.95, 0.05, 0.0), TIMES: (0.05, 0.95, 0.0)})
    assert found.information == pytest.approx(0.495, abs=0.01)
    assert found.needed == pytest.approx(math.log(2))
    assert found.gain == pytest.approx(0.4 * (1 - 0.001), rel=1e-3)
    assert found.shares == {"ann": 0.5, "bob": 0.5}
    assert found.collapse(1.0) == ""
    assert found.metrics["share_entropy"] == pytest.approx(math.log(2))
    assert {"information", "information_later", "information_needed", "routing_gain", "share/ann"} <= set(found.metrics)


def test_collapsed_policies_are_told_of() -> None:
    uniform = of({ADDS: (0.5, 0.5, 0.0), TIMES: (0.5, 0.5, 0.0)})
    assert "decides alike whatever the task is" in uniform.collapse(1.0)
    only_ann = of({ADDS: (1.0, 0.0, 0.0), TIMES: (1.0, 0.0, 0.0)}, taken=("ann", "ann"))
    assert "100% of the directives go to ann" in only_ann.collapse(1.0)
    assert "worth 0.40 more a task" in only_ann.collapse(1.0)
    assert only_ann.metrics["share_entropy"] == 0
    assert only_ann.collapse(0.1) == ""  # it may still learn


def test_always_the_same_agent_is_right_where_it_is_the_best_of_all() -> None:
    best = [group(ran(decided(0, (1.0, 0.0, 0.0), kind))) for kind in ((0.9, 0.8), (0.8, 0.7)) * 10]
    assert diagnose(best, NAMES).gain == pytest.approx(0)
    assert diagnose(best, NAMES).collapse(1.0) == ""
    dear = (CARDS[0], replace(CARDS[1], price=(0.0, 1e4)))  # a reply of bob's costs as much as a passed answer
    alike = [group(ran(decided(0, (1.0, 0.0, 0.0), kind)), cards=dear) for kind in (ADDS, TIMES) * 10]
    assert diagnose(alike, NAMES).gain == pytest.approx(0)
    cheap = [replace(each, knob=1000.0) for each in alike]
    assert diagnose(cheap, NAMES).gain == pytest.approx(0.4, abs=0.001)


def test_who_decides_after_the_first_reply_has_not_collapsed() -> None:
    """A cascade begins alike with every task; whom it asks next is the task's to say."""
    groups = [
        group(*(ran(decided(0, (1.0, 0.0, 0.0), kind), decided(1, then)) for _ in range(4)))
        for kind, then in ((ADDS, (0.0, 0.0, 1.0)), (TIMES, (0.0, 1.0, 0.0))) * 10
    ]
    found = diagnose(groups, NAMES)
    assert found.information == 0
    assert found.later > 0.5
    assert found.collapse(1.0) == ""


def test_a_greedy_decision_is_all_on_what_it_took() -> None:
    kinds = (("ann", ADDS), ("bob", TIMES)) * 5
    groups = [group(ran(decided(0, (0.4, 0.4, 0.2), kind, taken=who, mode="greedy"))) for who, kind in kinds]
    assert diagnose(groups, NAMES).information == pytest.approx(math.log(2))


def test_other_teams_are_not_compared() -> None:
    """What the team tells of a decision is not the task's."""
    other = tuple(replace(card, price=(0.0, 20.0)) for card in CARDS)
    groups = [group(ran(decided(0, (1.0, 0.0, 0.0)))) for _ in range(5)]
    groups += [group(ran(decided(0, (0.0, 1.0, 0.0))), cards=other) for _ in range(5)]
    assert diagnose(groups, NAMES).information == 0
    strange = Group([ran(decided(0, (1.0, 0.0, 0.0)))], 1.0, CARDS, ("bob", "ann"))  # shown under other names
    assert diagnose([strange], NAMES).shares == {"ann": 0.0, "bob": 1.0}


KNOBS = [0.001 * 100 ** (place / 63) for place in range(64)]


def test_what_the_knob_tells_is_not_what_the_task_does() -> None:
    """Cheap ann where an answer is worth little, dear and good bob where it is worth much: whatever the task."""
    dear = (CARDS[0], replace(CARDS[1], price=(0.0, 100.0)))
    generous = [0.5 + 0.49 * math.tanh(math.log(knob / 0.01)) for knob in KNOBS]
    groups = [
        group(*(ran(decided(0, (1 - p, p, 0.0), (0.5, 0.9)), decided(1, (1 - p, p, 0.0))) for _ in range(4)),
              knob=knob, cards=dear)
        for knob, p in zip(KNOBS, generous, strict=True)
    ]  # fmt: skip
    assert information([np.array([[1 - p, p]]) for p in generous]) > 0.3
    found = diagnose(groups, NAMES)
    assert found.information < 0.02
    assert found.later < 0.02
    assert found.needed < 0.1
    assert found.gain < 0.01


def test_what_the_task_tells_is_found_at_any_knob() -> None:
    random = np.random.default_rng(0)
    of_kind = {ADDS: (0.95, 0.05, 0.0), TIMES: (0.05, 0.95, 0.0)}
    kinds = [(ADDS, TIMES)[int(random.integers(2))] for _ in KNOBS]
    groups = [
        group(ran(decided(0, of_kind[kind], kind)), knob=10 * knob) for kind, knob in zip(kinds, KNOBS, strict=True)
    ]
    found = diagnose([groups[int(place)] for place in random.permutation(len(groups))], NAMES)
    assert found.information == pytest.approx(0.495, rel=0.2)
    assert found.needed == pytest.approx(math.log(2), rel=0.2)
    assert found.gain > 0.2


def test_runs_without_a_decision_bear_no_figures() -> None:
    found = diagnose([group(ran()), group(ran())], NAMES)
    assert (found.information, found.later, found.gain, found.shares) == (0, 0, 0, {"ann": 0, "bob": 0})
    assert found.collapse(1.0) == ""
    assert diagnose([], NAMES).collapse(1.0) == ""


def test_norms_by_head() -> None:
    weights = {name: torch.ones(2, requires_grad=True) for name in ("pick.w", "pick.b", "card.w", "text.w", "trust")}
    (2 * weights["pick.w"].sum() + weights["pick.b"].sum() + weights["card.w"].sum()).backward()
    assert gradient_norms(weights) == {
        "gradient/pick": pytest.approx(math.sqrt(10)),
        "gradient/body": pytest.approx(math.sqrt(2)),
    }


def test_a_training_tells_of_its_collapse(tmp_path: Path) -> None:
    """Beliefs that know who is good at what, and a policy that no longer goes by anything."""
    made = trainer(tmp_path, tasks=60, iterations=16, warm_up=11, tasks_per_iteration=16, learning_rate=6e-3, epochs=3)
    metrics = steps(made, 12)
    assert made.warning == ""
    assert metrics[-1]["routing_gain"] > 0.2
    assert metrics[-1]["information"] > 0.1 * metrics[-1]["information_needed"]
    assert sum(metrics[-1][f"share/{name}"] for name in ("adder", "timer")) == pytest.approx(1)
    assert metrics[-1]["gradient/pick"] > 0
    assert "gradient/pick" not in metrics[0]  # while only the beliefs learned
    with torch.no_grad():
        for name in ("pick.w", "trust"):
            made.weights[name].zero_()
    collapsed = steps(made, 1)[0]
    assert collapsed["information"] < 0.02
    assert "decides alike" in made.warning
