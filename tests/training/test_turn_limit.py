"""A coordinator that is cut off: who goes on is ended, who can choose an answer chooses it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from podium.orchestrator.coordinator import Coordinator, RunState, ask, decision
from podium.orchestrator.coordinators.fixed import Pipeline
from podium.orchestrator.coordinators.steps import Step
from podium.orchestrator.learned import LearnedCoordinator, Policy
from podium.orchestrator.learned.options import Options
from podium.protocols.events import Result
from podium.protocols.record import Decision, Finish, Node
from podium.training.rollouts import Rollouts
from podium.training.turn_limit import TurnLimit
from tests.orchestrator.teams import team as team_of
from tests.training.school import models, task


def run(coordinator: Coordinator, turns: int) -> list[Result]:
    """Two tasks: the adder is right on the first, the timer on the second."""
    with team_of(models()) as desk:
        work = Rollouts(desk.orchestrator).run(TurnLimit(coordinator, turns), [task(1), task(2)], seeds=(0,))
        return desk.wait(work)


@pytest.mark.parametrize("turns", [1, 2, 3, 9])
def test_a_schedule_is_cut_off(turns: int) -> None:
    for result in run(Pipeline([Step("adder"), Step("timer"), Step("timer")]), turns):
        assert result.usage.calls == min(turns, 3)
        assert result.stop == "answered"
        asked = [each for each in result.decisions if not isinstance(each.action, Finish)]
        assert len(asked) == min(turns, 3)


def test_what_most_agree_on_is_answered() -> None:
    result = run(Pipeline([Step("adder"), Step("timer"), Step("timer"), Step("adder")]), 3)[0]
    assert result.answer == "0"  # twice the timer, which cannot add


def test_a_policy_chooses_its_answer_and_is_told_that_nobody_can_be_asked() -> None:
    options = Options(context=("task",), max_steps=8)
    for result in run(LearnedCoordinator(Policy.fresh(options, ("adder", "timer"))), 1):
        last = result.decisions[-1]
        assert isinstance(last.action, Finish)
        assert len(result.decisions) == 2
        assert last.factors[0].mask == (False, False, True)


class Slow:
    """Asks the adder for ever, and takes its time."""

    name, batched = "slow", False

    def begin(self, task: Any, cards: Any) -> None: ...

    def observe(self, memory: Any, node: Node) -> None: ...

    def decide(self, states: Sequence[RunState]) -> Awaitable[list[Decision]]:
        return self._decide(states)

    async def _decide(self, states: Sequence[RunState]) -> list[Decision]:
        return [decision(self.name, state, ask(state, ["adder"]), patience=1.0) for state in states]


def test_who_takes_time_to_decide_is_waited_for() -> None:
    for result in run(Slow(), 2):
        assert result.usage.calls == 2
        assert result.decisions[-1].reasons == {"patience": 1.0}
