"""Many runs: what failed is counted and told, and a cap neither lets through nor changes what it should not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from podium.agents.model import Prompt
from podium.agents.reply_cache import CachedModel
from podium.orchestrator.coordinators.fixed import Pipeline, Single
from podium.orchestrator.coordinators.steps import Step
from podium.orchestrator.team import Team
from podium.protocols.errors import BudgetExceeded, ModelError
from podium.protocols.events import Result
from podium.training.rollouts import Cap, Rollouts, Tally, tallied
from tests.orchestrator.teams import team as team_of
from tests.training.school import models, task

TASKS = [task(number) for number in range(8)]


def moody(agent: str, prompt: Prompt) -> str:
    if prompt.task in {TASKS[1].text, TASKS[4].text, TASKS[5].text}:
        raise ModelError("it is down")
    return "1"


def rolled(rollouts: Rollouts, coordinator: Any = None) -> list[Result]:
    return asyncio.run(rollouts.run(coordinator or Single("adder"), TASKS, seeds=(0,)))


def test_failures_are_counted_and_told() -> None:
    ticks: list[None] = []
    rollouts = Rollouts(team_of(models(say=moody)).orchestrator)
    assert rollouts.tally.words == ""
    rollouts.tally.done = lambda: ticks.append(None)
    rolled(rollouts)
    tally = rollouts.tally
    assert (tally.runs, tally.failed, tally.share) == (8, 3, 3 / 8)
    assert tally.words == "3 of 8 runs failed and count as wrong; the first: agent adder: it is down"
    assert len(ticks) == 8
    once = Tally()
    once.count(ModelError("it is down"))
    assert once.words == "1 of 1 run failed and counts as wrong; the first: it is down"


def test_runs_by_other_hands_are_counted_too() -> None:
    desk, cap, outer = team_of(models(say=moody)).orchestrator, Cap(1.0), Tally()
    outer.cap = cap
    with tallied(outer):
        first, second = Rollouts(desk), Rollouts(desk)
        assert first.cap is cap
        assert Rollouts(desk, cap=Cap(2.0)).cap is not cap
        rolled(first)
        rolled(second)
    rolled(Rollouts(desk))
    assert (outer.runs, outer.failed) == (16, 6)
    assert Rollouts(desk).cap is None


def capped(dollars: float) -> tuple[Team, Cap]:
    cap = Cap(dollars)
    return team_of({name: CachedModel(model, cap=cap) for name, model in models().items()}), cap


def test_a_run_that_a_crowded_cap_refused_a_step_begins_again() -> None:
    steps = Pipeline([Step("adder"), Step("timer")])
    plain = rolled(Rollouts(team_of(models()).orchestrator), steps)
    spent = sum(result.usage.dollars for result in plain)
    desk, cap = capped(spent + 0.0012)  # the worst case of one call is about 0.0011
    found = rolled(Rollouts(desk.orchestrator, cap=cap), steps)
    assert [result.usage.calls for result in found] == [2] * len(TASKS)
    assert [result.answer for result in found] == [result.answer for result in plain]
    assert cap.spent == pytest.approx(spent)
    assert cap.crowded == []


def test_a_run_that_made_do_without_a_refused_call_ends_all() -> None:
    steps = Pipeline([Step("adder"), Step("timer")])
    desk, cap = capped(0.0011)  # what is left after the first steps holds no other call
    with pytest.raises(BudgetExceeded, match="spending cap"):
        asyncio.run(Rollouts(desk.orchestrator, cap=cap).run(steps, TASKS[:1], seeds=(0,)))
    desk, cap = capped(0.0011)
    loose = Rollouts(desk.orchestrator, cap=cap, strict=False)
    assert asyncio.run(loose.run(steps, TASKS[:1], seeds=(0,)))[0].usage.calls == 1
