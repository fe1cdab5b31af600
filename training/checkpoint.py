"""Checkpoints: weights, optimiser, averages and the iteration's number, written whole or not at all.

Nothing is pickled: tensors are safetensors, the rest is JSON. Since a training's random numbers are hashed from its
seed and iteration, this is all that a resumed training needs to go on exactly as an uninterrupted one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from podium.protocols.errors import PolicyError
from podium.training.coordinator_trainer import CoordinatorTrainer

FORMAT = 1
FOLDER = "checkpoint"


def save_checkpoint(trainer: CoordinatorTrainer, output: Path) -> None:
    """Write a checkpoint beside the last one, then put it in its place."""
    part, here, old = (output / f"{FOLDER}{end}" for end in (".part", "", ".old"))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    names = list(trainer.weights)
    save_file({name: weight.detach() for name, weight in trainer.weights.items()}, part / "weights.safetensors")
    moments: dict[str, torch.Tensor] = {}
    for name, weight in trainer.weights.items():
        for key, value in trainer.optimiser.state.get(weight, {}).items():
            moments[f"{name}|{key}"] = value if isinstance(value, torch.Tensor) else torch.tensor(float(value))
    save_file(moments, part / "optimiser.safetensors")
    state = {
        "format": FORMAT,
        "iteration": trainer.iteration,
        "best": list(trainer.best),
        "averages": trainer.accountant.averages,
        "weights": names,
        "settings": _settings(trainer),
    }
    (part / "state.json").write_text(json.dumps(state, indent=2) + "\n")
    shutil.rmtree(old, ignore_errors=True)
    if here.exists():
        here.rename(old)
    part.rename(here)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(trainer: CoordinatorTrainer, output: Path) -> bool:
    """Continue from a checkpoint, if there is one; returns whether there was.

    Raises PolicyError when it is damaged, or comes from a training with other settings.
    """
    here = output / FOLDER if (output / FOLDER).exists() else output / f"{FOLDER}.old"
    if not here.exists():
        return False
    try:
        state = json.loads((here / "state.json").read_text())
        weights, moments = load_file(here / "weights.safetensors"), load_file(here / "optimiser.safetensors")
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise PolicyError(f"{here}: the checkpoint cannot be read ({error}); start anew with --fresh") from None
    if state.get("format") != FORMAT:
        raise PolicyError(f"{here}: checkpoint format {state.get('format')}, this version reads {FORMAT}; use --fresh")
    mine = _settings(trainer)
    changed = sorted(key for key in mine.keys() | state["settings"].keys() if mine.get(key) != state["settings"].get(key))
    if changed:
        raise PolicyError(
            f"{here}: the checkpoint was made with another {', '.join(changed)}; put that back, choose another output, "
            "or start anew with --fresh"
        )
    with torch.no_grad():
        for name, weight in trainer.weights.items():
            weight.copy_(weights[name])
    for name, weight in trainer.weights.items():
        found = {key.split("|", 1)[1]: value for key, value in moments.items() if key.split("|", 1)[0] == name}
        if found:
            trainer.optimiser.state[weight] = found
    trainer.iteration = int(state["iteration"])
    trainer.best = (float(state["best"][0]), int(state["best"][1]))
    trainer.accountant.averages = dict(state["averages"])
    return True


def _settings(trainer: CoordinatorTrainer) -> dict[str, object]:
    """Whatever a resumed training must share with the one that it continues."""
    free = {"team", "output", "cache", "dollars", "concurrency", "source"}
    return {
        **json.loads(trainer.spec.model_dump_json(exclude=free)),
        "agents": [card.name for card in trainer.cards],
        "task count": len(trainer.tasks),
    }
