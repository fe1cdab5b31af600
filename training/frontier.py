"""The cost/quality frontier: what a score costs at least, and what is lost at each price of an answer.

Every row of an evaluation is a point, dollars across and score up. A point is beaten by another that is at least as
good and as cheap, and better in one; what nobody beats is the front. How sure that is comes from the bootstrap over
tasks, drawn together for all points: `sure` is the share of resamples in which the one still beats the other, and
`on_front` that in which nobody beats the point. With many points, the surest of them is somewhat flattered.

A knob is the dollars that one passed answer is worth. At a knob, what a coordinator gains on a task is its score, less
the dollars of a run that passed over the knob: what policies are trained for. Coordinators that hear the knob are
taken from their runs at it, the others from the same runs at every knob. The regret is what the oracle gains more. Its
routes are the cheapest in dollars that it found, and where one costs more than the answer is worth it would rather not
answer, for a gain of 0. Its search is bounded (`podium.training.baselines.find_oracle`), so a regret may be below 0.

There is no area under the front: it would depend on where the axis ends. What the knobs have in common is told
instead, the mean gain and regret over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.training.measured import Measured, Place
from podium.training.statistics import (
    RESAMPLES,
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    resampled_means,
    task_means,
)

__all__ = ["Beaten", "Frontier", "Overall", "Point", "Worth", "frontier"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Beaten:
    """By which row a point is beaten, and how sure that is, 0 to 1; score, dollars: the other's, less the point's."""

    by: str
    sure: float
    score: Difference
    dollars: Difference


@dataclass(frozen=True, slots=True)
class Point:
    """A row of the evaluation. on_front: 0 to 1; beaten: None for what is on the front. References do not compete."""

    row: str
    coordinator: str
    knob: float | None
    score: Interval
    dollars: Interval
    reference: bool
    on_front: float
    beaten: Beaten | None


@dataclass(frozen=True, slots=True)
class Worth:
    """A coordinator where an answer is worth `knob` dollars.

    lead: its gain less that of the best other one, whose row is `ahead_of`; regret: the oracle's gain less its own.
    """

    coordinator: str
    row: str
    knob: float
    gain: Interval
    ahead_of: str
    lead: Difference | None
    regret: Difference | None
    reference: bool


@dataclass(frozen=True, slots=True)
class Overall:
    """A coordinator over all knobs, each counting the same: means of gain and regret."""

    coordinator: str
    gain: Interval
    regret: Difference | None
    reference: bool


@dataclass(frozen=True, slots=True)
class Frontier:
    """All of it. oracle: its row, where it was measured."""

    knobs: tuple[float, ...]
    points: tuple[Point, ...]
    worths: tuple[Worth, ...]
    overall: tuple[Overall, ...]
    oracle: str | None

    @property
    def front(self) -> list[Point]:
        """What nobody beats, the cheapest first."""
        found = [point for point in self.points if not point.reference and point.beaten is None]
        return sorted(found, key=lambda point: (point.dollars.mean, point.score.mean))

    def best(self, knob: float) -> Worth:
        """Who gains most at this knob. Raises ValueError where nothing was measured."""
        return max((each for each in self.worths if _competes(each, knob)), key=lambda each: each.gain.mean)

    @property
    def data(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self) | {"front": [point.row for point in self.front]}


def frontier(measured: Mapping[str, Measured], places: Mapping[str, Place], knobs: Sequence[float]) -> Frontier:
    """From what was measured. Coordinators of which a knob is missing, because it ended early, are not in `overall`."""
    oracle = next((row for row, place in places.items() if place.coordinator == "oracle" and row in measured), None)
    gains = {knob: _gains(measured, places, knob) for knob in knobs}
    names = list(dict.fromkeys(places[row].coordinator for row in measured))
    references = {places[row].coordinator for row, each in measured.items() if each.reference}
    worths = [
        _worth(name, row_of(measured, places, name, knob), knob, gains[knob], references)
        for name in names
        for knob in knobs
        if name in gains[knob]
    ]
    overall: list[Overall] = []
    for name in names:
        if all(name in each for each in gains.values()):
            own = np.mean([gains[knob][name] for knob in knobs], axis=0)
            others = np.mean([gains[knob]["oracle"] for knob in knobs], axis=0) if oracle else own
            regret = paired_difference(others, own) if oracle and name != "oracle" else None
            overall.append(Overall(name, mean_interval(own), regret, name in references))
    return Frontier(tuple(knobs), tuple(_points(measured, places)), tuple(worths), tuple(overall), oracle)


def row_of(measured: Mapping[str, Measured], places: Mapping[str, Place], name: str, knob: float) -> str:
    """The row in which a coordinator is found at a knob; empty where it was not measured there."""
    rows = (row for row in measured if places[row].coordinator == name and places[row].knob in (None, knob))
    return next(rows, "")


def _gains(measured: Mapping[str, Measured], places: Mapping[str, Place], knob: float) -> dict[str, Floats]:
    """What each coordinator gains on each task at a knob, (tasks,)."""
    out: dict[str, Floats] = {}
    for row, each in measured.items():
        place = places[row]
        if place.knob in (None, knob):
            gains = task_means(each.gains(knob))
            out[place.coordinator] = np.maximum(gains, 0.0) if place.coordinator == "oracle" else gains
    return out


def _worth(name: str, row: str, knob: float, gains: Mapping[str, Floats], references: set[str]) -> Worth:
    own = gains[name]
    others = {other: each for other, each in gains.items() if other != name and other not in references}
    rival = max(others, key=lambda other: float(others[other].mean()), default="")
    lead = paired_difference(own, others[rival]) if rival and name not in references else None
    regret = paired_difference(gains["oracle"], own) if "oracle" in gains and name != "oracle" else None
    return Worth(name, row, knob, mean_interval(own), rival if lead else "", lead, regret, name in references)


def _points(measured: Mapping[str, Measured], places: Mapping[str, Place]) -> list[Point]:
    rows = [row for row, each in measured.items() if not each.reference]
    means = {row: (task_means(each.scores), task_means(each.dollars)) for row, each in measured.items()}
    drawn = {row: tuple(map(resampled_means, means[row])) for row in rows}
    out: list[Point] = []
    for row, each in measured.items():
        score, dollars = means[row]
        beaten: tuple[str, float, bool] | None = None
        free = np.ones(RESAMPLES, bool)
        for other in rows:
            if row not in drawn or other == row:
                continue
            wins = _beats(drawn[other], drawn[row])
            free &= ~wins
            sure = float(wins.mean())
            here = _beats((means[other][0].mean(), means[other][1].mean()), (score.mean(), dollars.mean()))
            foreign = places[other].coordinator != places[row].coordinator  # says more than another knob of its own
            if here and (beaten is None or (sure, foreign) > beaten[1:]):
                beaten = other, sure, foreign
        out.append(
            Point(
                row,
                places[row].coordinator,
                places[row].knob,
                mean_interval(score),
                mean_interval(dollars),
                each.reference,
                0.0 if each.reference else float(free.mean()),
                None if beaten is None else _beaten(*beaten[:2], means, row),
            )
        )
    return out


def _beaten(by: str, sure: float, means: Mapping[str, tuple[Floats, Floats]], row: str) -> Beaten:
    (score, dollars), (own_score, own_dollars) = means[by], means[row]
    return Beaten(by, sure, paired_difference(score, own_score), paired_difference(dollars, own_dollars))


def _beats(one: tuple[Any, ...], other: tuple[Any, ...]) -> Any:
    """Whether (score, dollars) of one are at least as good as the other's, and better in one; also for arrays."""
    (score, dollars), (score_2, dollars_2) = one, other
    return (score >= score_2) & (dollars <= dollars_2) & ((score > score_2) | (dollars < dollars_2))


def _competes(worth: Worth, knob: float) -> bool:
    return worth.knob == knob and not worth.reference
