"""What the splits say together: curves with intervals, and the comparisons that were asked for.

Between two knobs a curve is a straight line: what running a random share of the tasks at the one and the rest at the
other would come to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from pooled import RESAMPLES, Floats, Pooled, figure

__all__ = ["Found", "Scores", "Splits", "figure", "sentences"]


@dataclass(frozen=True, slots=True)
class Scores:
    """One candidate on the held-out tasks of one split: (T,) each."""

    score: list[float]
    tokens: list[float]
    calls: list[float]
    dollars: list[float]


@dataclass(frozen=True, slots=True)
class Found:
    """One split. tasks: ids of the held-out ones; by_name: every candidate; chosen: the knob chosen on the training
    part; agreement: which cascade was chosen there; dear: the dearest agent.
    """

    tasks: list[str]
    by_name: Mapping[str, Scores]
    chosen: str
    agreement: str
    dear: str


class Splits:
    """All splits. `gain` and `cost` are (1 + RESAMPLES,): the first is the mean itself, the others are resamples."""

    def __init__(self, found: Sequence[Found], seed: int = 0) -> None:
        self.found = found
        self._pooled = Pooled([each.tasks for each in found], seed)

    def mean(self, of: Callable[[Found], Sequence[float]]) -> Floats:
        """Means over all tasks of all splits, and of the resamples."""
        return self._pooled.mean([of(each) for each in self.found])

    def gain(self, name: Callable[[Found], str]) -> Floats:
        """Score over the dearest agent's."""
        return self.mean(
            lambda each: np.subtract(each.by_name[name(each)].score, each.by_name[each.dear].score).tolist()
        )

    def cost(self, name: Callable[[Found], str]) -> Floats:
        """Dollars as a share of the dearest agent's."""
        spent = self.mean(lambda each: each.by_name[name(each)].dollars)
        return spent / self.mean(lambda each: each.by_name[each.dear].dollars)

    def curve(self, names: Sequence[str]) -> tuple[Floats, Floats]:
        """Costs and gains (points, 1 + RESAMPLES) of some candidates, cheapest first."""
        costs = np.stack([self.cost(lambda _, name=name: name) for name in names])
        gains = np.stack([self.gain(lambda _, name=name: name) for name in names])
        order = np.argsort(costs[:, 0], kind="stable")
        return costs[order], gains[order]

    @staticmethod
    def at(curve: tuple[Floats, Floats], cost: Floats) -> Floats:
        """Gain of a curve at some costs, (1 + RESAMPLES,); beyond its ends, that of the end."""
        costs, gains = curve
        out = np.empty_like(cost)
        for column in range(len(cost)):
            order = np.argsort(costs[:, column], kind="stable")
            out[column] = np.interp(cost[column], costs[order, column], gains[order, column])
        return out

    @staticmethod
    def level(curve: tuple[Floats, Floats]) -> Floats:
        """The least cost at which a curve reaches the dearest agent's score; infinite where it does not."""
        costs, gains = curve
        out = np.full(costs.shape[1], np.inf)
        for column in range(costs.shape[1]):
            order = np.argsort(costs[:, column], kind="stable")
            x, y = costs[order, column], gains[order, column]
            above = np.flatnonzero(y >= 0)
            if not len(above):
                continue
            first = int(above[0])
            if first == 0 or y[first] == y[first - 1]:
                out[column] = x[first]
            else:
                share = -y[first - 1] / (y[first] - y[first - 1])
                out[column] = x[first - 1] + share * (x[first] - x[first - 1])
        return out


def sentences(splits: Splits, trained: Sequence[str], boosted: Sequence[str]) -> tuple[list[str], dict[str, object]]:
    """What was asked, answered: in words, and as figures."""
    curve, trees = splits.curve(trained), splits.curve(boosted)
    said: list[str] = []
    level = figure(splits.level(curve))
    where = f"reached at {level.share()} of its dollars" if np.isfinite(level.mean) else "not reached at any knob"
    said.append(f"the dearest agent's score is {where}")
    gain, cost = figure(splits.gain(lambda each: each.chosen)), figure(splits.cost(lambda each: each.chosen))
    said.append(f"at the knob chosen on each training part: {gain.points()} points at {cost.share()} of the dollars")
    marks = [0.6, 0.65, 0.7, 0.75, 0.8]
    at = [figure(splits.at(curve, np.full(RESAMPLES + 1, mark, np.float64))) for mark in marks]
    said.append(
        "at a share of the dollars: " + "; ".join(f"{m:.0%}: {f.points()}" for m, f in zip(marks, at, strict=True))
    )
    own = splits.cost(lambda _: "best agreement cascade")
    beside = figure(splits.at(curve, own) - splits.gain(lambda _: "best agreement cascade"))
    said.append(
        f"beside the best agreement cascade (chosen on each training part), at its {figure(own).share()}: "
        f"{beside.points()} points"
    )
    over = [figure(splits.at(curve, spent) - gains) for spent, gains in zip(trees[0], trees[1], strict=True)]
    inside = [
        (float(spent[0]), each)
        for spent, each in zip(trees[0], over, strict=True)
        if curve[0][0, 0] <= spent[0] <= curve[0][-1, 0]
    ]
    above = sum(each.mean > 0 for _, each in inside)
    said.append(
        f"beside the boosted cascade, at its own costs: above at {above} of {len(inside)} points: "
        + "; ".join(f"{spent:.0%}: {each.points()}" for spent, each in inside)
    )
    figures: dict[str, object] = {
        "level": [float(each) if np.isfinite(each) else None for each in (level.mean, level.low, level.high)],
        "chosen": {"gain": [gain.mean, gain.low, gain.high], "cost": [cost.mean, cost.low, cost.high]},
        "at": {str(m): [f.mean, f.low, f.high] for m, f in zip(marks, at, strict=True)},
        "beside agreement": [beside.mean, beside.low, beside.high],
        "beside boosted": [[spent, each.mean, each.low, each.high] for spent, each in inside],
    }
    return said, figures
