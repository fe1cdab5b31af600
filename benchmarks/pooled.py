"""Means over several splits of the same tasks, with the bootstrap that goes with them.

Splits share tasks, so the bootstrap draws tasks, each with everything that was measured on it in every split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Figure", "Floats", "Pooled", "figure"]

Floats = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean with its interval."""

    mean: float
    low: float
    high: float

    def points(self) -> str:
        """As points of a hundred."""
        return f"{100 * self.mean:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"

    def share(self) -> str:
        """As a share."""
        return f"{self.mean:.0%} [{self.low:.0%}, {self.high:.0%}]"


class Pooled:
    """Tasks of several splits. tasks: ids of each split's."""

    def __init__(self, tasks: Sequence[Sequence[str]], seed: int = 0) -> None:
        ids = sorted({task for each in tasks for task in each})
        place = {task: number for number, task in enumerate(ids)}
        self._places = np.concatenate([[place[task] for task in each] for each in tasks])
        draws = np.random.default_rng(seed).multinomial(len(ids), np.full(len(ids), 1 / len(ids)), RESAMPLES)
        self._weights = np.concatenate((np.ones((1, len(ids))), draws))
        self._size = len(ids)

    def mean(self, values: Sequence[Sequence[float]]) -> Floats:
        """(1 + RESAMPLES,): the mean over all tasks of all splits, then of each resample. values: every split's."""
        together = np.concatenate([np.asarray(each, np.float64) for each in values])
        sums = np.bincount(self._places, together, self._size)
        return (self._weights @ sums) / (self._weights @ np.bincount(self._places, minlength=self._size))


def figure(values: Floats) -> Figure:
    """The mean and its percentile interval. values: the mean first, then resamples."""
    finite = np.where(np.isfinite(values[1:]), values[1:], 9.99)
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(float(values[0]), float(low), float(high))
