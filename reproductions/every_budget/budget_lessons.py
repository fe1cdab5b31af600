"""The two teams that policies are trained on here, and how one training goes, whatever its price knob is."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from podium.agents.reply_cache import CachedModel, ReplyStore
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.learned.saved import Policy
from podium.orchestrator.learned.survey import Survey
from podium.orchestrator.starter import pool_team
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team, parse_team
from podium.protocols.pool import read_pool
from podium.protocols.task import Task
from podium.training.rollouts import Rollouts
from podium.training.tasks.spec import load_tasks
from podium.training.train_file import TrainSpec

sys.path.append(str(Path(__file__).parents[1]))
from new_teams.learning import Few

__all__ = ["EMBEDDED", "RECORDED", "Ground", "Setting", "Sizes", "opened", "trained"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one training does: surveys of each task, and passes over them.

    train, held_out: tasks of a split, where they can be had at will. replies: different ones that a model has for a
    prompt in training, for all trainings alike.
    """

    surveys: int
    passes: int
    train: int = 0
    held_out: int = 0
    replies: int = 1


@dataclass(frozen=True, slots=True)
class Setting:
    """A team and how it is trained. knobs: what a right answer is worth, in replies of the dearest agent, least first.

    low, high: the range that training draws them from; training: fields of the training file.
    """

    name: str
    knobs: tuple[float, ...]
    low: float
    high: float
    training: dict[str, Any]


RECORDED = Setting(
    "recorded",
    (2.0, 3.3, 5.0, 7.5, 12.0),
    1.8,
    13.5,
    {"options": {"samples": [1], "context": ["task"], "max_steps": 5, "reads": False}},
)
"""A pool whose prices are in it, led as benchmarks/recorded does."""
EMBEDDED = Setting(
    "embedded",
    (1.0, 2.0, 4.0, 8.0, 16.0),
    0.8,
    20.0,
    {
        "options": {"samples": [1, 5], "context": ["task", "last"], "width": 1, "max_steps": 3},
        "weight_decay": 0.3,
        "word_dropout": 0.3,
    },
)
"""The embedded team with the action space of its training file."""


@dataclass(frozen=True, slots=True)
class Ground:
    """One split of a setting, with the team at hand. unit: dollars of the dearest agent's typical reply; scale: of a
    typical reply of anybody. tests: the team with which held-out tasks are worked.
    """

    team: Orchestrator
    tests: Orchestrator
    train: Sequence[Task]
    held_out: Sequence[Task]
    unit: float
    scale: float


@asynccontextmanager
async def opened(setting: Setting, pool: Path | None, sizes: Sizes, seed: int, folder: Path) -> AsyncGenerator[Ground]:
    """One split. pool: recorded answers, else the embedded team; folder: where its replies and its team file go."""
    store = ReplyStore(folder / "replies.db")
    if pool is None:
        source, size = "embedded:", (f"&size={each}" for each in (sizes.train, sizes.held_out))
        with as_file(files("podium.agents") / "embedded") as where:
            plain = Team.of(load_team(where / "team.yaml"))
        cached = {name: CachedModel(model, store) for name, model in plain.models.items()}
        team, tests = Team(plain.spec, {n: Few(m, sizes.replies) for n, m in cached.items()}), Team(plain.spec, cached)
    else:
        source, size = f"recorded:{pool.resolve()}", ("", "")
        text = pool_team(folder / "team.yaml", pool.resolve(), read_pool(pool))
        team = tests = Team.of(parse_team(text, base=folder))
    train, held_out = (
        load_tasks(f"{source}?seed={seed}&split={side}{many}")
        for side, many in zip(("train", "test"), size, strict=True)
    )
    try:
        unit, scale = await _prices(team.orchestrator, train[:PROBED])
        yield Ground(team.orchestrator, tests.orchestrator, train, held_out, unit, scale)
    finally:
        await team.aclose()
        store.close()


PROBED = 100
"""Training tasks on which everybody is asked, to learn what a reply costs."""


async def _prices(team: Orchestrator, tasks: Sequence[Task]) -> tuple[float, float]:
    """Dollars of a typical reply of the dearest agent, and of all agents."""
    costs: dict[str, list[float]] = {}
    for result in await Rollouts(team, scored="nothing").run(Survey(), tasks, seeds=(0,)):
        for node in result.nodes:
            if node.usage.calls:
                costs.setdefault(node.author, []).append(node.usage.dollars / node.usage.calls)
    means = [float(np.mean(each)) for each in costs.values()]
    return max(means), float(np.mean(means))


async def trained(ground: Ground, setting: Setting, sizes: Sizes, seed: int, knob: float | None) -> Policy:
    """A policy from surveys alone. knob: of all of them, in units; None: drawn from the range."""
    from podium.training.coordinator_trainer import CoordinatorTrainer  # with torch
    from podium.training.warm_start import warm_start

    spread = {"low": setting.low * ground.unit, "high": setting.high * ground.unit}
    spec = TrainSpec.model_validate(
        setting.training
        | {
            "warm_start": {"runs": sizes.surveys, "passes": sizes.passes},
            "iterations": 0,
            "reply_variants": sizes.replies,
            "team": "as it was opened",
            "tasks": {"train": "as they were opened", "validation": 0.0},
            "output": "nothing is written",
            "preference": spread if knob is None else knob * ground.unit,
            "seed": seed,
        }
    )
    trainer = CoordinatorTrainer(spec, ground.team, ground.train, scale=ground.scale)
    await warm_start(trainer)
    return trainer.frozen()
