"""Recording a pool: every agent of a team answers every task, so that training afterwards costs nothing.

What this may cost is told and capped: after a few tasks the cost of all is forecast, and where the cap does not hold
them, what fits is recorded. Each reply is kept in a file beside the pool as it comes, so the same recording begun again
looks first what is there, and asks only what is missing: tasks that were not reached, and agents that failed, but not
those that answered.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.agents.reply_cache import CachedModel, ReplyStore
from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.engine import Settings
from podium.orchestrator.team import Team
from podium.protocols.errors import BudgetExceeded, InputError, RunError
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, write_pool
from podium.protocols.task import Task
from podium.protocols.words import counted
from podium.training.forecast import Drawn, Forecast
from podium.training.judges import TeamJudges
from podium.training.rollouts import Cap, Patient, Rollouts, judge_ahead, judged
from podium.training.tasks.scored import tasks_of

PROBE = 5
"""Tasks that are recorded before the forecast."""
BATCH = 16
"""Most tasks recorded between two looks at the cap."""
CONCURRENCY = 64
"""Runs under way at once."""
LOOKED_UP = 256
"""Tasks whose kept replies are looked up at a time."""
TOLD = 3
"""Failures that are told in words."""
SHUT = -1.0
"""Limit of a cap that refuses every call, free ones too: what is kept is all that answers."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded. complete: all tasks are in the pool; dollars: spent; why: what is missing, in words."""

    pool: Pool
    complete: bool
    dollars: float
    why: str = ""


def replies_beside(output: Path) -> Path:
    """The file that keeps every reply of a recording."""
    return output.with_name(f"{output.name}.replies")


def record(
    team: Team | str | Path,
    tasks: str | Sequence[str] | Sequence[Task],
    output: str | Path,
    *,
    samples: int = 1,
    dollars: float | None = None,
    judges: TeamJudges | None = None,
    done: Callable[[int, float, float | None], None] | None = None,
) -> Recorded:
    """`arecord` without await, raising as it does. team: or its file, which may raise as `Team.load` does.

    Raises RuntimeError inside a running event loop: await `arecord` there.
    """
    loaded = team if isinstance(team, Team) else Team.load(team)
    try:
        work = arecord(loaded, tasks, output, samples=samples, dollars=dollars, judges=judges, done=done)
        return loaded.wait(work)
    finally:
        if loaded is not team:
            loaded.close()


async def arecord(
    team: Team,
    tasks: str | Sequence[str] | Sequence[Task],
    output: str | Path,
    *,
    samples: int = 1,
    dollars: float | None = None,
    judges: TeamJudges | None = None,
    done: Callable[[int, float, float | None], None] | None = None,
) -> Recorded:
    """Record every agent's replies to tasks that have a scorer, and write the pool to a file.

    tasks: a SPEC such as "jsonl:tasks.jsonl?verifier=numeric", or tasks. output: the pool to write, gzipped where its
    name ends in .gz. samples: replies of each agent to each task. dollars: most that may be spent now; no call starts
    that could exceed it. judges: of the tasks, where these were read with some; what they cost counts, and they are
    closed at the end. done: is called with (tasks recorded, dollars spent, dollars that recording all of them is going
    to cost now, or None while no reply tells). A task that some agent could not answer is left out; begun again, only
    what `replies_beside(output)` lacks is asked.

    Raises InputError when there is no such folder to write to, or for samples and dollars that make no sense, TaskError
    for tasks that cannot be scored, BudgetExceeded when the cap does not hold a single task, and an agent's error when
    it failed at all tasks of a batch (what was recorded is written).
    """
    _check(samples, dollars)
    output = Path(output)
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}; make it first, or choose another output")
    judges = TeamJudges(team.spec) if judges is None else judges
    tasks = await asyncio.to_thread(tasks_of, tasks, None, judges)
    begun = replies_beside(output).exists()
    cap, store = Cap(math.inf if dollars is None else dollars), ReplyStore(replies_beside(output))
    models = {name: CachedModel(model, store, cap=cap) for name, model in team.models.items()}
    asking = Team(team.spec, models)
    rollouts = Rollouts(asking.orchestrator, cap=cap, strict=False, scored="nothing")
    gate = asyncio.Semaphore(CONCURRENCY)
    rows: dict[int, PoolTask] = {}
    failures: list[tuple[Task, RunError]] = []
    forecast = Forecast(judges)
    asked, size, why = 0, PROBE, ""
    try:
        missing: dict[int, Drawn] = {}
        for start in range(0, len(tasks), LOOKED_UP):
            batch = tasks[start : start + LOOKED_UP]
            bare: list[Drawn] = [{agent: [None] * samples for agent in asking.agents} for _ in batch]
            found = await _kept(team, store, judges, gate, batch, bare) if begun else [(each, False) for each in bare]
            for place, (each, whole) in enumerate(found, start):
                forecast.expect(each, judged=whole)
                if whole:
                    rows[place] = _row(tasks[place], each)
                else:
                    missing[place] = each
        if rows and done:
            done(len(rows), cap.spent, forecast.dollars)
        judges.ask_through(lambda model: Patient(CachedModel(model, store, cap=cap), cap))
        while asked < len(tasks) and not cap.refusal:
            batch = range(asked, min(asked + size, len(tasks)))
            asked = batch.stop
            places = [place for place in batch if place in missing]
            if not places:
                continue
            before = [missing.pop(place) for place in places]
            drawn = await _drawn(rollouts, gate, [tasks[place] for place in places], before)
            refused = await asyncio.gather(*map(_judged, drawn))
            for place, old, new, refusal in zip(places, before, drawn, refused, strict=True):
                if error := next(_errors(new), refusal):
                    failures.append((tasks[place], error))
                else:
                    rows[place] = _row(tasks[place], new)
                forecast.settle(old, _let_through(new, cap), judged=error is None)
            left = forecast.dollars
            if done:
                done(len(rows), cap.spent, None if left is None else cap.spent + left)
            if cap.refusal and not rows:
                raise cap.refusal
            if not cap.refusal and len(places) == len(batch):
                _none_is_down(drawn)
            each = (left or 0.0) / max(1, len(missing))
            fits = (cap.limit - cap.spent) / each if each else math.inf  # few tasks should end with half their replies
            size = max(1, int(min(BATCH, fits)))
        why = _missing(len(tasks), len(rows), failures, cap)
    except RunError as error:
        error.run = ""
        if error is cap.refusal:
            error.message += "; raise dollars"
        written = f"{counted(len(rows), 'task')} written to {output}"
        error.kept = written if rows else "no task has all its replies"
        error.kept += "; replies that came are kept, so the same recording goes on from here"
        raise
    finally:
        judges.close()
        store.close()
        pool = _pool(asking, [rows[place] for place in sorted(rows)])
        if rows:
            write_pool(pool, output)
    return Recorded(pool, not why, cap.spent, why)


def _check(samples: object, dollars: object) -> None:
    """Raise InputError for numbers that no recording could keep to."""
    if not isinstance(samples, int) or samples < 1:
        raise InputError(f"samples: expected a whole number, at least 1, found {samples!r}")
    if dollars is not None and not (isinstance(dollars, int | float) and 0 < dollars < math.inf):
        raise InputError(f"dollars: expected a finite number, more than 0, found {dollars!r}")


async def _kept(
    team: Team, store: ReplyStore, judges: TeamJudges, gate: asyncio.Semaphore, tasks: Sequence[Task], bare: list[Drawn]
) -> list[tuple[Drawn, bool]]:
    """What is kept of each task, None for the rest; and whether that is all: replies and verdicts."""
    shut = Cap(SHUT)
    asking = Team(team.spec, {name: CachedModel(model, store, cap=shut) for name, model in team.models.items()})
    judges.ask_through(lambda model: CachedModel(model, store, cap=shut))
    rollouts = Rollouts(asking.orchestrator, cap=shut, strict=False, scored="nothing")
    found = [
        {agent: [one if _came(one) else None for one in each] for agent, each in drawn.items()}
        for drawn in await _drawn(rollouts, gate, tasks, bare)
    ]
    whole = [all(one is not None for each in drawn.values() for one in each) for drawn in found]
    refused = await asyncio.gather(*(_judged(drawn) for drawn, all_came in zip(found, whole, strict=True) if all_came))
    refusals = iter(refused)
    return [(drawn, all_came and next(refusals) is None) for drawn, all_came in zip(found, whole, strict=True)]


def _came(one: Result | RunError | None) -> bool:
    """Whether a reply is there: not an error, nor a run that made do without a call that was refused."""
    return isinstance(one, Result) and one.stop == "answered"


async def _drawn(
    rollouts: Rollouts, gate: asyncio.Semaphore, tasks: Sequence[Task], before: Sequence[Drawn]
) -> list[Drawn]:
    """All agents' samples of some tasks; what was there before is not drawn again."""

    async def one(task: Task, agent: str, which: int, old: Result | RunError | None) -> Result | RunError:
        def settings(_: int, __: int) -> Settings:
            return Settings(reply_seed=seed_of("record", task.text, which) & 0xFFFFFFFF)

        if isinstance(old, Result):
            return old
        async with gate:
            try:
                made = await rollouts.run(Single(agent), [task], seeds=[which], settings=settings)
            except RunError as error:
                return error
        return made[0]

    async def all_of(task: Task, drawn: Drawn) -> Drawn:
        made = (asyncio.gather(*(one(task, agent, n, old) for n, old in enumerate(drawn[agent]))) for agent in drawn)
        return dict(zip(drawn, await asyncio.gather(*made), strict=True))

    return list(await asyncio.gather(*map(all_of, tasks, before)))


def _let_through(drawn: Drawn, cap: Cap) -> Drawn:
    """The same without what the cap refused, which was not asked."""
    if not cap.refusal:
        return drawn
    return {agent: [None if isinstance(one, BudgetExceeded) else one for one in each] for agent, each in drawn.items()}


async def _judged(drawn: Drawn) -> BudgetExceeded | None:
    """Until a judge has scored all answers; its error, where the cap refused it. Raises what else it raises."""
    if any(_errors(drawn)):
        return None
    try:
        await asyncio.gather(*(judge_ahead(one) for each in drawn.values() for one in each if isinstance(one, Result)))
    except BudgetExceeded as refusal:
        return refusal
    return None


def _errors(drawn: Drawn) -> Iterator[RunError]:
    """What failed at a task."""
    return (one for each in drawn.values() for one in each if isinstance(one, RunError))


def _none_is_down(drawn: Sequence[Drawn]) -> None:
    """Raise the error of an agent that failed at every task: to ask the others on would help nobody."""
    for agent in drawn[0]:
        errors = [next((one for one in each[agent] if isinstance(one, RunError)), None) for each in drawn]
        if errors[0] and all(errors):
            raise errors[0]


def _missing(count: int, recorded: int, failures: Sequence[tuple[Task, RunError]], cap: Cap) -> str:
    """What is missing and why, in words; nothing when nothing is."""
    if cap.refusal:
        return (
            f"the cap of ${cap.limit:.4f} held {recorded} of {counted(count, 'task')}: ${cap.spent:.4f} are "
            "spent, and the next call might pass it; for the others begin again with new dollars, nothing is paid twice"
        )
    if not failures:
        return ""
    told = [f"  {task.id}: agent {error.agent}: {error.message}" for task, error in failures[:TOLD]]
    more = [f"  and {len(failures) - TOLD} more"] if len(failures) > TOLD else []
    first = (
        f"{len(failures)} of {counted(count, 'task')} left out, because an agent failed; to ask only what failed, "
        "begin again"
    )
    return "\n".join([first, *told, *more])


def _pool(team: Team, tasks: Sequence[PoolTask]) -> Pool:
    return Pool(
        name=team.name,
        score="the task's own score of the reply, 0 to 1",
        note="completion_tokens and prompt_tokens as the models reported them",
        agents={
            name: PoolAgent(price=PoolPrice(input=agent.model.price.input, output=agent.model.price.output))
            for name, agent in team.agents.items()
        },
        tasks=tuple(tasks),
    )


def _row(task: Task, drawn: Drawn) -> PoolTask:
    """A task that all agents answered."""
    replies = {agent: _reply(task, [one for one in each if isinstance(one, Result)]) for agent, each in drawn.items()}
    return PoolTask(id=task.id, prompt=task.text, replies=replies, tags=dict(task.tags))


def _reply(task: Task, results: Sequence[Result]) -> PoolReply:
    """An agent's samples: the first one, with the others inside."""
    first, *more = (
        PoolReply(
            score=judged(task, result.answer).score,
            completion_tokens=result.usage.output_tokens,
            prompt_tokens=result.usage.input_tokens,
            text=result.answer,
        )
        for result in results
    )
    return first.model_copy(update={"more": tuple(more)})
