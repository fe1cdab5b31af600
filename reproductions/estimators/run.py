"""The estimator matters: one simulated pool, one network, as many episodes, and only the advantage's estimate differs.

    python reproductions/estimators/run.py [--kept FOLDER]

With --kept each training is written to a file of that folder when it is done, and not done again: a study that was cut
off goes on from there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from podium.orchestrator.engine import Settings
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy
from podium.protocols.events import Result
from podium.training.coordinator_trainer import CoordinatorTrainer
from podium.training.rollouts import Rollouts, passed
from podium.training.statistics import crossed_interval, mean_interval

sys.path.append(str(Path(__file__).parents[1]))
from arms import ARMS, EPISODES, TRAINED, spec_of
from picture import draw
from pool import KNOB, SCALE, SKILLS, alone, task, team, told
from study import Size, asked
from variance import measured

HELD_OUT = 10_000
"""Held-out tasks have numbers from here; training tasks have smaller ones."""


@dataclass(frozen=True, slots=True)
class Form:
    """How large a study is. iterations, warm_up: of a training; episodes: runs of one iteration; every: iterations
    between two looks at held-out tasks; held_out: how many those are; batches: for the gradient's variance.
    """

    iterations: int
    warm_up: int
    episodes: int
    every: int
    held_out: int
    batches: int


FORMS: dict[Size, Form] = {
    "full": Form(36, 4, EPISODES, 8, 300, 12),
    "quick": Form(18, 2, 64, 8, 100, 8),
    "tiny": Form(3, 1, 16, 2, 20, 2),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One training: an arm and a seed."""

    arm: str
    seed: int
    form: Form
    kept: Path | None


def trained(job: Job) -> dict[str, Any]:
    """The learning curve of one training, what its policy does in the end, and for one arm the gradients' noise."""
    if job.kept is None:
        return asyncio.run(_trained(job))
    file = job.kept / f"{job.arm}-{job.seed}.json"
    if not file.exists():
        found = asyncio.run(_trained(job))
        job.kept.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".part").write_text(json.dumps(found))
        file.with_suffix(".part").replace(file)
    return json.loads(file.read_text())


async def _trained(job: Job) -> dict[str, Any]:
    form = job.form
    spec = spec_of(job.arm, seed=job.seed, iterations=form.iterations, warm_up=form.warm_up, episodes=form.episodes)
    trainer = CoordinatorTrainer(spec, team(), [task(number) for number in range(3000)], scale=SCALE)
    curve: list[tuple[int, float, float]] = []
    score: list[float] = []
    information: list[float] = []
    noise: dict[str, Any] = {}
    scores = costs = np.zeros(0)
    seconds = 0.0
    for iteration in range(1, form.iterations + 1):
        began = time.monotonic()
        metrics = await trainer.step()
        seconds += time.monotonic() - began
        score.append(metrics["score"])
        information.append(metrics["information"])
        middle = form.warm_up + (form.iterations - form.warm_up) // 2
        measures = {form.warm_up: "first policy", middle: "half-way"}
        if job.arm == "leave_one_out" and iteration in measures:
            noise[measures[iteration]] = await measured(
                trainer, trainer.frozen(), batches=form.batches, episodes=form.episodes, seed=job.seed
            )
        if (iteration - form.warm_up) % form.every == 0 or iteration == form.iterations:
            scores, costs = await _held_out(trainer.frozen(), form.held_out)
            curve.append((iteration, float(scores.mean()), float(_gains(scores, costs).mean())))
    return {
        "arm": job.arm,
        "seed": job.seed,
        "curve": curve,
        "train_score": score,
        "information": information,
        "scores": scores.tolist(),
        "dollars": costs.tolist(),
        "noise": noise,
        "seconds": seconds / form.iterations,
    }


async def _held_out(policy: Policy, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Score and dollars of each held-out task, decided greedily."""

    def settings(place: int, which: int) -> Settings:
        return Settings(place, place, "greedy", KNOB)

    tasks = [task(HELD_OUT + number) for number in range(size)]
    found: list[Result] = await Rollouts(team()).run(LearnedCoordinator(policy), tasks, seeds=(0,), settings=settings)
    return np.array([float(passed(each)) for each in found]), np.array([each.usage.dollars for each in found])


def _gains(scores: np.ndarray, dollars: np.ndarray) -> np.ndarray:
    """What each run was worth, in passed answers: cost counts where it bought one."""
    return scores * (1.0 - dollars / KNOB)


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """An arm's figures at the end. found: its trainings; where there are several, intervals are over seeds as well."""
    scores, dollars = (np.array([each[key] for each in found]) for key in ("scores", "dollars"))
    whole: dict[str, Any] = {}
    for name, values in {"score": scores, "dollars": dollars, "gain": _gains(scores, dollars)}.items():
        interval = crossed_interval(values) if len(values) > 1 else mean_interval(values)
        whole[name] = [interval.mean, interval.low, interval.high]
    whole["gain_by_seed"] = _gains(scores, dollars).mean(1).tolist()
    whole["seconds_per_iteration"] = float(np.mean([each["seconds"] for each in found]))
    return whole


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--kept", type=Path, help="folder of trainings that are done, for one form of the study")

    study = asked(__doc__, Path(__file__).parent, more=more)
    form = FORMS[study.size]
    arms = ("leave_one_out", "none", "evolution") if study.size == "tiny" else TRAINED
    first = sorted(arms, key=lambda name: name != "leave_one_out")  # the longest
    jobs = [Job(name, seed, form, study.arguments.kept) for seed in range(study.seeds) for name in first]
    found = study.spread(trained, jobs, "trainings")
    by_arm = {name: [each for each in found if each["arm"] == name] for name in arms}
    figures: dict[str, Any] = {
        "arms": {name: arm.about for name, arm in ARMS.items()},
        "form": {name: getattr(form, name) for name in Form.__slots__},
        "knob": KNOB,
        "alone": {name: alone(name) for name in SKILLS},
        "told": told(),
        "final": {name: _summary(each) for name, each in by_arm.items()},
        "curves": {name: [each["curve"] for each in trainings] for name, trainings in by_arm.items()},
        "train_score": {name: [each["train_score"] for each in trainings] for name, trainings in by_arm.items()},
        "information": {name: [each["information"] for each in trainings] for name, trainings in by_arm.items()},
        "noise": [each["noise"] for each in by_arm["leave_one_out"]],
    }
    study.write("estimators", figures, "cmaes")
    draw(figures, study.output / "estimators.png")
    for name in sorted(arms, key=lambda name: -figures["final"][name]["gain"][0]):
        final = figures["final"][name]
        print(f"{ARMS[name].about:20} gain {final['gain'][0]:.3f} score {final['score'][0]:.3f}")


if __name__ == "__main__":
    main()
