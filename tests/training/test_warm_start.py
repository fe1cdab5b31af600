"""A supervised start: everybody is asked, and the policy begins where that leads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from podium.orchestrator.learned import LearnedCoordinator
from podium.protocols.errors import ModelUnreachable, RunError
from podium.training.learn import train
from podium.training.rollouts import Rollouts, score
from podium.training.warm_start import soft_targets, warm_start
from tests.training.school import question, task, training
from tests.training.test_coordinator_trainer import same, trainer, weights

PASSES = {"runs": 2, "passes": 60, "learning_rate": 6e-3}


def worth(made: Any) -> tuple[float, float]:
    """Score and replies of a trainer's policy on tasks that it has not seen."""
    held_out = [task(number) for number in range(60, 90)]
    results = asyncio.run(Rollouts(made.team).run(LearnedCoordinator(made.frozen()), held_out, seeds=(0,)))
    return float(np.mean([score(each) for each in results])), float(np.mean([each.usage.calls for each in results]))


def test_a_policy_begins_with_whom_to_ask_and_when_to_stop(tmp_path: Path) -> None:
    made = trainer(tmp_path, tasks=60, warm_start=PASSES)
    metrics = asyncio.run(warm_start(made))
    right, calls = worth(made)
    assert right >= 0.9
    assert calls <= 1.3
    assert metrics["warm_start_runs"] == 2 * len(made.tasks)
    assert metrics["warm_start_loss_last"] < 0.5 * metrics["warm_start_loss_first"]
    assert made.iteration == 0
    assert same(made.frozen().weights, weights(made))


def test_it_is_the_same_each_time_and_nothing_where_it_is_not_asked_for(tmp_path: Path) -> None:
    made = [trainer(tmp_path, warm_start={"passes": 2}) for _ in range(2)]
    for each in made:
        asyncio.run(warm_start(each))
    assert same(weights(made[0]), weights(made[1]))
    fresh = trainer(tmp_path)
    assert asyncio.run(warm_start(fresh)) == {}
    assert same(weights(fresh), weights(trainer(tmp_path, seed=0)))


def test_soft_targets_weigh_what_is_believed_of_a_reply_against_what_it_costs() -> None:
    after, costs = np.array([[1.0, 0.5], [1.0, 0.9]]), np.array([[0.4, 0.0], [0.4, 0.0]])
    found = soft_targets(after, np.array([0.0, 0.8]), costs=costs, said=np.array([False, True]), temperature=0.1)
    # Nobody has spoken: 1 * (1 - 0.4) against 0.5; then 0.8 is there as it is.
    first = np.exp(np.array([0.6, 0.5]) / 0.1)
    assert found[0] == pytest.approx([*(first / first.sum()), 0.0])
    then = np.exp(np.array([0.6, 0.9, 0.8]) / 0.1)
    assert found[1] == pytest.approx(then / then.sum())


def test_a_training_begins_with_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    async def counted(made: Any) -> dict[str, float]:
        begun.append(made.iteration)
        return await warm_start(made)

    monkeypatch.setattr("podium.training.warm_start.warm_start", counted)
    file = training(tmp_path, iterations=2, warm_start={"passes": 2})
    train(file)
    file = training(tmp_path, iterations=3, warm_start={"passes": 2})
    trained = train(file, extend=True)
    assert begun == [0]
    assert trained.iterations == 3
    assert trained.metrics[0]["warm_start_runs"] > 0


def test_when_nobody_answers_it_says_so(tmp_path: Path) -> None:
    def say(agent: str, prompt: Any) -> str:
        raise ModelUnreachable("gone")

    with pytest.raises(RunError, match="gone"):
        asyncio.run(warm_start(trainer(tmp_path, say=say, warm_start={"passes": 2})))


def test_surveys_in_which_nobody_answered_teach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = question(1)[0]

    def say(agent: str, prompt: Any) -> str:
        if prompt.task == first:
            raise ModelUnreachable("gone")
        return "0"

    monkeypatch.setattr("podium.training.warm_start.RUNS_OF_A_BATCH", 1)
    made = trainer(tmp_path, tasks=4, say=say, warm_start={"runs": 1, "passes": 1})
    assert first in [each.text for each in made.tasks]
    found = asyncio.run(warm_start(made))
    assert np.isfinite([each for weight in weights(made).values() for each in weight.ravel()]).all()
    assert np.isfinite(list(found.values())).all()
