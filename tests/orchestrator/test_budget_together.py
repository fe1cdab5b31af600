"""Runs at once under a pool, budgets and shares, with models that fail, break off and bill what they like: no limit is
passed by what could be foreseen, and nothing stays set aside.

The account is kept where the calls are made, and knows nothing of how the engine keeps its own.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.agents.model import Price, Prompt, usage_of
from podium.orchestrator import engine, run_loop
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.errors import ModelError, ModelGarbage, ModelUnreachable, RunError
from podium.protocols.events import Result
from podium.protocols.record import NO_USAGE, Generation, Sampling, Usage
from tests.orchestrator.leaping import leaping

pytestmark = pytest.mark.timeout(60)

CENT = 1e-9
"""Dollars that sums may differ by."""


@dataclass
class Account:
    """What calls used under one limit. flying: the most that those under way can use; excess: billed above that.

    seconds: with at least one under way; of a run, whose seconds are others, none are looked at.
    """

    limits: Limits
    used: Usage = NO_USAGE
    flying: Usage = NO_USAGE
    excess: Usage = NO_USAGE
    seconds: float = 0.0
    since: float = 0.0

    def begins(self, worst: Usage) -> None:
        """A call."""
        if not self.flying.calls:
            self.since = time.monotonic()
        self.flying = self.flying + worst

    def ends(self, worst: Usage) -> None:
        self.flying = minus(self.flying, worst)
        if not self.flying.calls:
            self.seconds += time.monotonic() - self.since

    @property
    def late(self) -> bool:
        """Whether a call that begins now begins when the time is up."""
        return self.seconds + (time.monotonic() - self.since if self.flying.calls else 0.0) >= self.limits.seconds

    @property
    def passed(self) -> bool:
        """Whether the calls under way can take more than the limits, as far as that could be foreseen."""
        most = self.used + self.flying
        return (
            most.calls > self.limits.calls
            or most.tokens > self.limits.tokens + self.excess.tokens
            or most.dollars > self.limits.dollars + self.excess.dollars + CENT
        )


@dataclass
class Books:
    """All accounts: of the pool, of each run, and of each agent in a run. passed: calls that should not have begun."""

    pool: Limits
    budget: Limits
    share: Limits
    accounts: dict[tuple[str, ...], Account] = field(default_factory=dict[tuple[str, ...], Account])
    passed: list[str] = field(default_factory=list[str])

    def under(self, prompt: Prompt) -> list[Account]:
        agent = self.share if prompt.agent == "ann" else Limits()
        wanted = {(): self.pool, (prompt.run,): self.budget, (prompt.run, prompt.agent): agent}
        return [self.accounts.setdefault(key, Account(limits)) for key, limits in wanted.items()]


class Wild:
    """A model that answers, refuses, breaks off, takes too long, and bills below and above what it was allowed."""

    temperature = 1.0
    gives_ids = False
    chars_per_token = 4.0
    max_tokens = 30

    def __init__(self, name: str, books: Books, random: Random, price: Price) -> None:
        self.name = self.identity = name
        self.books = books
        self.random = random
        self.price = price

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        accounts = self.books.under(prompt)
        worst = usage_of(self.price, prompt.estimate, sampling.max_tokens)
        for each in accounts:
            late = each.late
            each.begins(worst)
            if late or each.passed:  # an error here would be taken for the model's own
                self.books.passed.append(prompt.call)
        used, piece = Usage(), ""
        try:
            for _ in range(self.random.randint(0, 3)):
                await asyncio.sleep(self.random.choice((0, 0, 0.1, 1)))
            what = self.random.choice(("refused", "broken", "late", "above", *["well"] * 6))
            if what == "refused":
                raise ModelError("no", transient=self.random.random() < 0.7)
            if what == "late":
                used = usage_of(self.price, 0, 0)
                raise spent(ModelUnreachable("late"), used)
            text = self._text(prompt, sampling)
            piece = text[: self.random.randint(0, 20)]
            if piece:
                yield piece
                for _ in range(self.random.randint(0, 3)):
                    await asyncio.sleep(self.random.choice((0, 0, 0.1, 1)))
            read = self.random.randint(0, prompt.estimate) + (400 if what == "above" else 0)
            used = usage_of(self.price, read, self.random.randint(0, sampling.max_tokens))
            if what == "broken":
                raise spent(ModelGarbage("half"), used)
            yield Generation(text, used, sampling)
        except asyncio.CancelledError:
            if piece:
                used = usage_of(self.price, prompt.estimate, len(piece) // 4 + 1)
            raise
        finally:
            above = usage_of(self.price, max(0, used.input_tokens - prompt.estimate), 0)
            for each in accounts:
                each.ends(worst)
                each.used = each.used + used
                each.excess = each.excess + above

    def _text(self, prompt: Prompt, sampling: Sampling) -> str:
        if prompt.response_schema and self.random.random() < 0.7:
            return json.dumps({"next": self.random.choice(prompt.response_schema["properties"]["next"]["enum"])})
        return "".join(self.random.choices("abc ", k=self.random.randint(1, 4 * sampling.max_tokens)))

    async def close(self) -> None: ...


def spent(error: ModelError, usage: Usage) -> ModelError:
    error.usage = usage
    return error


def minus(one: Usage, other: Usage) -> Usage:
    return one + Usage(-other.input_tokens, -other.output_tokens, -other.calls, -other.dollars)


COORDINATORS: Sequence[dict[str, Any]] = (
    {"kind": "round_robin", "rounds": 3},
    {"kind": "vote", "agents": ["ann", "bob"], "samples": 2},
    {"kind": "random", "max_steps": 4},
    *[{"kind": "llm_selector", "model": "bob", "max_steps": 4}] * 2,
)


def limits(random: Random, calls: int) -> dict[str, Any]:
    """Limits for about so many calls, some or all of which are not there."""
    return {
        "calls": random.choice((None, calls)),
        "tokens": random.choice((None, calls * 60)),
        "dollars": random.choice((None, calls * 1e-4)),
        "seconds": random.choice((None, calls / 2)),
    }


def told(given: dict[str, Any]) -> Limits:
    return Limits(**{name: math.inf if value is None else value for name, value in given.items()})


async def at_once(team: Team, random: Random) -> list[Result]:
    """What came of some runs at once, of those too that fail and of one that is cancelled."""
    work = [asyncio.create_task(team.arun("2 + 2?", seed=seed, mode="sample")) for seed in range(random.randint(3, 10))]
    for _ in range(random.randint(0, 30)):
        await asyncio.sleep(0)
    work[0].cancel()
    results: list[Result] = []
    for each in work:
        try:
            results.append(await each)
        except asyncio.CancelledError as error:
            results += [kept for kept in error.args if isinstance(kept, Result)]
        except RunError as error:
            results += [kept for kept in (error.partial,) if isinstance(kept, Result)]
    return results


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**9))
def test_no_limit_is_passed_and_nothing_stays_set_aside(seed: int) -> None:
    random = Random(seed)
    pool, budget, share = (limits(random, random.randint(*calls)) for calls in ((12, 40), (6, 12), (1, 6)))
    limited = {**budget, "seconds": None}  # which are not metered
    books = Books(told(pool), told(limited), told(share))
    spec = TeamSpec.model_validate(
        {
            "name": "desk",
            "models": {
                name: {"provider": "scripted", "replies": ["unused"], "fallback": fallback}
                for name, fallback in (("ann", random.choice(([], ["bob"]))), ("bob", []))
            },
            "agents": {
                "ann": {"role": "solver", "model": "ann", "budget": share, "prompt": "p"},
                "bob": {"role": "solver", "model": "bob", "prompt": "p"},
            },
            "pool": pool,
            "coordinator": random.choice(COORDINATORS),
            "budget": {**budget, "repeats": None, "wind_down": random.choice((None, None, "ann"))},
            "retry": {"attempts": random.randint(1, 3), "wait": 0.001},
        }
    )
    models = {name: Wild(name, books, random, Price(1.0, price)) for name, price in (("ann", 2.0), ("bob", 3.0))}
    made: list[Budget] = []

    def budget_of(limits: Limits, **how: Any) -> Budget:
        made.append(Budget(limits, **how))
        return made[-1]

    with leaping() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "Budget", budget_of)
        patch.setattr(run_loop, "Budget", budget_of)
        team = Team(spec, models)
        results = runner.run(at_once(team, random))
        if team.orchestrator.pool is not None:
            made.append(team.orchestrator.pool)
    assert not books.passed
    for account in books.accounts.values():
        assert account.seconds <= account.limits.seconds + CENT
    for each in made:
        if each.meter is not None:
            assert (each.meter.under_way, each.meter.used <= each.meter.limit + CENT) == (0, True)
        if spec.budget.wind_down and not each.shared:
            continue  # a last turn that was not made stays set aside in its run, which is over
        assert (each.held_tokens, each.held_calls) == (0, 0)
        assert each.held_dollars == pytest.approx(0, abs=CENT)
    used = Usage.total(result.usage for result in results)
    right = books.accounts[()].used if books.accounts else Usage()
    assert (used.calls, used.tokens) == (right.calls, right.tokens)
    assert used.dollars == pytest.approx(right.dollars)
    if team.orchestrator.pool is not None:
        assert (team.orchestrator.pool.calls, team.orchestrator.pool.tokens) == (right.calls, right.tokens)
