"""The oracle: what coordination could gain at most, found by cheating.

It knows, for each task, the cheapest steps that pass, because somebody tried them out and looked at the score
(`podium.training.baselines.find_oracle`). No policy may know that: it exists to draw the ceiling of a comparison, on
tasks that were searched beforehand, and is never served. The search is bounded: it tries all routes of one and two
steps, longer ones only as far as some runs go, and agents one after another; what it solves is a lower bound of what
could be solved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podium.orchestrator.coordinators.routed import Routed
from podium.orchestrator.coordinators.steps import Step
from podium.protocols.task import Message

__all__ = ["Oracle"]


class Oracle(Routed):
    """Follows the steps that were found best for each task. It cheats: see the module's text.

    best: conversation -> its cheapest passing steps (the likeliest to pass, where none passes always).
    Raises LookupError, when a run begins, for a task that was not searched.
    """

    def __init__(self, best: Mapping[tuple[Message, ...], Sequence[Step]]) -> None:
        self.best = best
        super().__init__(self._look_up, "oracle")

    def _look_up(self, task: tuple[Message, ...]) -> Sequence[Step]:
        steps = self.best.get(task)
        if steps is None:
            raise LookupError(f"the oracle has not searched the task {task[-1].content[:80]!r}; search it first")
        return steps
