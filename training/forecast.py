"""What a recording is still going to cost, from what its replies cost so far.

Only what has to be paid counts: replies that are kept from an earlier recording cost nothing any more, though they tell
what one costs. The mean is taken over replies that came, agent by agent, since a cap lets cheap calls through and
refuses dear ones: where an agent has given none yet, there is nothing to go by, and so no number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podium.protocols.errors import RunError
from podium.protocols.events import Result
from podium.training.judges import TeamJudges

Drawn = Mapping[str, Sequence[Result | RunError | None]]
"""Samples of one task by agent; an error where one failed, None where it was not asked yet."""

__all__ = ["Drawn", "Forecast"]


class Forecast:
    """Counts replies and verdicts: what came, and what is to come. judges: of the tasks."""

    def __init__(self, judges: TeamJudges) -> None:
        self._judges = judges
        self._came: dict[str, list[float]] = {}
        self._missing: dict[str, int] = {}
        self._judged = 0
        self._unjudged = 0

    def expect(self, drawn: Drawn, *, judged: bool = False) -> None:
        """One more task with what is kept of it. judged: all its replies are kept, and their verdicts too."""
        for agent, each in drawn.items():
            came = [one.usage.dollars for one in each if isinstance(one, Result)]
            self._came.setdefault(agent, []).extend(came)
            self._missing[agent] = self._missing.get(agent, 0) + len(each) - len(came)
        self._judged += judged
        self._unjudged += not judged

    def settle(self, before: Drawn, after: Drawn, *, judged: bool) -> None:
        """A task was asked. after: its replies, None where the cap refused one: that is still to be paid.

        What failed for another reason is not asked again, so it costs nothing more.
        """
        for agent, each in after.items():
            for old, new in zip(before[agent], each, strict=True):
                if not isinstance(old, Result) and new is not None:
                    self._missing[agent] -= 1
                    if isinstance(new, Result):
                        self._came[agent].append(new.usage.dollars)
        failed = any(isinstance(one, RunError) for each in after.values() for one in each)
        self._judged += judged
        self._unjudged -= judged or failed

    @property
    def dollars(self) -> float | None:
        """Dollars of all that is missing; None where nothing came that would tell."""
        total = 0.0
        for agent, missing in self._missing.items():
            if missing and not self._came[agent]:
                return None
            total += missing * sum(self._came[agent]) / max(1, len(self._came[agent]))
        if self._judges.used and self._unjudged:
            if not self._judged:
                return None
            total += self._unjudged * self._judges.dollars / self._judged
        return total
