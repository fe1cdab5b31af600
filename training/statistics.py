"""How sure a measured score is: percentile bootstrap over tasks.

Tasks are what a result should carry over to, so tasks are what is drawn again. The seeds of one task share its
difficulty: they are averaged first and drawn together (a cluster bootstrap), because counting them as independent
makes intervals too short by up to the square root of the number of seeds. Two coordinators that worked on the same
tasks are compared task by task: what makes a task hard for both cancels out.

Shapes: S seeds, T tasks, R resamples. A `(T,)` array is read as `(1, T)`. NaN means "not measured". An interval over
tasks that all have the same value has no width, which says that the sample shows no variation, not that there is none.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 10_000
"""Enough for two stable digits of a 95 % interval."""
CELLS = 2_000_000
"""Resampled values held at once: about 16 MB, whatever the number of tasks."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its percentile interval. n: tasks it rests on."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """First minus second, over the tasks that both worked on.

    p: two-sided bootstrap p-value of "no difference"; never below 2 / (resamples + 1).
    """

    p: float


def task_means(values: npt.ArrayLike) -> Floats:
    """Mean over seeds. values: (S, T) or (T,). Returns (T,), NaN for a task without any value.

    Raises ValueError for other shapes and for no tasks.
    """
    values_ST = _seeds_and_tasks(values)
    measured_ST = ~np.isnan(values_ST)
    counts_T = measured_ST.sum(axis=0)
    sums_T = np.where(measured_ST, values_ST, 0.0).sum(axis=0)
    return np.where(counts_T > 0, sums_T / np.maximum(counts_T, 1), np.nan)


def resampled_means(values: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Means of tasks drawn again with replacement. values: (T,), without NaN. Returns (R,).

    The same seed draws the same tasks for arrays of equal length, so results for two coordinators stay paired.
    """
    values_T = np.asarray(values, dtype=np.float64)
    if values_T.ndim != 1 or not values_T.size:
        raise ValueError(f"expected (T,) with at least one task, got shape {values_T.shape}")
    generator = np.random.default_rng(seed)
    means_R = np.empty(resamples)
    block = max(1, CELLS // values_T.size)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        means_R[start : start + rows] = values_T[generator.integers(0, values_T.size, (rows, values_T.size))].mean(
            axis=1
        )
    return means_R


def mean_interval(
    values: npt.ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Mean score with its interval, clustered by task. values: (S, T) or (T,). level: coverage, in (0, 1).

    Raises ValueError when nothing was measured.
    """
    means_T = _measured(task_means(values))
    low, high = _percentiles(resampled_means(means_T, resamples=resamples, seed=seed), level)
    return Interval(float(means_T.mean()), low, high, means_T.size)


def paired_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Mean of first minus second, task by task. first, second: (S, T) or (T,), in the same order of tasks.

    The numbers of seeds may differ; a task that one side did not measure is left out of both.
    Raises ValueError when the tasks do not match or nothing is left.
    """
    first_T, second_T = _pair(first, second)
    gaps_T = first_T - second_T
    means_R = resampled_means(gaps_T, resamples=resamples, seed=seed)
    low, high = _percentiles(means_R, level)
    beyond = min(np.count_nonzero(means_R <= 0.0), np.count_nonzero(means_R >= 0.0))
    p = min(1.0, 2.0 * (beyond + 1) / (resamples + 1))
    return Difference(float(gaps_T.mean()), low, high, gaps_T.size, p)


def paired_ratio(
    first: npt.ArrayLike, second: npt.ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Ratio of the means, for costs ("60 % of its tokens"). Arguments as in `paired_difference`.

    Raises ValueError also when the second has a mean of zero or less in some resample.
    """
    first_T, second_T = _pair(first, second)
    below_R = resampled_means(second_T, resamples=resamples, seed=seed)
    if below_R.min() <= 0.0:
        raise ValueError("a ratio needs a second mean that is positive in every resample")
    low, high = _percentiles(resampled_means(first_T, resamples=resamples, seed=seed) / below_R, level)
    return Interval(float(first_T.mean() / second_T.mean()), low, high, first_T.size)


def crossed_interval(
    values: npt.ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Mean with an interval over tasks *and* seeds, both drawn again: for "train again, on other tasks".

    values: (S, T), complete, S at least 2; few seeds make it a rough one. Raises ValueError otherwise.
    """
    values_ST = _seeds_and_tasks(values)
    seeds, tasks = values_ST.shape
    if seeds < 2 or np.isnan(values_ST).any():
        raise ValueError(f"needs at least two seeds and no missing value, got shape {values_ST.shape}")
    generator = np.random.default_rng(seed)
    means_R = np.empty(resamples)
    block = max(1, CELLS // tasks)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        weights_RS = generator.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=rows) / seeds
        drawn_RT = generator.integers(0, tasks, (rows, tasks))
        means_R[start : start + rows] = np.take_along_axis(weights_RS @ values_ST, drawn_RT, axis=1).mean(axis=1)
    low, high = _percentiles(means_R, level)
    return Interval(float(values_ST.mean()), low, high, tasks)


def _seeds_and_tasks(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    values_ST = array[None, :] if array.ndim == 1 else array
    if values_ST.ndim != 2 or not values_ST.size:
        raise ValueError(f"expected (S, T) or (T,) with at least one task, got shape {array.shape}")
    return values_ST


def _measured(means_T: Floats) -> Floats:
    kept_T = means_T[~np.isnan(means_T)]
    if not kept_T.size:
        raise ValueError("nothing was measured: every value is NaN")
    return kept_T


def _pair(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Floats, Floats]:
    first_T, second_T = task_means(first), task_means(second)
    if first_T.shape != second_T.shape:
        raise ValueError(f"paired values need the same tasks, got {first_T.size} and {second_T.size}")
    both_T = ~(np.isnan(first_T) | np.isnan(second_T))
    if not both_T.any():
        raise ValueError("nothing to compare: no task was measured on both sides")
    return first_T[both_T], second_T[both_T]


def _percentiles(means_R: Floats, level: float) -> tuple[float, float]:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is a coverage in (0, 1), got {level}")
    low, high = np.quantile(means_R, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
