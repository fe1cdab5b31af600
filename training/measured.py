"""What one coordinator did on all tasks with all seeds, figure by figure, and where in a sweep it did so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.protocols.events import Result
from podium.protocols.task import Verdict
from podium.training.rollouts import judged

__all__ = ["FIGURES", "Measured", "Place"]

Floats = NDArray[np.float64]

FIGURES = ("scores", "tokens", "calls", "dollars", "seconds", "passes")
"""What is known of each run."""
NO_ANSWER = Verdict(0.0, False)


@dataclass(frozen=True, slots=True)
class Place:
    """What a row of an evaluation stands for: a coordinator as it was named, and how it was run.

    knob: dollars that one passed answer was worth, None where the coordinator does not hear it; turns: steps that a run
    had at most, None where nothing was said.
    """

    coordinator: str
    knob: float | None = None
    turns: int | None = None


@dataclass(slots=True)
class Measured:
    """What one coordinator did. scores, tokens, calls, dollars, seconds, passes (1 or 0): (seeds, tasks).

    seconds: NaN where replies came from a cache. failed: runs that failed, whose score is 0.
    """

    scores: Floats
    tokens: Floats
    calls: Floats
    dollars: Floats
    seconds: Floats
    passes: Floats
    reference: bool = False
    failed: int = 0

    @classmethod
    def of(cls, results: Sequence[Result], seeds: int, reference: bool = False, failed: int = 0) -> Measured:
        """From runs, task by task: result [t * seeds + s]."""
        verdicts = [judged(each.task, each.answer) if each.node else NO_ANSWER for each in results]

        def table(values: Sequence[float]) -> Floats:
            return np.array(values, np.float64).reshape(-1, seeds).T

        return cls(
            table([verdict.score for verdict in verdicts]),
            table([result.usage.tokens for result in results]),
            table([result.usage.calls for result in results]),
            table([result.usage.dollars for result in results]),
            table([result.seconds for result in results]),
            table([verdict.passed for verdict in verdicts]),
            reference,
            failed,
        )

    def gains(self, knob: float) -> Floats:
        """(seeds, tasks): score, less the dollars of runs that passed, where one passed answer is worth `knob` dollars.

        What a wrong answer cost does not count, so that no cost buys one.
        """
        return self.scores - self.passes * self.dollars / knob

    @property
    def data(self) -> dict[str, list[list[float | None]]]:
        """Every figure, seed by seed and task by task, for JSON: what was not measured is None."""
        return {
            name: [[None if np.isnan(each) else float(each) for each in row] for row in getattr(self, name)]
            for name in FIGURES
        }
