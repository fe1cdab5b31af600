"""A supervised start: everybody is asked, and the policy begins where that leads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from podium.agents.model import Prompt
from podium.commands.training_progress import TrainingProgress
from podium.orchestrator.budget import Limits
from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.survey import Survey
from podium.protocols.errors import ModelUnreachable, RunError, TeamFileError
from podium.training.learn import Progress, train
from podium.training.rollouts import Rollouts, score
from podium.training.warm_start import RELUCTANCE, Surveyed, surveyed, warm_start
from tests.training.school import SUBJECTS, question, task, training
from tests.training.test_coordinator_trainer import same, trainer, weights

PASSES = {"runs": 6, "passes": 40, "learning_rate": 6e-3}
ALONE = 2
"""Messages of a prompt in which nothing is shown."""


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
    assert metrics["warm_start_runs"] == 6 * len(made.tasks)
    assert metrics["warm_start_loss_last"] < 0.5 * metrics["warm_start_loss_first"]
    assert made.iteration == 0
    assert same(made.frozen().weights, weights(made))


def test_how_to_ask_is_learned_too(tmp_path: Path) -> None:
    def say(_: str, prompt: Prompt) -> str:
        """Right only for who is shown what somebody else said before."""
        asked = next(number for number in range(200) if question(number)[0] == prompt.task)
        return question(asked)[1] if len(prompt.messages) > ALONE else "0"

    shown = {"options": {"samples": [1], "context": ["task", "last"], "max_steps": 2}}
    made = trainer(tmp_path, tasks=60, say=say, warm_start=PASSES | {"temperature": 0.02}, **shown)
    few = Rollouts(made.team).run(Survey(), made.tasks[:1], seeds=(0,))
    assert [node.content for node in asyncio.run(few)[0].nodes if node.kind == "reply"] == ["0"] * len(SUBJECTS)
    asyncio.run(warm_start(made))
    right, calls = worth(made)
    assert right >= 0.9
    assert 1.9 <= calls <= 2.1


def test_it_is_the_same_each_time_and_nothing_where_it_is_not_asked_for(tmp_path: Path) -> None:
    made = [trainer(tmp_path, warm_start={"passes": 2}) for _ in range(2)]
    for each in made:
        asyncio.run(warm_start(each))
    assert same(weights(made[0]), weights(made[1]))
    fresh = trainer(tmp_path)
    assert asyncio.run(warm_start(fresh)) == {}
    assert same(weights(fresh), weights(trainer(tmp_path, seed=0)))


def test_a_choice_is_worth_what_follows_it_less_what_it_costs() -> None:
    nan = np.nan
    # One run: agent 1 is asked, then agent 0, then it finishes; and another, in which agent 0 was all that was asked.
    known = Surveyed(
        asked=np.array([1, 0, -1, 0, -1]),
        costs=np.array([0.1, 0.2, 0.0, 0.3, 0.0]),
        likely=np.tile([0.25, 0.1], (5, 1)),
        heard=np.array([[0, 0], [0, 1], [1, 1], [0, 0], [1, 0]], bool),
        open=np.array([[1, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 1]], bool),
    )
    worth = np.array([[0.5, 0.6, 9.0], [0.7, 9.0, 0.4], [9.0, 9.0, 0.9], [0.5, 0.6, 9.0], [9.0, 0.3, 0.2]])
    found = known.targets(worth, np.array([-1.0, 0.0, 1.0, -1.0, 0.5]), np.array([0, 0, 0, 1, 1]))
    expected = [
        [nan, 0.7 - 0.1, 0.0],
        [0.9 - 0.2, 0.7 - 0.1 - RELUCTANCE, 0.0],
        [0.9 - 0.25 - RELUCTANCE, 0.9 - 0.1 - RELUCTANCE, 1.0],
        [0.3 - 0.3, nan, 0.0],
        [0.3 - 0.25 - RELUCTANCE, nan, 0.5],
    ]
    assert found == pytest.approx(np.array(expected), nan_ok=True)
    part = known.part(np.array([3, 4]))
    assert part.targets(worth[3:], np.array([-1.0, 0.5]), np.array([0, 0])) == pytest.approx(
        np.array(expected[3:]), nan_ok=True
    )


def test_surveys_know_who_spoke_and_what_it_took(tmp_path: Path) -> None:
    made = trainer(tmp_path, tasks=4)
    results = asyncio.run(Rollouts(made.team).run(Survey(), made.tasks, seeds=(0,)))
    names = [card.name for card in made.cards]
    known = surveyed(results, [0.5] * len(results), names, 1)
    rows = 0
    for result in results:
        places: list[int] = known.asked[rows : rows + len(names)].tolist()
        asked = [names[place] for place in places]
        assert asked == [node.author for node in result.nodes if node.kind == "reply"]
        assert known.asked[rows + len(names)] == -1
        assert known.costs[rows : rows + len(names)] * 0.5 == pytest.approx(
            [node.usage.dollars for node in result.nodes if node.kind == "reply"]
        )
        assert known.heard[rows : rows + len(names) + 1].sum(-1).tolist() == list(range(len(names) + 1))
        assert known.open[rows].tolist() == [True] * len(names) + [False]
        assert known.open[rows + 1].tolist() == [False] * len(names) + [True]  # its only step with requests is over
        rows += len(names) + 1
    assert rows == len(known.asked)


def test_where_nobody_else_can_be_paid_for_only_finishing_is_left(tmp_path: Path) -> None:
    made = trainer(tmp_path, tasks=4)
    results = asyncio.run(
        Rollouts(made.team).run(
            Survey(), made.tasks, seeds=(0,), settings=lambda place, _: Settings(place, 0, limits=Limits(calls=1))
        )
    )
    known = surveyed(results, [0.5] * len(results), [card.name for card in made.cards], 9)
    assert known.asked[1::2].tolist() == [-1] * len(results)
    assert known.open[1::2].tolist() == [[False] * len(made.cards) + [True]] * len(results)


def test_random_teams_are_surveyed_too(tmp_path: Path) -> None:
    made = trainer(tmp_path, tasks=20, warm_start={"runs": 3, "passes": 2}, teams={"least": 1, "prices": 2})
    assert len({id(team) for team in made.survey_teams(3)}) > 4
    metrics = asyncio.run(warm_start(made))
    assert metrics["warm_start_runs"] == 3 * len(made.tasks)
    assert metrics["warm_start_loss_last"] < metrics["warm_start_loss_first"]


def test_a_training_begins_with_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    async def counted(made: Any, *told: Any) -> dict[str, float]:
        begun.append(made.iteration)
        return await warm_start(made, *told)

    monkeypatch.setattr("podium.training.warm_start.warm_start", counted)
    file = training(tmp_path, iterations=2, warm_start={"passes": 2})
    train(file)
    file = training(tmp_path, iterations=3, warm_start={"passes": 2})
    trained = train(file, extend=True)
    assert begun == [0]
    assert trained.iterations == 3
    assert trained.metrics[0]["warm_start_runs"] > 0


def test_a_supervised_start_is_a_training_too(tmp_path: Path) -> None:
    with pytest.raises(TeamFileError, match="iterations: 0 nothing is learned"):
        train(training(tmp_path, iterations=0))
    file = training(tmp_path, iterations=0, warm_start={"passes": 2})
    first = train(file)
    assert first.finished
    assert first.iterations == 0
    assert [row["step"] for row in first.metrics] == [0.0]
    assert "eval_gain" in first.metrics[0]
    assert same(
        train(file).policy.weights, first.policy.weights
    )  # it goes on from the checkpoint: nothing is left to do
    longer = train(training(tmp_path, iterations=2, warm_start={"passes": 2}), extend=True)
    assert [row["step"] for row in longer.metrics] == [0.0, 1.0, 2.0]


def test_whoever_watches_is_told_how_far_it_is(tmp_path: Path) -> None:
    seen: list[Progress] = []
    trained = train(training(tmp_path, iterations=1, warm_start={"runs": 1, "passes": 3}), watch=seen.append)
    surveys = trained.metrics[0]["warm_start_runs"]
    assert [(each.iteration, each.iterations) for each in seen if each.stage == "surveys"] == [
        (number, surveys) for number in range(int(surveys) + 1)
    ]
    passes = [each for each in seen if each.stage == "passes over the surveys"]
    assert [(each.iteration, each.iterations) for each in passes] == [(0, 3), (1, 3), (2, 3)]
    assert passes[2].seconds_left > 0
    assert [each.iteration for each in seen if not each.stage] == [1]
    with TrainingProgress(1) as progress:
        for each in seen:
            progress.show(each)


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
