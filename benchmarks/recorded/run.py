"""A coordinator trained on recorded answers of real models, reported on tasks it has not seen.

    python benchmarks/recorded/run.py POOL.jsonl.gz --jobs 2

For each split (seed) of the pool's tasks: one policy is trained on 70 % of them, with the price knob drawn from a
range, and run on the other 30 % at several knobs. Beside it, on the same tasks: every agent alone, all with a vote, a
skill table, the best fixed pipeline (both fitted on the same 70 %), and an oracle. Nothing is called: the pool answers.
At the end a survey asks every agent every held-out task, to see whether the policy's beliefs are honest.
The settings below were found on split 0, with an eye on its held-out part; so the splits start at 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.starter import pool_team
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import parse_team
from podium.protocols.pool import read_pool
from podium.protocols.task import Task
from podium.training.calibration import KINDS, Calibration, Kind, surveyed
from podium.training.candidates import Chosen, Fitting, resolve
from podium.training.learn import atrain
from podium.training.plots import cost_quality
from podium.training.reports import Row, markdown_table
from podium.training.rollouts import Rollouts, score
from podium.training.statistics import mean_interval
from podium.training.tasks.spec import load_tasks
from podium.training.train_file import TrainSpec

sys.path.append(str(Path(__file__).parents[1]))
from machine import made

HERE = Path(__file__).parent
KNOBS = (0.002, 0.005, 0.01, 0.02, 0.05)
"""Dollars that one right answer is worth, from stingy to generous; the dearest agent's reply costs about 0.0025."""


def main() -> None:
    """Train, measure, print, and write figures and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="splits, each with a policy of its own")
    parser.add_argument("--iterations", type=int, default=250)
    parser.add_argument("--jobs", type=int, default=1, help="splits worked on at once, one process each")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    began = time.monotonic()
    work = partial(split, arguments.pool, arguments.iterations)
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as workers:
        found = list(workers.map(work, range(1, arguments.seeds + 1)))
    results = [scores for scores, _ in found]
    rows = [pooled(name, [result[name] for result in results]) for name in results[0]]
    curve = [row for row in rows if row.name.startswith("trained")]
    others = [row for row in rows if not row.name.startswith("trained")]
    print(markdown_table(rows))
    for row in curve:
        gain = mean_interval(np.concatenate([np.subtract(r[row.name][0], r[dearest(r)][0]) for r in results]))
        share = sum(sum(r[row.name][3]) for r in results) / sum(sum(r[dearest(r)][3]) for r in results)
        print(
            f"{row.name} - {dearest(results[0])} alone: {gain.mean * 100:+.1f} points [{gain.low * 100:+.1f}, "
            f"{gain.high * 100:+.1f}] at {share:.0%} of its dollars"
        )
    for kind, words in KINDS.items():
        asked = [honest[kind] for _, honest in found]
        print(
            f"believed that {words} ({asked[0].n:,} times a split): expected calibration error "
            f"{' '.join(f'{each.error:.3f}' for each in asked)}, Brier skill over the agent's base rate "
            f"{' '.join(f'{each.skill:.3f}' for each in asked)}"
        )
    name = arguments.pool.name.split(".")[0]
    splits = "one split" if arguments.seeds == 1 else f"{arguments.seeds} splits"
    note = f"{name}: held-out tasks of {splits}, one policy per split, its price knob turned"
    arguments.output.mkdir(parents=True, exist_ok=True)
    cost_quality(others, arguments.output / f"{name}.png", cost="dollars", curves={"trained": curve}, note=note)
    figures = {
        **made("numpy", "torch"),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "per split": [{key: [list(map(float, part)) for part in value] for key, value in r.items()} for r in results],
        "beliefs": [{kind: asdict(each) for kind, each in honest.items()} for _, honest in found],
    }
    (arguments.output / f"{name}.json").write_text(json.dumps(figures) + "\n")


def dearest(result: dict[str, Scores]) -> str:
    """The agent whose answers cost most; agents come before everything else that was measured."""
    alone = list(result)[: list(result).index("all + vote")]
    return max(alone, key=lambda name: sum(result[name][3]))


Scores = tuple[list[float], list[float], list[float], list[float]]
"""Of each task: score, tokens, calls, dollars."""


def split(pool: Path, iterations: int, seed: int) -> tuple[dict[str, Scores], dict[Kind, Calibration]]:
    """One split, in a process of its own."""
    return asyncio.run(one(pool, seed, iterations))


async def one(pool: Path, seed: int, iterations: int) -> tuple[dict[str, Scores], dict[Kind, Calibration]]:
    """One split: train, then measure everything on the rest."""
    spec = f"recorded:{pool.resolve()}?seed={seed}"
    train_tasks, test_tasks = load_tasks(f"{spec}&split=train"), load_tasks(f"{spec}&split=test")
    recorded = read_pool(pool)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "team.yaml"
        file.write_text(pool_team(file, pool.resolve(), recorded))
        training = TrainSpec.model_validate(
            {
                "team": file,
                "tasks": {"train": f"{spec}&split=train"},
                "output": Path(folder) / "policy",
                "options": {"samples": [1], "context": ["task"], "max_steps": 5, "reads": False},
                "preference": {"low": KNOBS[0], "high": KNOBS[-1]},
                "iterations": iterations,
                "evaluate_every": 25,
                "epochs": 4,
                "minibatches": 4,
                "learning_rate": 1e-3,
                "loss": {"entropy": 0.02},
                "seed": seed,
            }
        )
        trained = await atrain(training)
        team = Team.of(parse_team(file.read_text(), base=Path(folder)))
    out: dict[str, Scores] = {}
    for name in team.agents:
        out[name] = await measured(team, test_tasks, (await resolve(f"single?agent={name}", Fitting(team, None))), None)
    fitting = Fitting(team, train_tasks, test_tasks, preference=0.02, steps=3, samples=(1,))
    for name, candidate in (
        ("all + vote", "vote"),
        ("skill table", "skill_table"),
        ("best fixed pipeline", "best_pipeline"),
        ("oracle", "oracle"),
    ):
        out[name] = await measured(team, test_tasks, await resolve(candidate, fitting), None)
    for knob in KNOBS:
        learned = LearnedCoordinator(trained.policy)
        chosen = replace(await resolve("own", fitting), coordinator=learned)
        out[f"trained, ${knob:g}"] = await measured(team, test_tasks, chosen, knob)
    return out, await surveyed(team, trained.policy, test_tasks)


async def measured(team: Team, tasks: list[Task], chosen: Chosen, knob: float | None) -> Scores:
    """Run a coordinator once on each task."""
    results = await Rollouts(team.orchestrator).run(
        chosen.coordinator,
        tasks,
        seeds=(0,),
        settings=lambda place, which: Settings(seed=place, reply_seed=0, mode="greedy", preference=knob),
    )
    return (
        [score(result) for result in results],
        [float(result.usage.tokens) for result in results],
        [float(result.usage.calls) for result in results],
        [result.usage.dollars for result in results],
    )


def pooled(name: str, splits: list[Scores]) -> Row:
    """All splits' tasks together; the interval is over tasks."""
    scores, tokens, calls, dollars = (np.concatenate([np.array(split[part]) for split in splits]) for part in range(4))
    interval = mean_interval(scores)
    return Row(
        name,
        interval.mean,
        interval.low,
        interval.high,
        float(tokens.mean()),
        float(calls.mean()),
        float(dollars.mean()),
        n=len(scores),
        reference=name == "oracle",
    )


if __name__ == "__main__":
    main()
