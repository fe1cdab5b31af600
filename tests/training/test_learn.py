"""The whole of a training: what it leaves behind, and what is left when it is stopped, killed, capped or misled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from podium.agents.endpoint import EndpointModel
from podium.agents.model import Model, Price, Prompt
from podium.agents.reply_cache import CachedModel
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.learned import load_policy
from podium.orchestrator.team import Team
from podium.protocols.errors import (
    BudgetExceeded,
    InputError,
    ModelError,
    PodiumError,
    PolicyError,
    TaskError,
    TeamFileError,
)
from podium.protocols.record import Generation, Sampling
from podium.training import learn
from podium.training.checkpoint import read_checkpoint
from podium.training.learn import Progress, Purse, atrain, train
from podium.training.train_file import load_training
from tests.training.school import school, spec_of, training


def _nothing(*_: object, **__: object) -> None: ...


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves take seconds to draw: one test looks at them."""
    if "leaves" not in request.node.name:
        monkeypatch.setattr("podium.training.curves.training_curves", _nothing)
        monkeypatch.setattr("podium.training.curves.diagnosis_curves", _nothing)


def test_what_a_training_leaves(tmp_path: Path) -> None:
    seen: list[Progress] = []
    trained = train(training(tmp_path), watch=seen.append)
    out = tmp_path / "out"
    assert trained.finished
    assert trained.iterations == 4
    assert trained.folder == out
    assert [each.iteration for each in seen] == [1, 2, 3, 4]
    assert seen[-1].seconds_left == 0 < seen[0].seconds_left
    assert [row["step"] for row in trained.metrics] == [1, 2, 3, 4]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows == list(trained.metrics)
    assert {"score", "tokens", "entropy", "policy_loss"} <= rows[0].keys()
    assert ["eval_score" in row for row in rows] == [False, True, False, True]
    assert (out / "curves.png").stat().st_size > 5000
    assert (out / "diagnosis.png").stat().st_size > 5000
    assert list((out / "tensorboard").iterdir())
    assert trained.evaluation is not None
    assert trained.evaluation.tasks == len(trained.evaluation.measured["learned"].scores[0])
    policy = load_policy(out)
    assert policy.card.measured["score"] == trained.evaluation.rows[0].score
    assert policy.card.trained_on["tasks"] == f"recorded:{tmp_path}/pool.jsonl?split=train"
    assert policy.card.preference == pytest.approx(40 * policy.card.scale)
    assert policy.identities == ("adder", "timer")


def test_the_policy_is_served_from_a_team_file(tmp_path: Path) -> None:
    train(training(tmp_path, iterations=1, tasks={"train": "recorded:pool.jsonl"}))
    team = school(tmp_path, coordinator="{kind: learned, policy: out}")
    with Team.load(team) as served:
        from tests.training.school import question

        result = served.run(question(3)[0], seed=1)
    assert result.decisions[0].policy == "learned"
    assert result.answer in {question(3)[1], "0"}


def test_interrupted_and_resumed(tmp_path: Path) -> None:
    straight = train(training(tmp_path, output="straight"))

    def stop(step: Progress) -> None:
        if step.iteration == 3:
            raise KeyboardInterrupt

    broken = train(training(tmp_path), watch=stop)
    assert not broken.finished
    assert broken.iterations == 3
    assert broken.evaluation is None
    assert load_policy(tmp_path / "out").card.trained_on["iterations"] == 3
    resumed = train(training(tmp_path))
    assert resumed.finished
    assert _weights(tmp_path / "out") == _weights(tmp_path / "straight")
    assert [row["step"] for row in resumed.metrics] == [1, 2, 3, 4]
    timed = {"seconds_running", "seconds_learning"}
    for one, other in zip(resumed.metrics, straight.metrics, strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in other.items() if k not in timed}
    assert resumed.evaluation is not None
    assert straight.evaluation is not None
    assert resumed.evaluation.rows[0].score == straight.evaluation.rows[0].score
    again = train(training(tmp_path))  # nothing is left to do
    assert again.finished
    assert len(again.metrics) == 4


def test_more_iterations_go_on_where_that_is_asked_for(tmp_path: Path) -> None:
    train(training(tmp_path, iterations=2))
    with pytest.raises(PolicyError, match=r"begun with iterations: 2, and now there are 4\..*--extend"):
        train(training(tmp_path, iterations=4))
    longer = train(training(tmp_path, iterations=4), extend=True)
    assert (longer.finished, longer.iterations) == (True, 4)
    assert [row["step"] for row in longer.metrics] == [1, 2, 3, 4]
    assert train(training(tmp_path, iterations=4)).finished  # from here on it is a training of four
    with pytest.raises(PolicyError, match=r"other settings: iterations \(4\)"):
        train(training(tmp_path, iterations=3), extend=True)


def test_the_best_single_agent_is_shown_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = train(training(tmp_path, iterations=1)).evaluation
    assert told is not None
    assert [row.name for row in told.rows] == ["learned", "best_single"]
    assert told.details["best_single"] in {"adder", "timer"}
    monkeypatch.setattr(Purse, "paid", True)
    paid = train(training(tmp_path, iterations=1)).evaluation
    assert paid is not None
    assert [row.name for row in paid.rows] == ["learned"]
    assert "paid for" in paid.details["best_single"]


def _weights(out: Path) -> dict[str, list[float]]:
    found = read_checkpoint(out)
    assert found is not None
    return {name: weight.flatten().tolist() for name, weight in found.weights.items()}


@pytest.mark.parametrize("moment", ["running", "validating", "testing"])
def test_cancelled_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    train(training(tmp_path, output="straight"))
    where = {"running": "step", "validating": "validate"}
    calls = 0

    async def hang(self: Any, *given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            reached.set()
            await asyncio.sleep(60)
        return await plain(self, *given, **more)

    async def hang_at_once(*_: Any, **__: Any) -> Any:
        reached.set()
        await asyncio.sleep(60)

    from podium.training.coordinator_trainer import CoordinatorTrainer

    if moment == "testing":
        monkeypatch.setattr(learn, "measure", hang_at_once)
    else:
        plain = getattr(CoordinatorTrainer, where[moment])
        monkeypatch.setattr(CoordinatorTrainer, where[moment], hang)
    spec = spec_of(tmp_path)

    async def cancelled() -> Any:
        work = asyncio.ensure_future(atrain(spec))
        await reached.wait()
        work.cancel()
        return await work

    reached = asyncio.Event()
    stopped = asyncio.run(cancelled())
    assert stopped.finished == (moment == "testing")
    assert stopped.evaluation is None
    assert stopped.iterations == {"running": 1, "validating": 4, "testing": 4}[moment]
    load_policy(tmp_path / "out")
    monkeypatch.undo()
    resumed = train(spec)
    assert resumed.finished
    assert resumed.evaluation is not None
    assert _weights(tmp_path / "out") == _weights(tmp_path / "straight")
    for name in ("policy.json", "policy.safetensors"):
        assert (tmp_path / "out" / "best" / name).read_bytes() == (tmp_path / "straight" / "best" / name).read_bytes()


def test_fresh_forgets_everything(tmp_path: Path) -> None:
    train(training(tmp_path))
    spec = spec_of(tmp_path, seed=5, iterations=2)
    with pytest.raises(PodiumError, match=r"other settings: iterations \(\d+\), seed \(\d+\)"):
        train(spec)
    (tmp_path / "out" / "checkpoint").rename(tmp_path / "out" / "checkpoint.old")

    def stop(step: Progress) -> None:
        raise KeyboardInterrupt

    fresh = train(spec, fresh=True, watch=stop)
    assert fresh.iterations == 1
    assert fresh.policy.card.version == 1  # not what an earlier training thought best
    assert [row["step"] for row in fresh.metrics] == [1]


def test_half_a_line_of_metrics_is_no_obstacle(tmp_path: Path) -> None:
    def stop(step: Progress) -> None:
        if step.iteration == 2:
            raise KeyboardInterrupt

    train(training(tmp_path), watch=stop)
    with (tmp_path / "out" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3.0, "score": 0.')
    assert [row["step"] for row in train(training(tmp_path)).metrics] == [1, 2, 3, 4]


def test_shared_tasks_are_refused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, tasks={"train": "recorded:pool.jsonl", "test": "recorded:pool.jsonl?split=test"})
    with pytest.raises(InputError, match=r"test tasks are training tasks too, such as .*split=train and split=test"):
        train(spec)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"tasks": {"train": "recorded:nowhere.jsonl"}}, TaskError, "no such pool"),
        ({"tasks": {"train": "jsonl:empty.jsonl"}}, TaskError, "empty.jsonl"),
        ({"tasks": {"train": "jsonl:bare.jsonl"}}, TaskError, "1 of 1 task cannot be scored"),
        ({"team": "nowhere.yaml"}, TeamFileError, "nowhere.yaml"),
        ({"output": "team.yaml"}, InputError, "output .*team.yaml: File exists"),
        ({"iterations": 0}, TeamFileError, "iterations"),
        ({"iteratoins": 3}, TeamFileError, 'did you mean "iterations"'),
        (
            {"credit": {"streams": [{"channel": "cost", "scale": "std"}]}},
            TeamFileError,
            "set where: passed, or scale: none",
        ),
        ({"preference": {"low": 2.0, "high": 1.0}}, TeamFileError, r"low \(2\) must not be above high \(1\); swap"),
        ({"preference": 0}, TeamFileError, "preference: expected more than 0; found 0"),
        ({"preference": {"low": 1}}, TeamFileError, r'^[^\n]*"high" is missing; write high: NUMBER [^\n]*$'),
    ],
)
def test_wrong_input_is_named(tmp_path: Path, settings: dict[str, Any], kind: type[Exception], words: str) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bare.jsonl").write_text('{"prompt": "What?"}\n')
    with pytest.raises(kind, match=words):
        train(training(tmp_path, **settings))


def test_paths_start_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = training(
        tmp_path, tasks={"train": "recorded:pool.jsonl?limit=3+jsonl:a.jsonl", "test": ["recorded:/x/p.gz"]}
    )
    monkeypatch.chdir("/")
    spec = load_training(file)
    assert spec.tasks.train == f"recorded:{tmp_path}/pool.jsonl?limit=3+jsonl:{tmp_path}/a.jsonl"
    assert spec.tasks.test == ("recorded:/x/p.gz",)
    generated = load_training(training(tmp_path, tasks={"train": "reasoning_gym:chain_sum?size=3"}))
    assert generated.tasks.train == "reasoning_gym:chain_sum?size=3"


class Paid(EndpointModel):
    """An endpoint that answers from here, at its price, and counts what it was really asked."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "paid", price=Price(100.0, 200.0), max_tokens=20)
        self.script = ScriptedModel("12", name, price=self.price)
        self.down = False
        self.billed = 0.0

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        if self.down:
            raise ModelError("it is down")
        async for item in self.script.generate(prompt, sampling):
            if isinstance(item, Generation):
                self.billed += item.usage.dollars
            yield item


def paid(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Any, list[Paid]]:
    """A training at paid endpoints."""
    spec, made = spec_of(folder, **settings), list[Paid]()

    def build(name: str, _: Any) -> Paid:
        made.append(Paid(name))
        return made[-1]

    monkeypatch.setattr("podium.orchestrator.team.build_model", build)
    return spec, made


def test_the_cap_ends_a_training_before_it_is_exceeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, made = paid(tmp_path, monkeypatch, iterations=50, warm_up=0, reply_variants=50, cache="replies.db")
    seen: list[Progress] = []
    capped = spec.model_copy(update={"dollars": 3.0})
    with pytest.raises(BudgetExceeded, match=r"cap of \$3.0000 does not hold.*raise dollars.*checkpoint"):
        train(capped, watch=seen.append)
    spent = sum(model.billed for model in made)
    assert 2.8 < spent <= 3.0
    assert seen
    assert seen[-1].dollars_spent <= spent + 1e-9
    assert seen[0].dollars_forecast > 3.0  # it was to be foreseen
    assert all(0 < each.dollars_spent < each.dollars_forecast for each in seen)
    found = read_checkpoint(tmp_path / "out")
    assert found is not None
    assert found.iteration == seen[-1].iteration
    assert found.spent == pytest.approx(spent)
    assert load_policy(tmp_path / "out").card.trained_on["iterations"] == found.iteration
    again, more = paid(tmp_path, monkeypatch, iterations=50, warm_up=0, reply_variants=50, cache="replies.db")
    with pytest.raises(BudgetExceeded):  # the cap is that of the training, not of a session
        train(again.model_copy(update={"dollars": 3.0}))
    assert sum(model.billed for model in more) <= 3.0 - spent + 1e-9


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"teams": {"least": 3}}, "teams.least is 3, and the team has 2 agents"),
        ({"learner": {"kind": "evolution", "heads": ["about"]}}, "nothing to choose for the head 'about'"),
    ],
)
def test_what_does_not_go_with_the_team_is_told_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], words: str
) -> None:
    spec, made = paid(tmp_path, monkeypatch, **settings)
    with pytest.raises(InputError, match=words):
        train(spec)
    assert made
    assert not sum(model.billed for model in made)


def test_free_models_are_not_capped(tmp_path: Path) -> None:
    assert train(spec_of(tmp_path, dollars=1e-9, iterations=1)).finished


def test_failed_runs_are_told_for_each_iteration(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"never recorded {number}", "reference": "1"}) for number in range(8)]
    (tmp_path / "other.jsonl").write_text("\n".join(lines) + "\n")
    tasks = {"train": "recorded:pool.jsonl?split=train&limit=8+jsonl:other.jsonl", "validation": 0}
    seen: list[Progress] = []
    train(training(tmp_path, tasks=tasks, tasks_per_iteration=16, iterations=3), watch=seen.append)
    assert [each.failed.partition(" and ")[0] for each in seen] == ["32 of 64 runs failed"] * 3
    assert [each.metrics["failed"] for each in seen] == [0.5] * 3
    seen.clear()
    train(training(tmp_path, iterations=1), fresh=True, watch=seen.append)
    assert [each.failed for each in seen] == [""]


def test_an_endpoint_that_goes_down_keeps_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, made = paid(tmp_path, monkeypatch, reply_variants=50, evaluate_every=50)

    def unplug(step: Progress) -> None:
        for model in made:
            model.down = True

    with pytest.raises(ModelError, match=r"it is down.*the same command goes on"):
        train(spec.model_copy(update={"tasks": spec.tasks.model_copy(update={"test": None})}), watch=unplug)
    found = read_checkpoint(tmp_path / "out")
    assert found is not None
    assert found.iteration == 1


def test_a_purse_pays_for_nothing_twice(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, cache="replies.db", dollars=1.0)
    free = ScriptedModel("x", "free", price=Price(5.0, 5.0))
    models: dict[str, Model] = {"a": Paid("a"), "free": free}
    purse = Purse(models, spec, spent=0.25)
    assert isinstance(purse.models["free"], CachedModel)
    assert purse.models["free"].cap is None
    assert purse.spent == 0.25
    assert purse.cap is not None
    assert purse.cap.spent == 0.25
    assert (tmp_path / "replies.db").exists()
    purse.close()
