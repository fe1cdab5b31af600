"""The gradient's part of one iteration: Adam on its decisions, cut by runs into minibatches, several times over.

A policy that reads tasks in six wordings learns these by heart, and fails at a seventh. So some words of every text may
be left out while it learns (`word_dropout`), others in every iteration: no single one can be relied on. Source: word
dropout, Iyyer et al. 2015 (ACL), section 5, there of whole words of averaged embeddings, here of hashed places.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from podium.protocols.errors import RunError
from podium.protocols.noise import seed_of
from podium.training.diagnostics import gradient_norms
from podium.training.policy_loss import Losses, decided, losses, unrolled
from podium.training.replay import Replay, Replays
from podium.training.train_file import TrainSpec


@dataclass(frozen=True, slots=True)
class Experience:
    """What an iteration's runs teach. Arrays are (M,), one number for each decision of all runs, in their order.

    advantages: of what was decided. returns: what the critic should have said; values: what it said. shares: how much
    the decision weighs beside the others.
    """

    runs: Replays
    advantages: NDArray[np.float64]
    returns: NDArray[np.float64]
    values: NDArray[np.float64]
    shares: NDArray[np.float64]


def update(
    weights: dict[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    spec: TrainSpec,
    iteration: int,
    given: Experience,
    *,
    learn_policy: bool,
) -> dict[str, float]:
    """Change the weights in place; what the losses and the gradients of the updates were in the mean, as metrics.

    learn_policy: False trains the beliefs and the critic alone. Raises RunError when a gradient is not finite.
    """
    reports, norms = list[Losses](), list[dict[str, float]]()
    left = 1.0 - iteration / spec.iterations
    for group in optimiser.param_groups:
        group["lr"] = spec.learning_rate * (0.1 + 0.9 * left)
    with one_thread():
        given = _without_some_words(weights, spec, iteration, given)
        for epoch in range(spec.epochs):
            random = np.random.default_rng(seed_of("minibatches", spec.seed, iteration, epoch))
            for runs in np.array_split(random.permutation(given.runs.size), min(spec.minibatches, given.runs.size)):
                batch, rows = given.runs.part(runs)
                if not len(rows):
                    continue  # runs that failed before their first decision
                optimiser.zero_grad()
                loss = losses(
                    weights,
                    batch,
                    spec.options,
                    spec.loss,
                    given.advantages[rows],
                    given.shares[rows] / given.shares[rows].sum(),
                    given.returns[rows],
                    entropy=spec.loss.entropy * left,
                    learn_policy=learn_policy,
                    values=given.values[rows],
                )
                loss.total.backward()
                leave_alone(weights)
                norms.append(gradient_norms(weights))
                norm = torch.nn.utils.clip_grad_norm_(list(weights.values()), spec.gradient_norm)
                if not torch.isfinite(norm):
                    raise RunError(
                        f"iteration {iteration}: the gradient is not finite; lower learning_rate and start anew "
                        "with --fresh"
                    )
                optimiser.step()
                reports.append(loss)
    return {
        "policy_loss": float(np.mean([report.policy for report in reports])),
        "belief_loss": float(np.mean([report.beliefs for report in reports])),
        "value_loss": float(np.mean([report.value for report in reports])),
        "entropy": float(np.mean([report.entropy for report in reports])),
        "clipped": float(np.mean([report.clipped for report in reports])),
        **{
            name: float(np.mean([norm.get(name, 0.0) for norm in norms]))
            for name in dict.fromkeys(name for norm in norms for name in norm)
        },
    }


def _without_some_words(
    weights: dict[str, torch.Tensor], spec: TrainSpec, iteration: int, given: Experience
) -> Experience:
    """The same runs, in whose texts words are missing; how likely their decisions were, read like that."""
    if not spec.word_dropout:
        return given
    random = np.random.default_rng(seed_of("word dropout", spec.seed, iteration))
    read: list[Replay] = []
    for replay in given.runs.replays:
        without = some_words(replay, spec.word_dropout, random)
        with torch.no_grad():
            log_prob, _ = decided(weights, unrolled(weights, without), without, spec.options)
        read.append(replace(without, log_prob=log_prob.numpy()))
    return replace(given, runs=replace(given.runs, replays=tuple(read)))


def some_words(replay: Replay, dropout: float, random: np.random.Generator) -> Replay:
    """A replay in whose texts each word and each trigram is missing with probability `dropout`; the others weigh more
    by as much, so that the mean stays (inverted dropout).
    """
    kept = random.random(replay.texts.shape, np.float32) >= dropout
    return replace(replay, texts=replay.texts * kept / np.float32(1.0 - dropout))


def leave_alone(weights: dict[str, torch.Tensor]) -> None:
    """Take the gradient from weights that no loss reached: where they are used beside others it is 0, and they would
    decay.
    """
    for weight in weights.values():
        if weight.grad is not None and not weight.grad.any():
            weight.grad = None


@contextmanager
def one_thread() -> Generator[None]:
    """Torch on one thread: these matrices are small, and threads that wait for each other cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
