"""Recording a pool: every agent of a team answers every task, so that training afterwards costs nothing.

What this may cost is told and capped: after a few tasks the cost of all is forecast, and where the cap does not hold
them, what fits is recorded. Each reply is kept in a file beside the pool as it comes, so the same recording begun again
asks only what is missing: tasks that were not reached, and agents that failed, but not those that answered.
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
from podium.training.evaluate import tasks_of
from podium.training.judges import TeamJudges
from podium.training.rollouts import Cap, Patient, Rollouts, judge_ahead, judged

PROBE = 5
"""Tasks that are recorded before the forecast."""
BATCH = 16
"""Most tasks recorded between two looks at the cap."""
CONCURRENCY = 64
"""Runs under way at once."""
TOLD = 3
"""Failures that are told in words."""

Drawn = dict[str, list[Result | RunError]]
"""Samples of one task by agent; an error where one failed."""


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
    done: Callable[[int, float, float], None] | None = None,
) -> Recorded:
    """`arecord` without await. team: or its file. Raises RuntimeError inside a running event loop."""
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
    done: Callable[[int, float, float], None] | None = None,
) -> Recorded:
    """Record every agent's replies to tasks that have a scorer, and write the pool to a file.

    tasks: a SPEC such as "jsonl:tasks.jsonl?verifier=numeric", or tasks. output: the pool to write, gzipped where its
    name ends in .gz. samples: replies of each agent to each task. dollars: most that may be spent now; no call starts
    that could exceed it. judges: of the tasks, where these were read with some; what they cost counts, and they are
    closed at the end. done: is called with (tasks recorded, dollars spent, dollars forecast). A task that some agent
    could not answer is left out; begun again, only what `replies_beside(output)` lacks is asked.

    Raises InputError when there is no such folder to write to, BudgetExceeded when the cap does not hold a single task,
    and an agent's error when it failed at all tasks of a batch (what was recorded is written).
    """
    output = Path(output)
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}; make it first, or choose another output")
    judges = TeamJudges(team.spec) if judges is None else judges
    tasks = await asyncio.to_thread(tasks_of, tasks, None, judges)
    cap, store = Cap(math.inf if dollars is None else dollars), ReplyStore(replies_beside(output))
    models = {name: CachedModel(model, store, cap=cap) for name, model in team.models.items()}
    asking = Team(team.spec, models)
    judges.ask_through(lambda model: Patient(CachedModel(model, store, cap=cap), cap))
    rollouts = Rollouts(asking.orchestrator, cap=cap, strict=False, scored="nothing")
    gate = asyncio.Semaphore(CONCURRENCY)
    recorded: list[PoolTask] = []
    failures: list[tuple[Task, RunError]] = []
    asked, size, why = 0, PROBE, ""
    try:
        while asked < len(tasks) and not cap.refusal:
            batch = tasks[asked : asked + size]
            drawn = await _drawn(rollouts, gate, tuple(asking.agents), batch, samples)
            refused = await asyncio.gather(*map(_judged, drawn))
            for task, by_agent, refusal in zip(batch, drawn, refused, strict=True):
                if error := next(_errors(by_agent), refusal):
                    failures.append((task, error))
                else:
                    recorded.append(_row(task, by_agent))
            asked += len(batch)
            each = (sum(model.accounted_dollars for model in models.values()) + judges.dollars) / asked
            if done:
                done(len(recorded), cap.spent, cap.spent + each * (len(tasks) - asked))
            if cap.refusal and not recorded:
                raise cap.refusal
            if not cap.refusal:
                _none_is_down(drawn)
            fits = (cap.limit - cap.spent) / each if each else math.inf  # few tasks should end with half their replies
            size = max(1, int(min(BATCH, fits)))
        why = _missing(len(tasks), recorded, failures, cap)
    except RunError as error:
        error.run = ""
        if error is cap.refusal:
            error.message += "; raise --dollars"
        written = f"{counted(len(recorded), 'task')} written to {output}"
        error.kept = written if recorded else "no task has all its replies"
        error.kept += "; replies that came are kept, so the same command goes on from here"
        raise
    finally:
        judges.close()
        store.close()
        pool = _pool(asking, recorded)
        if recorded:
            write_pool(pool, output)
    return Recorded(pool, not why, cap.spent, why)


async def _drawn(
    rollouts: Rollouts, gate: asyncio.Semaphore, agents: Sequence[str], tasks: Sequence[Task], samples: int
) -> list[Drawn]:
    """All agents' samples of some tasks."""

    async def one(task: Task, agent: str, which: int) -> Result | RunError:
        def settings(_: int, __: int) -> Settings:
            return Settings(reply_seed=seed_of("record", task.text, which) & 0xFFFFFFFF)

        async with gate:
            try:
                made = await rollouts.run(Single(agent), [task], seeds=[which], settings=settings)
            except RunError as error:
                return error
        return made[0]

    async def all_of(task: Task) -> Drawn:
        made = (asyncio.gather(*(one(task, agent, n) for n in range(samples))) for agent in agents)
        return dict(zip(agents, await asyncio.gather(*made), strict=True))

    return await asyncio.gather(*map(all_of, tasks))


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


def _missing(count: int, recorded: Sequence[PoolTask], failures: Sequence[tuple[Task, RunError]], cap: Cap) -> str:
    """What is missing and why, in words; nothing when nothing is."""
    if cap.refusal:
        return (
            f"the cap of ${cap.limit:.4f} held {len(recorded)} of {counted(count, 'task')}: ${cap.spent:.4f} are "
            "spent, and the next call might pass it; for the others begin again with new --dollars, nothing is paid "
            "twice"
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
