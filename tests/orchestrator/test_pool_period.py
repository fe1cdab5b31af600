"""A pool that fills again, and what a process that begins knows of its period."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.journal import Head, Journal
from podium.orchestrator.narrate import tell
from podium.orchestrator.period import begins
from podium.orchestrator.team_file import parse_team
from podium.orchestrator.team_schema import team_schema
from podium.protocols.errors import BudgetExceeded, TeamFileError
from podium.protocols.events import Result
from podium.protocols.record import Call, Decision, Directive, Generation, Node, Sampling, Usage
from podium.protocols.saved import SavedRun
from podium.protocols.task import Message
from tests.orchestrator.leaping import leaping
from tests.orchestrator.teams import scripted, team

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()


def at(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    monkeypatch.setattr(time, "time", lambda: NOON + hours * 3600)


def test_a_pool_fills_again_and_what_is_under_way_stays_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    pool = Budget(Limits(calls=3, tokens=100, dollars=1, seconds=9), shared=True, metered=True, every="day")
    pool.spend(Usage(50, 30, 2, 0.9))
    assert pool.meter is not None
    pool.meter.spend(9)
    hold = (20, 1, 0.1)
    assert not pool.admits(*hold)
    pool.reserve(hold)
    at(monkeypatch, 11.9)
    assert (pool.room(1, (0, 0)), pool.over) == (0, True)
    at(monkeypatch, 12)
    left = pool.left()
    assert (left.calls, left.tokens, left.dollars, left.seconds) == (2, 80, 0.9, 9)
    pool.settle(hold, Usage(10, 10, 1, 0.1))  # it ends in the new day, which pays for it
    assert (pool.calls, pool.tokens, pool.dollars) == (1, 20, 0.1)
    at(monkeypatch, 36)
    assert pool.admits(100, 3, 1)


def test_how_long_its_seconds_last_reaches_into_the_next_period(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 11.5)
    pool = Budget(Limits(seconds=7200), shared=True, metered=True, every="day")
    assert pool.lasts == pytest.approx(1800 + 7200)
    assert pool.meter is not None
    pool.meter.spend(6000)
    assert pool.lasts == pytest.approx(1200)
    assert Budget(Limits(seconds=86_400), shared=True, metered=True, every="day").lasts == float("inf")
    assert Budget(Limits(seconds=50), shared=True, metered=True).lasts == 50


def desk(journal: Journal | None = None, **pool: Any) -> Any:
    return team({"ann": scripted("a"), "bob": scripted("b")}, "round_robin", rounds=2, journal=journal, pool=pool)


def test_without_a_journal_a_team_has_all_of_a_period_and_then_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    with desk(calls=6, every="hour") as small:
        first, second = small.run("?"), small.run("?")
        assert [each.usage.calls for each in (first, second)] == [4, 2]
        words = "the pool, which all runs of the team share, does not hold one call more before 2026-11-22 13:00 UTC"
        assert (first.why, second.stop, second.why) == ("", "budget", words)
        with pytest.raises(BudgetExceeded, match=f"{words}; raise the pool of the team file"):
            small.run("?")
        at(monkeypatch, 1)
        assert small.run("?").usage.calls == 4


def test_a_run_goes_on_when_the_pool_fills_again() -> None:
    """Its seconds of one period are over in the next one only."""
    with leaping() as runner:
        left = 3600 - time.time() % 3600
        models = {"ann": scripted("a", delay=left / 2), "bob": scripted("b", delay=left / 2)}
        small = team(
            models, "round_robin", rounds=4, budget={"seconds": None}, pool={"seconds": left + 1, "every": "hour"}
        )
        if left < 1800:
            result = runner.run(small.arun("?"))
            assert (result.stop, result.seconds) == ("budget", pytest.approx(2 * left + 1, abs=0.01))


def test_a_process_that_begins_counts_what_the_journal_knows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with desk(Journal(url), calls=6, every="month") as small:
        assert small.run("?").usage.calls == 4
    with desk(Journal(url), calls=6, every="month") as small:
        kept = small.run("?")
        assert kept.usage.calls == 2
        told = tell(small.journal.load(kept.run))
        assert told.ending.startswith("the pool, which all runs of the team share, does not hold one call more before")
        assert told.ending.endswith("UTC, so the best answer so far was taken")
    with desk(Journal(url), calls=6, every="month") as small, pytest.raises(BudgetExceeded, match="the pool"):
        small.run("?")
    with desk(Journal(url), calls=6) as small:  # which is for as long as the process lives
        assert small.run("?").usage.calls == 4


def ended(run: str, started: float, seconds: float, team: str = "desk") -> SavedRun:
    usage = Usage(10, 5, 2, 0.25)
    node = Node(0, (), "task", "user", "?")
    return SavedRun(run, team, "?", "", 0, "failed", usage, (node,), (), seconds, started)


def test_what_runs_used_is_read_from_their_ends_and_of_the_others_from_their_entries(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    for run in (
        ended("before", 99.0, 50.0),
        ended("a", 100.0, 10.0),
        ended("b", 105.0, 10.0),  # half of it beside the first
        ended("c", 106.0, 2.0),
        ended("d", 200.0, 1.0),
        ended("other", 300.0, 7.0, team="room"),
    ):
        journal.save(run)
    call = Call("r.0.0.0", "m", Generation("a", Usage(1, 1, 1, 0.5, 2.0), Sampling()))
    taken = Decision("r.0", 0, (Directive("r.0.0", "ann"),), "p", seen=1)
    reply = Node(1, (0,), "reply", "ann", "a", None, (call,), Usage(1, 1, 1, 0.5, 2.0), 3.0, "r.0.0")

    async def write() -> None:
        await journal.append(
            "r", [Head("r", "desk", (Message("user", "?"),), 400.0, 0), Node(0, (), "task", "user", "?"), taken, reply]
        )
        journal.leave("r")

    asyncio.run(write())
    used = journal.used("desk", 100.0)
    assert (used.calls, used.tokens, used.dollars) == (9, 62, 1.5)
    assert used.seconds == pytest.approx(15 + 1 + 3)
    assert journal.used("desk", 500.0) == Usage()
    journal.close()


def test_seconds_of_earlier_runs_count(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    journal.save(ended("a", begins("month", time.time()), 90.0))
    with desk(journal, seconds=100, every="month") as small:
        assert small.orchestrator.pool.meter.used == pytest.approx(90)


FILE = """
name: desk
models: {small: {provider: scripted, replies: [yes]}}
agents: {ann: {role: solver, model: small, budget: SHARE}}
coordinator: {kind: single, agent: ann}
pool: POOL
"""


def file(pool: str = "{}", share: str = "{}") -> str:
    return FILE.replace("POOL", pool).replace("SHARE", share)


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        ("{dollars: 50, every: daily}", r':6: pool\.every: .*"daily".* allowed: .*day.*did you mean "day"'),
        ("{every: day}", r":6: pool\.every: nothing is limited that could be filled again; write tokens, calls"),
        ("{seconds: 3601, every: hour}", r"pool\.seconds: more than there are in an hour \(3600\); found 3601"),
        ("{seconds: 0}", r"pool\.seconds: "),
        ("{seconds: 30}", r"budget\.seconds|pool\.seconds"),
        ("{evry: day}", r'unknown key "evry".*"every"'),
    ],
)
def test_a_pool_that_makes_no_sense_is_told(pool: str, told: str) -> None:
    text = file(pool) + ("budget: {seconds: 60}\n" if pool == "{seconds: 30}" else "")
    with pytest.raises(TeamFileError, match=told):
        parse_team(text)


def test_an_agents_seconds_are_within_those_of_the_run() -> None:
    with pytest.raises(TeamFileError, match=r"agents\.ann\.budget\.seconds: more than one whole run may use \(300\)"):
        parse_team(file(share="{seconds: 301}"))
    with pytest.raises(TeamFileError, match=r'agents\.ann\.budget\.every: unknown key "every"'):
        parse_team(file(share="{calls: 3, every: day}"))
    assert parse_team(file(share="{seconds: 2.5}")).agents["ann"].budget.seconds == 2.5
    assert parse_team(file("{dollars: 50, every: day}")).pool.every == "day"


def test_the_digest_is_what_it_was_where_nothing_is_said_of_them() -> None:
    """Or no run that was begun before there were such limits could be gone on with."""
    plain = parse_team(file("{calls: 500}"))
    assert plain.digest == "4493d6e2b18213e624ef05dc3e8851263eb45f20018dc6a46c7a12e4b76f3d98"
    assert (
        len({plain.digest, *(parse_team(file(pool)).digest for pool in ("{calls: 500, every: day}", "{seconds: 900}"))})
        == 3
    )


def test_the_schema_knows_periods() -> None:
    fields = team_schema()["$defs"]["PoolSpec"]["properties"]
    assert ["hour", "day", "week", "month"] in [each.get("enum") for each in fields["every"]["anyOf"]]
    assert set(fields) == {"tokens", "calls", "seconds", "dollars", "every"}


def test_a_result_says_nothing_of_a_pool_that_did_not_end_it() -> None:
    with desk(calls=40, every="week") as small:
        result = small.run("?")
    assert isinstance(result, Result)
    assert (result.stop, result.why) == ("answered", "")
