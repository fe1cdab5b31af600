"""Credit against plain Python: every baseline computed once more, run by run and decision by decision, by hand."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from podium.training.credit import Accountant, Credit, Credited, Ramp, Stream

AGENTS = {"a": "solver", "b": "solver", "c": "verifier", "": ""}


def run(
    task: str, outcome: Sequence[float], agents: str, *, passed: bool = True, cost: Sequence[float] = ()
) -> Credited:
    """A run with one decision per letter of `agents`; "." is finish."""
    names = [name.replace(".", "") for name in agents]
    costs = list(cost) or [0.1] * len(names)
    return Credited(
        task,
        passed,
        {"outcome": np.array(outcome, np.float64), "cost": np.array(costs, np.float64)},
        names,
        [AGENTS[name] for name in names],
        np.array([0.5 - 0.1 * turn for turn in range(len(names))]),
    )


RUNS = [
    run("one", [0, 0, 1], "ab.", cost=[0.3, 0.2, 0]),
    run("one", [0, 0], "a.", passed=False),
    run("one", [0.25, 0.5, 0.1, 1], "cab.", cost=[0.1, 0.4, 0.1, 0]),
    run("two", [0, 1], "b.", cost=[0.7, 0]),
    run("two", [0, 0, 0], "bc.", passed=False),
    run("three", [0, 1], "a."),
]


def by_hand(stream: Stream, runs: Sequence[Credited]) -> list[list[float]]:
    """One stream, the slow way."""
    entries: list[tuple[int, int, Any, float]] = []
    for index, each in enumerate(runs):
        if stream.where == "passed" and not each.passed:
            continue
        rewards = each.rewards[stream.channel].tolist()
        for turn in range(len(rewards)):
            if stream.fold == "total":
                value = sum(rewards)
            else:
                value = sum(stream.gamma**ahead * reward for ahead, reward in enumerate(rewards[turn:]))
            parts = {"batch": 0, "task": each.task, "agent": each.agents[turn], "role": each.roles[turn], "turn": turn}
            entries.append((index, turn, tuple(parts[name] for name in stream.key), value))
    out = [[0.0] * len(each.agents) for each in runs]
    for index, turn, key, value in entries:
        alike = [entry for entry in entries if entry[2] == key]
        if stream.fold == "total":  # each run once, however many of its decisions share the key
            alike = list({entry[0]: entry for entry in alike}.values())
        others = [entry[3] for entry in alike if entry[0] != index]
        everybody = [entry[3] for entry in alike]
        if stream.estimator == "none":
            baseline = 0.0
        elif stream.estimator == "critic":
            baseline = float(runs[index].values[turn])
        elif stream.estimator == "ema":
            baseline = 0.0  # the first update
        elif not others:
            baseline = value if stream.singleton == "zero" else 0.0
        else:
            baseline = statistics.fmean(everybody if stream.estimator == "mean" else others)
        scale = statistics.pstdev(everybody) + 1e-4 if stream.scale == "std" else 1.0
        assert isinstance(stream.weight, float)
        out[index][turn] = stream.weight * (value - baseline) / scale
    return out


KEYS: list[tuple[Any, ...]] = [("batch",), ("task",), ("task", "turn"), ("task", "agent"), ("role",), ("agent", "turn")]


@pytest.mark.parametrize("estimator", ["none", "mean", "leave_one_out", "ema", "critic"])
@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_every_stream_by_hand(estimator: Any, key: Any) -> None:
    for fold, where, scale, singleton in itertools.product(
        ("total", "to_go"), ("all", "passed"), ("none", "std"), ("zero", "pass")
    ):
        stream = Stream.model_validate(
            {"key": key, "estimator": estimator, "fold": fold, "where": where, "scale": scale, "singleton": singleton}
            | {"gamma": 0.9, "weight": -2.0}
        )
        found = Accountant(Credit(streams=(stream,))).advantages(RUNS)
        for mine, expected in zip(found, by_hand(stream, RUNS), strict=True):
            np.testing.assert_allclose(mine, expected, atol=1e-12, err_msg=str(stream))


def test_the_default_in_numbers() -> None:
    found = Accountant(Credit()).advantages(
        [run("t", [0, 1], "a.", cost=[0.2, 0]), run("t", [0, 0], "a.", passed=False)]
    )
    assert found[0] == pytest.approx([1, 1])  # no other passed run to compare its cost with
    assert found[1] == pytest.approx([-1, -1])
    both = Accountant(Credit()).advantages(
        [run("t", [0, 1], "a.", cost=[0.2, 0]), run("t", [0, 1], "a.", cost=[0.5, 0])]
    )
    assert both[0] == pytest.approx([0.3, 0.3])
    assert both[1] == pytest.approx([-0.3, -0.3])


def test_cost_counts_on_passed_runs_only() -> None:
    cost = Stream(channel="cost", where="passed", weight=-1.0)
    failed = [run("t", [0, 0], "a.", passed=False, cost=[price, 0]) for price in (0.0, 9.0)]
    passed = [run("t", [0, 1], "a.", cost=[price, 0]) for price in (1.0, 3.0)]
    found = Accountant(Credit(streams=(cost,))).advantages([*failed, *passed])
    assert [each.tolist() for each in found] == [[0, 0], [0, 0], [2, 2], [-2, -2]]


def test_streams_are_summed() -> None:
    first, second = Stream(), Stream(channel="cost", estimator="none", weight=-0.5)
    both = Accountant(Credit(streams=(first, second))).advantages(RUNS)
    apart = zip(by_hand(first, RUNS), by_hand(second, RUNS), strict=True)
    for mine, (one, two) in zip(both, apart, strict=True):
        np.testing.assert_allclose(mine, np.add(one, two))


@pytest.mark.parametrize(("progress", "weight"), [(0.0, -0.5), (0.25, -1.0), (1.0, -2.5)])
def test_a_weight_may_change_while_a_training_does(progress: float, weight: float) -> None:
    def of(given: object) -> list[float]:
        credit = Credit.model_validate({"streams": [{"channel": "cost", "where": "passed", "weight": given}]})
        return np.concatenate(Accountant(credit).advantages(RUNS, progress)).tolist()

    ramp = Ramp(first=-0.5, last=-2.5)
    assert of(ramp.model_dump()) == pytest.approx(of(weight))
    assert ramp.at(progress) == weight


def test_a_moving_average_runs_over_updates() -> None:
    accountant = Accountant(Credit(streams=(Stream(estimator="ema", decay=0.75, key=("role",)),)))
    first = [run("t", [1], "a"), run("u", [0], "b"), run("t", [1], "c")]
    assert [each.tolist() for each in accountant.advantages(first)] == [[1], [0], [1]]
    assert accountant.averages == pytest.approx({"0:solver": 0.125, "0:verifier": 0.25})
    second = accountant.advantages([run("t", [0], "a"), run("t", [1], "c")])
    assert [each.tolist() for each in second] == [[-0.125], [0.75]]
    assert accountant.averages == pytest.approx({"0:solver": 0.09375, "0:verifier": 0.4375})
    continued = Accountant(accountant.credit)
    continued.averages = dict(accountant.averages)
    assert continued.advantages(first)[0] == accountant.advantages(first)[0]


def test_alone_of_its_key() -> None:
    def alone(singleton: Any) -> list[float]:
        return (
            Accountant(Credit(streams=(Stream(singleton=singleton),))).advantages([run("t", [0, 1], "a.")])[0].tolist()
        )

    assert alone("zero") == [0, 0]
    assert alone("pass") == [1, 1]
    with pytest.raises(ValueError, match="nothing to compare it with"):
        alone("error")
    assert Accountant(Credit(streams=(Stream(singleton="error"),))).advantages(RUNS[:2])


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValidationError, match="cancels the price knob"):
        Stream(channel="cost", scale="std")
    with pytest.raises(ValidationError, match="Extra inputs"):
        Stream.model_validate({"chanel": "cost"})
    with pytest.raises(ValidationError, match="at least 1"):
        Credit(streams=())
    with pytest.raises(ValueError, match="no reward channel 'speed'; there are: cost, outcome"):
        Accountant(Credit(streams=(Stream(channel="speed"),))).advantages(RUNS)


groups = st.lists(
    st.tuples(st.sampled_from("xyz"), st.floats(0, 1), st.integers(1, 4), st.booleans()), min_size=2, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(groups)
def test_leave_one_out_balances(drawn: list[tuple[str, float, int, bool]]) -> None:
    """Whatever the lengths: a task's advantages, one for each run, sum to nothing."""
    runs = [run(task, [0] * (length - 1) + [score], "a" * length) for task, score, length, _ in drawn]
    found = Accountant(Credit(streams=(Stream(),))).advantages(runs)
    for task in "xyz":
        mine = [float(part[0]) for each, part in zip(runs, found, strict=True) if each.task == task]
        assert sum(mine) == pytest.approx(0, abs=1e-9)


def test_a_long_run_is_one_run() -> None:
    runs = [run("t", [0] * 9 + [1], "a" * 10), run("t", [0], "a"), run("t", [0], "a")]
    found = Accountant(Credit(streams=(Stream(),))).advantages(runs)
    assert [part[0] for part in found] == pytest.approx([1, -0.5, -0.5])


@settings(max_examples=60, deadline=None)
@given(groups, st.randoms(use_true_random=False))
def test_the_order_of_runs_means_nothing(drawn: list[tuple[str, float, int, bool]], random: Any) -> None:
    runs = [run(task, [0] * (n - 1) + [score], "a" * n, passed=passed) for task, score, n, passed in drawn]
    order = list(range(len(runs)))
    random.shuffle(order)
    plain = Accountant(Credit()).advantages(runs)
    shuffled = Accountant(Credit()).advantages([runs[place] for place in order])
    for place, part in zip(order, shuffled, strict=True):
        np.testing.assert_allclose(part, plain[place], atol=1e-12)
