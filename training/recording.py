"""Recording a pool: every agent of a team answers every task, so that training afterwards costs nothing.

What this may cost is told and capped: a few tasks are asked first, their cost is extrapolated, and nothing more is
asked when the forecast does not fit the cap. What was recorded when it ends early is written all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.agents.reply_cache import CachedModel, SpendingCap
from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.engine import Settings
from podium.orchestrator.team import Team
from podium.protocols.errors import BudgetExceeded
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, write_pool
from podium.protocols.task import Task
from podium.training.rollouts import Rollouts

PROBE = 5
"""Tasks that are recorded before the forecast."""
BATCH = 16
"""Tasks recorded between two looks at the cap."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded. complete: all tasks are in the pool; dollars: spent; why: what ended it early."""

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
    done: is called with (tasks recorded, dollars spent, dollars forecast).

    Raises BudgetExceeded when the forecast does not fit the cap (the probe is written), and what the runs raise when
    all fail.
    """
    cap = SpendingCap(float("inf") if dollars is None else dollars)
    capped = Team(team.spec, {name: CachedModel(model, cap=cap) for name, model in team.models.items()})
    rollouts = Rollouts(capped.orchestrator, concurrency=64)
    recorded: list[PoolTask] = []
    why = ""
    try:
        for start in (0, *range(PROBE, len(tasks), BATCH)):
            batch = tasks[start : PROBE if start == 0 else start + BATCH]
            recorded.extend(await _batch(rollouts, tuple(capped.agents), batch, samples))
            forecast = cap.spent / len(recorded) * len(tasks)
            if done:
                done(len(recorded), cap.spent, forecast)
            if start == 0 and dollars is not None and forecast > dollars:
                why = f"recording all {len(tasks)} tasks would cost about ${forecast:.4f}, the cap is ${dollars:.4f}"
                break
    except BudgetExceeded as error:
        why = error.message
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
    await asyncio.to_thread(write_pool, pool, output)
    if why and why != "interrupted":
        raise BudgetExceeded(
            why + "; raise --dollars or take fewer tasks", kept=f"{len(recorded)} tasks are in {output}"
        )
    return Recorded(pool, not why, cap.spent, why)


async def _batch(rollouts: Rollouts, agents: Sequence[str], tasks: Sequence[Task], samples: int) -> list[PoolTask]:
    """All agents' replies to some tasks."""

    def settings(place: int, which: int) -> Settings:
        return Settings(reply_seed=seed_of("record", tasks[place].text, which) & 0xFFFFFFFF)

    by_agent = await asyncio.gather(
        *(rollouts.run(Single(agent), tasks, seeds=range(samples), settings=settings) for agent in agents)
    )
    out: list[PoolTask] = []
    for place, task in enumerate(tasks):
        replies: dict[str, PoolReply] = {}
        for agent, results in zip(agents, by_agent, strict=True):
            drawn = [_reply(task, result) for result in results[place * samples : (place + 1) * samples]]
            replies[agent] = drawn[0].model_copy(update={"more": tuple(drawn[1:])})
        out.append(PoolTask(id=task.id, prompt=task.text, replies=replies, tags=dict(task.tags)))
    return out


def _reply(task: Task, result: Result) -> PoolReply:
    verdict = task.score(result.answer) if result.node else None
    return PoolReply(
        score=verdict.score if verdict else 0.0,
        completion_tokens=result.usage.output_tokens,
        prompt_tokens=result.usage.input_tokens,
        text=result.answer,
    )
