"""How far can anybody come on recorded answers who knows no more than who agrees with whom?

    python benchmarks/recorded/ceiling.py POOL.jsonl.gz

For each split, trees of decisions are worked out exactly on the training part, one for each knob (see `tree`), and run
there and on the held-out tasks, on the same splits and at the same knobs as the trained policies of run.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from machine import made
from pooled import RESAMPLES
from recorded.cascades import Replies, Trees, priced_pool
from recorded.report import Found, Splits, figure
from recorded.run import HERE, KNOBS, measured
from recorded.tree import Tree

from podium.orchestrator.coordinators import Single
from podium.orchestrator.learned.survey import Survey
from podium.orchestrator.starter import pool_team
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import parse_team
from podium.protocols.pool import read_pool
from podium.training.rollouts import Rollouts
from podium.training.tasks.spec import load_tasks

PARTS = {"train": "on the training parts", "test": "held out"}
MARKS = (0.6, 0.65, 0.7, 0.75, 0.8)


def main() -> None:
    """Work trees out, run them, print, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=priced_pool)
    parser.add_argument("--seeds", type=int, default=10, help="splits")
    parser.add_argument("--first", type=int, default=1, help="the first split")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    found = [asyncio.run(one(arguments.pool, seed)) for seed in seeds]
    figures: dict[str, object] = {}
    for part, words in PARTS.items():
        splits = Splits([each[part] for each in found])
        curve = splits.curve([f"tree, {knob:g}" for knob in KNOBS])
        level = figure(splits.level(curve))
        at = [figure(splits.at(curve, np.full(RESAMPLES + 1, mark, np.float64))) for mark in MARKS]
        shares = "; ".join(f"{mark:.0%}: {each.points()}" for mark, each in zip(MARKS, at, strict=True))
        print(f"{words}: the dearest agent's score at {level.share()} of its dollars; at a share of them {shares}")
        figures[part] = {
            "level": [level.mean, level.low, level.high],
            "at": {str(mark): [each.mean, each.low, each.high] for mark, each in zip(MARKS, at, strict=True)},
        }
    arguments.output.mkdir(parents=True, exist_ok=True)
    name = f"{arguments.pool.name.split('.')[0]}_ceiling.json"
    (arguments.output / name).write_text(json.dumps({**made("numpy"), "figures": figures}, indent=1) + "\n")


async def one(pool: Path, seed: int) -> dict[str, Found]:
    """One split: trees for all knobs on its training tasks, and on the held-out ones."""
    tasks = {part: load_tasks(f"recorded:{pool.resolve()}?seed={seed}&split={part}") for part in PARTS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "team.yaml"
        team = Team.of(parse_team(pool_team(file, pool.resolve(), read_pool(pool)), base=Path(folder)))
        asked = await Rollouts(team.orchestrator).run(Survey(), tasks["train"], seeds=(0,))
        known = [Replies.of(each) for each in asked]
        dear = Trees(known, seed).dear
        unit = float(np.mean([each.dollars[dear] for each in known]))
        trees = {knob: Tree(known, knob * unit) for knob in KNOBS}
        out: dict[str, Found] = {}
        for part, some in tasks.items():
            by_name = {f"tree, {knob:g}": await measured(team, some, tree) for knob, tree in trees.items()}
            by_name[dear] = await measured(team, some, Single(dear))
            out[part] = Found([task.id for task in some], by_name, "", "", dear)
        return out


if __name__ == "__main__":
    main()
