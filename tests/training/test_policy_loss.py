"""The losses: gradients that are right, and that do not depend on how a batch is cut."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator, Policy
from podium.orchestrator.learned.options import Options
from podium.training.policy_loss import Losses, losses, unrolled
from podium.training.replay import Replay, replay
from podium.training.train_file import LossSpec
from tests.orchestrator.learned.parts import WIDE, loud, play, task
from tests.orchestrator.stage import Speaker, Stage
from tests.training.test_replay import arrays

SPEC = LossSpec(beliefs=0.0)


@pytest.fixture(scope="module")
def batch() -> tuple[Policy, Replay]:
    policy = loud(volume=4.0)
    return policy, arrays(play(policy, [task(number) for number in range(8)]), policy)


def parameters(policy: Policy, kind: Any = torch.float32) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(weight, dtype=kind, requires_grad=True) for name, weight in policy.weights.items()}


def gradient(weights: dict[str, torch.Tensor], total: torch.Tensor) -> dict[str, torch.Tensor]:
    found: Any = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros_like(weight) if part is None else part
        for (name, weight), part in zip(weights.items(), found, strict=True)
    }


def loss(weights: dict[str, torch.Tensor], whole: Replay, rows: Any = slice(None), **more: Any) -> Losses:
    random = np.random.default_rng(0)
    size = 200
    advantages, shares, returns = random.standard_normal(size), random.random(size) / 20, random.random(size)
    given: dict[str, Any] = {"spec": SPEC, "entropy": 0.03} | more
    spec = given.pop("spec")
    wanted = np.arange(len(whole)) if isinstance(rows, slice) else rows
    return losses(weights, whole, WIDE, spec, advantages[wanted], shares[wanted], returns[wanted], **given)


@pytest.mark.parametrize("pieces", [2, 3, 8])
def test_pieces_give_the_whole_gradient(batch: tuple[Policy, Replay], pieces: int) -> None:
    policy, whole = batch
    weights = parameters(policy)
    full = gradient(weights, loss(weights, whole).total)
    summed = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    order = np.random.default_rng(1).permutation(len(whole.task))
    for runs in np.array_split(order, pieces):
        part, rows = whole.part(runs)
        for name, found in gradient(weights, loss(weights, part, rows).total).items():
            summed[name] += found
    assert max(part.abs().max().item() for part in full.values()) > 1e-3
    for name, found in full.items():
        torch.testing.assert_close(summed[name], found, atol=1e-6, rtol=1e-4, msg=name)


def test_on_policy_the_ratio_is_one(batch: tuple[Policy, Replay]) -> None:
    policy, whole = batch
    found = loss(parameters(policy), whole)
    assert found.ratio == pytest.approx(1, abs=1e-5)
    assert found.clipped == 0
    assert found.entropy > 0


def test_the_gradient_is_the_slope(batch: tuple[Policy, Replay]) -> None:
    policy, whole = batch
    part, rows = whole.part(np.array([0, 3]))
    part = replace(
        part,
        **{
            f.name: getattr(part, f.name).astype(np.float64)
            for f in fields(part)
            if getattr(part, f.name).dtype == np.float32
        },
    )
    old = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        weights = parameters(policy, torch.float64)
        spec = LossSpec(clip_low=0.9, clip_high=9.0)
        total = loss(weights, part, rows, spec=spec).total
        slopes = gradient(weights, total)
        random = np.random.default_rng(2)
        # Weights that beliefs do not depend on: through those the policy is steered, not taught.
        for name in ("pick.w", "options.w", "choose.w", "stop.w", "pick.again.w", "value.w", "whole.w", "cost.w"):
            weight = weights[name]
            place = tuple(int(random.integers(size)) for size in weight.shape)
            step = 1e-4
            with torch.no_grad():
                weight[place] += step
                up = loss(weights, part, rows, spec=spec).total.item()
                weight[place] -= 2 * step
                down = loss(weights, part, rows, spec=spec).total.item()
                weight[place] += step
            assert (up - down) / (2 * step) == pytest.approx(slopes[name][place].item(), rel=1e-4, abs=1e-6), name
    finally:
        torch.set_default_dtype(old)


def test_a_good_decision_becomes_likelier(batch: tuple[Policy, Replay]) -> None:
    policy, whole = batch
    part, _ = whole.part(np.array([1]))
    size = len(part)
    for advantage in (1.0, -1.0):
        weights = parameters(policy)
        every = np.full(size, advantage), np.full(size, 1 / size), np.zeros(size)
        slopes = gradient(weights, losses(weights, part, WIDE, SPEC, *every, entropy=0).total)
        with torch.no_grad():
            for name, weight in weights.items():
                weight -= 1e-3 * slopes[name]
            after = losses(weights, part, WIDE, SPEC, *every, entropy=0)
        assert (after.ratio > 1) == (advantage > 0)


def test_beyond_the_clip_there_is_no_gradient(batch: tuple[Policy, Replay]) -> None:
    policy, whole = batch
    part, _ = whole.part(np.array([1]))
    size = len(part)
    unlikely = replace(part, log_prob=part.log_prob - 1)  # the ratio is e
    weights = parameters(policy)
    spec = LossSpec(beliefs=0, value=0)

    def slope(advantage: float) -> float:
        every = np.full(size, advantage), np.full(size, 1 / size), np.zeros(size)
        found = losses(weights, unlikely, WIDE, spec, *every, entropy=0)
        assert found.clipped == 1
        return max(part.abs().max().item() for part in gradient(weights, found.total).values())

    assert slope(1.0) == 0
    assert slope(-1.0) > 1e-3


def test_warming_up_trains_the_beliefs_alone(batch: tuple[Policy, Replay]) -> None:
    policy, whole = batch
    weights = parameters(policy)
    slopes = gradient(weights, loss(weights, whole, spec=LossSpec(), learn_policy=False).total)
    silent = {"pick.w", "finish.w", "choose.w", "options.w", "stop.w", "pick.again.w", "trust"}
    assert all(not slopes[name].any() for name in silent)
    assert all(slopes[name].any() for name in ("success.w", "cost.w", "passes.w", "value.w", "belief.in.w", "identity"))


def test_the_policy_does_not_bend_the_beliefs(batch: tuple[Policy, Replay]) -> None:
    policy, whole = batch
    weights = parameters(policy)
    slopes = gradient(weights, loss(weights, whole, spec=LossSpec(beliefs=0, value=0)).total)
    assert not slopes["success.w"].any()
    assert not slopes["passes.w"].any()
    assert slopes["trust"].any()
    assert slopes["pick.w"].any()


def test_unknown_agents_have_no_identity_to_learn(batch: tuple[Policy, Replay]) -> None:
    policy, whole = batch
    weights = parameters(policy)
    strangers = replace(whole, identity=np.array([0, 1, 0]))
    slopes = gradient(weights, loss(weights, strangers, spec=LossSpec()).total)["identity"]
    assert slopes[1].any()
    assert not slopes[[0, 2, 3]].any()


def test_what_asking_gained_is_read_off_the_next_decision() -> None:
    """Here ann is always right and bob never: after ann the best answer passes, after bob alone it does not."""
    policy = Policy.fresh(Options(context=("task",), max_steps=2), ("ann", "bob"), scale=1e-5)
    crew = Stage(
        *(Speaker(name, lambda envelope: f"it is {int(envelope.directive.agent == 'ann')}") for name in ("ann", "bob"))
    ).led_by(LearnedCoordinator(policy))
    tasks = [task(number) for number in range(24)]
    results = [
        asyncio.run(crew.run(each, Settings(seed=number, mode="sample"), id=f"r{number}"))
        for number, each in enumerate(tasks)
    ]
    cards = crew.bus.cards()
    whole = replay(results, [None] * len(results), cards, policy.card, lambda run, said: run.task.score(said).score)
    weights = parameters(policy)
    optimiser = torch.optim.Adam(weights.values(), lr=0.01)
    zeros = np.zeros(len(whole))
    for _ in range(120):
        optimiser.zero_grad()
        spec = LossSpec(value=0)
        options = policy.card.options
        found = losses(weights, whole, options, spec, zeros, zeros, zeros, entropy=0, learn_policy=False)
        found.total.backward()
        optimiser.step()
    with torch.no_grad():
        out = unrolled(weights, whole)
    first = torch.from_numpy(whole.seen == 0)
    after = torch.sigmoid(out.gain[first])
    assert after[:, 0].min() > 0.9
    assert after[:, 1].max() < 0.1
    assert (out.now[first] == 0).all()
    second = torch.from_numpy((whole.seen == 1) & (whole.authors[:, 0] == 0))
    assert second.any()
    assert out.now[second].min() > 0.9
    assert torch.sigmoid(out.gain[second, 1]).min() > 0.8  # what is right stays right


def test_the_critic_s_steps_may_be_clipped(batch: tuple[Policy, Replay]) -> None:
    """The larger of two errors, so that a value that moved too far has no gradient towards its target."""
    policy, whole = batch
    weights = parameters(policy)
    said = unrolled(weights, whole).value.detach().numpy()
    count = len(whole)
    shares, advantages = np.full(count, 1 / count), np.zeros(count)

    def of(clip: float | None, before: np.ndarray, target: np.ndarray) -> tuple[float, float]:
        spec = LossSpec(beliefs=0.0, value=1.0, value_clip=clip)
        found = losses(weights, whole, WIDE, spec, advantages, shares, target, entropy=0.0, values=before)
        (slope,) = torch.autograd.grad(found.total, [weights["value.b"]])
        return found.value, slope.abs().item()

    plain = of(None, said - 0.5, said + 1)
    assert plain == pytest.approx((1.0, 2.0), rel=1e-4)
    far = of(0.2, said - 0.5, said + 1)  # it moved by 0.5 towards the target, and 0.2 may count
    assert far == pytest.approx((1.3**2, 0.0), rel=1e-4, abs=1e-4)
    assert of(0.2, said - 0.1, said + 1) == pytest.approx(plain, rel=1e-4)
    away = of(0.2, said + 0.5, said + 1)  # moving back is always worth it
    assert away == pytest.approx(plain, rel=1e-4)
