"""Reward channels on runs written down by hand, and what milestones must not change: which policy is best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.protocols.events import Result
from podium.protocols.record import Action, Compute, Decision, Directive, Factor, Finish, Node, Usage
from podium.protocols.task import Task, Verdict
from podium.training.credit import Accountant, Credit, Credited, Stream
from podium.training.rewards import CHANNELS, MILESTONES, Channel, Earned, rewards_of

SCORES = {"poor": 0.25, "good": 0.75, "right": 1.0}
PARTS = {"poor": {"form": 1.0, "sum": 0.0}, "good": {"form": 0.0, "sum": 0.5}, "right": {"form": 1.0, "sum": 1.0}}


def verdict(text: str) -> Verdict:
    return Verdict(SCORES.get(text, 0.0), text == "right", PARTS.get(text, {}))


def decision(step: int, action: Action, *, seen: int, now: float = 0.0) -> Decision:
    return Decision(f"d{step}", step, action, "test", reasons={"now": now}, seen=seen, value=0.1 * step)


def node(id: int, directive: str, content: str, *, kind: str = "reply", answer: str | None = "x") -> Node:
    usage = Usage(100 * id, 10 * id, 1, 0.001 * id)
    return Node(id, (0,), kind, directive, content, answer, usage=usage, directive=directive)  # type: ignore[arg-type]


def result(decisions: tuple[Decision, ...], nodes: tuple[Node, ...], answer: int) -> Result:
    first = Node(0, (), "task", "", "?")
    whole = (first, *nodes)
    return Result("r", "t", Task.of("?"), whole[answer].content, answer, "answered", Usage(), whole, decisions)


RENEW = Compute(plan="renew")
RUN = result(
    (
        decision(0, (Directive("a", "ann", compute=RENEW), Directive("b", "bob"), Directive("c", "cleo")), seen=1),
        decision(1, (Directive("d", "dora", compute=Compute(plan="keep")),), seen=4, now=0.4),
        decision(2, Finish(2), seen=6, now=0.9),
    ),
    (
        node(1, "a", "poor"),
        node(2, "b", "good", answer=None),
        node(3, "c", "", kind="failure", answer=None),
        node(4, "d", "right", kind="candidate"),
        node(5, "d", "poor"),
    ),
    2,
)
EARNED = Earned(RUN, verdict("good"), 0.01, verdict)


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("outcome", [0, 0, 0.75]),
        ("cost", [0.6, 0.9, 0]),
        ("tokens", [660, 990, 0]),
        ("talk", [60, 90, 0]),
        ("plans", [1, 0, 0]),
        ("parallel", [2, 0, 0]),
        ("finish", [1 / 3, 1, 0]),
        ("milestone_belief", [0.4, 0.5, -0.9]),
        ("milestone_best", [0.75, 0, -0.75]),
        ("milestone_parts", [0.75, 0, -0.75]),  # form from one reply, half the sum from another
    ],
)
def test_every_channel_by_hand(channel: Channel, expected: list[float]) -> None:
    assert CHANNELS[channel](EARNED) == pytest.approx(expected)


def test_the_table_names_every_channel() -> None:
    assert tuple(CHANNELS) == get_args(Channel)
    assert set(MILESTONES) == {name for name in CHANNELS if name.startswith("milestone")}
    for name in CHANNELS:
        assert Stream(channel=name).channel == name


def test_only_what_is_asked_for_is_computed() -> None:
    def never(text: str) -> Verdict:
        raise AssertionError("a judge was asked")

    found = rewards_of(replace(EARNED, worth=never), {"cost", "outcome"})
    assert set(found) == {"cost", "outcome"}
    with pytest.raises(AssertionError, match="a judge was asked"):
        rewards_of(replace(EARNED, worth=never), {"milestone_best"})


def test_a_run_without_decisions_earns_nothing() -> None:
    empty = Earned(replace(RUN, decisions=()), verdict(""), 1.0, verdict)
    for name in CHANNELS:
        assert CHANNELS[name](empty).shape == (0,)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("channel", sorted(MILESTONES))
def test_milestones_telescope(channel: Channel, gamma: float) -> None:
    """Their discounted sum from any decision on is what the potential was there, with a minus."""
    paid = CHANNELS[channel](replace(EARNED, gamma=gamma))
    potential = {"milestone_belief": [0, 0.4, 0.9]}.get(channel, [0, 0.75, 0.75])
    for turn in range(3):
        ahead = sum(gamma**step * reward for step, reward in enumerate(paid[turn:]))
        assert ahead == pytest.approx(-potential[turn])


def value_of(
    policy: tuple[int, ...],
    rewards: Mapping[tuple[int, int], float],
    nexts: Mapping[tuple[int, int], int],
    gamma: float,
) -> float:
    state, total, discount = 0, 0.0, 1.0
    while state < len(policy):
        total += discount * rewards[state, policy[state]]
        discount, state = discount * gamma, nexts[state, policy[state]]
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 0.8]))
def test_milestones_leave_the_best_policy_as_it_is(seed: int, gamma: float) -> None:
    """Random chains of four states with three ways on: every policy is worth the same less a constant."""
    random = np.random.default_rng(seed)
    states, ways = 4, 3
    pairs = list(itertools.product(range(states), range(ways)))
    nexts = {(state, way): int(random.integers(state + 1, states + 1)) for state, way in pairs}
    rewards = {pair: float(random.normal()) for pair in pairs}
    beliefs = random.random(states)

    def shaped(policy: tuple[int, ...]) -> float:
        """The same, with what the channel pays for the run that the policy makes."""
        visited, state = list[int](), 0
        while state < states:
            visited.append(state)
            state = nexts[state, policy[state]]
        made = tuple(decision(step, Finish(0), seen=1, now=beliefs[at]) for step, at in enumerate(visited))
        paid = CHANNELS["milestone_belief"](Earned(result(made, (), 0), verdict(""), 1.0, verdict, gamma))
        bonus = sum(gamma**step * reward for step, reward in enumerate(paid))
        return value_of(policy, rewards, nexts, gamma) + bonus

    policies = list(itertools.product(range(ways), repeat=states))
    plain = np.array([value_of(policy, rewards, nexts, gamma) for policy in policies])
    np.testing.assert_allclose([shaped(policy) for policy in policies], plain - beliefs[0], atol=1e-9)


def test_what_costs_the_least_among_the_right_in_units_of_their_spread() -> None:
    """PAPO: passed runs of a task are compared with each other and normalised there; failed ones get nothing."""
    cost = Stream(channel="cost", where="passed", estimator="mean", scale="std", weight=-1.0)
    runs = [
        Credited("t", passed, {"cost": np.array([price])}, ["a"], ["solver"], np.zeros(1))
        for passed, price in ((True, 1.0), (True, 2.0), (True, 3.0), (False, 0.1))
    ]
    found = np.concatenate(Accountant(Credit(streams=(cost,))).advantages(runs))
    unit = 1.0 / float(np.std([1, 2, 3]))
    np.testing.assert_allclose(found, [unit, 0.0, -unit, 0.0], atol=1e-3)
    tenfold = [replace(run, rewards={"cost": 10 * run.rewards["cost"]}) for run in runs]
    again = np.concatenate(Accountant(Credit(streams=(cost,))).advantages(tenfold))
    np.testing.assert_allclose(again, found, atol=1e-3)  # which is why it does not go with a range of prices


def test_a_gap_is_closed_once() -> None:
    """Only by a reply that was asked for the piece, supplies it, and finds it missing."""
    task = "- the price\n- the owner"
    told = {"both": {"the price": 1.0, "the owner": 1.0}, "half": {"the price": 0.5}, "none": {}}
    asked = [("half", 0), ("both", 0), ("both", 1), ("both", 2), ("none", 1)]
    decisions: list[Decision] = []
    nodes = [Node(0, (), "task", "user", task)]
    for step, (says, about) in enumerate(asked):
        factors = (Factor("pick", 0, 0.0), Factor("about", about, 0.0, (True, True, True)))
        action = (Directive(f"d{step}", "ann"),)
        decisions.append(replace(decision(step, action, seen=len(nodes)), factors=factors))
        nodes.append(node(step + 1, f"d{step}", says))
    decisions.append(decision(len(asked), Finish(1), seen=len(nodes)))
    run = Result("r", "t", Task.of(task), "", 1, "answered", Usage(), tuple(nodes), tuple(decisions))
    earned = Earned(run, verdict("good"), 0.01, lambda text: Verdict(0.0, False, told[text]))
    assert rewards_of(earned, ["gap"])["gap"].tolist() == [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    late = replace(run, decisions=(decisions[2], *decisions[3:]), nodes=(nodes[0], *nodes[3:]))
    assert rewards_of(replace(earned, result=late), ["gap"])["gap"].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert rewards_of(EARNED, ["gap"])["gap"].tolist() == [0.0, 0.0, 0.0]


def test_two_that_close_one_gap_at_the_same_time_close_it_once() -> None:
    task = "- the price\n- the owner"
    pair = (Directive("d0", "ann"), Directive("d1", "bob"))
    factors = tuple(
        each for pick in (0, 1) for each in (Factor("pick", pick, 0.0), Factor("about", 0, 0.0, (True,) * 3))
    )
    decisions = (replace(decision(0, pair, seen=1), factors=factors), decision(1, Finish(1), seen=3))
    nodes = (Node(0, (), "task", "user", task), node(1, "d0", "half"), node(2, "d1", "all"))
    run = Result("r", "t", Task.of(task), "", 1, "answered", Usage(), nodes, decisions)
    told = {"half": {"the price": 0.5}, "all": {"the price": 1.0}}
    earned = Earned(run, verdict("good"), 0.01, lambda text: Verdict(0.0, False, told[text]))
    assert rewards_of(earned, ["gap"])["gap"].tolist() == [1.0, 0.0]
