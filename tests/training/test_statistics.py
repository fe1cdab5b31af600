"""Bootstrap intervals: coverage, pairing, clustering by task."""

from __future__ import annotations

import math

import numpy as np
import pytest

from podium.training.statistics import (
    crossed_interval,
    mean_interval,
    paired_difference,
    paired_ratio,
    resampled_means,
    task_means,
)


def test_mean_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        passed_T = generator.random(120) < 0.6
        interval = mean_interval(passed_T, resamples=600, seed=trial)
        covered += interval.low <= 0.6 <= interval.high
    assert 0.89 <= covered / 200 <= 0.99


def test_interval_agrees_with_the_normal_one() -> None:
    passed_T = np.arange(400) % 4 == 0
    interval = mean_interval(passed_T)
    half = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert interval.mean == 0.25
    assert interval.n == 400
    assert interval.low == pytest.approx(0.25 - half, abs=0.005)
    assert interval.high == pytest.approx(0.25 + half, abs=0.005)


def test_seeds_of_one_task_do_not_count_as_tasks() -> None:
    passed_T = (np.arange(100) % 2).astype(float)
    once, thrice = mean_interval(passed_T), mean_interval(np.tile(passed_T, (3, 1)))
    assert (once.low, once.high, once.n) == (thrice.low, thrice.high, thrice.n)


def test_pairing_removes_what_makes_tasks_hard() -> None:
    generator = np.random.default_rng(1)
    hard_T = generator.random(300)
    better_T, worse_T = hard_T + 0.02 + 0.01 * generator.random(300), hard_T
    difference = paired_difference(better_T, worse_T)
    assert difference.low > 0.0
    assert difference.high < 0.03
    assert difference.p < 0.001
    assert mean_interval(better_T).low < mean_interval(worse_T).high
    same = paired_difference(hard_T, hard_T)
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_swapping_the_sides_mirrors_the_difference() -> None:
    generator = np.random.default_rng(2)
    first_ST, second_ST = generator.random((3, 50)), generator.random((2, 50))
    there, back = paired_difference(first_ST, second_ST), paired_difference(second_ST, first_ST)
    assert there.mean == pytest.approx(-back.mean)
    assert there.low == pytest.approx(-back.high)
    assert there.high == pytest.approx(-back.low)
    assert there.p == back.p


def test_what_was_not_measured_is_left_out() -> None:
    values_ST = np.array([[1.0, np.nan, 0.0, np.nan], [0.0, 1.0, 0.0, np.nan]])
    assert np.array_equal(task_means(values_ST), [0.5, 1.0, 0.0, np.nan], equal_nan=True)
    assert mean_interval(values_ST).n == 3
    assert paired_difference(values_ST, [1.0, np.nan, 1.0, 1.0]).n == 2


def test_ratio_of_costs() -> None:
    generator = np.random.default_rng(3)
    long_T = 100.0 + 50.0 * generator.random(200)
    ratio = paired_ratio(0.6 * long_T, long_T)
    assert ratio.mean == pytest.approx(0.6)
    assert ratio.low == pytest.approx(0.6)
    assert ratio.high == pytest.approx(0.6)
    assert paired_ratio(long_T[::-1], long_T).low < 1.0 < paired_ratio(long_T[::-1], long_T).high


def test_seeds_widen_a_crossed_interval() -> None:
    values_ST = np.add.outer([0.0, 0.2, 0.4], np.random.default_rng(4).random(80))
    crossed, tasks_only = crossed_interval(values_ST), mean_interval(values_ST)
    assert crossed.mean == pytest.approx(tasks_only.mean)
    assert crossed.high - crossed.low > 2 * (tasks_only.high - tasks_only.low)


def test_blocks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values_T = np.random.default_rng(5).random(37)
    whole_R = resampled_means(values_T, resamples=100, seed=6)
    monkeypatch.setattr("podium.training.statistics.CELLS", 37 * 7)
    assert np.array_equal(whole_R, resampled_means(values_T, resamples=100, seed=6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "at least one task"),
        (lambda: mean_interval([[[1.0]]]), "expected"),
        (lambda: mean_interval([np.nan]), "nothing was measured"),
        (lambda: mean_interval([1.0], level=95), "coverage"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), "same tasks"),
        (lambda: paired_difference([1.0, np.nan], [np.nan, 1.0]), "nothing to compare"),
        (lambda: paired_ratio([1.0, 1.0], [1.0, 0.0]), "positive"),
        (lambda: crossed_interval([1.0, 2.0]), "two seeds"),
    ],
)
def test_wrong_shapes_are_named(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
