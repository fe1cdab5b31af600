"""Words that are left out while a policy learns."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from podium.orchestrator.learned import Policy
from podium.training import updates
from podium.training.replay import Replay
from podium.training.updates import some_words
from podium.training.warm_start import warm_start
from tests.orchestrator.learned.parts import loud, play, task
from tests.training.test_coordinator_trainer import same, steps, trainer, weights
from tests.training.test_replay import arrays

SURVEYS = {"runs": 1, "passes": 2}


@pytest.fixture(scope="module")
def batch() -> tuple[Policy, Replay]:
    policy = loud(volume=4.0)
    return policy, arrays(play(policy, [task(number) for number in range(8)]), policy)


def test_some_words_are_missing_and_the_others_weigh_as_much_more(batch: tuple[Policy, Replay]) -> None:
    _, whole = batch
    before = whole.texts.copy()
    each = [some_words(whole, 0.25, np.random.default_rng(seed)).texts for seed in range(400)]
    assert (whole.texts == before).all()
    words = before > 0
    assert np.mean([(text[words] == 0).mean() for text in each]) == pytest.approx(0.25, abs=0.01)
    assert all(np.allclose(text[text > 0], (before / 0.75)[text > 0]) for text in each)
    assert np.mean(each, 0) == pytest.approx(before, abs=0.1)
    assert each[0].dtype == np.float32


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_what_was_decided_is_as_likely_as_with_the_words_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    """Else the ratio of the policy's loss would begin far from 1, and be clipped. Whole texts are of one length."""
    made = trainer(tmp_path, iterations=4, warm_up=0, epochs=1, minibatches=1, word_dropout=dropout)
    read: list[Replay] = []
    losses = updates.losses

    def looked(of: Any, given: list[Replay], *rest: Any, **named: Any) -> Any:
        read.extend(given)
        found = losses(of, given, *rest, **named)
        assert found.ratio == pytest.approx(1.0, abs=1e-5)
        return found

    monkeypatch.setattr(updates, "losses", looked)
    steps(made, 2)
    norms = [np.linalg.norm(each.texts, axis=-1) for each in read]
    assert len(norms) == 2
    assert all((norm.std() > 0.05) == (dropout > 0) for norm in norms)


def test_it_is_the_same_each_time_and_another_training_than_without(tmp_path: Path) -> None:
    def trained(dropout: float) -> Any:
        made = trainer(tmp_path, word_dropout=dropout, warm_start=SURVEYS)
        asyncio.run(warm_start(made))
        surveyed = weights(made)
        steps(made, 2)
        return surveyed, weights(made)

    one, again, plain = trained(0.3), trained(0.3), trained(0.0)
    assert all(same(a, b) for a, b in zip(one, again, strict=True))
    assert not any(same(a, b) for a, b in zip(one, plain, strict=True))
