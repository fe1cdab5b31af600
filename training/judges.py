"""The judges of `verifier=judge&judge=NAME`: models of a team file that score replies.

A judge works in a thread of its own, so each gets a model of its own, made from the same words as the team's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from podium.agents.model import Model
from podium.agents.providers import build_model
from podium.orchestrator.model_spec import HumanModel, RecordedModel
from podium.orchestrator.retrying import Retry
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.words import counted
from podium.training.tasks.judge import Judge

PATIENCE = 3600.0
"""Seconds for a verdict, however slow the model: it has a timeout of its own, which ends earlier."""


class TeamJudges(Mapping[str, Judge]):
    """Judges by the names of a team's models, each made when it is first asked for. used: those.

    People and recordings cannot judge, so their names are not in it.
    """

    def __init__(self, team: TeamSpec) -> None:
        self.used: dict[str, Judge] = {}
        self._plain: dict[str, Model] = {}
        self._models = {
            name: spec for name, spec in team.models.items() if not isinstance(spec, HumanModel | RecordedModel)
        }
        self._retry = Retry(team.retry.attempts, team.retry.wait, team.retry.longest)

    def __getitem__(self, name: str) -> Judge:
        if name not in self.used:
            model = self._plain[name] = build_model(name, self._models[name].model_dump())
            self.used[name] = Judge(model, PATIENCE, retry=self._retry)
        return self.used[name]

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def ask_through(self, wrapped: Callable[[Model], Model]) -> None:
        """Put something around the models of the judges in use, such as a cache and a cap; before they are asked."""
        for name, judge in self.used.items():
            judge.model = wrapped(self._plain[name])

    @property
    def dollars(self) -> float:
        """What all verdicts cost so far; one from the cache counts as one that is paid for, as replies do."""
        return sum(judge.usage.dollars for judge in self.used.values())

    @property
    def details(self) -> dict[str, str]:
        """What judging cost, in words, as reports show it: "judge large" -> "120 verdicts, 0.0312 dollars"."""
        return {
            f"judge {name}": f"{counted(judge.usage.calls, 'verdict')}, {_short(judge.usage.dollars)} dollars"
            for name, judge in self.used.items()
        }

    def close(self) -> None:
        """Close the judges in use."""
        for judge in self.used.values():
            judge.close()


def _short(amount: float) -> str:
    """0.00000417, 0.0312, 12.30: cents, or three digits that count."""
    return f"{amount:.2f}" if amount >= 1 else np.format_float_positional(amount, 3, fractional=False, trim="-")
