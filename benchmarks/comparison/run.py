"""The comparison table of the README: the embedded team under a trained coordinator and under everything simpler.

    python benchmarks/comparison/run.py            # three seeds

For each seed a policy is trained anew, and baselines that learn are fitted anew on training tasks; all are run on the
same held-out tasks, each seed with its own reply seeds. The held-out tasks are worded as no training task is; the
trained policy and the router are run on held-out tasks in known wordings too. Intervals are bootstrap intervals over
tasks, seeds averaged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from podium.orchestrator.learned import LearnedCoordinator, Policy, load_policy
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.training.candidates import Fitting, resolve
from podium.training.comparison import ROUTER, TRAINED, compare, verdicts
from podium.training.curves import training_curves
from podium.training.demo import unpack
from podium.training.evaluate import measure
from podium.training.evaluation import Evaluation, Measured
from podium.training.learn import METRICS, Purse, atrain
from podium.training.plots import cost_quality
from podium.training.reports import markdown_table
from podium.training.tasks.scored import tasks_of
from podium.training.train_file import load_training

sys.path.append(str(Path(__file__).parents[1]))
from machine import made

HERE = Path(__file__).parent
FIT_TASKS = 200
"""Training tasks that fitted baselines choose on: enough to tell pipelines apart, few enough to be quick."""
KNOWN = "embedded:?split=test&wordings=train&size=300"
"""Contents of the test split in the wordings of the training split."""


def main() -> None:
    """Train, compare, print, and write the table, figures and plots beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=300, help="held-out tasks")
    parser.add_argument("--iterations", type=int, help="instead of the training file's")
    parser.add_argument("--jobs", type=int, default=1, help="seeds worked on at once, one process each")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    began = time.monotonic()
    arguments.output.mkdir(parents=True, exist_ok=True)
    per_seed: list[Evaluation] = []
    known_words: list[Evaluation] = []
    work = partial(alone, tasks=arguments.tasks, iterations=arguments.iterations, output=arguments.output)
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for seed, (unseen, known) in enumerate(pool.map(work, range(arguments.seeds))):
            per_seed.append(unseen)
            known_words.append(known)
            print(f"seed {seed}, {(time.monotonic() - began) / 60:.1f} minutes so far", flush=True)
            print(markdown_table(unseen.rows), markdown_table(known.rows), sep="\n\n", flush=True)
    whole, known = merged(per_seed), merged(known_words)
    said = verdicts(whole)
    gap = known.difference(TRAINED, ROUTER)
    said.append(
        f"In wordings of the training tasks: trained - {ROUTER}: {100 * gap.mean:+.1f} points "
        f"[{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]."
    )
    tables = f"{markdown_table(whole.rows)}\n\nIn wordings of the training tasks:\n\n{markdown_table(known.rows)}"
    print(tables, *said, sep="\n")
    (arguments.output / "table.md").write_text(tables + "\n" + "\n".join(said) + "\n")
    note = f"embedded team, {whole.tasks} held-out tasks, {arguments.seeds} seeds, each trained anew"
    cost_quality(whole.rows, arguments.output / "comparison.png", cost="tokens", highlight=TRAINED, note=note)
    figures = {
        **made("numpy", "torch"),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "verdicts": said,
        "whole": json.loads(whole.to_json()),
        "known wordings": json.loads(known.to_json()),
        "per seed": [json.loads(each.to_json()) for each in per_seed],
    }
    (arguments.output / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


def alone(seed: int, tasks: int, iterations: int | None, output: Path) -> tuple[Evaluation, Evaluation]:
    """`one`, in a process of its own."""
    return asyncio.run(one(seed, tasks, iterations, output))


async def in_known_words(team: Team, policy: Policy, tasks: int, seed: int) -> Evaluation:
    """The trained policy and the router on held-out contents that are worded as in training."""
    held_out = tasks_of(KNOWN, tasks)
    router = await resolve("router", Fitting(team, None, held_out))
    coordinators = {TRAINED: LearnedCoordinator(policy, TRAINED), ROUTER: router.coordinator}
    return await measure(team, coordinators, held_out, (seed,), references=(ROUTER,))


async def one(seed: int, tasks: int, iterations: int | None, output: Path) -> tuple[Evaluation, Evaluation]:
    """Train and compare once: on tasks in words that no policy was trained on, and in known ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(folder)
        given = load_training(folder / "train.yaml")
        spec = given.model_copy(
            update={
                "seed": seed,
                "iterations": iterations or given.iterations,
                "tasks": given.tasks.model_copy(update={"test": None}),
            }
        )
        await atrain(spec)
        training_curves(spec.output / METRICS, output / f"training-{seed}.png", title=f"Training, seed {seed}")
        shutil.copy(spec.output / METRICS, output / f"training-{seed}.jsonl")
        plain = Team.of(load_team(folder / "team.yaml"))
        purse = Purse(plain.models, spec)
        team = Team(plain.spec, purse.models)
        policy = load_policy(spec.output)
        try:
            unseen = await compare(
                team,
                policy,
                tasks_of(given.tasks.train, FIT_TASKS),
                tasks_of(given.tasks.test or (), tasks),
                seeds=(seed,),
            )
            known = await in_known_words(team, policy, tasks, seed)
            return unseen, known
        finally:
            await team.aclose()
            purse.close()


def merged(evaluations: list[Evaluation]) -> Evaluation:
    """One evaluation whose seeds are those of all."""
    first = evaluations[0]
    out = Evaluation(first.tasks, sum(each.seeds for each in evaluations))
    for name, measured in first.measured.items():
        parts = [each.measured[name] for each in evaluations]
        out.measured[name] = Measured(
            np.vstack([part.scores for part in parts]),
            np.vstack([part.tokens for part in parts]),
            np.vstack([part.calls for part in parts]),
            np.vstack([part.dollars for part in parts]),
            np.vstack([part.seconds for part in parts]),
            np.vstack([part.passes for part in parts]),
            measured.reference,
        )
        out.details[name] = "; ".join(dict.fromkeys(e.details[name] for e in evaluations if name in e.details))
    return out


if __name__ == "__main__":
    main()
