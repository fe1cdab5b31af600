"""Training improves the policy, by the same steps whenever and wherever it is done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from podium.orchestrator.coordinators import Random
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.team import Team
from podium.protocols.errors import ModelError, PolicyError, RunError, TaskError
from podium.protocols.task import Message, Task
from podium.training.checkpoint import forget_checkpoint, read_checkpoint, restore, save_checkpoint
from podium.training.coordinator_trainer import CoordinatorTrainer
from podium.training.rewards import CHANNELS
from podium.training.rollouts import Rollouts, score
from tests.training.school import models, question, spec_of, task


def trainer(folder: Path, *, tasks: int = 24, say: Any = None, **settings: Any) -> CoordinatorTrainer:
    spec = spec_of(folder, **settings)
    team = Team(Team.load(spec.team).spec, {f"past.{name}": model for name, model in models(say=say).items()})
    return CoordinatorTrainer(spec, team.orchestrator, [task(number) for number in range(tasks)], scale=4e-5)


def steps(made: CoordinatorTrainer, count: int) -> list[dict[str, float]]:
    async def work() -> list[dict[str, float]]:
        return [await made.step() for _ in range(count)]

    return asyncio.run(work())


def weights(made: CoordinatorTrainer) -> dict[str, np.ndarray]:
    averaged = {f"averaged {name}": weight for name, weight in made.averaged.items()}
    return {name: weight.detach().numpy().copy() for name, weight in {**made.weights, **averaged}.items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all((one[name] == other[name]).all() for name in one)


def test_it_learns_who_knows_what(tmp_path: Path) -> None:
    made = trainer(
        tmp_path, tasks=60, iterations=24, warm_up=2, tasks_per_iteration=16, learning_rate=6e-3, seed=1, epochs=3
    )
    before = asyncio.run(made.validate())
    metrics = steps(made, 24)
    after = asyncio.run(made.validate())
    held_out = [task(number) for number in range(60, 90)]

    async def scored(coordinator: Any) -> float:
        results = await Rollouts(made.team).run(coordinator, held_out, seeds=(0, 1))
        return float(np.mean([score(result) for result in results]))

    learned = asyncio.run(scored(LearnedCoordinator(made.frozen())))
    assert learned >= 0.9
    assert learned >= asyncio.run(scored(Random(samples=(1,)))) + 0.25
    assert after["eval_score"] >= before["eval_score"] + 0.2
    assert metrics[-1]["score"] > metrics[0]["score"] + 0.2
    assert metrics[-1]["tokens"] < metrics[0]["tokens"]  # it stops when it may
    assert metrics[0]["policy_loss"] == pytest.approx(0, abs=1e-6) or metrics[0]["mixed_groups"] > 0


PPO = {
    "streams": [
        {"fold": "gae", "lam": 0.9, "estimator": "critic"},
        {"channel": "cost", "where": "passed", "fold": "gae", "lam": 0.9, "estimator": "none", "weight": -1.0},
    ]
}


def test_a_critic_teaches_it_too(tmp_path: Path) -> None:
    """Proximal policy optimisation: one run of each task, and the value head in place of other runs."""
    made = trainer(
        tmp_path,
        tasks=60,
        iterations=18,
        warm_up=3,
        tasks_per_iteration=64,
        group=1,
        learning_rate=6e-3,
        seed=1,
        epochs=3,
        credit=PPO,
        loss={"value_clip": 0.2},
    )
    before = asyncio.run(made.validate())
    metrics = steps(made, 18)
    after = asyncio.run(made.validate())
    assert after["eval_score"] >= max(0.85, before["eval_score"] + 0.2)
    assert metrics[-1]["value_loss"] < 0.5 * metrics[0]["value_loss"]
    assert made.runs == 18 * 64


def test_only_the_channels_that_are_credited_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name, channel in CHANNELS.items():

        def noted(run: Any, name: str = name, channel: Any = channel) -> Any:
            asked.append(name)
            return channel(run)

        monkeypatch.setitem(CHANNELS, name, noted)  # type: ignore[arg-type]
    credit = {"streams": [{}, {"channel": "talk", "weight": -0.001}, {"channel": "milestone_best"}]}
    steps(trainer(tmp_path, credit=credit), 1)
    assert set(asked) == {"outcome", "talk", "milestone_best"}


@pytest.mark.parametrize(("averaging", "stays"), [(0.0, (0, 0, 0)), (0.95, (0, 1 / 6, 2 / 7)), (0.2, (0, 1 / 6, 0.2))])
def test_what_is_kept_is_the_moving_average(tmp_path: Path, averaging: float, stays: tuple[float, ...]) -> None:
    made = trainer(tmp_path, averaging=averaging)
    kept = made.frozen().weights
    for share in stays:
        steps(made, 1)
        kept = {name: share * kept[name] + (1 - share) * made.weights[name].detach().numpy() for name in kept}
        found = made.frozen().weights
        assert all(np.allclose(found[name], kept[name], atol=1e-6) for name in kept)
    assert same(made.frozen().weights, weights(made)) == (averaging == 0)


@pytest.mark.parametrize(
    ("before", "worthy"), [([], True), ([-9.0] * 6, True), ([9.0] * 6, False), ([9.0] + [-1.0] * 5, True)]
)
def test_the_latest_that_is_as_good_as_the_best_is_kept(tmp_path: Path, before: list[float], worthy: bool) -> None:
    made = trainer(tmp_path, tasks=40)
    assert len(made.validation) == 6
    made.best = before
    asyncio.run(made.validate())
    assert made.worthy == worthy
    assert (made.best == before) == bool(before and np.mean(before) > 0)


def test_the_same_seed_trains_the_same_policy(tmp_path: Path) -> None:
    found: list[dict[str, np.ndarray]] = []
    for seed, concurrency in ((0, 512), (0, 512), (0, 2), (1, 512)):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        made = trainer(folder, seed=seed, concurrency=concurrency)
        steps(made, 2)
        found.append(weights(made))
    assert same(found[0], found[1])
    for name, weight in found[2].items():  # batches of another size are rounded otherwise
        np.testing.assert_allclose(weight, found[0][name], atol=1e-3)
    assert not same(found[0], found[3])


@pytest.mark.parametrize(("iterations", "expected"), [(1, [0.0]), (3, [0.0, 0.5, 1.0])])
def test_a_ramp_is_at_its_end_in_the_last_iteration(iterations: int, expected: list[float], tmp_path: Path) -> None:
    made = trainer(tmp_path, iterations=iterations, tasks_per_iteration=2, warm_up=0)
    advantages, told = made.accountant.advantages, list[float]()

    def noted(runs: Any, progress: float = 0.0) -> Any:
        told.append(progress)
        return advantages(runs, progress)

    made.accountant.advantages = noted
    steps(made, iterations)
    assert told == expected


@pytest.mark.parametrize("estimator", ["leave_one_out", "ema"])
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path: Path, estimator: str) -> None:
    credit = {"streams": [{"estimator": estimator, "key": ["task", "turn"]}, {"channel": "cost", "where": "passed"}]}
    straight = trainer(tmp_path, credit=credit, tasks=6)
    steps(straight, 4)
    first = trainer(tmp_path, credit=credit, tasks=6)
    steps(first, 2)
    save_checkpoint(first, tmp_path / "out", spent=0.5)
    found = read_checkpoint(tmp_path / "out")
    assert found is not None
    assert (found.iteration, found.spent, found.scale) == (2, 0.5, 4e-5)
    second = trainer(tmp_path, credit=credit, tasks=6)
    restore(second, found)
    steps(second, 2)
    assert second.iteration == 4
    assert second.accountant.averages == straight.accountant.averages
    assert bool(second.accountant.averages) == (estimator == "ema")
    assert same(weights(second), weights(straight))
    assert not same(weights(first), weights(straight))


def test_a_kill_at_any_moment_leaves_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(tmp_path)
    out = tmp_path / "out"
    steps(made, 1)
    save_checkpoint(made, out)
    rename = Path.rename
    for killed_at in (1, 2):
        steps(made, 1)
        seen = 0

        def killed(self: Path, target: Any, limit: int = killed_at) -> Path:
            nonlocal seen
            seen += 1
            if seen == limit:
                raise SystemExit
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", killed)
        with pytest.raises(SystemExit):
            save_checkpoint(made, out)
        found = read_checkpoint(out)
        assert found is not None
        assert found.iteration == 1
        seen = -9

        def killed_at_once(self: Path, target: Any) -> Path:
            raise SystemExit

        monkeypatch.setattr(Path, "rename", killed_at_once)
        with pytest.raises(SystemExit):  # once more, while only the old one is there
            save_checkpoint(made, out)
        again = read_checkpoint(out)
        assert again is not None
        assert again.iteration == 1
        monkeypatch.undo()
    save_checkpoint(made, out)
    last = read_checkpoint(out)
    assert last is not None
    assert last.iteration == 3
    assert [path.name for path in out.glob("checkpoint*")] == ["checkpoint"]
    forget_checkpoint(out)
    assert read_checkpoint(out) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 0.5}, "other settings: learning_rate"),
        ({"group": 2, "seed": 3}, "other settings: group .*seed"),
        ({"options": {"samples": [1, 3], "context": ["task"], "max_steps": 2}}, "other settings: options"),
        ({"concurrency": 3, "dollars": 9.0}, ""),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    made = trainer(tmp_path)
    save_checkpoint(made, tmp_path / "out")
    found = read_checkpoint(tmp_path / "out")
    assert found is not None
    other = trainer(tmp_path, **settings)
    if not words:
        restore(other, found)
        return
    with pytest.raises(PolicyError, match=words + ".*--fresh"):
        restore(other, found)
    with pytest.raises(PolicyError, match="other settings: task count"):
        restore(trainer(tmp_path, tasks=9), found)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("state.json", b"{"),
        ("state.json", b"[]"),
        ("state.json", b"{}"),
        ("state.json", b'{"format": 4}'),
        ("state.json", b'{"format": 77}'),
        ("weights.safetensors", b"half"),
        ("averaged.safetensors", b"half"),
        ("optimiser.safetensors", b""),
        ("evolution.safetensors", b""),
        ("weights.safetensors", None),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path: Path, file: str, content: bytes | None) -> None:
    save_checkpoint(trainer(tmp_path), tmp_path / "out")
    path = tmp_path / "out" / "checkpoint" / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(PolicyError, match="--fresh"):
        read_checkpoint(tmp_path / "out")


def test_a_gradient_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    steps(made, 1)
    good = weights(made)
    made.validated = 1

    def broken(*_: Any, **__: Any) -> torch.Tensor:
        return torch.tensor(float("nan"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
        with pytest.raises(RunError, match="iteration 1: the gradient is not finite"):
            steps(made, 1)
    assert made.iteration == 1
    assert not made.whole  # so nobody keeps it
    assert same(weights(made), good)


def test_a_task_that_comes_twice_is_worked_on_differently(tmp_path: Path) -> None:
    made = trainer(tmp_path, tasks=2, tasks_per_iteration=6)
    seen: list[int] = []
    run = made.team.__class__.run

    async def spy(self: Any, work: Task, chosen: Any, **more: Any) -> Any:
        seen.append(chosen.seed)
        return await run(self, work, chosen, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.team.__class__, "run", spy)
        steps(made, 1)
    assert len(seen) == len(set(seen)) == 24


@pytest.mark.parametrize("aggregate", ["per_unit", "sequence_mean"])
def test_some_runs_may_fail(tmp_path: Path, aggregate: str) -> None:
    calls = 0

    def moody(agent: str, prompt: Any) -> str:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise ModelError("it is down")
        return question(1)[1]

    made = trainer(tmp_path, say=moody, credit={"aggregate": aggregate})
    found = steps(made, 2)
    assert np.isfinite([value for row in found for value in row.values()]).all()
    assert calls > 3


def test_all_runs_failing_is_an_error(tmp_path: Path) -> None:
    def down(agent: str, prompt: Any) -> str:
        raise ModelError("it is down")

    with pytest.raises(ModelError, match="it is down"):
        steps(trainer(tmp_path, say=down), 1)


def test_a_task_nobody_can_judge(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.tasks = [Task("bare", (Message("user", question(1)[0]),))]
    with pytest.raises(TaskError, match="task bare: this task has no scorer"):
        steps(made, 1)


def test_one_task_is_learned_from(tmp_path: Path) -> None:
    alone = trainer(tmp_path, tasks=1)
    assert (len(alone.tasks), len(alone.validation)) == (1, 0)
    assert asyncio.run(alone.validate()) == {}


def test_the_knob_is_drawn_from_its_range(tmp_path: Path) -> None:
    made = trainer(tmp_path, preference={"low": 1e-4, "high": 1e-2})
    drawn = [made.knob(iteration, "text") for iteration in range(200)]
    assert 1e-4 <= min(drawn) < 2e-4
    assert 5e-3 < max(drawn) <= 1e-2
    assert made.middle_knob == pytest.approx(1e-3)
    assert np.median(drawn) == pytest.approx(1e-3, rel=0.5)
    assert trainer(tmp_path, preference=0.5).middle_knob == 0.5
    assert trainer(tmp_path).middle_knob == pytest.approx(40 * 4e-5)


def test_a_frozen_policy_stays_as_it_was(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    kept = made.frozen(preference=0.5)
    before = {name: weight.copy() for name, weight in kept.weights.items()}
    steps(made, 2)
    assert same(before, kept.weights)
    assert not same(before, made.frozen().weights)
    assert (kept.card.preference, kept.card.version, made.frozen().card.version) == (0.5, 0, 2)
