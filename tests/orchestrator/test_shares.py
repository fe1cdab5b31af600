"""Budgets within budgets: an agent's share of a run, and the pool that all runs of a team share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.journal import Journal
from podium.orchestrator.journal.entries import Entry
from podium.orchestrator.last_turn import LAST_TURN
from podium.orchestrator.leases import Leases
from podium.orchestrator.team_file import parse_team
from podium.protocols.bus import Card
from podium.protocols.errors import (
    BudgetExceeded,
    CoordinatorError,
    InputError,
    JournalError,
    ModelError,
    TeamFileError,
)
from podium.protocols.record import Compute, Decision, Directive, Usage
from podium.protocols.task import Task
from tests.orchestrator.stage import Scripted, Speaker, Stage
from tests.orchestrator.teams import scripted, team


def desk(pool: dict[str, Any] | None = None, share: dict[str, Any] | None = None, **more: Any) -> Any:
    models = {"ann": scripted("a"), "bob": scripted("b")}
    return team(models, "round_robin", rounds=4, pool=pool, shares={"ann": share or {}}, **more)


def test_an_agent_that_has_used_its_share_is_passed_over() -> None:
    with desk(share={"calls": 2}) as small:
        result = small.run("?")
    assert {name: usage.calls for name, usage in result.by_agent.items()} == {"ann": 2, "bob": 4}
    assert result.stop == "answered"


def test_every_run_has_the_whole_share() -> None:
    with desk(share={"calls": 1}) as small:
        assert [small.run("?").by_agent["ann"].calls for _ in range(3)] == [1, 1, 1]


def test_the_pool_is_shared_by_all_runs() -> None:
    with desk(pool={"calls": 11}) as small:
        assert [small.run("?").usage.calls for _ in range(2)] == [8, 3]
        with pytest.raises(BudgetExceeded, match=r"the pool, .* call more; raise the pool of the team file"):
            small.run("?")


def test_a_budget_that_is_too_small_is_not_blamed_on_the_pool() -> None:
    for pool in (None, {"calls": 11}, {"tokens": 5}):
        with desk(pool=pool, budget={"tokens": 5}) as small, pytest.raises(BudgetExceeded, match="raise the budget of"):
            small.run("?")


def test_a_coordinator_knows_what_the_pool_holds() -> None:
    """A model that selects is asked only while the pool holds that and a reply after it, so it overdraws no pool."""
    models = {"ann": scripted("a"), "bob": scripted("b"), "chair": scripted('{"next": "ann"}')}
    with team(models, "llm_selector", model="chair", max_steps=9, pool={"calls": 11}) as small:
        result = small.run("?")
        pool = small.orchestrator.pool
        assert pool is not None
        assert result.usage.calls == pool.calls == 10  # one is left, which holds no question and a reply
        assert result.stop == "answered"
        for _ in range(4):
            with suppress(BudgetExceeded):
                small.run("?")
        assert pool.calls == 11


def test_runs_at_once_do_not_overdraw_the_pool() -> None:
    small = desk(pool={"calls": 30})

    async def many() -> int:
        async with small:
            results = await asyncio.gather(*(small.arun("?") for _ in range(12)), return_exceptions=True)
        assert all(isinstance(each, BudgetExceeded) for each in results if isinstance(each, BaseException))
        return sum(each.usage.calls for each in results if not isinstance(each, BaseException))

    assert asyncio.run(many()) == 30


def test_dollars_of_the_pool_hold_too() -> None:
    with desk(pool={"dollars": 0.0041}) as small:
        spent = [small.run("?").usage.dollars for _ in range(2)]
    assert sum(spent) <= 0.0041


FILE = """
name: desk
models: {small: {provider: scripted, replies: [yes]}}
agents: {ann: {role: solver, model: small, budget: SHARE}}
coordinator: {kind: single, agent: ann}
budget: {calls: 8, tokens: null}
pool: POOL
"""


@pytest.mark.parametrize(
    ("share", "pool", "told"),
    [
        ("{calls: 9}", "{}", r"agents\.ann\.budget\.calls: more than one whole run may use \(8\); found 9"),
        ("{}", "{calls: 7}", r":6: budget\.calls: more than all runs together may use \(7\); found 8"),
        ("{call: 9}", "{}", r'unknown key "call"'),
        ("{calls: 0}", "{}", r"agents\.ann\.budget\.calls"),
    ],
)
def test_an_inner_limit_above_the_outer_one_is_a_mistake(share: str, pool: str, told: str) -> None:
    with pytest.raises(TeamFileError, match=told):
        parse_team(FILE.replace("SHARE", share).replace("POOL", pool))
    spec = parse_team(FILE.replace("SHARE", "{tokens: 900, calls: 8}").replace("POOL", "{calls: 8}"))
    assert spec.agents["ann"].budget.tokens == 900


CARDS = tuple(
    Card(name, "solver", price=(1.0, 2.0), max_tokens=40, rounds=rounds) for name, rounds in (("a", 1), ("b", 3))
)
some = st.one_of(st.just(float("inf")), st.integers(1, 400).map(float))
limits = st.builds(Limits, tokens=some, calls=st.integers(1, 12).map(float), dollars=st.floats(1e-5, 1e-3))
acts = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 60), st.booleans(), st.floats(0, 1)), max_size=40)


@settings(max_examples=300, deadline=None)
@given(limits, limits, limits, acts)
def test_no_call_starts_that_could_exceed_a_budget_and_every_reservation_is_settled(
    run: Limits, agent: Limits, pool: Limits, todo: list[tuple[str, int, bool, float]]
) -> None:
    """Any interleaving of two runs' requests, each of which uses at most what it was leased, or fails."""
    shared = Budget(pool, shared=True)
    own = [Budget(run), Budget(run)]
    shares = [Budget(agent), Budget(agent)]
    runs = [Leases(own[each], CARDS, 10, {"a": (shares[each], shared), "b": (shared,)}) for each in (0, 1)]
    flying: list[tuple[Leases, str, tuple[int, int, float], float]] = []
    cards = {card.name: card for card in CARDS}
    for name, size, ends, used in todo:
        leases = runs[size % 2]
        if ends and flying:
            owner, who, hold, share = flying.pop(size % len(flying))
            tokens = int(hold[0] * share)
            for budget in owner.under[who]:
                budget.settle(hold, Usage(tokens, 0, int(hold[1] * share), hold[2] * share))
        else:
            leased = leases.lease(cards[name], leases.estimate(cards[name], size), 40)
            if leased is not None:
                flying.append((leases, name, leased[1], used))
        for budget in (*own, *shares, shared):
            assert budget.tokens + budget.held_tokens <= budget.limits.tokens
            assert budget.calls + budget.held_calls <= budget.limits.calls
            assert budget.dollars + budget.held_dollars <= budget.limits.dollars + 1e-12
    for owner, who, hold, _ in flying:
        for budget in owner.under[who]:
            budget.settle(hold, Usage())
    for budget in (*own, *shares, shared):
        assert (budget.held_tokens, budget.held_calls) == (0, 0)
        assert abs(budget.held_dollars) < 1e-12


def test_a_request_that_fails_gives_back_what_was_set_aside() -> None:
    models = {"ann": scripted(ModelError("no")), "bob": scripted("b")}
    with team(models, "vote", pool={"calls": 3}) as small:
        assert small.run("?").answer == "b"
        assert small.run("?").answer == "b"
        assert small.orchestrator.pool is not None
        assert (small.orchestrator.pool.held_calls, small.orchestrator.pool.calls) == (0, 2)


class TestWhatNeverBegan:
    """Requests that a run had set aside calls for, and broke off before."""

    POOL = Limits(calls=10, tokens=1000, dollars=1.0)

    @pytest.mark.parametrize("later", [0.0, 0.01])
    def test_an_error_of_the_first_frees_the_rest(self, later: float) -> None:
        pool = Budget(self.POOL, shared=True)
        stage = Stage(Speaker("a", error=InputError("no"), seconds=later), Speaker("b"), pool=pool)
        with pytest.raises(InputError):
            stage.run(Scripted((ask_a, replace(ask_a, agent="b", id="2"))))
        assert free(pool)

    def test_a_directive_to_nobody_frees_those_before_it(self) -> None:
        pool = Budget(self.POOL, shared=True)
        stage = Stage(Speaker("a"), pool=pool)
        with pytest.raises(CoordinatorError, match="no agent 'who'"):
            stage.run(Scripted((ask_a, replace(ask_a, agent="who", id="2"))))
        assert free(pool)
        assert stage.turns("a") == 0

    def test_a_run_that_is_cancelled_before_its_requests_begin(self) -> None:
        pool = Budget(self.POOL, shared=True)
        stage = Stage(Speaker("a", seconds=60), Speaker("b"), pool=pool)
        led = stage.led_by(Scripted((replace(ask_a, compute=Compute(samples=2)), replace(ask_a, agent="b", id="2"))))

        async def go() -> None:
            async with asyncio.timeout(0.02):
                await led.run(Task.of("?"), id="r")

        with pytest.raises(TimeoutError):
            asyncio.run(go())
        assert free(pool)

    def test_a_last_turn_that_could_not_be_written_down(self, tmp_path: Path) -> None:
        models = {"ann": scripted("a"), "bob": scripted("b"), "cyd": scripted("c")}
        journal = Full(f"sqlite:///{tmp_path}/runs.db")
        budget = {"calls": 4, "wind_down": "cyd"}
        with team(models, "round_robin", rounds=3, pool={"calls": 30}, budget=budget, journal=journal) as small:
            with pytest.raises(JournalError, match="no room"):
                small.run("?")
            assert small.orchestrator.pool is not None
            assert free(small.orchestrator.pool)
            assert small.orchestrator.pool.calls == 3


class Full(Journal):
    """A journal that takes nothing more as soon as a last turn is decided."""

    def append(self, run: str, entries: Sequence[Entry]) -> asyncio.Future[None]:
        if any(isinstance(each, Decision) and each.policy.startswith(LAST_TURN) for each in entries):
            raise JournalError("no room", run=run)
        return super().append(run, entries)


ask_a = Directive("1", "a", "propose")


def free(pool: Budget) -> bool:
    """Whether nothing is set aside."""
    assert abs(pool.held_dollars) < 1e-12
    return (pool.held_calls, pool.held_tokens) == (0, 0)
