"""Evaluation: coordinators side by side on the same tasks and seeds, with intervals.

All of them run through the same engine with the same agents, budget and reply seeds, so that differences between them
are paired and what is left is theirs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, RunError, TaskError
from podium.protocols.events import Result
from podium.protocols.task import Task, no_score
from podium.protocols.words import counted
from podium.training.candidates import FITTED, Fitting, resolve
from podium.training.judges import TeamJudges
from podium.training.keeping import Kept, room_for
from podium.training.keeping import keep as write
from podium.training.reports import Row, json_rows
from podium.training.rollouts import Cap, Rollouts, score
from podium.training.statistics import Difference, Interval, mean_interval, paired_difference, paired_ratio
from podium.training.tasks.judge import Judges
from podium.training.tasks.spec import load_tasks

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Measured:
    """What one coordinator did. scores, tokens, calls, dollars, seconds: (seeds, tasks)."""

    scores: Floats
    tokens: Floats
    calls: Floats
    dollars: Floats
    seconds: Floats
    reference: bool = False


@dataclass(slots=True)
class Evaluation:
    """Coordinators on the same tasks. details: what was chosen where something was fitted, and what judges cost.

    kept: what was written of fitted coordinators, to serve them.
    """

    tasks: int
    seeds: int
    measured: dict[str, Measured] = field(default_factory=dict[str, Measured])
    details: dict[str, str] = field(default_factory=dict[str, str])
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])

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
        """Rows, settings, details and what was kept as JSON."""
        told: dict[str, object] = {
            "tasks": self.tasks,
            "seeds": self.seeds,
            "rows": json.loads(json_rows(self.rows)),
            "details": self.details,
        }
        if self.kept:
            told["kept"] = {name: kept.data for name, kept in self.kept.items()}
        return json.dumps(told, indent=2)


async def measure(
    team: Team,
    coordinators: Mapping[str, Coordinator],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    *,
    into: Evaluation | None = None,
    references: Sequence[str] = (),
    concurrency: int = 512,
    cap: Cap | None = None,
    done: Callable[[str], None] | None = None,
) -> Evaluation:
    """Run each coordinator on all tasks with all seeds.

    into: add to this evaluation (of the same tasks and seeds). references: names that are no competitors. done: is
    called with the coordinator's name after each run. Raises what the runs raise when all of one coordinator fail, and
    BudgetExceeded when the cap refuses a call.
    """
    out = into or Evaluation(len(tasks), len(seeds))
    rollouts = Rollouts(team.orchestrator, concurrency=concurrency, cap=cap)
    for name, coordinator in coordinators.items():
        tick = None if done is None else (lambda name=name: done(name))
        results = await rollouts.run(coordinator, tasks, seeds=seeds, done=tick)
        out.measured[name] = _measured(results, len(seeds), name in references)
    return out


def evaluate(
    team: Team | str | Path,
    tasks: str | Sequence[str] | Sequence[Task],
    coordinators: Sequence[str] = ("own",),
    *,
    seeds: int = 1,
    fit: str | Sequence[str] | Sequence[Task] | None = None,
    limit: int | None = None,
    keep: str | Path | None = None,
    began: Callable[[str], None] | None = None,
    done: Callable[[str], None] | None = None,
) -> Evaluation:
    """Compare coordinators of a team on tasks.

    team: a team or its file. tasks: a SPEC such as "jsonl:tasks.jsonl?verifier=numeric&split=test", or tasks.
    coordinators: names, see `candidates.resolve`. seeds: how many times each task is run. fit: tasks that coordinators
    which are chosen or fitted learn from; never the same as `tasks`; beside a learned coordinator they have its action
    space, and self-consistency the tokens of one that is named before it. keep: a folder for what was fitted, with the
    line of a team file that serves each. began: is called with each name as its turn comes, done: after each run.

    Raises InputError (or a kind of it) for what is wrong in the arguments, RunError when all runs of one fail; what was
    measured before is on the error, as `partial`.
    """
    owned = not isinstance(team, Team)
    loaded = Team.load(team) if not isinstance(team, Team) else team
    try:
        return loaded.wait(
            aevaluate(loaded, tasks, coordinators, seeds=seeds, fit=fit, limit=limit, keep=keep, began=began, done=done)
        )
    finally:
        if owned:
            loaded.close()


async def aevaluate(
    team: Team,
    tasks: str | Sequence[str] | Sequence[Task],
    coordinators: Sequence[str] = ("own",),
    *,
    seeds: int = 1,
    fit: str | Sequence[str] | Sequence[Task] | None = None,
    limit: int | None = None,
    keep: str | Path | None = None,
    began: Callable[[str], None] | None = None,
    done: Callable[[str], None] | None = None,
) -> Evaluation:
    """`evaluate`, to be awaited."""
    if isinstance(coordinators, str) or not all(isinstance(name, str) for name in cast(Sequence[object], coordinators)):
        raise InputError(f"coordinators: expected a list of names, such as ['own', 'vote'], found {coordinators!r}")
    if not coordinators:
        raise InputError("no coordinator is named; `own` is the team file's")
    for word, count in (("seeds", seeds), ("limit", 1 if limit is None else limit)):
        if not isinstance(cast(object, count), int) or count < 1:
            raise InputError(f"{word}: expected a whole number from 1 on, found {count!r}")
    folder = None if keep is None else Path(keep)
    if folder and not set(coordinators) & set(FITTED):
        raise InputError(
            f"keep {folder}: nothing is fitted in {', '.join(coordinators)}; what can be kept is {', '.join(FITTED)}"
        )
    judges = TeamJudges(team.spec)
    held_out = await asyncio.to_thread(tasks_of, tasks, limit, judges)
    learned_from = await asyncio.to_thread(tasks_of, fit, None, judges) if fit is not None else None
    disjoint(learned_from or (), held_out, "fitting", "test")
    fitting = Fitting(team, learned_from, held_out, range(seeds))
    out = Evaluation(len(held_out), seeds)
    costly = {"oracle", *(FITTED if learned_from else ())}
    try:
        # What can be wrong about a name is said before anything is run.
        ready = {name: await resolve(name, fitting, out.details) for name in coordinators if name not in costly}
        learned = {name: each.coordinator for name, each in ready.items() if name != "untrained"}
        for each in learned.values():
            if isinstance(each, LearnedCoordinator):
                fitting.beside(each.policy)
        if folder:
            room_for(folder)
        for name in coordinators:
            if began:
                began(name)
            try:
                chosen = ready.get(name) or await resolve(name, fitting, out.details)
                if folder and chosen.spec is not None:
                    out.kept[name] = write(name, chosen, folder, team.spec, len(learned_from or ()))
                await measure(
                    team, {name: chosen.coordinator}, held_out, range(seeds), into=out,
                    references=(name,) if chosen.reference else (), done=done,
                )  # fmt: skip
                if isinstance(learned.get(name), LearnedCoordinator):
                    fitting.tokens = float(out.measured[name].tokens.mean())
            except RunError as error:
                if out.measured or out.kept:
                    measured = f"coordinator {name}; those before it were measured" if out.measured else ""
                    fitted = f"what was fitted is in {folder}" if out.kept else ""
                    error.partial, error.kept = out, "; ".join(filter(None, (measured, fitted)))
                raise
    finally:
        judges.close()
        out.details |= judges.details
    return out


def tasks_of(
    tasks: str | Sequence[str] | Sequence[Task], limit: int | None, judges: Judges | None = None
) -> list[Task]:
    """Tasks from a spec, several specs, or tasks. judges: who may score them.

    Raises TaskError when there are none, or one cannot be scored.
    """
    specs = [tasks] if isinstance(tasks, str) else [task for task in tasks if isinstance(task, str)]
    given = [task for task in tasks if isinstance(task, Task)]
    found = load_tasks(specs, limit=limit, judge=judges) if specs else given[:limit]
    if not found:
        raise TaskError("there are no tasks")
    bare = [task for task in found if task.score is no_score]
    if bare:
        raise TaskError(
            f"{len(bare)} of {counted(len(found), 'task')} cannot be scored, such as {bare[0].id} "
            f"({bare[0].text[:60]!r}): give them a reference, or name a verifier"
        )
    return found


def disjoint(first: Sequence[Task], second: Sequence[Task], one: str, other: str) -> None:
    """Raise InputError when two sets of tasks share one; one, other: what they are called."""
    seen = {task.messages for task in first}
    shared = [task for task in second if task.messages in seen]
    if shared:
        raise InputError(
            f"{len(shared)} of {len(second)} {other} tasks are {one} tasks too, such as {shared[0].text[:60]!r}; "
            "add split=train and split=test to the two specs"
        )


def _measured(results: Sequence[Result], seeds: int, reference: bool) -> Measured:
    def table(values: Sequence[float]) -> Floats:
        return np.array(values, np.float64).reshape(-1, seeds).T

    return Measured(
        table([score(result) for result in results]),
        table([result.usage.tokens for result in results]),
        table([result.usage.calls for result in results]),
        table([result.usage.dollars for result in results]),
        table([result.seconds for result in results]),
        reference,
    )


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
    )
