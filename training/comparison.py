"""The comparison every claim needs: a trained coordinator among everything simpler, on the same held-out tasks.

Fitted baselines learn from the training tasks that the caller gives (a part of the policy's own, where all would take
too long), with the policy's numbers of steps and samples, at its price of a dollar; the best agent's self-consistency
gets the number of samples whose tokens come nearest to the trained coordinator's. The router is told each task's type
and the oracle looks at scores: they are ceilings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podium.orchestrator.learned import LearnedCoordinator, Policy
from podium.orchestrator.team import Team
from podium.protocols.task import Task
from podium.training.candidates import Chosen, Fitting, resolve
from podium.training.evaluate import fitted, measure
from podium.training.evaluation import Evaluation

NAMES: dict[str, str] = {
    "random": "random",
    "best single agent": "best_single",
    "its self-consistency": "best_self_consistency",
    "round robin": "round_robin",
    "all + vote": "vote",
    "skill table": "skill_table",
    "best fixed pipeline": "best_pipeline",
    "untrained": "untrained",
}
"""What a table calls a coordinator -> its name among the candidates."""

ROUTER = "router, told the type"
TRAINED = "trained"
ORACLE = "oracle"


async def compare(
    team: Team,
    policy: Policy,
    learned_from: Sequence[Task],
    held_out: Sequence[Task],
    *,
    seeds: Sequence[int] = (0,),
    concurrency: int = 512,
    began: Callable[[str], None] | None = None,
    done: Callable[[str], None] | None = None,
) -> Evaluation:
    """Measure them all. began: is called with each name before it is fitted and run; done: after each run.

    Raises what the runs raise when all of one coordinator fail.
    """
    out = Evaluation(len(held_out), len(seeds))
    fitting = Fitting(team, learned_from, held_out, seeds)
    fitting.beside(policy)

    async def one(name: str, chosen: Chosen) -> None:
        await measure(
            team,
            {name: chosen.coordinator},
            held_out,
            seeds,
            into=out,
            references=(name,) if chosen.reference else (),
            concurrency=concurrency,
            done=done,
        )

    def starts(name: str) -> None:
        if began:
            began(name)

    starts(TRAINED)
    await one(TRAINED, Chosen(LearnedCoordinator(policy, TRAINED)))
    fitting.tokens = float(out.measured[TRAINED].tokens.mean())
    for name, candidate in NAMES.items():
        starts(name)
        await one(name, await fitted(candidate, fitting, out, told=name))
    if all("type" in task.tags for task in held_out):
        starts(ROUTER)
        chosen = await resolve("router", fitting)
        await one(ROUTER, Chosen(chosen.coordinator, reference=True))
    starts(ORACLE)
    await one(ORACLE, await fitted("oracle", fitting, out, told=ORACLE))
    order = [*NAMES, TRAINED, ROUTER, ORACLE]
    out.measured = {name: out.measured[name] for name in order if name in out.measured}
    return out


def verdicts(evaluation: Evaluation) -> list[str]:
    """What the comparison says of the trained coordinator, in sentences, with paired intervals."""
    pipeline = "best fixed pipeline"
    better = evaluation.difference(TRAINED, pipeline)
    tokens = evaluation.token_ratio(TRAINED, pipeline)
    lines = [
        f"Trained - {pipeline}: {_points(better.mean)} points [{_points(better.low)}, {_points(better.high)}], "
        f"at {tokens.mean:.0%} [{tokens.low:.0%}, {tokens.high:.0%}] of its tokens."
    ]
    if ROUTER in evaluation.measured:
        gap = evaluation.difference(TRAINED, ROUTER)
        lines.append(f"Trained - {ROUTER}: {_points(gap.mean)} points [{_points(gap.low)}, {_points(gap.high)}].")
    return lines


def _points(share: float) -> str:
    return f"{share * 100:+.1f}"
