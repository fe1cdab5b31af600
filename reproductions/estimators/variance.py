"""How noisy an estimator's gradient is at a fixed policy, and whether it points where the others do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from arms import ARMS, GRADIENTS, spec_of
from numpy.typing import NDArray
from pool import KNOB, task

from podium.orchestrator.engine import Settings
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.training.coordinator_trainer import CoordinatorTrainer
from podium.training.credit import Accountant
from podium.training.policy_loss import losses
from podium.training.replay import replay
from podium.training.train_file import LossSpec

FIRST = 50_000
"""Tasks of these batches have numbers from here: no other part of the study meets them."""


async def measured(
    trainer: CoordinatorTrainer, policy: Policy, *, batches: int, episodes: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """Figures of each estimator's gradient of the policy loss, over batches drawn with a fixed policy.

    noise: trace of the covariance of one batch's gradient, over the squared norm of its mean (less what the noise adds
    to that); None where the noise hides it. agreement: cosine of its mean over one half of the batches with
    leave-one-out's over the other half.
    """
    vectors: dict[str, list[NDArray[np.float64]]] = {name: [] for name in GRADIENTS}
    for number in range(batches):
        for group in sorted({ARMS[name].group for name in GRADIENTS}):
            results = await _batch(trainer, policy, episodes // group, group, seed_of(seed, number, group))
            alike = [name for name in GRADIENTS if ARMS[name].group == group]
            for name, vector in _gradients(trainer, policy, results, alike, episodes).items():
                vectors[name].append(vector)
    half = batches // 2
    ahead = np.mean(vectors["leave_one_out"][:half], axis=0)
    return {name: _figures(np.array(found), ahead, half) for name, found in vectors.items()}


def _figures(found: NDArray[np.float64], ahead: NDArray[np.float64], half: int) -> dict[str, float | None]:
    """found: (B, n) gradients; ahead: (n,) where leave-one-out points, by the first half of its batches."""
    mean, behind = found.mean(0), found[half:].mean(0)
    trace = float(found.var(0, ddof=1).sum())
    signal = float(mean @ mean) - trace / len(found)
    return {
        "trace": trace,
        "signal": signal,
        "noise": trace / signal if signal > 0 else None,
        "agreement": float(behind @ ahead / (np.linalg.norm(behind) * np.linalg.norm(ahead))),
    }


async def _batch(trainer: CoordinatorTrainer, policy: Policy, tasks: int, group: int, seed: int) -> list[Result]:
    chosen = np.random.default_rng(seed).integers(FIRST, 2 * FIRST, tasks)

    def settings(place: int, which: int) -> Settings:
        return Settings(seed_of(seed, place, which), seed_of(seed, place, which) & 0xFFFFFFFF, "sample", KNOB)

    work = [task(int(number)) for number in chosen]
    return await trainer.rollouts.run(LearnedCoordinator(policy), work, seeds=range(group), settings=settings)


def _gradients(
    trainer: CoordinatorTrainer, policy: Policy, results: Sequence[Result], arms: Sequence[str], episodes: int
) -> Mapping[str, NDArray[np.float64]]:
    """Each estimator's gradient of the policy loss on the same runs: name -> (n,)."""
    weights = {name: torch.tensor(weight, requires_grad=True) for name, weight in policy.weights.items()}
    runs = [trainer.credited(result, trainer.judged.of(result), KNOB, trainer.team.bus) for result in results]
    batch = replay(results, [KNOB] * len(results), trainer.cards, policy.card, trainer.judged.worth)
    size = len(batch)
    out: dict[str, NDArray[np.float64]] = {}
    for name in arms:
        spec = spec_of(name, seed=0, iterations=1, warm_up=0, episodes=episodes)
        advantages = np.concatenate(Accountant(spec.credit).advantages(runs))
        alone = LossSpec(beliefs=0.0, value=0.0)
        shares, nothing = np.full(size, 1 / size), np.zeros(size)
        loss = losses(weights, [batch], spec.options, alone, advantages, shares, nothing, entropy=0.0)
        parts: Any = torch.autograd.grad(loss.total, list(weights.values()), allow_unused=True)
        out[name] = np.concatenate([part.numpy().ravel() for part in parts if part is not None]).astype(np.float64)
    return out
