"""Checkpoints: weights and their average, optimiser, running means and the iteration's number, whole or not at all.

Nothing is pickled: tensors are safetensors, the rest is JSON. Since a training's random numbers are hashed from its
seed and iteration, this is all that a resumed training needs to go on exactly as an uninterrupted one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from podium.protocols.errors import PolicyError
from podium.training.coordinator_trainer import CoordinatorTrainer
from podium.training.train_file import TrainSpec

FORMAT = 6
FOLDER = "checkpoint"
PART, OLD = f"{FOLDER}.part", f"{FOLDER}.old"
WEIGHTS, AVERAGED, MOMENTS = "weights.safetensors", "averaged.safetensors", "optimiser.safetensors"
EVOLUTION = "evolution.safetensors"
STATE = "state.json"
OF_TEAM = ("agents", "task count")
"""Settings of a checkpoint that stand in no training file."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as it was read. scale: dollars of a typical reply; spent: dollars at paid endpoints up to here."""

    folder: Path
    scale: float
    spent: float
    iteration: int
    validated: int
    best: list[float]
    averages: dict[str, float]
    settings: Mapping[str, object]
    weights: Mapping[str, Tensor]
    averaged: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    evolution: Mapping[str, Tensor]


def save_checkpoint(trainer: CoordinatorTrainer, output: Path, *, spent: float = 0.0) -> None:
    """Write a checkpoint beside the last one, then put it in its place. There is a whole one at every moment."""
    part, here, old = output / PART, output / FOLDER, output / OLD
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    safetensors.save_file({name: weight.detach() for name, weight in trainer.weights.items()}, part / WEIGHTS)
    safetensors.save_file(trainer.averaged, part / AVERAGED)
    moments: dict[str, Tensor] = {}
    for name, weight in trainer.weights.items():
        state = cast("dict[str, Tensor | float]", trainer.optimiser.state.get(weight, {}))
        for key, value in state.items():
            moments[f"{name}|{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    safetensors.save_file(moments, part / MOMENTS)
    evolved: dict[str, Tensor] = {}
    if trainer.evolution is not None and trainer.evolution.worth:
        evolved["start"] = torch.tensor(trainer.evolution.start)
        evolved["worth"] = torch.tensor(trainer.evolution.worth, dtype=torch.float64)
    safetensors.save_file(evolved, part / EVOLUTION)
    state = {
        "format": FORMAT,
        "scale": trainer.scale,
        "spent": spent,
        "iteration": trainer.iteration,
        "validated": trainer.validated,
        "best": trainer.best,
        "averages": trainer.accountant.averages,
        "settings": _settings(trainer),
    }
    (part / STATE).write_text(json.dumps(state, indent=2) + "\n")
    if here.exists():
        shutil.rmtree(old, ignore_errors=True)
        here.rename(old)
    part.rename(here)
    shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(output: Path) -> Checkpoint | None:
    """The last checkpoint of an output folder; None where there is none. Raises PolicyError when it is damaged."""
    here = output / FOLDER if (output / FOLDER).exists() else output / OLD
    if not here.exists():
        return None
    try:
        state: dict[str, Any] = json.loads((here / STATE).read_text())
        if state["format"] != FORMAT:
            raise PolicyError(
                f"{here}: checkpoint format {state['format']}, this version reads {FORMAT}; start anew with --fresh"
            )
        return Checkpoint(
            here,
            float(state["scale"]),
            float(state["spent"]),
            int(state["iteration"]),
            int(state["validated"]),
            [float(gain) for gain in state["best"]],
            dict(state["averages"]),
            dict(state["settings"]),
            safetensors.load_file(here / WEIGHTS),
            safetensors.load_file(here / AVERAGED),
            safetensors.load_file(here / MOMENTS),
            safetensors.load_file(here / EVOLUTION),
        )
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise PolicyError(f"{here}: the checkpoint cannot be read ({error}); start anew with --fresh") from None


def forget_checkpoint(output: Path) -> None:
    """Throw away whatever checkpoints an output folder holds."""
    for name in (FOLDER, OLD, PART):
        shutil.rmtree(output / name, ignore_errors=True)


def restore(trainer: CoordinatorTrainer, checkpoint: Checkpoint) -> None:
    """Go on from a checkpoint. Raises PolicyError when it comes from a training with other settings."""
    mine, here = _settings(trainer), checkpoint.folder
    changed = sorted(
        key for key in mine.keys() | checkpoint.settings.keys() if mine.get(key) != checkpoint.settings.get(key)
    )
    if changed:
        old = checkpoint.settings
        told = [f"{key} ({old[key]})" if isinstance(old.get(key), int | float | str) else key for key in changed]
        raise PolicyError(
            f"{here}: the checkpoint was made with other settings: {', '.join(told)}; put them back, choose another "
            "output, or start anew with --fresh"
        )
    shapes = {name: weight.shape for name, weight in trainer.weights.items()}
    both = (checkpoint.weights, checkpoint.averaged)
    if any(shapes != {name: weight.shape for name, weight in kept.items()} for kept in both):
        raise PolicyError(f"{here}: the checkpoint is of another architecture; start anew with --fresh")
    with torch.no_grad():
        for name, weight in trainer.weights.items():
            weight.copy_(checkpoint.weights[name])
            trainer.averaged[name].copy_(checkpoint.averaged[name])
    for name, weight in trainer.weights.items():
        found = {key.split("|", 1)[1]: value for key, value in checkpoint.moments.items() if key.startswith(f"{name}|")}
        if found:
            trainer.optimiser.state[weight] = found
    if trainer.evolution is not None and checkpoint.evolution:
        trainer.evolution.restore(checkpoint.evolution["start"].numpy(), checkpoint.evolution["worth"].numpy())
    trainer.iteration, trainer.validated = checkpoint.iteration, checkpoint.validated
    trainer.best = list(checkpoint.best)
    trainer.accountant.averages = dict(checkpoint.averages)


def settings_of(spec: TrainSpec) -> dict[str, object]:
    """Whatever a training file must share with the one of a training that it continues."""
    free = {"team", "output", "cache", "dollars", "concurrency", "source"}
    return json.loads(spec.model_dump_json(exclude=free))


def _settings(trainer: CoordinatorTrainer) -> dict[str, object]:
    """The same, and what it was made with besides."""
    agents, count = OF_TEAM
    return settings_of(trainer.spec) | {agents: [card.name for card in trainer.cards], count: len(trainer.tasks)}
