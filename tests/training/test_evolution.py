"""Evolution: it finds what it is rewarded for, changes nothing else, and goes on exactly where it was cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy
from podium.protocols.errors import InputError, PolicyError, TeamFileError
from podium.training.checkpoint import read_checkpoint, restore, save_checkpoint
from podium.training.evolution import Evolution
from podium.training.train_file import EvolutionSpec
from tests.training.school import spec_of
from tests.training.test_coordinator_trainer import same, steps, trainer, weights

SPEC = EvolutionSpec(kind="evolution", population=8)
LEARNER = {"kind": "evolution", "population": 6, "sigma": 0.3}


def distance(candidate: dict[str, np.ndarray]) -> float:
    return -sum(float(np.square(weight - 0.5).sum()) for weight in candidate.values())


def test_it_climbs() -> None:
    made = Evolution(SPEC, Policy.fresh(Options()).weights, seed=1)
    first = distance(made.mean)
    for _ in range(400):
        made.tell([distance(candidate) for candidate in made.ask()])
    assert set(made.mean) == {f"{head}.{part}" for head in ("pick", "finish", "choose") for part in "wb"} | {"trust"}
    assert distance(made.mean) > first / 20


def test_what_is_asked_for_twice_is_the_same() -> None:
    made, other = (Evolution(SPEC, Policy.fresh(Options()).weights, seed=seed) for seed in (1, 2))
    for one, two, strange in zip(made.ask(), made.ask(), other.ask(), strict=True):
        assert all((one[name] == two[name]).all() for name in one)
        assert any((one[name] != strange[name]).any() for name in one)
    before = made.ask()
    made.tell(range(8))
    assert any((before[0][name] != made.ask()[0][name]).any() for name in before[0])


def test_a_rebuilt_optimiser_goes_on_as_the_first_one_would() -> None:
    made = Evolution(SPEC, Policy.fresh(Options()).weights, seed=3)
    for _ in range(30):
        made.tell([distance(candidate) for candidate in made.ask()])
    again = Evolution(SPEC, Policy.fresh(Options(), seed=5).weights, seed=3)
    again.restore(made.start, np.array(made.worth))
    assert again.worth == made.worth
    for one, two in zip(made.ask(), again.ask(), strict=True):
        assert all((one[name] == two[name]).all() for name in one)
    with pytest.raises(ValueError, match="another population"):
        again.restore(made.start, np.array(made.worth)[:, :5])


def test_a_head_that_is_not_there_is_refused() -> None:
    spec = EvolutionSpec(kind="evolution", heads=("pick", "about"))
    with pytest.raises(InputError, match="nothing to choose for the head 'about'"):
        Evolution(spec, Policy.fresh(Options()).weights, seed=0)


def test_training_by_evolution_learns_who_knows_what(tmp_path: Path) -> None:
    made = trainer(
        tmp_path, tasks=60, iterations=40, warm_up=8, tasks_per_iteration=16, learning_rate=6e-3, seed=1, epochs=3,
        learner={"kind": "evolution", "population": 12, "sigma": 0.3},
    )  # fmt: skip
    before = asyncio.run(made.validate())
    metrics = steps(made, 40)
    after = asyncio.run(made.validate())
    assert "worth" not in metrics[7]
    assert metrics[-1]["worth_best"] >= metrics[-1]["worth"] > metrics[8]["worth"] + 0.1
    assert after["eval_score"] >= max(0.85, before["eval_score"] + 0.2)


def test_only_the_heads_evolve_and_only_the_beliefs_learn(tmp_path: Path) -> None:
    made = trainer(tmp_path, learner=LEARNER | {"heads": ["pick", "trust"]}, warm_up=1)
    fresh = weights(made)
    steps(made, 1)
    assert all((weights(made)[name] == fresh[name]).all() for name in ("pick.w", "trust", "finish.w", "choose.w"))
    warmed = weights(made)
    steps(made, 2)
    changed = {name for name, weight in weights(made).items() if (weight != warmed[name]).any()}
    assert {"pick.w", "pick.b", "trust", "success.w", "agent.w"} <= changed
    assert not {"finish.w", "choose.w", "options.w", "stop.w"} & changed


def test_candidates_differ_in_nothing_but_their_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins are worth the same: tasks, replies and noise are common."""
    made = trainer(tmp_path, learner=LEARNER, warm_up=0)
    assert made.evolution is not None
    mean = made.evolution.mean
    monkeypatch.setattr(made.evolution, "ask", lambda: [mean] * 6)
    steps(made, 1)
    assert len(set(made.evolution.worth[0])) == 1
    monkeypatch.undo()
    steps(made, 1)
    assert len(set(made.evolution.worth[1])) > 1


@pytest.mark.parametrize("done", [1, 3])
def test_a_resumed_evolution_is_the_uninterrupted_one(tmp_path: Path, done: int) -> None:
    """Cut off while only the beliefs learned, and later."""
    given: dict[str, Any] = {"learner": LEARNER, "tasks": 6, "warm_up": 2, "iterations": 5}
    straight = trainer(tmp_path, **given)
    steps(straight, 5)
    first = trainer(tmp_path, **given)
    steps(first, done)
    save_checkpoint(first, tmp_path / "out")
    found = read_checkpoint(tmp_path / "out")
    assert found is not None
    assert bool(found.evolution) == (done > 2)
    second = trainer(tmp_path, **given)
    restore(second, found)
    steps(second, 5 - done)
    assert straight.evolution is not None
    assert second.evolution is not None
    assert second.evolution.worth == straight.evolution.worth
    assert same(weights(second), weights(straight))
    with pytest.raises(PolicyError, match="other settings: learner"):
        restore(trainer(tmp_path, tasks=6, warm_up=2, iterations=5), found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learner": {"kind": "evolved"}}, "learner.kind: unknown kind.*evolution, gradient"),
        ({"learner": {"kind": "evolution", "heads": ["pic"]}}, 'learner.heads.0.*did you mean "pick"'),
        ({"learner": {"kind": "evolution", "heads": []}}, "learner.heads"),
        ({"learner": {"kind": "evolution", "population": 2}}, "population.*at least 4"),
        ({"learner": LEARNER, "credit": {"streams": [{"estimator": "critic"}]}}, "learner: .*credit.streams.0"),
        ({"learner": LEARNER, "credit": {"streams": [{}, {"scale": "std"}]}}, "credit.streams.1"),
        ({"learner": LEARNER, "credit": {"streams": [{"scale": "std"}]}}, "set scale: none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(TeamFileError, match=words):
        spec_of(tmp_path, **settings)
