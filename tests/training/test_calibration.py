"""Beliefs are put to the test: honest ones have no error, and base rates have no skill."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from podium.orchestrator.learned import Policy
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.survey import Survey
from podium.orchestrator.pieces import asked_for
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.protocols.events import Result
from podium.protocols.record import Finish
from podium.protocols.task import Message, Task, Verdict
from podium.training.calibration import KINDS, Belief, beliefs, calibration, surveyed
from podium.training.rollouts import Rollouts, judged
from podium.training.tasks.spec import load_tasks
from tests.orchestrator.learned.parts import loud, play
from tests.training.school import school

RANDOM = np.random.default_rng(0)


def drawn(predicted: np.ndarray, chances: np.ndarray, agent: str = "a") -> list[Belief]:
    """Beliefs, and what happened with other chances."""
    happened = RANDOM.random(len(chances)) < chances
    return [Belief("success", agent, float(p), float(h)) for p, h in zip(predicted, happened, strict=True)]


def test_an_honest_belief_has_no_error_and_skill() -> None:
    chances = RANDOM.random(20_000)
    found = calibration(drawn(chances, chances))
    assert found.n == 20_000
    assert found.error < 0.01
    assert found.brier == pytest.approx(1 / 6, abs=0.01)  # the mean of p (1 - p)
    assert found.skill == pytest.approx(1 / 3, abs=0.02)  # against a base rate of a half, whose Brier score is 1/4
    assert np.diff(found.predicted).min() > 0
    assert np.allclose(found.predicted, found.happened, atol=0.05)


def test_who_is_too_sure_is_found_out() -> None:
    chances = np.full(10_000, 0.5)
    found = calibration(drawn(np.where(RANDOM.random(10_000) < 0.5, 0.9, 0.1), chances))
    assert found.error == pytest.approx(0.4, abs=0.03)
    assert found.skill == pytest.approx(1 - 0.41 / 0.25, abs=0.05)


def test_to_know_the_base_rates_of_agents_is_no_skill() -> None:
    given = drawn(np.full(5000, 0.2), np.full(5000, 0.2), "weak") + drawn(np.full(5000, 0.8), np.full(5000, 0.8))
    found = calibration(given)
    assert found.error < 0.02
    assert found.skill == pytest.approx(0, abs=0.01)


def test_nothing_to_calibrate() -> None:
    with pytest.raises(ValueError, match="no beliefs"):
        calibration([])


def test_a_survey_asks_everybody_once_in_any_order(tmp_path: Path) -> None:
    team = Team.of(load_team(school(tmp_path)))
    tasks = load_tasks(f"recorded:{tmp_path}/pool.jsonl?limit=20")
    policy = Policy.fresh(Options(context=("task",), max_steps=1), tuple(team.agents))
    results = asyncio.run(Rollouts(team.orchestrator).run(Survey(policy), tasks, seeds=(0,)))
    orders = {tuple(node.author for node in result.nodes if node.kind == "reply") for result in results}
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(team.agents))}
    assert len({order[0] for order in orders}) > 1 or len(team.agents) == 1
    given = beliefs(results, lambda result, content: judged(result.task, content).score)
    size = len(tasks) * len(team.agents)
    assert [sum(each.kind == kind for each in given) for kind in KINDS] == [size] * 3 + [0]  # no piece is told apart
    first = results[0]
    asked = first.decisions[0].action
    assert isinstance(asked, tuple)
    said = first.decisions[0].reasons
    assert given[0] == Belief(
        "success", asked[0].agent, said[f"success({asked[0].agent})"], judged(first.task, first.nodes[1].content).score
    )
    found = asyncio.run(surveyed(team, policy, tasks))
    assert {kind: each.n for kind, each in found.items()} == dict.fromkeys(("success", "right", "after"), size)


def test_pieces_that_replies_supply_are_put_to_the_test() -> None:
    """Asked for one piece, that one counts; asked for all, each; and nothing where the task does not say."""
    options = Options(context=("all",), needs=3, max_steps=3)
    text, right = "Say:\n- the price\n- the owner\n- the age", ("the price", "the owner")

    def score(reply: str) -> Verdict:
        return Verdict(0.0, False, {piece: float(reply.startswith("ann")) for piece in right})

    work = Task("t", (Message("user", text),), score)
    results = play(loud(options), [work] * 12)
    asked = {"one": 0, "all": 0, "unknown": 0}
    expected: list[Belief] = []
    for result in results:
        for decision in result.decisions:
            if isinstance(decision.action, Finish):
                continue
            directive, said = decision.action[0], decision.reasons
            piece = asked_for(decision, text)[0]
            asked["all" if not piece else "one" if piece in right else "unknown"] += 1
            happened = float(directive.agent == "ann")
            for place, each in enumerate(right):
                name = f"{'supplies' if piece else 'offers'}({directive.agent} {place})"
                if piece in ("", each):
                    expected.append(Belief("supplies", directive.agent, said[name], happened))
    assert min(asked.values()) > 0
    found = beliefs(results, _worth, lambda result, content: result.task.score(content).parts)
    assert [each for each in found if each.kind == "supplies"] == expected
    assert not [each for each in beliefs(results, _worth) if each.kind == "supplies"]


def _worth(result: Result, content: str) -> float:
    return result.task.score(content).score
