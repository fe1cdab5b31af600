"""Credit against plain Python: every baseline computed once more, run by run and decision by decision, by hand."""

from __future__ import annotations

import itertools
import math
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
        scale = 1.0
        if stream.scale == "std" and (others or not stream.compares):
            spread = statistics.pstdev(everybody)
            scale = spread + 1e-4 if spread > 1e-12 else math.inf
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
        if estimator == "critic" and where == "passed":
            continue  # refused
        stream = Stream.model_validate(
            {"key": key, "estimator": estimator, "fold": fold, "where": where, "scale": scale, "singleton": singleton}
            | {"gamma": 0.9, "weight": 1.0 if estimator == "critic" else -2.0}
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


@pytest.mark.parametrize("estimator", ["none", "mean", "leave_one_out", "ema", "critic"])
def test_rewards_without_a_spread_are_no_credit_in_its_units(estimator: Any) -> None:
    """Equal up to rounding: 0.1 + 0.2 beside 0.3. Divided by what is added to the deviation, it would be thousands."""
    accountant = Accountant(Credit(streams=(Stream(estimator=estimator, scale="std"),)))
    found = accountant.advantages([run("t", [0.1, 0.2], "a."), run("t", [0.3], "."), run("t", [0, 0.3], "b.")])
    assert np.concatenate(found).tolist() == [0] * 5
    if estimator == "ema":
        assert accountant.averages == pytest.approx({"0:t": 0.05 * 0.3})


def test_one_that_is_alone_passes_its_raw_reward_on() -> None:
    stream = Stream(singleton="pass", scale="std")
    assert Accountant(Credit(streams=(stream,))).advantages([run("t", [0, 1], "a.")])[0].tolist() == [1, 1]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValidationError, match="set where: passed, or scale: none"):
        Stream(channel="cost", scale="std")
    for channel in ("milestone_belief", "milestone_best", "milestone_parts"):
        for more in ({"where": "passed"}, {"scale": "std"}):
            with pytest.raises(ValidationError, match="leave the best policy as it is only on all runs, unscaled"):
                Stream.model_validate({"channel": channel, **more})
    for more in ({"where": "passed"}, {"weight": 0.5}, {"weight": {"first": 1.0, "last": 1.0}}):
        with pytest.raises(ValidationError, match="critic predicts the sum of all streams on all runs"):
            Stream.model_validate({"estimator": "critic", **more})
    with pytest.raises(ValidationError, match="gae needs estimator: critic"):
        Stream(fold="gae", estimator="leave_one_out")
    with pytest.raises(ValidationError, match="fold: gae has no critic in any stream"):
        Credit(streams=(Stream(fold="gae", estimator="none"),))
    with pytest.raises(ValidationError, match="only one stream may have the critic"):
        Credit(streams=(Stream(estimator="critic"), Stream(channel="tokens", estimator="critic")))
    critic, cost = Stream(estimator="critic"), {"channel": "cost", "where": "passed"}
    for beside, mend in [
        ({}, "estimator: none"),
        ({"estimator": "mean"}, "estimator: none"),
        ({"estimator": "ema"}, "estimator: none"),
        ({"estimator": "none", "scale": "std"}, "scale: none"),
    ]:
        with pytest.raises(ValidationError, match=f"no baseline: in credit.streams.1 set {mend}"):
            Credit(streams=(critic, Stream.model_validate(cost | beside)))
    with pytest.raises(ValidationError, match="set scale: none"):
        Credit(streams=(Stream(channel="tokens", estimator="none"), Stream(estimator="critic", scale="std")))
    assert Credit(streams=(critic, Stream.model_validate(cost | {"estimator": "none", "weight": -1.0})))
    assert Credit(streams=(Stream(estimator="critic", scale="std"),))
    with pytest.raises(ValidationError, match="discounted milestones cancel only from a decision on"):
        Stream(channel="milestone_best", gamma=0.9)
    with pytest.raises(ValidationError, match="all streams need the same gamma"):
        Credit(streams=(Stream(), Stream(channel="milestone_best", fold="to_go", gamma=0.9)))
    assert Credit(streams=(Stream(gamma=0.9), Stream(channel="milestone_best", fold="to_go", gamma=0.9)))
    with pytest.raises(ValidationError, match="Extra inputs"):
        Stream.model_validate({"chanel": "cost"})
    with pytest.raises(ValidationError, match="at least 1"):
        Credit(streams=())
    with pytest.raises(ValidationError, match="Input should be 'outcome', 'cost'"):
        Stream.model_validate({"channel": "speed"})
    with pytest.raises(ValueError, match="no reward channel 'talk' in this run; there are: cost, outcome"):
        Accountant(Credit(streams=(Stream(channel="talk"),))).advantages(RUNS)


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


def valued(rewards: Sequence[float], values: Sequence[float]) -> Credited:
    count = len(rewards)
    return Credited("t", True, {"outcome": np.array(rewards)}, ["a"] * count, ["solver"] * count, np.array(values))


def test_generalised_advantage_by_hand() -> None:
    stream = Stream(fold="gae", estimator="critic", gamma=0.9, lam=0.5)
    accountant = Accountant(Credit(streams=(stream,)))
    run = valued([0.0, 1.0, 2.0], [0.5, 0.2, 1.0])
    last = 2.0 - 1.0
    middle = 1.0 + 0.9 * 1.0 - 0.2 + 0.45 * last
    first = 0.0 + 0.9 * 0.2 - 0.5 + 0.45 * middle
    assert accountant.advantages([run])[0] == pytest.approx([first, middle, last])
    assert accountant.returns([run])[0] == pytest.approx([first + 0.5, middle + 0.2, last + 1.0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=7),
    st.floats(0.5, 1),
    st.floats(0, 0.99),
)
def test_generalised_advantage_is_the_mean_of_all_horizons(
    drawn: list[tuple[float, float]], gamma: float, lam: float
) -> None:
    """Its definition (1506.02438, eq. 16): k-step advantages, weighted (1 - lam) lam^(k - 1); never the recursion."""
    rewards, values = [each[0] for each in drawn], [each[1] for each in drawn]
    stream = Stream(fold="gae", estimator="critic", gamma=gamma, lam=lam)
    found = Accountant(Credit(streams=(stream,))).advantages([valued(rewards, values)])[0]
    far = 4000  # rewards and values are 0 after the end, so that longer horizons all say the same
    for turn in range(len(drawn)):
        expected, left = 0.0, 1.0
        for k in range(1, far):
            end = turn + k
            ahead = sum(gamma ** (at - turn) * rewards[at] for at in range(turn, min(end, len(rewards))))
            ahead += gamma**k * values[end] if end < len(values) else 0.0
            if end >= len(values):
                expected += left * (ahead - values[turn])
                break
            expected += (1 - lam) * lam ** (k - 1) * (ahead - values[turn])
            left -= (1 - lam) * lam ** (k - 1)
        assert found[turn] == pytest.approx(expected, abs=1e-9)


def test_at_its_ends_it_is_the_return_and_the_surprise() -> None:
    rewards, values = [0.5, 0.0, 1.0], [0.3, 0.6, 0.9]

    def found(**settings: Any) -> list[float]:
        stream = Stream.model_validate({"estimator": "critic", "gamma": 0.9, **settings})
        return Accountant(Credit(streams=(stream,))).advantages([valued(rewards, values)])[0].tolist()

    assert found(fold="gae", lam=1.0) == pytest.approx(found(fold="to_go"))
    surprise = [0.5 + 0.9 * 0.6 - 0.3, 0.9 * 0.9 - 0.6, 1.0 - 0.9]
    assert found(fold="gae", lam=0.0) == pytest.approx(surprise)


def test_streams_beside_the_critic_are_one_advantage() -> None:
    """Outcome with the critic and cost without: the same as the critic's on outcome less cost."""
    gae = {"fold": "gae", "gamma": 0.95, "lam": 0.8}
    outcome = Stream.model_validate({**gae, "estimator": "critic"})
    cost = Stream.model_validate({**gae, "channel": "cost", "where": "passed", "estimator": "none", "weight": -0.5})
    both = Accountant(Credit(streams=(outcome, cost)))
    joined = [
        Credited(
            each.task,
            each.passed,
            {"outcome": each.rewards["outcome"] - (0.5 * each.rewards["cost"] if each.passed else 0.0)},
            each.agents,
            each.roles,
            each.values,
        )
        for each in RUNS
    ]
    alone = Accountant(Credit(streams=(outcome,)))
    for mine, expected in zip(both.advantages(RUNS), alone.advantages(joined), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-12)
    for mine, expected in zip(both.returns(RUNS), alone.returns(joined), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-12)


def test_the_critic_learns_what_a_run_was_worth() -> None:
    """Of the default: the score less the cost of passed runs, the same at every decision."""
    found = Accountant(Credit()).returns(RUNS)
    for each, run_ in zip(found, RUNS, strict=True):
        worth = run_.rewards["outcome"].sum() - (run_.rewards["cost"].sum() if run_.passed else 0.0)
        np.testing.assert_allclose(each, worth)
    ramp = Credit(streams=(Stream(), Stream(channel="cost", weight=Ramp(first=-1.0, last=0.0))))
    np.testing.assert_allclose(Accountant(ramp).returns(RUNS, 1.0)[0], 1.0)
