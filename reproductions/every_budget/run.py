"""One policy, every budget: is one that learned with the price knob drawn from a range as good as one for each knob?

    python reproductions/every_budget/run.py                         # the embedded team, ten splits
    python reproductions/every_budget/run.py --pool POOL.jsonl.gz    # recorded answers of real models, ten splits
    python reproductions/every_budget/run.py --quick --output /tmp/every_budget

For each split (other training tasks, other held-out tasks, other initial weights) six policies are trained, all with as
many runs and updates: one with the knob drawn from a range, five with one knob each. Each is run greedily on the
held-out tasks at its knob, the one at all five. What counts is what the knob says: passed answers, less dollars in
passed answers. The settings were found on splits from 20 on; what is reported starts at split 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent), str(HERE.parents[1] / "benchmarks")]
from budget_lessons import EMBEDDED, RECORDED, Ground, Setting, Sizes, opened, trained
from budget_picture import draw
from pooled import Figure, Pooled, figure
from study import Size, asked

from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy
from podium.protocols.pool import read_pool
from podium.protocols.words import counted
from podium.training.rollouts import Rollouts, repeatable, score

SIZES: dict[str, dict[Size, Sizes]] = {
    "recorded": {
        "full": Sizes(4, 30),
        "quick": Sizes(1, 6),
        "tiny": Sizes(1, 1),
    },
    "embedded": {
        "full": Sizes(4, 24, train=500, held_out=500, replies=2),
        "quick": Sizes(2, 8, train=40, held_out=40, replies=2),
        "tiny": Sizes(1, 1, train=4, held_out=3),
    },
}
MARGIN = 1.5
"""Points by which one policy may be worse at a knob and still count as as good."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One policy at one knob on the held-out tasks of one split: (T,) each. worth: of a passed answer, in dollars."""

    worth: float
    score: list[float]
    dollars: list[float]

    @property
    def gain(self) -> list[float]:
        """What a task brought, in passed answers."""
        return self.at(self.worth)

    def at(self, worth: float) -> list[float]:
        """The same where a passed answer is worth something else."""
        return (np.asarray(self.score) - np.asarray(self.dollars) / worth).tolist()


@dataclass(frozen=True, slots=True)
class Found:
    """One split. unit: dollars; one, single: what one policy and those of a single knob did, by knob, in order."""

    seed: int
    tasks: list[str]
    unit: float
    one: list[Cell]
    single: list[Cell]
    seconds: list[float]


def main() -> None:
    """Train, measure, compare, write figures and the plot."""

    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--pool", type=_pool, help="recorded answers, in place of the embedded team")
        parser.add_argument("--first", type=int, default=1, help="the first split")

    study = asked(__doc__, HERE, seeds=10, more=more)
    pool: Path | None = study.arguments.pool
    setting = EMBEDDED if pool is None else RECORDED
    sizes = SIZES[setting.name][study.size]
    seeds = range(study.arguments.first, study.arguments.first + study.seeds)
    found: list[Found] = study.spread(partial(split, setting, pool, sizes), seeds, "splits")
    figures = summary(setting, found)
    name = "every_budget" if pool is None else f"every_budget_{pool.name.split('.')[0]}"
    splits = [asdict(each) for each in found]
    for each in splits:
        for cell in (*each["one"], *each["single"]):
            cell["score"] = [int(value) if value in (0, 1) else value for value in cell["score"]]
            cell["nanodollars"] = [round(value * 1e9) for value in cell.pop("dollars")]
    whole = figures | {"setting": asdict(setting), "sizes": asdict(sizes), "splits raw": splits}
    study.write(name, whole, *(() if pool else ("transformers",)))
    what = "the embedded team" if pool is None else f"recorded answers, {pool.name.split('.')[0]}"
    draw(figures, study.output / f"{name}.png", what=what, margin=MARGIN)
    print("\n".join(figures["said"]))


def _pool(text: str) -> Path:
    """A recorded pool. Raises ArgumentTypeError where there is none, or all of its replies are free."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{path}: there is no such pool")
    if not any(agent.price.output or agent.price.input for agent in read_pool(path).agents.values()):
        raise argparse.ArgumentTypeError(f"{path}: all replies of this pool are free, so there is no budget to keep")
    return path


def split(setting: Setting, pool: Path | None, sizes: Sizes, seed: int) -> Found:
    """One split, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_split(setting, pool, sizes, seed, Path(folder)))


async def _split(setting: Setting, pool: Path | None, sizes: Sizes, seed: int, folder: Path) -> Found:
    one: list[Cell] = []
    single: list[Cell] = []
    seconds: list[float] = []
    async with opened(setting, pool, sizes, seed, folder) as ground:
        for knob in (None, *setting.knobs):
            began = time.monotonic()
            policy = await trained(ground, setting, sizes, seed, knob)
            seconds.append(round(time.monotonic() - began, 1))
            if knob is None:
                one += [await measured(ground, policy, each) for each in setting.knobs]
            else:
                single.append(await measured(ground, policy, knob))
        return Found(seed, [task.id for task in ground.held_out], ground.unit, one, single, seconds)


async def measured(ground: Ground, policy: Policy, knob: float) -> Cell:
    """Run a policy once on each held-out task. knob: in units."""
    worth = knob * ground.unit

    def settings(place: int, _: int) -> Settings:
        plain = repeatable(ground.held_out[place], 0)
        return Settings(plain.seed, plain.reply_seed, "greedy", worth)

    results = await Rollouts(ground.tests).run(
        LearnedCoordinator(policy), ground.held_out, seeds=(0,), settings=settings
    )
    return Cell(worth, [score(each) for each in results], [each.usage.dollars for each in results])


def summary(setting: Setting, found: Sequence[Found]) -> dict[str, Any]:
    """Figures of all splits, by knob and of all knobs together, and what they say."""
    pooled = Pooled(
        [[f"{each.seed}: {task}" if setting is EMBEDDED else task for task in each.tasks] for each in found]
    )
    places = range(len(setting.knobs))
    middle = len(setting.knobs) // 2

    def over(of: Callable[[Found, int], Sequence[float]], place: int) -> Figure:
        return figure(pooled.mean([of(each, place) for each in found]))

    def less(first: Sequence[float], second: Sequence[float]) -> list[float]:
        return np.subtract(first, second).tolist()

    def gap(each: Found, place: int) -> list[float]:
        return less(each.one[place].gain, each.single[place].gain)

    knobs: list[dict[str, Any]] = []
    for place, knob in enumerate(setting.knobs):
        by_split = [100 * float(np.mean(gap(each, place))) for each in found]
        row: dict[str, Any] = {
            "knob": knob,
            "gain": over(gap, place),
            "score": over(lambda each, at: less(each.one[at].score, each.single[at].score), place),
            "one": {"gain": over(lambda each, at: each.one[at].gain, place)},
            "single": {"gain": over(lambda each, at: each.single[at].gain, place)},
            "middle": over(
                lambda each, at: less(each.single[middle].at(each.single[at].worth), each.single[at].gain), place
            ),
            "by split": by_split,
        }
        for which in ("one", "single"):
            row[which]["score"] = over(lambda each, at, which=which: getattr(each, which)[at].score, place)
            row[which]["units"] = over(
                lambda each, at, which=which: (np.asarray(getattr(each, which)[at].dollars) / each.unit).tolist(), place
            )
        knobs.append(row)
    mean = figure(np.mean([pooled.mean([gap(each, place) for each in found]) for place in places], 0))
    figures = {"knobs": knobs, "all knobs": mean, "splits": len(found), "tasks": sum(len(e.tasks) for e in found)}
    return json.loads(json.dumps({**figures, "said": sentences(figures)}, default=asdict))


def sentences(figures: dict[str, Any]) -> list[str]:
    """What the figures say: rows of the table in README.md, and the verdict."""
    out = [
        "| knob | gain, one policy | gain, its own | difference | score | dollars | between splits | middle knob's |"
    ]
    out.append("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in figures["knobs"]:
        spread = np.asarray(row["by split"])
        one, single = row["one"], row["single"]
        dear = one["units"].mean / single["units"].mean - 1 if single["units"].mean else float("nan")
        deviation = f"{spread.std(ddof=1):.1f} " if len(spread) > 1 else ""
        out.append(
            f"| {row['knob']:g} | {100 * one['gain'].mean:.1f} | {100 * single['gain'].mean:.1f} | "
            f"{row['gain'].points()} | {row['score'].points()} | "
            f"{one['units'].mean:.2f} for {single['units'].mean:.2f} ({dear:+.0%}) | "
            f"{deviation}({spread.min():+.1f} to {spread.max():+.1f}) | {row['middle'].points()} |"
        )
    low = [row for row in figures["knobs"] if 100 * row["gain"].low > -MARGIN]
    mean = [row for row in figures["knobs"] if 100 * row["gain"].mean > -MARGIN]
    out.append(
        f"Not inferior by more than {MARGIN:g} points, by the interval's lower end, at {len(low)} of "
        f"{len(figures['knobs'])} knobs{_named(low)}; by the mean alone at {len(mean)}{_named(mean)}."
    )
    out.append(
        f"Over all knobs: {figures['all knobs'].points()} points ({counted(figures['splits'], 'split')}, "
        f"{figures['tasks']:,} held-out tasks in all)."
    )
    return out


def _named(rows: Sequence[dict[str, Any]]) -> str:
    knobs = ", ".join(f"{row['knob']:g}" for row in rows)
    return f" ({knobs})" if rows else ""


if __name__ == "__main__":
    main()
