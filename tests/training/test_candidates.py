"""Coordinators by name: what those without training have of the learned coordinator beside them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from podium.orchestrator.coordinators.fixed import Pipeline
from podium.orchestrator.coordinators.random import Random
from podium.orchestrator.coordinators.steps import Step
from podium.orchestrator.coordinators.voting import ParallelVote
from podium.orchestrator.learned import LearnedCoordinator, Policy, save_policy
from podium.orchestrator.learned.options import Options
from podium.orchestrator.team import Team
from podium.protocols.record import ALL, LAST, NOTHING
from podium.training.candidates import Fitting, Knobs, resolve
from podium.training.evaluate import evaluate
from tests.training.school import school

OPTIONS = Options(samples=(1, 3), context=("task", "last"), width=2, max_steps=5, reads=False)


def test_untrained_is_the_policy_beside_it_before_its_training(tmp_path: Path) -> None:
    policy = Policy.fresh(OPTIONS, ("timer", "adder"), words=frozenset({"plus"}), scale=0.5, seed=3)
    policy.card.preference, policy.card.version = 0.25, 7
    with Team.load(school(tmp_path)) as team:
        alone = asyncio.run(resolve("untrained", Fitting(team, None))).coordinator
        fitting = Fitting(team, None)
        fitting.beside(policy)
        beside = asyncio.run(resolve("untrained", fitting)).coordinator
    assert isinstance(alone, LearnedCoordinator)
    assert isinstance(beside, LearnedCoordinator)
    assert (alone.policy.card.options, alone.policy.identities) == (Options(), ("adder", "timer"))
    assert beside.policy.card == policy.card.model_copy(update={"version": 0})
    assert beside.name == "untrained"


def test_untrained_is_run_as_the_policy_beside_it(tmp_path: Path) -> None:
    policy = Policy.fresh(OPTIONS, ("adder", "timer"))
    policy.card.preference = 0.25
    with Team.load(school(tmp_path)) as team:
        fitting = Fitting(team, None)
        fitting.beside(policy, Knobs("sample", 0.002))
        chosen = asyncio.run(resolve("untrained", fitting))
    assert isinstance(chosen.coordinator, LearnedCoordinator)
    assert (chosen.coordinator.policy.card.preference, chosen.knobs) == (0.002, Knobs("sample"))
    assert fitting.preference == 0.002


def test_settings_are_read_as_a_team_file_has_them(tmp_path: Path) -> None:
    with Team.load(school(tmp_path)) as team:
        made = [
            asyncio.run(resolve(name, Fitting(team, None))).coordinator
            for name in (
                "vote?agents=adder, timer&samples=3",
                "vote?agents=adder%2Ctimer",
                "pipeline?steps=adder*3+timer",
            )
        ]
    listed, encoded, pipeline = made
    assert isinstance(listed, ParallelVote)
    assert isinstance(encoded, ParallelVote)
    assert isinstance(pipeline, Pipeline)
    assert listed.agents == ("adder", "timer")
    assert encoded.agents == ("adder", "timer")
    assert list(pipeline.steps) == [Step("adder", 3, (Step("timer"),))]


def test_random_may_do_what_the_policy_beside_it_may(tmp_path: Path) -> None:
    with Team.load(school(tmp_path)) as team:
        alone = asyncio.run(resolve("random", Fitting(team, None))).coordinator
        fitting = Fitting(team, None)
        fitting.beside(Policy.fresh(OPTIONS))
        beside = asyncio.run(resolve("random", fitting)).coordinator
        told = asyncio.run(resolve("random?max_steps=9", fitting)).coordinator
    for each, expected in (
        (alone, (4, (1, 3, 5), (ALL,), 1)),
        (beside, (5, (1, 3), (NOTHING, LAST), 2)),
        (told, (9, (1, 3, 5), (ALL,), 1)),  # its settings are named: it is as a team file would have it
    ):
        assert isinstance(each, Random)
        assert (each.max_steps, each.samples, each.views, each.width) == expected


def test_they_follow_a_policy_that_is_named_after_them(tmp_path: Path) -> None:
    file, spec = school(tmp_path), f"recorded:{tmp_path}/pool.jsonl?limit=20"
    save_policy(Policy.fresh(Options(context=("task",), max_steps=1), ("adder", "timer")), tmp_path / "policy")
    names = ["random", "untrained"]
    beside = evaluate(file, spec, [*names, f"learned:{tmp_path}/policy"])
    assert [row.calls for row in beside.rows] == [1, 1, 1]
    assert all(row.calls > 1.2 for row in evaluate(file, spec, names).rows)
    school(tmp_path, coordinator=f"{{kind: learned, policy: {tmp_path}/policy}}")
    assert [row.calls for row in evaluate(file, spec, [*names, "own"]).rows] == [1, 1, 1]
