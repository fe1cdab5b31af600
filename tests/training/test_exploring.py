"""One decision of a run is drawn, all others are the likeliest, and only the drawn one is learned from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator
from podium.training import coordinator_trainer
from podium.training.exploring import OneDrawn
from podium.training.rollouts import Rollouts
from podium.training.updates import Experience
from tests.training.test_coordinator_trainer import steps, trainer

LIKELY_TO_GO_ON = {"finish.b": -2.0}


def test_one_decision_of_a_run_is_drawn_and_the_others_are_as_in_greedy_runs(tmp_path: Path) -> None:
    made = trainer(tmp_path, tasks=40)
    policy = made.frozen()
    for name, value in LIKELY_TO_GO_ON.items():
        policy.weights[name] = policy.weights[name] + np.float32(value)
    limit = policy.card.options.max_steps
    one = OneDrawn(LearnedCoordinator(policy), limit)

    def settings(place: int, which: int) -> Settings:
        return Settings(seed=place, reply_seed=0, mode="sample")

    drawn = asyncio.run(Rollouts(made.team).run(one, made.tasks, seeds=(0,), settings=settings))
    greedy = asyncio.run(
        Rollouts(made.team).run(
            LearnedCoordinator(policy), made.tasks, seeds=(0,), settings=lambda place, _: Settings(place, 0, "greedy")
        )
    )
    at: set[int] = set()
    for run, plain in zip(drawn, greedy, strict=True):
        modes = [decision.mode for decision in run.decisions]
        assert modes.count("sample") <= 1
        until = modes.index("sample") if "sample" in modes else len(modes)
        at |= {until} & set(range(len(modes)))
        assert [each.factors for each in run.decisions[:until]] == [each.factors for each in plain.decisions[:until]]
    assert at == set(range(limit))


def test_only_what_was_drawn_is_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Experience, list[bool]]] = []
    made = trainer(tmp_path, iterations=3, warm_up=0, drawn="one")
    learn, update = made._learn, coordinator_trainer.update  # pyright: ignore[reportPrivateUsage]
    drawn: list[bool] = []

    def learned(results: Any, *more: Any) -> Any:
        drawn[:] = [decision.mode == "sample" for result in results for decision in result.decisions]
        return learn(results, *more)

    def updated(weights: Any, optimiser: Any, spec: Any, iteration: int, experience: Experience, **named: Any) -> Any:
        given.append((experience, list(drawn)))
        return update(weights, optimiser, spec, iteration, experience, **named)

    monkeypatch.setattr(made, "_learn", learned)
    monkeypatch.setattr(coordinator_trainer, "update", updated)
    steps(made, 2)
    for experience, mask in given:
        assert 0 < sum(mask) < len(mask)
        assert np.flatnonzero(experience.advantages).size > 0
        assert not experience.advantages[~np.array(mask)].any()
        assert experience.shares.all()
