"""Recording a pool: every agent of a team answers every task, so that training afterwards costs nothing.

What this may cost is told and capped: a few tasks are asked first, their cost is extrapolated, and nothing more is
asked when the forecast does not fit the cap. What was recorded when it ends early is written all the same.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.agents.reply_cache import CachedModel
from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.engine import Settings
from podium.orchestrator.team import Team
from podium.protocols.errors import BudgetExceeded, InputError, RunError
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, write_pool
from podium.protocols.task import Task
from podium.training.rollouts import Cap, Rollouts, judged

PROBE = 5
"""Tasks that are recorded before the forecast."""
BATCH = 16
"""Tasks recorded between two looks at the cap."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded. complete: all tasks are in the pool; dollars: spent; why: what is missing, in words."""

    pool: Pool
    complete: bool
    dollars: float
    why: str = ""


async def record(
    team: Team,
    tasks: Sequence[Task],
    output: Path,
    *,
    samples: int = 1,
    dollars: float | None = None,
    done: Callable[[int, float, float], None] | None = None,
) -> Recorded:
    """Record every agent's replies to tasks that have a scorer, and write the pool to a file.

    samples: replies of each agent to each task. dollars: most that may be spent; no call starts that could exceed it.
    done: is called with (tasks recorded, dollars spent, dollars forecast). A task that some agent could not answer is
    left out.

    Raises InputError when there is no such folder to write to, BudgetExceeded when the forecast or the next call does
    not fit the cap (what was recorded is written), and what the runs raise when all of one agent fail.
    """
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}")
    cap = Cap(math.inf if dollars is None else dollars)
    capped = Team(team.spec, {name: CachedModel(model, cap=cap) for name, model in team.models.items()})
    rollouts = Rollouts(capped.orchestrator, concurrency=64, cap=cap, strict=False)
    recorded: list[PoolTask] = []
    failure: RunError | None = None
    why, asked = "", 0
    try:
        for start in (0, *range(PROBE, len(tasks), BATCH)):
            batch = tasks[start : PROBE if start == 0 else start + BATCH]
            recorded.extend(await _batch(rollouts, tuple(capped.agents), batch, samples))
            asked += len(batch)
            forecast = cap.spent / asked * len(tasks)
            if done:
                done(len(recorded), cap.spent, forecast)
            if cap.refusal:
                raise cap.refusal
            if start == 0 and dollars is not None and forecast > dollars:
                raise BudgetExceeded(
                    f"recording all {len(tasks)} tasks would cost about ${forecast:.4f}, the cap is ${dollars:.4f}"
                )
        if len(recorded) < len(tasks):
            why = f"{len(tasks) - len(recorded)} of {len(tasks)} tasks are left out: a model failed"
    except RunError as error:
        failure = error
    except asyncio.CancelledError:
        why = "interrupted"
    pool = Pool(
        name=team.name,
        score="the task's own score of the reply, 0 to 1",
        note="completion_tokens and prompt_tokens as the models reported them",
        agents={
            name: PoolAgent(price=PoolPrice(input=agent.model.price.input, output=agent.model.price.output))
            for name, agent in team.agents.items()
        },
        tasks=tuple(recorded),
    )
    if recorded:
        await asyncio.to_thread(write_pool, pool, output)
    if failure is not None:
        if isinstance(failure, BudgetExceeded):
            failure.message += "; raise --dollars or take fewer tasks"
        failure.kept = f"{len(recorded)} tasks are in {output}" if recorded else "nothing was recorded"
        raise failure
    return Recorded(pool, not why, cap.spent, why)


async def _batch(rollouts: Rollouts, agents: Sequence[str], tasks: Sequence[Task], samples: int) -> list[PoolTask]:
    """All agents' replies to some tasks, without the tasks that one of them failed at."""

    def settings(place: int, which: int) -> Settings:
        return Settings(reply_seed=seed_of("record", tasks[place].text, which) & 0xFFFFFFFF)

    work = [rollouts.run(Single(agent), tasks, seeds=range(samples), settings=settings) for agent in agents]
    made = await asyncio.gather(*work, return_exceptions=True)
    by_agent: list[list[Result]] = []
    for each in made:
        if isinstance(each, BaseException):
            raise each
        by_agent.append(each)
    out: list[PoolTask] = []
    for place, task in enumerate(tasks):
        drawn = [results[place * samples : (place + 1) * samples] for results in by_agent]
        if all(result.node for each in drawn for result in each):
            replies = {agent: _reply(task, each) for agent, each in zip(agents, drawn, strict=True)}
            out.append(PoolTask(id=task.id, prompt=task.text, replies=replies, tags=dict(task.tags)))
    return out


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
