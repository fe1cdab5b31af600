"""The arms of the study: one network, one number of episodes, and what the advantage is estimated with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pool import KNOB

from podium.training.train_file import TrainSpec

EPISODES = 128
"""Runs of one iteration, in every arm."""
COST: dict[str, Any] = {"channel": "cost", "where": "passed", "weight": -1.0}
GROUP = 8
"""Runs of a task, where they are each other's baseline."""
POPULATION = 16
"""Candidates of the evolution."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to learn. about: its name in words; group: runs of a task; streams: the credit."""

    about: str
    group: int
    streams: tuple[dict[str, Any], ...]
    learner: dict[str, Any] = field(default_factory=lambda: {"kind": "gradient"})


def _both(**settings: Any) -> tuple[dict[str, Any], ...]:
    return settings, {**COST, **settings}


GAE = {"fold": "gae", "lam": 0.95}
ARMS = {
    "none": Arm("no baseline", 1, _both(estimator="none")),
    "batch": Arm("batch mean", 1, _both(estimator="mean", key=["batch"])),
    "critic": Arm("critic (GAE)", 1, ({**GAE, "estimator": "critic"}, {**COST, **GAE, "estimator": "none"})),
    "group": Arm("group mean", GROUP, _both(estimator="mean")),
    "leave_one_out": Arm("leave-one-out", GROUP, _both(estimator="leave_one_out")),
    "turn": Arm("(task, turn)", GROUP, _both(fold="to_go", estimator="leave_one_out", key=["task", "turn"])),
    "agent_turn": Arm(
        "(task, agent, turn)", GROUP, _both(fold="to_go", estimator="leave_one_out", key=["task", "agent", "turn"])
    ),
    "evolution": Arm("sep-CMA-ES", GROUP, _both(), {"kind": "evolution", "population": POPULATION, "sigma": 0.2}),
}
TRAINED = tuple(name for name in ARMS if name != "group")
"""Arms that are trained. The group's mean is left out: its gradient is leave-one-out's but for its length."""
GRADIENTS = tuple(name for name, arm in ARMS.items() if arm.learner["kind"] == "gradient")


def spec_of(name: str, *, seed: int, iterations: int, warm_up: int, episodes: int = EPISODES) -> TrainSpec:
    """The training of one arm. episodes: runs of one iteration."""
    arm = ARMS[name]
    evolves = arm.learner["kind"] == "evolution"
    given = {
        "team": Path("none"),
        "tasks": {"train": "none", "validation": 0.0},
        "output": Path("none"),
        "options": {"samples": [1], "context": ["task"], "max_steps": 4},
        "preference": KNOB,
        "iterations": iterations,
        "warm_up": warm_up,
        "tasks_per_iteration": episodes // (arm.learner.get("population", arm.group) if evolves else arm.group),
        "group": arm.group,
        "epochs": 3,
        "minibatches": 2,
        "learning_rate": 6e-3,
        "credit": {"streams": list(arm.streams)},
        "learner": arm.learner,
        "evaluate_every": iterations,
        "seed": seed,
    }
    return TrainSpec.model_validate(given)
