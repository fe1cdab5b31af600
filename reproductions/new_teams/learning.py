"""The embedded team and what is learned on it here: policies for it and for parts of it, and skill tables."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path

from podium.agents.model import Prompt, Wrapped
from podium.agents.reply_cache import CachedModel, ReplyStore
from podium.orchestrator.coordinators.skill_table import SkillTable
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.learned.saved import Policy, load_policy, save_policy
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.protocols.noise import seed_of
from podium.protocols.record import Generation, Sampling
from podium.training.rollouts import Rollouts
from podium.training.skill_fit import fit_skill_table
from podium.training.tasks.scored import tasks_of
from podium.training.team_variants import Member, Variant, varied
from podium.training.train_file import TeamsSpec, TrainSpec, load_training

AGENTS = ("abacus", "encoder", "scribe", "sorter", "generalist")
"""The embedded team, in the order of its file."""
SCALE = 6.1e-6
"""Dollars of a typical reply, as `podium train` measures it for this team."""
RANDOM = TeamsSpec(least=3, prices=4.0, names=True, variants=2)
"""Random teams: three agents or more, prices up to four times as high or as low, half of the names unknown."""
THOROUGH = 1.6
"""How often surveys of random teams are gone through, for once with one team: there is more to tell apart in them."""
TABLE_TASKS = 200
"""Training tasks that a skill table is fitted on, as in benchmarks/comparison."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done. replies: different ones that a model has for a prompt in training, for all trainings alike.

    start: what is different in the supervised start.
    """

    iterations: int
    runs: int  # tasks of one iteration
    train: int
    held_out: int
    replies: int = 8
    start: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Lesson:
    """One training. without: agents that are not in the team; random: with random teams, else always the whole one."""

    seed: int
    without: tuple[str, ...]
    random: bool

    @property
    def name(self) -> str:
        """Of its folder."""
        return "-".join((str(self.seed), "random" if self.random else "fixed", *self.without))


class Few(Wrapped):
    """A model with a few replies to each prompt: trainings share them, and the later ones need not wait for them."""

    def __init__(self, model: CachedModel, replies: int) -> None:
        super().__init__(model)
        self.replies = replies

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """One of the few replies, by the seed."""
        return self.model.generate(prompt, replace(sampling, seed=(sampling.seed or 0) % self.replies))


@asynccontextmanager
async def embedded_team(replies: Path, few: int | None = None) -> AsyncGenerator[Orchestrator]:
    """The embedded team, its replies kept in a file. few: different ones for a prompt; None: as many as seeds."""
    store = ReplyStore(replies)
    with as_file(files("podium.agents") / "embedded") as folder:
        plain = Team.of(load_team(folder / "team.yaml"))
    cached = {name: CachedModel(model, store) for name, model in plain.models.items()}
    models = cached if few is None else {name: Few(model, few) for name, model in cached.items()}
    team = Team(plain.spec, models)
    try:
        yield team.orchestrator
    finally:
        await team.aclose()
        store.close()


def without(team: Orchestrator, names: Sequence[str]) -> Orchestrator:
    """The team without some agents."""
    return varied(team, Variant(tuple(Member(name, name) for name in AGENTS if name not in names))) if names else team


def spec_of(lesson: Lesson, sizes: Sizes) -> TrainSpec:
    """The training file of the embedded team, as it is but for the seed, its length and the teams."""
    with as_file(files("podium.agents") / "embedded") as folder:
        given = load_training(folder / "train.yaml")
    start = given.warm_start and given.warm_start.model_copy(update=sizes.start)
    if start and lesson.random:
        start = start.model_copy(update={"passes": round(THOROUGH * start.passes)})
    return given.model_copy(
        update={
            "seed": lesson.seed,
            "iterations": sizes.iterations,
            "warm_start": start,
            "tasks_per_iteration": sizes.runs,
            "evaluate_every": math.ceil(sizes.iterations / 3),
            "teams": RANDOM if lesson.random else None,
        }
    )


def trained(lesson: Lesson, sizes: Sizes, replies: Path, output: Path) -> Policy:
    """The policy of a lesson, trained unless it is there already."""
    folder = output / lesson.name
    if not folder.exists():
        save_policy(asyncio.run(_train(lesson, sizes, replies)), folder)
    return load_policy(folder)


async def _train(lesson: Lesson, sizes: Sizes, replies: Path) -> Policy:
    from podium.training.coordinator_trainer import CoordinatorTrainer  # with torch, which measuring does without
    from podium.training.warm_start import warm_start

    spec = spec_of(lesson, sizes)
    tasks = tasks_of(spec.tasks.train, sizes.train)
    async with embedded_team(replies, sizes.replies) as whole:
        trainer = CoordinatorTrainer(spec, without(whole, lesson.without), tasks, scale=SCALE)
        await warm_start(trainer)
        best = trainer.frozen()
        while trainer.iteration < spec.iterations:
            await trainer.step()
            if trainer.iteration % spec.evaluate_every == 0 or trainer.iteration == spec.iterations:
                await trainer.validate()
                if trainer.worthy:
                    best = trainer.frozen(preference=trainer.middle_knob)
    return best


async def table_of(team: Orchestrator, seed: int, sizes: Sizes) -> SkillTable:
    """The skill table of a team, with the policies' numbers of steps and samples, and their price of a dollar."""
    spec = spec_of(Lesson(seed, (), random=False), sizes)
    assert isinstance(spec.preference, float)
    return await fit_skill_table(
        Rollouts(team, scored="replies").run,
        tasks_of(spec.tasks.train, min(TABLE_TASKS, sizes.train)),
        max_steps=spec.options.max_steps,
        samples=spec.options.samples,
        cost_weight=1.0 / spec.preference,
        seed=seed,
    )


def price_list(seed: int, number: int) -> Mapping[str, float]:
    """Factors of the agents' prices, drawn as in training, but never the same."""
    factors: dict[str, float] = {}
    for agent in AGENTS:
        share = seed_of("price list", seed, number, agent) / 2**63
        factors[agent] = RANDOM.prices ** (2.0 * share - 1.0)
    return factors
