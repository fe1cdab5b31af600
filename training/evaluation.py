"""What an evaluation found: figures of each coordinator on the same tasks, rows and differences of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from podium.training.frontier import Frontier, frontier
from podium.training.keeping import Kept
from podium.training.measured import Measured, Place
from podium.training.pass_at import PassAt, pass_at
from podium.training.reports import Row, json_rows
from podium.training.statistics import Difference, Interval, mean_interval, paired_difference, paired_ratio

__all__ = ["Evaluation", "Measured"]


@dataclass(slots=True)
class Evaluation:
    """Coordinators on the same tasks. details: what was chosen where something was fitted, and what judges cost.

    kept: what was written of fitted coordinators, to serve them. failures: of which coordinators some runs failed, also
    while they were fitted, how many, and the first error. spent: dollars that endpoints really cost, all in all.
    places: what the rows stand for. knobs: of a frontier, ks: of Pass@(k, T); empty where that was not asked for.
    task_ids: in the order of the figures.
    """

    tasks: int
    seeds: int
    measured: dict[str, Measured] = field(default_factory=dict[str, Measured])
    details: dict[str, str] = field(default_factory=dict[str, str])
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    spent: float = 0.0
    places: dict[str, Place] = field(default_factory=dict[str, Place])
    knobs: tuple[float, ...] = ()
    ks: tuple[int, ...] = ()
    task_ids: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """One row per coordinator, in the order they were measured."""
        return [_row(name, measured, self.tasks) for name, measured in self.measured.items()]

    def difference(self, first: str, second: str) -> Difference:
        """Score of one minus score of the other, paired by task."""
        return paired_difference(self.measured[first].scores, self.measured[second].scores)

    def token_ratio(self, first: str, second: str) -> Interval:
        """Tokens of one over tokens of the other, paired by task."""
        return paired_ratio(self.measured[first].tokens, self.measured[second].tokens)

    def frontier(self) -> Frontier:
        """The cost/quality frontier: of what was measured at each knob. Raises ValueError where none was asked for."""
        if not self.knobs:
            raise ValueError("this evaluation has no frontier; ask for one with frontier=True")
        return frontier(self.measured, self.places, self.knobs)

    def pass_at(self) -> list[PassAt]:
        """Pass@(k, T) of every coordinator; empty where it was not asked for."""
        return pass_at(self.measured, self.places, self.ks)

    def to_json(self, *, per_task: bool = False) -> str:
        """Rows, settings, details, what was spent, what failed and what was kept as JSON.

        A frontier and Pass@(k, T) where they were asked for; per_task: also every figure of each run.
        """
        told: dict[str, object] = {
            "tasks": self.tasks,
            "seeds": self.seeds,
            "rows": json.loads(json_rows(self.rows)),
            "details": self.details,
            "spent": self.spent,
        }
        if self.failures:
            told["failures"] = self.failures
        if self.kept:
            told["kept"] = {name: kept.data for name, kept in self.kept.items()}
        if self.knobs and self.measured:
            told["frontier"] = self.frontier().data
        if self.ks:
            told["pass_at"] = [each.data for each in self.pass_at()]
        if per_task:
            told["task_ids"] = list(self.task_ids)
            told["per_task"] = {name: measured.data for name, measured in self.measured.items()}
        return json.dumps(told, indent=2)


def _row(name: str, measured: Measured, tasks: int) -> Row:
    interval = mean_interval(measured.scores)
    return Row(
        name,
        interval.mean,
        interval.low,
        interval.high,
        float(measured.tokens.mean()),
        float(measured.calls.mean()),
        float(measured.dollars.mean()),
        float(measured.seconds.mean()),
        tasks,
        measured.reference,
        measured.failed,
    )
