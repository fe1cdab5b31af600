"""What an evaluation found: figures of each coordinator on the same tasks, rows and differences of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from podium.protocols.events import Result
from podium.training.keeping import Kept
from podium.training.reports import Row, json_rows
from podium.training.rollouts import score
from podium.training.statistics import Difference, Interval, mean_interval, paired_difference, paired_ratio

__all__ = ["Evaluation", "Measured"]

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Measured:
    """What one coordinator did. scores, tokens, calls, dollars, seconds: (seeds, tasks).

    seconds: NaN where replies came from a cache. failed: runs that failed, whose score is 0.
    """

    scores: Floats
    tokens: Floats
    calls: Floats
    dollars: Floats
    seconds: Floats
    reference: bool = False
    failed: int = 0

    @classmethod
    def of(cls, results: Sequence[Result], seeds: int, reference: bool = False, failed: int = 0) -> Measured:
        """From runs, task by task: result [t * seeds + s]."""

        def table(values: Sequence[float]) -> Floats:
            return np.array(values, np.float64).reshape(-1, seeds).T

        return cls(
            table([score(result) for result in results]),
            table([result.usage.tokens for result in results]),
            table([result.usage.calls for result in results]),
            table([result.usage.dollars for result in results]),
            table([result.seconds for result in results]),
            reference,
            failed,
        )


@dataclass(slots=True)
class Evaluation:
    """Coordinators on the same tasks. details: what was chosen where something was fitted, and what judges cost.

    kept: what was written of fitted coordinators, to serve them. failures: of which coordinators some runs failed, also
    while they were fitted, how many, and the first error. spent: dollars that endpoints really cost, all in all.
    """

    tasks: int
    seeds: int
    measured: dict[str, Measured] = field(default_factory=dict[str, Measured])
    details: dict[str, str] = field(default_factory=dict[str, str])
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    spent: float = 0.0

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

    def to_json(self) -> str:
        """Rows, settings, details, what was spent, what failed and what was kept as JSON."""
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
