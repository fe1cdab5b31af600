"""A coordinator trained on recorded answers of real models, reported on tasks it has not seen.

    python benchmarks/recorded/run.py POOL.jsonl.gz --jobs 2
    python benchmarks/recorded/run.py POOL.jsonl.gz --reads words    # where questions are many, and say something

For each split (seed) of the pool's tasks: one policy is trained on 70 % of them, from surveys of all agents (the
`warm_start` of a training file), with the price knob drawn from a range, and run on the other 30 % at several knobs. It
is the better of two, by what they gain on their training part over all knobs.
Beside it, on the same tasks: every agent alone, all with a vote, a skill table, the best fixed pipeline, the best
agreement cascade, a gradient-boosted cascade at several thresholds (all fitted on the same 70 %), and an oracle.
Everything goes through the engine; nothing is called: the pool answers. Then a survey asks every agent every held-out
task, to see whether the policy's beliefs are honest; and the policy is run on the held-out tasks with other scores,
references and ids, to see that nobody looks at them.
The knobs are in typical answers of the pool's dearest agent, so that a pool with other agents needs no other settings.
The settings below were found on splits from 20 on; what is reported starts at split 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.facts import Reads
from podium.orchestrator.learned.survey import Survey
from podium.orchestrator.starter import pool_team
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import parse_team
from podium.protocols.pool import read_pool
from podium.protocols.task import Task
from podium.training.calibration import KINDS, Calibration, Kind, surveyed
from podium.training.candidates import Fitting, resolve
from podium.training.learn import atrain
from podium.training.plots import cost_quality
from podium.training.reports import Row, markdown_table
from podium.training.rollouts import Rollouts, score
from podium.training.tasks.spec import load_tasks
from podium.training.train_file import TrainSpec

sys.path.append(str(Path(__file__).parents[1]))
from machine import made
from recorded.cascades import Boosted, Replies, Trees, best_agreement, priced_pool
from recorded.report import Found, Scores, Splits, figure, sentences

HERE = Path(__file__).parent
OPTIONS = {"samples": [1], "context": ["task"], "max_steps": 5}
SETTINGS = {"warm_start": {"runs": 8, "passes": 30, "learning_rate": 5e-3}, "word_dropout": 0.5}
"""A supervised start from surveys, and nothing after it: iterations that try and compare made it worse here."""
READS: dict[str, Reads] = {"nothing": False, "figures": "figures", "words": True}
"""What a policy reads: of 500 questions and their answers words are known by heart; thousands may teach something."""
KNOBS = (2.0, 2.8, 3.4, 3.9, 4.2, 4.5, 4.9, 5.5, 6.2, 7.0, 9.0, 12.0)
"""What one right answer is worth, in typical replies of the dearest agent, from stingy to generous."""
LEARNED_FROM = (2.5, 16.0)
"""The range from which training draws it."""
OTHER_START = 1000
"""From one policy's seed to that of the next on the same split."""
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
"""By how much the boosted cascade wants the score to rise before it asks the dearest agent."""


def main() -> None:
    """Train, measure, print, and write figures and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=priced_pool)
    parser.add_argument("--seeds", type=int, default=10, help="splits, each with a policy of its own")
    parser.add_argument("--first", type=int, default=1, help="the first split")
    parser.add_argument("--iterations", type=int, default=0, help="of trying, after the supervised start")
    parser.add_argument("--reads", choices=READS, default="nothing", help="what policies read of questions and replies")
    parser.add_argument("--starts", type=int, default=2, help="first weights; the better policy on the training part")
    parser.add_argument("--jobs", type=int, default=1, help="splits worked on at once, one process each")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    began = time.monotonic()
    work = partial(split, arguments.pool, arguments.reads, arguments.iterations, arguments.starts)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    done: list[tuple[Found, dict[Kind, Calibration]]] = []
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as workers:
        for each in workers.map(work, seeds):
            done.append(each)
            minutes = (time.monotonic() - began) / 60
            left = minutes / len(done) * (len(seeds) - len(done))
            print(f"{len(done)} of {len(seeds)} splits, {minutes:.1f} min, about {left:.1f} left", file=sys.stderr)
    found = [each for each, _ in done]
    splits = Splits(found)
    rows = [pooled(name, splits) for name in found[0].by_name]
    trained, boosted = ([f"{kind}, {value:g}" for value in values] for kind, values in SWEEPS.items())
    print(markdown_table(rows))
    said, figures = sentences(splits, trained, boosted)
    print("\n".join(said))
    for kind, words in KINDS.items():
        asked = [honest[kind] for _, honest in done if kind in honest]
        if asked:
            print(
                f"believed that {words} ({asked[0].n:,} times a split): expected calibration error "
                f"{_spread([each.error for each in asked])}, Brier skill over the agent's base rate "
                f"{_spread([each.skill for each in asked])}"
            )
    name = arguments.pool.name.split(".")[0]
    number = "one split" if len(found) == 1 else f"{len(found)} splits"
    note = f"{name}: held-out tasks of {number}, one policy per split, its price knob turned"
    arguments.output.mkdir(parents=True, exist_ok=True)
    by_name = {row.name: row for row in rows}
    curves = {"trained": [by_name[each] for each in trained], "boosted cascade": [by_name[each] for each in boosted]}
    others = [row for row in rows if row.name not in (*trained, *boosted)]
    cost_quality(others, arguments.output / f"{name}.png", cost="dollars", curves=curves, note=note)
    whole = {
        **made("numpy", "torch", "scikit-learn"),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "said": said,
        "figures": figures,
        "splits": [raw(each) for each in found],
        "beliefs": [{kind: asdict(each) for kind, each in honest.items()} for _, honest in done],
    }
    (arguments.output / f"{name}.json").write_text(json.dumps(whole, separators=(",", ":")) + "\n")


def raw(found: Found) -> dict[str, object]:
    """One split's figures, short: of each task the score and millionths of a dollar, of tokens and calls the mean."""
    return {
        **{key: value for key, value in asdict(found).items() if key != "by_name"},
        "by_name": {
            name: {
                "score": [int(value) if value in (0, 1) else value for value in each.score],
                "microdollars": [round(value * 1e6) for value in each.dollars],
                "tokens": round(float(np.mean(each.tokens)), 1),
                "calls": round(float(np.mean(each.calls)), 3),
            }
            for name, each in found.by_name.items()
        },
    }


SWEEPS = {"trained": KNOBS, "boosted": THRESHOLDS}


def _spread(values: list[float]) -> str:
    """The mean of some splits' figures, and the least and the largest."""
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def split(pool: Path, reads: str, iterations: int, starts: int, seed: int) -> tuple[Found, dict[Kind, Calibration]]:
    """One split, in a process of its own."""
    return asyncio.run(one(pool, seed, reads, iterations, starts))


async def one(pool: Path, seed: int, reads: str, iterations: int, starts: int) -> tuple[Found, dict[Kind, Calibration]]:
    """One split: fit, train, then measure everything on the rest."""
    spec = f"recorded:{pool.resolve()}?seed={seed}"
    train_tasks, test_tasks = load_tasks(f"{spec}&split=train"), load_tasks(f"{spec}&split=test")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "team.yaml"
        file.write_text(pool_team(file, pool.resolve(), read_pool(pool)))
        team = Team.of(parse_team(file.read_text(), base=Path(folder)))
        known = [Replies.of(each) for each in await Rollouts(team.orchestrator).run(Survey(), train_tasks, seeds=(0,))]
        trees = Trees(known, seed)
        unit = float(np.mean([each.dollars[trees.dear] for each in known]))
        learned, tried = None, dict[float, Scores]()
        for start in range(starts):
            training = TrainSpec.model_validate(
                SETTINGS
                | {
                    "team": file,
                    "tasks": {"train": f"{spec}&split=train", "validation": 0.0},
                    "output": Path(folder) / f"policy {start}",
                    "preference": {"low": unit * LEARNED_FROM[0], "high": unit * LEARNED_FROM[1]},
                    "options": OPTIONS | {"reads": READS[reads]},
                    "iterations": iterations,
                    "seed": seed + OTHER_START * start,
                }
            )
            other = LearnedCoordinator((await atrain(training)).policy)
            runs = {knob: await measured(team, train_tasks, other, knob * unit) for knob in KNOBS}
            if learned is None or worth(runs, unit) > worth(tried, unit):
                learned, tried = other, runs
        assert learned is not None
    out: dict[str, Scores] = {}
    fitting = Fitting(team, train_tasks, test_tasks, preference=8 * unit, steps=3, samples=(1,))
    for name in team.agents:
        out[name] = await measured(team, test_tasks, (await resolve(f"single?agent={name}", fitting)).coordinator)
    for name, candidate in (
        ("all + vote", "vote"),
        ("skill table", "skill_table"),
        ("best fixed pipeline", "best_pipeline"),
        ("oracle", "oracle"),
    ):
        out[name] = await measured(team, test_tasks, (await resolve(candidate, fitting)).coordinator)
    agreement, _ = best_agreement(known)
    out["best agreement cascade"] = await measured(team, test_tasks, agreement)
    for threshold in THRESHOLDS:
        out[f"boosted, {threshold:g}"] = await measured(team, test_tasks, Boosted(trees, threshold))
    goal, chosen = float(np.mean([each.scores[trees.dear] for each in known])), f"trained, {KNOBS[-1]:g}"
    cheapest = np.inf
    for knob, there in tried.items():
        out[f"trained, {knob:g}"] = await measured(team, test_tasks, learned, knob * unit)
        if np.mean(there.score) >= goal and sum(there.dollars) < cheapest:
            chosen, cheapest = f"trained, {knob:g}", sum(there.dollars)
    await look_away(team, test_tasks, learned, 4 * unit)
    found = Found([task.id for task in test_tasks], out, chosen, agreement.name, trees.dear)
    return found, await surveyed(team, learned.policy, test_tasks)


def worth(tried: Mapping[float, Scores], unit: float) -> float:
    """What a policy gains at all knobs, in passed answers. unit: dollars of the knob's unit."""
    return float(np.mean([np.mean(each.score) - np.mean(each.dollars) / (knob * unit) for knob, each in tried.items()]))


def at(knob: float | None) -> Callable[[int, int], Settings]:
    """How each task is run: the likeliest decisions, the same seeds whatever the task's id."""
    return lambda place, which: Settings(seed=place, reply_seed=0, mode="greedy", preference=knob)


async def measured(team: Team, tasks: list[Task], led_by: Coordinator | None, knob: float | None = None) -> Scores:
    """Run a coordinator once on each task."""
    results = await Rollouts(team.orchestrator).run(led_by, tasks, seeds=(0,), settings=at(knob))
    return Scores(
        [score(result) for result in results],
        [float(result.usage.tokens) for result in results],
        [float(result.usage.calls) for result in results],
        [result.usage.dollars for result in results],
    )


async def look_away(team: Team, tasks: list[Task], led_by: Coordinator, knob: float) -> None:
    """Decisions are the same where scores, references and ids are other tasks'. Raises AssertionError if not."""
    others = [
        replace(task, id=f"other {other.id}", score=other.score) for task, other in zip(tasks, tasks[::-1], strict=True)
    ]
    first, second = [
        await Rollouts(team.orchestrator, scored="nothing").run(led_by, each, seeds=(0,), settings=at(knob))
        for each in (tasks, others)
    ]
    for one, other in zip(first, second, strict=True):
        told = [[(each.factors, each.reasons) for each in result.decisions] for result in (one, other)]
        assert told[0] == told[1], one.task.id


def pooled(name: str, splits: Splits) -> Row:
    """All splits' tasks together; the interval is over tasks, each with all its splits."""
    interval = figure(splits.mean(lambda each: each.by_name[name].score))
    tokens, calls, dollars = (
        float(splits.mean(lambda each, part=part: getattr(each.by_name[name], part))[0])
        for part in ("tokens", "calls", "dollars")
    )
    tasks = sum(len(each.tasks) for each in splits.found)
    return Row(
        name, interval.mean, interval.low, interval.high, tokens, calls, dollars, n=tasks, reference=name == "oracle"
    )


if __name__ == "__main__":
    main()
