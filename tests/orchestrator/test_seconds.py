"""Seconds of an agent within a run, and of the pool: unions, that end what goes on when they are over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from podium.agents.model import Model
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.coordinator import RunState
from podium.orchestrator.journal import Head, Journal
from podium.orchestrator.leases import Leases
from podium.orchestrator.team import Team
from podium.protocols.bus import Card
from podium.protocols.errors import BudgetExceeded, DeadlineExceeded, ModelError
from podium.protocols.events import Result
from podium.protocols.people import Question, Word
from podium.protocols.record import Call, Decision, Directive, Finish, Generation, Node, Sampling, Usage
from podium.protocols.task import Message, Task
from tests.orchestrator.leaping import leaping
from tests.orchestrator.stage import Scripted, Speaker, Stage
from tests.orchestrator.teams import scripted, team


def run(team: Team, many: int = 1) -> tuple[list[Result | BaseException], float]:
    """What came of some runs at once, and how long that took."""

    async def all_of_it() -> tuple[list[Result | BaseException], float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        done = await asyncio.gather(*(team.arun("?") for _ in range(many)), return_exceptions=True)
        return done, loop.time() - began

    with leaping() as runner:
        return runner.run(all_of_it())


def one(team: Team) -> Result:
    (result,), _ = run(team)
    if isinstance(result, BaseException):
        raise result
    return result


def desk(slow: float = 4.0, kind: str = "round_robin", budget: Mapping[str, Any] | None = None, **more: Any) -> Team:
    models: dict[str, Model] = {"ann": scripted("a", delay=slow), "bob": scripted("b", delay=1.0)}
    return team(models, kind, budget={"seconds": None, **(budget or {})}, **more)


class TestOfAnAgent:
    def test_a_request_is_ended_when_they_are_over_and_the_others_go_on(self) -> None:
        result = one(desk(rounds=4, shares={"ann": {"seconds": 6}}))
        said = [("reply", "ann"), ("reply", "bob"), ("failure", "ann"), *[("reply", "bob")] * 3]
        assert [(node.kind, node.author) for node in result.nodes[1:]] == said
        assert result.nodes[3].content == "ann has worked for the 6 seconds that it may use of a run"
        assert (result.stop, result.answer, result.seconds) == ("answered", "b", pytest.approx(10))

    def test_in_the_last_step_the_replies_before_it_are_what_is_chosen_from(self) -> None:
        models: dict[str, Model] = {"bob": scripted("b", delay=1.0), "ann": scripted("a", delay=4)}
        small = team(models, "round_robin", rounds=2, shares={"ann": {"seconds": 6}})
        assert (one(small).stop, one(small).answer) == ("answered", "b")

    def test_where_nobody_is_left_the_run_has_its_best_answer(self) -> None:
        shares = {"ann": {"seconds": 6}, "bob": {"calls": 1}}
        result = one(desk(rounds=4, shares=shares))
        assert [node.kind for node in result.nodes[1:]] == ["reply", "reply", "failure"]
        assert (result.stop, result.answer, result.why) == ("budget", "b", "")

    def test_those_beside_it_go_on(self) -> None:
        result = one(desk(60, "vote", shares={"ann": {"seconds": 0.5}}))
        assert [node.kind for node in result.nodes[1:]] == ["failure", "reply"]
        assert (result.stop, result.answer) == ("answered", "b")

    def test_without_any_reply_it_is_an_error(self) -> None:
        with pytest.raises(
            BudgetExceeded, match=r"ann has worked for the 2 seconds .* raise the budget of the team file"
        ):
            one(desk(60, "single", agent="ann", shares={"ann": {"seconds": 2}}))

    def test_its_requests_at_once_share_them(self) -> None:
        """As a union: eight samples of four seconds fit in five; and of a minute all end with the fifth."""
        shares = {"ann": {"seconds": 5}}
        fits = one(desk(4, "self_consistency", agent="ann", samples=8, shares=shares))
        assert len([node for node in fits.nodes if node.kind == "candidate"]) == 8
        small = desk(60, "self_consistency", agent="ann", samples=8, shares=shares)
        (raised,), took = run(small)
        assert isinstance(raised, BudgetExceeded)
        assert took == pytest.approx(5)
        assert isinstance(raised.partial, Result)
        assert [node.kind for node in raised.partial.nodes[1:]] == ["failure"] * 8

    def test_attempts_and_the_waits_between_them_count_and_are_paid(self) -> None:
        broken = ModelError("half", transient=True)
        broken.usage = Usage(5, 0, 1)
        models = {"ann": scripted(broken), "bob": scripted("b")}
        retry = {"attempts": 50, "wait": 3, "longest": 3}
        small = team(models, "vote", budget={"seconds": None}, retry=retry, shares={"ann": {"seconds": 1.5}})
        result = one(small)
        assert [node.kind for node in result.nodes[1:]] == ["failure", "reply"]
        assert "has worked for the 1.5 seconds" in result.nodes[1].content
        errors = [call.error for call in result.nodes[1].calls]
        assert errors == ["half"] * len(errors)
        assert result.usage.calls == len(errors) + 1

    def test_its_own_timeout_still_ends_a_request_before(self) -> None:
        small = desk(60, "vote", shares={"ann": {"seconds": 5}}, timeouts={"ann": 2})
        assert "no reply within 2 seconds" in one(small).nodes[1].content
        small = desk(60, "vote", shares={"ann": {"seconds": 5}}, timeouts={"ann": 9})
        assert "has worked for the 5 seconds" in one(small).nodes[1].content

    def test_every_run_has_all_of_them(self) -> None:
        small = desk(4, "vote", shares={"ann": {"seconds": 5}})
        done, took = run(small, 3)
        assert [len(each.nodes) for each in done if isinstance(each, Result)] == [3, 3, 3]
        assert took == pytest.approx(4)

    def test_a_coordinator_knows_who_can_be_asked(self) -> None:
        share = Budget(Limits(seconds=2), metered=True)
        cards = (Card("ann", "solver"), Card("bob", "solver"))
        leases = Leases(Budget(Limits()), cards, 10, {"ann": (share,), "bob": ()})
        assert leases.affordable() == (True, True)
        assert share.meter is not None
        share.meter.spend(2)
        assert leases.affordable() == (False, True)
        assert leases.lease(cards[0], 10, 10) is None
        assert share.left().seconds == 0

    def test_a_request_that_comes_when_they_are_over_is_not_sent(self) -> None:
        """It was set aside before, beside one that took all of them without ever waiting."""

        class Busy(Speaker):
            async def answer(self, envelope: Any, send: Any) -> str:
                time.sleep(0.05)  # noqa: ASYNC251 - as a model does that works in this thread
                return await super().answer(envelope, send)

        speaker = Busy("ann")
        orchestrator = Stage(speaker).led_by(Scripted((Directive("1", "ann"), Directive("2", "ann")), Finish(1)))
        orchestrator.shares = {"ann": Limits(seconds=0.04)}
        result = asyncio.run(orchestrator.run(Task.of("?"), id="r"))
        assert [node.kind for node in result.nodes[1:]] == ["reply", "failure"]
        assert len(speaker.heard) == 1

    def test_a_tenth_is_kept_for_its_last_turn(self) -> None:
        models = {"ann": scripted("first", "last", delay=0.3), "bob": scripted("b", delay=9)}
        small = team(
            models,
            "round_robin",
            rounds=3,
            budget={"seconds": 10, "wind_down": "ann"},
            shares={"ann": {"seconds": 4}},
        )
        result = one(small)
        assert (result.stop, result.answer) == ("deadline", "last")
        models = {"ann": scripted("first", "second", "last", delay=1.8), "bob": scripted("b")}
        small = team(
            models,
            "round_robin",
            rounds=3,
            budget={"wind_down": "ann"},
            shares={"ann": {"seconds": 3.6}, "bob": {"calls": 1}},
        )
        result = one(small)  # its second request ends when 3.24 are over, which leaves too little for a third
        assert [node.kind for node in result.nodes[1:]] == ["reply", "reply", "failure", "failure"]
        assert result.seconds == pytest.approx(3.6)

    def test_a_resumed_run_goes_on_with_what_is_left(self, tmp_path: Path) -> None:
        journal = Journal(f"sqlite:///{tmp_path}/runs.db")
        small = desk(0, rounds=4, shares={"ann": {"seconds": 10}}, journal=journal)
        directive = Directive("r1.0.0", "ann")
        taken = Decision("r1.0", 0, (directive,), "round_robin", seen=1)
        used = Usage(1, 1, 1, 0.0, 9.9995)
        call = Call("r1.0.0.0", "m", Generation("a", used, Sampling()))
        reply = Node(1, (0,), "reply", "ann", "a", None, (call,), used, 9.9995, "r1.0.0")

        async def go_on() -> Result:
            head = Head("r1", "desk", (Message("user", "?"),), 1.0, 0)
            await journal.append("r1", [head, Node(0, (), "task", "user", "?"), taken, reply])
            journal.leave("r1")
            return await small.aresume("r1")

        with small:
            result = asyncio.run(go_on())
        assert [node.author for node in result.nodes[1:]] == ["ann", "bob", "bob", "bob", "bob"]

    def test_what_a_person_takes_is_none_of_them(self) -> None:
        """Nor of those that it works on beside."""

        class Asking(Speaker):
            async def answer(self, envelope: Any, send: Any) -> str:
                if envelope.directive.id == "1":
                    await asyncio.sleep(1)
                    word = await envelope.ask(Question("r", "q", "ann", "yes?"))
                    await asyncio.sleep(1)
                    return word.text
                await asyncio.sleep(3)
                return "beside"

        async def people(question: Question, asked: Any) -> Any:
            asked()
            await asyncio.sleep(1000)
            return Word("sure", True)

        for seconds, kinds, took in ((2.5, ["reply", "reply"], 2), (1.5, ["failure", "reply"], 1.5)):
            led = Scripted((Directive("1", "ann"), Directive("2", "ann")), Finish(2))
            orchestrator = Stage(Asking("ann"), limits=Limits(seconds=9)).led_by(led)
            orchestrator.shares, orchestrator.people = {"ann": Limits(seconds=seconds)}, people
            with leaping() as runner:
                result = runner.run(orchestrator.run(Task.of("?"), id="r"))
            assert [node.kind for node in result.nodes[1:]] == kinds
            assert result.seconds == pytest.approx(took)


class TestOfThePool:
    def test_runs_at_once_use_them_together(self) -> None:
        small = desk(rounds=1, pool={"seconds": 6})
        done, _ = run(small, 20)
        assert [each.stop for each in done if isinstance(each, Result)] == ["answered"] * 20
        pool = small.orchestrator.pool
        assert pool is not None
        assert pool.meter is not None
        assert (pool.meter.used, pool.meter.under_way) == (pytest.approx(5), 0)

    def test_a_run_ends_with_them_and_none_begins_then(self) -> None:
        small = desk(rounds=3, pool={"seconds": 8})
        done, took = run(small, 2)
        assert took == pytest.approx(8)
        for result in done:
            assert isinstance(result, Result)
            assert (result.stop, result.answer) == ("budget", "b")
            assert result.why == "the pool, which all runs of the team share, has no seconds left"
            assert len(result.nodes) == 3
        with pytest.raises(BudgetExceeded, match="has no seconds left; raise the pool of the team file") as raised:
            one(small)
        assert not isinstance(raised.value, DeadlineExceeded)

    def test_without_any_reply_it_is_an_error_of_the_pool(self) -> None:
        with pytest.raises(BudgetExceeded, match="the pool, which all runs of the team share, has no seconds left"):
            one(desk(60, pool={"seconds": 8}))

    def test_the_runs_own_seconds_are_told_apart(self) -> None:
        result = one(desk(rounds=3, pool={"seconds": 8}, budget={"seconds": 7}))
        assert (result.stop, result.why) == ("deadline", "")

    def test_a_coordinator_knows_what_is_left(self) -> None:
        left: list[float] = []

        def decide(state: RunState) -> Any:
            left.append(state.left.seconds)
            return (Directive(f"r.{len(left)}", "ann"),) if len(left) < 3 else Finish(1)

        stage = Stage(Speaker("ann", seconds=2), limits=Limits(seconds=100))
        stage.pool = Budget(Limits(seconds=10), shared=True, metered=True)
        with leaping() as runner:
            runner.run(stage.led_by(Scripted(decide, decide, decide)).run(Task.of("?"), id="r"))
        assert left == pytest.approx([10, 8, 6])

    def test_a_tenth_is_kept_for_last_turns(self) -> None:
        models = {"ann": scripted("a", delay=4), "bob": scripted("b", delay=0.5)}
        small = team(
            models, "round_robin", rounds=9, pool={"seconds": 10}, budget={"seconds": None, "wind_down": "bob"}
        )
        done, took = run(small, 3)
        assert [(each.stop, each.answer) for each in done if isinstance(each, Result)] == [("budget", "b")] * 3
        assert took == pytest.approx(9.5)
        slow = team(
            {"ann": scripted("a", delay=4), "bob": scripted("b", "late", delay=1.5)},
            "round_robin",
            rounds=9,
            pool={"seconds": 10},
            budget={"seconds": None, "wind_down": "bob"},
        )
        (result,), took = run(slow)
        assert isinstance(result, Result)
        assert (result.answer, len(result.nodes)) == ("b", 3)
        assert took == pytest.approx(10)

    def test_a_run_that_waits_for_a_person_uses_none(self) -> None:
        class Asking(Speaker):
            async def answer(self, envelope: Any, send: Any) -> str:
                word = await envelope.ask(Question("r", "q", "ann", "yes?"))
                await asyncio.sleep(2)
                return word.text

        async def people(question: Question, asked: Any) -> Any:
            asked()
            await asyncio.sleep(1000)
            return Word("sure", True)

        stage = Stage(Asking("ann"))
        stage.pool = Budget(Limits(seconds=3), shared=True, metered=True)
        orchestrator = stage.led_by(Scripted((Directive("1", "ann", answer=True),), name="one"))
        orchestrator.people = people
        with leaping() as runner:
            assert runner.run(orchestrator.run(Task.of("?"), id="r")).answer == "sure"
            assert stage.pool.meter is not None
            assert stage.pool.meter.used == pytest.approx(2)
            with pytest.raises(BudgetExceeded, match="no seconds left"):  # one is left, for two
                runner.run(orchestrator.run(Task.of("?"), id="s"))
        assert stage.pool.meter.under_way == 0
