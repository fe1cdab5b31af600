"""A supervised start: what every agent says to every training task, before the policy tries anything.

Each training task is run a few times by a survey, which asks all agents in a random order. Two things are learned from
these runs: the beliefs, as from any others; and whom to ask, from soft targets: in each state of a survey an agent is
worth what is believed of the best answer once it was asked, less what asking it costs, and finishing what is believed
of the best answer as it is. So a policy begins by looking one step ahead, with beliefs that have seen everybody.

Source: soft success rates as targets of a coordinator's head, Sakana Fugu (arXiv 2606.21228), there of one choice
before anybody has spoken; states, prices and finishing are added here. What is believed is the target, not what a reply
scored: a policy that imitates choices made with the score in view stops too early (tried on recorded answers).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from podium.orchestrator.engine import Settings
from podium.orchestrator.learned.survey import Survey
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.training.policy_loss import imitation
from podium.training.replay import Replay, replay
from podium.training.rollouts import Rollouts
from podium.training.updates import one_thread

if TYPE_CHECKING:
    from podium.training.coordinator_trainer import CoordinatorTrainer

__all__ = ["soft_targets", "warm_start"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
RUNS_OF_A_BATCH = 64


async def warm_start(trainer: CoordinatorTrainer) -> dict[str, float]:
    """Teach a fresh policy from surveys, in place; what that came to, as metrics.

    Does nothing where the training has no `warm_start`. Raises what the runs raise when all of them fail.
    """
    given, spec = trainer.spec.warm_start, trainer.spec
    if given is None:
        return {}
    began = time.monotonic()
    tasks = trainer.tasks
    knobs = [[trainer.knob("survey", task.text, run) for run in range(given.runs)] for task in tasks]

    def settings(place: int, which: int) -> Settings:
        text = tasks[place].text
        replies = seed_of("replies", spec.seed, text, which % spec.reply_variants) & 0xFFFFFFFF
        return Settings(seed_of("survey", spec.seed, text, which), replies, "greedy", knobs[place][which])

    rollouts = Rollouts(trainer.team, concurrency=spec.concurrency, cap=trainer.rollouts.cap, scored="replies")
    results = await rollouts.run(Survey(), tasks, seeds=range(given.runs), settings=settings)
    sampled = time.monotonic()
    preferences = [knob for some in knobs for knob in some]
    whole = replay(results, preferences, trainer.cards, trainer.policy.card, trainer.judged.worth, trainer.judged.parts)
    with one_thread():
        losses = _taught(trainer, whole, _costs(trainer, results, preferences))
    for name, weight in trainer.weights.items():
        trainer.averaged[name].copy_(weight.detach())
    return {
        "warm_start_runs": float(len(results)),
        "warm_start_loss_first": losses[0],
        "warm_start_loss_last": losses[-1],
        "warm_start_seconds_running": sampled - began,
        "warm_start_seconds_learning": time.monotonic() - sampled,
    }


def _taught(trainer: CoordinatorTrainer, whole: Replay, costs: Floats) -> list[float]:
    """Pass over the surveys several times; the mean loss of each pass."""
    said = whole.seen > 0
    spec, given = trainer.spec, trainer.spec.warm_start
    assert given is not None
    weights = list(trainer.weights.values())
    optimiser = torch.optim.AdamW(
        [
            {"params": [each for each in weights if each.ndim > 1], "weight_decay": spec.weight_decay},
            {"params": [each for each in weights if each.ndim == 1], "weight_decay": 0.0},
        ],
        lr=given.learning_rate,
    )
    means: list[float] = []
    for number in range(given.passes):
        for group in optimiser.param_groups:
            group["lr"] = given.learning_rate * (1.0 - 0.9 * number / given.passes)
        order = np.random.default_rng(seed_of("warm start", spec.seed, number)).permutation(len(whole.task))
        losses: list[float] = []
        for runs in np.array_split(order, -(-len(order) // RUNS_OF_A_BATCH)):
            batch, rows = whole.part(runs)
            if not batch.events.any():
                continue  # runs that failed before their first reply
            targets = partial(soft_targets, costs=costs[rows], said=said[rows], temperature=given.temperature)
            optimiser.zero_grad()
            loss = imitation(trainer.weights, batch, spec.options, spec.loss, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, spec.gradient_norm)
            optimiser.step()
            losses.append(loss.item())
        means.append(float(np.mean(losses)))
    return means


def _costs(trainer: CoordinatorTrainer, results: Sequence[Result], preferences: Sequence[float]) -> Floats:
    """(M, N): what asking each agent costs in passed answers, at the knob of each decision's run; its mean reply's."""
    place = {card.name: number for number, card in enumerate(trainer.cards)}
    spent, replies = np.zeros(len(place)), np.zeros(len(place))
    for result in results:
        for node in result.nodes:
            if node.kind == "reply":
                spent[place[node.author]] += node.usage.dollars
                replies[place[node.author]] += 1
    knobs = np.repeat(preferences, [len(result.decisions) for result in results])
    return spent / np.maximum(replies, 1) / knobs[:, None]


def soft_targets(after: Floats, now: Floats, *, costs: Floats, said: Bools, temperature: float) -> Floats:
    """How likely each agent, and finishing, should be: (M, N + 1), rows sum to 1.

    after: (M, N), P(the best answer passes once the agent was asked); now: (M,), P(it passes as it is); costs: (M, N),
    in passed answers; said: (M,), whether there is an answer. A cost counts as far as the answer passes.
    """
    worth = np.concatenate((after * (1.0 - costs), np.where(said, now, -np.inf)[:, None]), -1)
    odds = np.exp((worth - worth.max(-1, keepdims=True)) / temperature)
    return odds / odds.sum(-1, keepdims=True)
