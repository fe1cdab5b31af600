"""One account: what is set aside, what was used, and what was billed above that."""

from __future__ import annotations

import pytest

from podium.agents.model import Price
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.leases import OwnCalls
from podium.protocols.record import Call, Generation, Sampling, Usage
from tests.orchestrator.teams import team


def settled(hold: tuple[int, int, float], usage: Usage, above: int = 0) -> Budget:
    budget = Budget(Limits())
    budget.reserve(hold)
    budget.settle(hold, usage, above)
    assert (budget.held_tokens, budget.held_calls, budget.held_dollars) == (0, 0, 0)
    return budget


def test_tokens_above_a_hold_are_overshoot() -> None:
    assert settled((100, 1, 1.0), Usage(90, 30, 1)).overshoot == 20
    assert settled((100, 1, 1.0), Usage(70, 30, 1)).overshoot == 0


def test_tokens_written_past_their_cap_are_overshoot_however_generous_the_estimate_was() -> None:
    assert settled((100, 1, 1.0), Usage(10, 30, 1), 10).overshoot == 10
    assert settled((100, 1, 1.0), Usage(90, 30, 1), 10).overshoot == 20, "no token counts twice"


def test_dollars_above_a_hold_are_kept_beside() -> None:
    assert settled((100, 1, 0.5), Usage(10, 30, 1, 0.75)).overshoot_dollars == 0.25
    assert settled((100, 1, 0.3), Usage(10, 30, 1, 0.1 + 0.2)).overshoot_dollars == 0, "sums differ by a rounding"


def test_a_run_that_is_billed_above_its_cap_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The estimate of a long prompt holds the tokens, and not what they cost as replies."""
    bills = Generation("r", Usage(10, 60, 1, 0.00601), Sampling(max_tokens=20))
    model = ScriptedModel(bills, price=Price(1.0, 100.0), max_tokens=20)
    with team({"ann": model}, "single", agent="ann", budget={"dollars": 0.003}) as desk:
        result = desk.run("long words " * 60)
    assert result.overshoot == 40
    assert "agent ann: billed $0.006010, which is $0.00" in caplog.text
    assert "more than was set aside" in caplog.text


def test_a_coordinators_own_call_is_set_aside_and_settled() -> None:
    run, pool = Budget(Limits(tokens=100, calls=2)), Budget(Limits(dollars=1.0), shared=True)
    own = OwnCalls(run, pool)
    assert own.hold(90, 20, (1.0, 1.0)) is None
    assert own.hold(10, 20, (1e6, 1.0)) is None, "the pool does not hold the dollars"
    hold = own.hold(60, 20, (1.0, 2.0))
    assert hold is not None
    assert hold == (80, 1, pytest.approx(1e-4))
    assert pool.held_tokens == run.held_tokens == 80
    call = Call("c", "m", Generation("x", Usage(10, 25, 1, 1e-5), Sampling(max_tokens=20)))
    own.settle(hold, call)
    assert (run.tokens, run.calls, run.held_tokens, run.overshoot) == (35, 1, 0, 5)
    assert (pool.dollars, pool.held_calls) == (1e-5, 0)
    assert own.take() == (call,)
    assert own.take() == ()


def test_what_is_kept_for_the_chosen_one_is_given_back() -> None:
    run = Budget(Limits(calls=1))
    own = OwnCalls(run, None)
    assert own.keep(50)
    assert own.keep(50), "it is there already"
    assert own.hold(10, 10, (0.0, 0.0)) is None
    own.take()
    hold = own.hold(10, 10, (0.0, 0.0))
    assert hold is not None
    assert not own.keep(50)
    own.settle(hold, None)
    assert (run.held_tokens, run.calls) == (0, 0)
