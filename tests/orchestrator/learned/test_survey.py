"""A survey that draws how to ask, too: all of an action space is tried, and told as a policy's decisions tell it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np

from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.survey import Survey
from podium.protocols.events import Result
from podium.protocols.record import Finish
from podium.training.coordinator_trainer import CoordinatorTrainer
from podium.training.replay import HEADS, replay
from podium.training.rollouts import Rollouts, score
from tests.training.test_coordinator_trainer import trainer

OPTIONS = Options(samples=(1, 3), context=("task", "last", "all"), max_steps=2)


def surveys(folder: Path, options: Options | None = OPTIONS) -> tuple[list[Result], CoordinatorTrainer]:
    made = trainer(folder, tasks=40, options=OPTIONS.model_dump())
    results = asyncio.run(Rollouts(made.team).run(Survey(options=options), made.tasks, seeds=(0, 1)))
    return list(results), made


def test_every_way_of_asking_is_drawn_alike(tmp_path: Path) -> None:
    results, _ = surveys(tmp_path)
    asked = [
        (decision.step, each)
        for result in results
        for decision in result.decisions
        if not isinstance(decision.action, Finish)
        for each in decision.action
    ]
    samples = Counter(each.compute.samples for _, each in asked)
    assert 0.35 < samples[3] / len(asked) < 0.65
    assert {each.visible.kind for step, each in asked if not step} == {"none"}  # there is nothing to show yet
    shown = Counter(each.visible.kind for step, each in asked if step)
    assert set(shown) == {"none", "last", "all"}
    assert min(shown.values()) > 0.2 * sum(shown.values())


def test_it_ends_where_a_policy_has_to(tmp_path: Path) -> None:
    results, made = surveys(tmp_path)
    assert {len(result.decisions) for result in results} == {OPTIONS.max_steps + 1}
    assert {len(result.decisions) for result in surveys(tmp_path, None)[0]} == {len(made.cards) + 1}


def test_what_was_drawn_is_read_off_the_record(tmp_path: Path) -> None:
    results, made = surveys(tmp_path)
    cards = made.cards
    batch = replay(results, [None] * len(results), cards, made.policy.card, lambda result, _: score(result))
    samples = batch.choices[:, 0, HEADS.index("samples")]
    row = 0
    for result in results:
        for decision in result.decisions:
            if not isinstance(decision.action, Finish):
                assert OPTIONS.samples[samples[row]] == decision.action[0].compute.samples
                assert cards[batch.picks[row, 0]].name == decision.action[0].agent
                assert np.isclose(batch.log_prob[row], sum(factor.log_prob for factor in decision.factors))
            else:
                assert samples[row] == -1
            row += 1
