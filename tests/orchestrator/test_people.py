"""People in a run: as members of the team, as those who approve tool calls, and as those whom agents ask."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium.agents.human import HumanModel
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.clock import Clock
from podium.orchestrator.journal import Journal
from podium.orchestrator.people import People
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.server import make_app
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.bus import Lease
from podium.protocols.errors import InputError, JournalError, NobodyAnswered, RunError, RunPaused
from podium.protocols.events import Asked, Event, Result
from podium.protocols.people import Question, Word
from podium.protocols.record import NO_USAGE, Generation, Sampling, ToolCall, ToolResult
from podium.protocols.task import Task
from podium.training.rollouts import Rollouts
from tests.orchestrator.test_server import serving, wait_for

WHO = ("bob", "everybody")


def wants(tool: str, *arguments: str) -> Generation:
    """A generation with tool calls, all under one id."""
    calls = tuple(ToolCall("c1", tool, each) for each in arguments)
    return Generation("", NO_USAGE, Sampling(), "tool", tool_calls=calls)


def person_team(
    journal: Journal | None = None,
    *,
    wait: float = 20,
    replies: list[Any] | None = None,
    tools: list[Any] | None = None,
    boss: Mapping[str, Any] | None = None,
    **more: Any,
) -> Team:
    """ann speaks, then a person called boss; or, with tools, ann alone."""
    agents = {"ann": {"role": "solver", "model": "small", "tools": tools or []}}
    if not tools:
        agents["boss"] = {"role": "boss", "model": "person"}
    spec = TeamSpec.model_validate(
        {
            "name": "desk",
            "models": {
                "small": {"provider": "scripted", "replies": ["unused"]},
                "person": {"provider": "human", "wait": wait, **(boss or {})},
            },
            "agents": agents,
            "coordinator": {"kind": "sequential"},
            "retry": {"attempts": 2, "wait": 0.01},
            **more,
        }
    )
    models = {
        "small": ScriptedModel(replies or ["I say 12"], "small", cycle=True),
        "person": HumanModel("person", wait=wait),
    }
    return Team(spec, models, journal=journal)


@contextmanager
def under_way(team: Team, task: str = "how much?") -> Generator[Callable[[], Result]]:
    """A run in a thread, as a server would have it; what is yielded waits for its result."""
    out: list[Result | BaseException] = []

    def work() -> None:
        try:
            out.append(team.run(task, seed=1))
        except BaseException as error:
            out.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def result() -> Result:
        thread.join(20)
        assert out, "the run did not end"
        if isinstance(out[0], BaseException):
            raise out[0]
        return out[0]

    try:
        yield result
    finally:
        thread.join(20)
        team.close()


def asked(team: Team) -> Question:
    wait_for(team.questions)
    (question,) = team.questions()
    return question


def test_a_person_is_an_agent_that_reads_what_it_is_shown() -> None:
    team = person_team()
    with under_way(team) as result:
        question = asked(team)
        assert (question.agent, question.approval, question.text) == ("boss", False, "how much?\n\nann: I say 12")
        assert team.answer(question.run[:4], "make it 13") == question
        done = result()
    assert (done.answer, done.stop) == ("make it 13", "answered")
    assert [node.author for node in done.nodes] == ["user", "ann", "boss"]
    assert done.by_agent["boss"].calls == 1
    assert done.by_agent["boss"].output_tokens == 3
    assert team.questions() == []


def test_the_time_that_a_person_takes_does_not_count() -> None:
    team = person_team(budget={"seconds": 0.4}, agents={"boss": {"role": "boss", "model": "person", "timeout": 0.3}})
    with under_way(team) as result:
        question = asked(team)
        time.sleep(0.9)
        team.answer(question.run, "12")
        done = result()
    assert done.answer == "12"
    assert done.seconds < 0.4
    assert done.nodes[-1].clock < 0.4
    assert done.nodes[-1].usage.seconds > 0.8


def test_a_run_still_ends_at_its_deadline_once_the_person_has_spoken() -> None:
    slow = {"first": {"role": "boss", "model": "person"}, "ann": {"role": "solver", "model": "small"}}
    team = person_team(budget={"seconds": 0.3}, agents=slow)
    small = team.models["small"]
    assert isinstance(small, ScriptedModel)
    small.delay = 5.0
    with under_way(team) as result:
        question = asked(team)
        time.sleep(0.5)
        team.answer(question.run, "12")
        began = time.monotonic()
        done = result()
    assert (done.answer, done.stop) == ("12", "deadline")
    assert time.monotonic() - began < 2


def test_two_people_are_asked_at_once_and_time_goes_on_with_the_last() -> None:
    agents = {name: {"role": "boss", "model": "person"} for name in ("ann", "bob")}
    team = person_team(budget={"seconds": 0.5}, agents=agents, coordinator={"kind": "vote"})
    with under_way(team) as result:
        wait_for(lambda: len(team.questions()) == 2)
        run = team.questions()[0].run
        with pytest.raises(InputError, match=r"several questions wait there: .*\.0\.0.*; say which one"):
            team.answer(run, "12")
        for question in team.questions():
            time.sleep(0.4)
            team.answer(run, "12", id=question.id)
        done = result()
    assert (done.answer, done.stop) == ("12", "answered")
    assert done.seconds < 0.5


@pytest.mark.parametrize(("yes", "why"), [(True, ""), (False, "too dear"), (False, "")])
def test_a_tool_call_waits_for_a_yes(yes: bool, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    team, calls = sender(tmp_path, monkeypatch, '{"to": "bob"}')
    with under_way(team) as result:
        question = asked(team)
        assert question.approval
        assert question.text == 'ann wants to use send: {"to": "bob"}'
        assert calls() == []
        team.answer(question.run, why, yes=yes, no=not yes)
        done = result()
    assert calls() == (["bob"] if yes else [])
    (tool,) = [call.result for call in done.nodes[-1].calls if isinstance(call.result, ToolResult)]
    refused = f"A person refused this call of send{': too dear' if why else ''}. Do not repeat it."
    assert tool == (ToolResult("sent") if yes else ToolResult(refused, failed=True))


def test_nobody_is_asked_about_a_call_that_the_tool_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, calls = sender(tmp_path, monkeypatch, '{"whom": "bob"}')
    with under_way(team) as result:
        done = result()
    assert calls() == []
    (tool,) = [call.result for call in done.nodes[-1].calls if isinstance(call.result, ToolResult)]
    assert "Wrong arguments for send" in tool.text


def test_an_agent_asks_with_a_tool() -> None:
    replies = [wants("ask_human", '{"question": "which colour?"}'), "it is green"]
    team = person_team(tools=["ask_human"], replies=replies)
    with under_way(team) as result:
        question = asked(team)
        assert (question.agent, question.text, question.approval) == ("ann", "which colour?", False)
        for wrong in ({"text": ""}, {"text": " "}, {"yes": True}):
            with pytest.raises(InputError, match=r"the answer is empty|no question of yes or no"):
                team.answer(question.run, **wrong)  # pyright: ignore[reportArgumentType]
        with pytest.raises(InputError, match=r"no question of run beef waits for an answer; waiting: .*0\.0\.c1"):
            team.answer("beef", "green")
        team.answer(question.run, "green")
        done = result()
    assert done.answer == "it is green"
    (tool,) = [call.result for call in done.nodes[-1].calls if isinstance(call.result, ToolResult)]
    assert tool == ToolResult("green")


def test_a_person_who_does_not_answer_fails_like_a_model_and_others_stand_in() -> None:
    team = person_team(wait=0.05, boss={"fallback": ["small"]})
    with under_way(team) as result:
        done = result()
    assert done.answer == "I say 12"
    lost = [call for call in done.nodes[-1].calls if call.error]
    assert [call.error for call in lost] == ["no person answered within 0.05 seconds"]  # and was not asked again
    alone = person_team(wait=0.05)
    with under_way(alone) as result, pytest.raises(NobodyAnswered, match="no person answered within") as raised:
        result()
    assert raised.value.agent == "boss"
    assert alone.questions() == []


def test_two_tool_calls_under_one_id_are_two_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    team, calls = sender(tmp_path, monkeypatch, '{"to": "bob"}', journal, '{"to": "everybody"}')
    with under_way(team) as result:
        first = asked(team)
        team.answer(first.run, yes=True)
        wait_for(lambda: team.questions() and team.questions() != [first])
        second = asked(team)
        assert (first.text, second.text) == tuple(f'ann wants to use send: {{"to": "{who}"}}' for who in WHO)
        team.answer(second.run, no=True)
        done = result()
    assert calls() == ["bob"]
    model, *tools = done.nodes[-1].calls[:3]
    assert isinstance(model.result, Generation)
    assert [f"{model.id}.{call.id}" for call in model.result.tool_calls] == [tool.id for tool in tools]
    assert len({tool.id for tool in tools}) == 2


def test_a_yes_to_one_question_is_none_to_another_under_its_id(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    run = asyncio.run(until_asked(person_team(journal)))
    kept = Journal(journal.url)
    lamp = Question(run, "c1", "ann", "1 lamp", approval=True)
    assert kept.ask(lamp).word is None
    kept.answer(lamp, Word(""))
    assert kept.ask(lamp).word == kept.word(run, "c1") == Word("")
    for other in (replace(lamp, text="100 cars"), replace(lamp, agent="bob"), replace(lamp, approval=False)):
        assert kept.ask(other).word is None
        assert other in kept.questions()
        assert kept.ask(lamp).word is None
        kept.answer(lamp, Word(""))
    assert kept.ask(replace(lamp, text="100 cars")).word is None
    with pytest.raises(InputError, match="waits no more"):
        kept.answer(lamp, Word(""))  # whoever read the old question
    kept.close()


def test_a_run_that_goes_on_with_another_call_asks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    first, calls = sender(tmp_path, monkeypatch, '{"to": "bob"}', Journal(url))
    monkeypatch.setattr(RunLog, "completed", unheard)  # the process dies before the call is written
    run = asyncio.run(until_asked(first))
    People(Journal(url)).answer(run, yes=True)
    again, _ = sender(tmp_path, monkeypatch, '{"to": "everybody"}', Journal(url))
    out: list[Result] = []
    thread = threading.Thread(target=lambda: out.append(again.resume(run)))
    thread.start()
    assert asked(again).text == 'ann wants to use send: {"to": "everybody"}'
    again.answer(run, no=True)
    thread.join(20)
    assert (out[0].answer, calls()) == ("done", [])
    again.close()


def test_a_tool_that_asks_may_need_a_yes_itself() -> None:
    replies = [wants("ask_human", '{"question": "which colour?"}'), "it is green"]
    team = person_team(tools=[{"name": "ask_human", "approve": True, "wait": 15}], replies=replies)
    with under_way(team) as result:
        first = asked(team)
        assert (first.approval, first.wait) == (True, 15.0)
        team.answer(first.run, yes=True)
        wait_for(lambda: team.questions() and team.questions() != [first])
        second = asked(team)
        assert (second.text, second.approval, second.wait) == ("which colour?", False, 15.0)
        assert second.id == f"{first.id}.said"
        team.answer(second.run, "green")
        done = result()
    (tool,) = [call.result for call in done.nodes[-1].calls if isinstance(call.result, ToolResult)]
    assert tool == ToolResult("green")


def test_a_tool_call_is_not_approved_by_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    team, calls = sender(tmp_path, monkeypatch, '{"to": "bob"}', wait=0.05)
    with under_way(team) as result:
        done = result()
    assert calls() == []
    (tool,) = [call.result for call in done.nodes[-1].calls if isinstance(call.result, ToolResult)]
    assert tool.text.startswith("send needs a person's approval: no person said yes or no within 0.05 seconds")


def test_a_journal_that_is_gone_for_a_while_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("podium.orchestrator.people.SOON", 0.01)
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    team, word, looks = person_team(journal), journal.word, [0]

    def moody(run: str, id: str) -> Word | None:
        looks[0] += 1
        if looks[0] < 4:
            raise JournalError("restarting", run=run)
        return word(run, id)

    monkeypatch.setattr(journal, "word", moody)
    with under_way(team) as result:
        question = asked(team)
        wait_for(lambda: looks[0] > 4)
        People(Journal(journal.url)).answer(question.run, "12")
        done = result()
    assert done.answer == "12"
    assert [each.message for each in caplog.records if each.name == "podium.people"] == [
        f"run {question.run}: restarting; the answer is looked for again and again"
    ]


def test_a_question_that_cannot_be_withdrawn_is_not_answered_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(run: str, id: str) -> None:
        raise JournalError("gone", run=run)

    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    monkeypatch.setattr(journal, "withdraw", gone)
    team = person_team(journal, wait=0.05, boss={"fallback": ["small"]})
    with under_way(team) as result:
        assert result().answer == "I say 12"


@pytest.mark.parametrize("keeps", [True, False])
def test_an_answer_that_was_taken_at_the_last_moment_is_the_answer(keeps: bool, tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db") if keeps else None
    team = person_team(journal, wait=0.1)
    people = team.people
    taken_back = people._taken_back  # pyright: ignore[reportPrivateUsage]

    async def late(waiting: Any) -> Word | None:
        people.give(waiting.question, Word("just in time"))
        return await taken_back(waiting)

    setattr(people, "_taken_back", late)  # noqa: B010 - the moment between the last look and the withdrawal
    with under_way(team) as result:
        assert result().answer == "just in time"


def test_without_a_journal_too_one_of_two_answers_is_taken() -> None:
    team = person_team()

    async def work() -> Result:
        async with team:
            run = asyncio.create_task(team.arun("how much?"))
            await asyncio.to_thread(asked, team)
            (question,) = team.questions()
            team.answer(question.run, "first")
            assert team.questions() == []
            with pytest.raises(InputError, match="waits no more"):
                team.people.give(question, Word("second"))
            return await run

    assert asyncio.run(work()).answer == "first"


def test_questions_may_be_listed_while_they_come_and_go() -> None:
    people, seen, stop = People(None), list[str](), threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                people.questions()
            except RuntimeError as error:
                seen.append(str(error))

    async def come_and_go() -> None:
        async def one(place: int) -> None:
            with pytest.raises(NobodyAnswered):
                await people.ask(Question("r", str(place), "ann", "?", wait=0.001), lambda: None)

        for _ in range(4):
            await asyncio.gather(*(one(place) for place in range(500)))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=look)
    thread.start()
    try:
        asyncio.run(come_and_go())
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    assert seen == []


def test_an_answer_is_text() -> None:
    team = person_team()
    with under_way(team) as result:
        question = asked(team)
        with pytest.raises(InputError, match="the answer is not text in UTF-8"):
            team.answer(question.run, "caf\udce9")
        team.answer(question.run, "café")
        assert result().answer == "café"


def test_a_question_that_could_not_be_told_does_not_wait() -> None:
    people, question = People(None), Question("r", "c1", "ann", "?")

    def fails() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        asyncio.run(people.ask(question, fails))
    assert not people.waits(question)
    assert people.questions() == []


def test_while_one_agent_waits_for_a_person_the_others_have_their_time() -> None:
    agents = {"boss": {"role": "boss", "model": "person"}, "ann": {"role": "solver", "model": "small"}}
    agents["ann"]["tools"] = ["calculator"]  # pyright: ignore[reportArgumentType]
    team = person_team(
        agents=agents,
        replies=[wants("calculator", '{"expression": "1 + 1"}'), "2"],
        coordinator={"kind": "vote"},
        budget={"seconds": 0.5},
    )
    small = team.models["small"]
    assert isinstance(small, ScriptedModel)
    small.delay = 0.7  # its tool is called when the run's seconds would have been up
    with under_way(team) as result:
        question = asked(team)
        time.sleep(1.8)
        team.answer(question.run, "2")
        done = result()
    (tool,) = [each.result for node in done.nodes for each in node.calls if isinstance(each.result, ToolResult)]
    assert tool == ToolResult("2")
    assert (done.stop, [node.content for node in done.nodes[1:]]) == ("answered", ["2", "2"])


def test_all_leases_stand_still_with_the_clock() -> None:
    async def work() -> None:
        clock = Clock(Budget(Limits()))
        ends = time.monotonic() + 10
        clock.leases = [Lease(1, 1, 1, ends), Lease(1, 1, 1, ends)]
        with clock.stopped(None):
            assert [lease.deadline for lease in clock.leases] == [math.inf, math.inf]
            await asyncio.sleep(0.1)
        assert all(0.1 <= lease.deadline - ends < 5 for lease in clock.leases)

    asyncio.run(work())


def test_training_asks_nobody() -> None:
    team = person_team(boss={"fallback": ["small"]})
    (result,) = asyncio.run(Rollouts(team.orchestrator).run(None, [Task.of("how much?")], seeds=[0]))
    assert result.answer == "I say 12"
    assert [call.error for call in result.nodes[-1].calls if call.error] == ["there is nobody to ask"]
    assert team.orchestrator.people is not None


def test_who_is_absent_is_not_waited_for() -> None:
    team = person_team(boss={"fallback": ["small"]})
    team.people.absent = "it is Sunday"
    with under_way(team) as result:
        done = result()
    assert done.answer == "I say 12"
    assert [call.error for call in done.nodes[-1].calls if call.error] == ["there is nobody to ask: it is Sunday"]


def test_a_process_that_stops_leaves_its_questions(tmp_path: Path) -> None:
    agents = {name: {"role": "boss", "model": "person"} for name in ("ann", "bob")}
    team = person_team(Journal(f"sqlite:///{tmp_path}/runs.db"), agents=agents, coordinator={"kind": "vote"})
    kept = Journal(f"sqlite:///{tmp_path}/runs.db")
    with under_way(team) as result:
        assert not person_team().people.leave()
        wait_for(lambda: len(team.questions()) == 2)
        team.answer(team.questions()[0].run, "12", id=team.questions()[0].id)
        time.sleep(0.2)
        assert team.people.leave()
        with pytest.raises(RunPaused, match="stopped while it waits for a person") as raised:
            result()
    (question,) = kept.questions()
    assert [run.stop for run in kept.entries()] == ["unfinished"]
    People(kept).answer(raised.value.run, "12")
    kept.close()
    with person_team(kept, agents=agents, coordinator={"kind": "vote"}) as again:
        assert again.resume(question.run).answer == "12"


def test_a_run_that_would_wait_while_the_process_stops_does_not(tmp_path: Path) -> None:
    team = person_team(Journal(f"sqlite:///{tmp_path}/runs.db"))
    assert not team.people.leave()
    with under_way(team) as result, pytest.raises(RunPaused):
        result()
    assert [question.agent for question in team.questions()] == ["boss"]


def test_where_nobody_can_be_asked_the_model_is_told() -> None:
    replies = [wants("ask_human", '{"question": "which colour?"}'), "no colour then"]
    team = person_team(tools=["ask_human"], replies=replies)
    team.orchestrator.people = None
    with under_way(team) as result:
        done = result()
    assert done.answer == "no colour then"
    (tool,) = [call.result for call in done.nodes[-1].calls if isinstance(call.result, ToolResult)]
    assert tool == ToolResult("there is nobody to ask. Go on without an answer.", failed=True)


def test_whoever_watches_a_run_hears_the_question() -> None:
    async def watch() -> list[Event]:
        team = person_team()
        heard: list[Event] = []
        async with team:
            async for event in team.astream("how much?"):
                heard.append(event)
                if isinstance(event, Asked):
                    await asyncio.sleep(0.05)
                    await asyncio.to_thread(team.answer, event.run, "12")
        return heard

    heard = asyncio.run(watch())
    (question,) = [event.question for event in heard if isinstance(event, Asked)]
    assert question.agent == "boss"


def test_cancelling_a_run_takes_its_question_back(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    team = person_team(journal)

    async def work() -> None:
        async with team:
            run = asyncio.create_task(team.arun("how much?"))
            await asyncio.to_thread(asked, team)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
            await asyncio.sleep(0.2)
            assert team.questions() == []
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(work())


def test_another_process_answers_a_run_under_way(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    team = person_team(Journal(url))
    other = Journal(url)
    with under_way(team) as result:
        question = asked(team)
        assert other.questions() == [question]
        People(other).answer(question.run, "13")
        done = result()
    assert done.answer == "13"
    assert other.questions() == []
    with pytest.raises(InputError, match="waits for an answer"):
        People(other).answer(question.run, "14")
    with pytest.raises(InputError, match="waits no more"):
        other.answer(question, Word("14"))
    other.close()


def test_a_question_outlives_its_process_and_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    first, calls = sender(tmp_path, monkeypatch, '{"to": "bob"}', Journal(url))
    run = asyncio.run(until_asked(first))
    keeper = Journal(url)
    (question,) = keeper.questions()
    assert question.approval
    assert question.run == run
    People(keeper).answer(run, yes=True)
    keeper.close()
    again, _ = sender(tmp_path, monkeypatch, '{"to": "bob"}', Journal(url))
    small = again.models["small"]
    assert isinstance(small, ScriptedModel)
    small._next = 1  # pyright: ignore[reportPrivateUsage]  # its first reply was given in the first life
    with again:
        done = again.resume(run)
        assert done.answer == "done"
        assert again.questions() == []
    assert calls() == ["bob"]


async def until_asked(team: Team) -> str:
    """Begin a run, and lose it where it waits for a person, as a process does that is killed; its id."""
    work = asyncio.ensure_future(team.arun("send it", seed=1))
    question = await asyncio.to_thread(asked, team)
    assert team.journal is not None
    team.journal.close()
    setattr(team.journal, "append", broken)  # noqa: B010 - what the dying process still says is not heard
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return question.run


def test_a_question_that_is_asked_again_waits_for_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    run = asyncio.run(until_asked(person_team(Journal(url), wait=100)))
    monkeypatch.setattr("podium.orchestrator.journal.questions.time", Later(99.0))  # hours later, as it were
    again = person_team(Journal(url), wait=100)
    began = time.monotonic()
    with again, pytest.raises(NobodyAnswered, match="no person answered within 100 seconds"):
        again.resume(run)
    assert time.monotonic() - began < 10


class Later:
    """The clock, after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time(self) -> float:
        return time.time() + self.seconds


def test_a_question_whose_time_was_up_while_nobody_worked_on_its_run_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    run = asyncio.run(until_asked(person_team(Journal(url))))
    monkeypatch.setattr("podium.orchestrator.journal.questions.time", Later(1000.0))
    again, heard = person_team(Journal(url)), list[Event]()
    with again:
        assert [each.run for each in again.questions()] == [run]  # until then an answer would do
        with pytest.raises(NobodyAnswered, match="no person answered within 20 seconds"):
            again.wait(again.aresume(run, emit=heard.append))
        assert not any(isinstance(event, Asked) for event in heard)
        assert again.questions() == []


def test_an_answer_that_came_after_the_time_and_before_the_run_went_on_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    run = asyncio.run(until_asked(person_team(Journal(url))))
    monkeypatch.setattr("podium.orchestrator.journal.questions.time", Later(1000.0))
    again = person_team(Journal(url))
    with again:
        again.answer(run, "13")
        assert again.resume(run).answer == "13"


def test_the_wait_of_a_question_begins_when_it_is_first_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, lamp = Journal(f"sqlite:///{tmp_path}/runs.db"), Question("r", "c1", "ann", "1 lamp", wait=100)

    def left(question: Question, after: float) -> float:
        monkeypatch.setattr("podium.orchestrator.journal.questions.time", Later(after))
        return round(kept.ask(question).left)

    assert left(lamp, 0) == 100
    assert left(lamp, 30) == 70
    kept.withdraw("r", "c1")
    assert left(lamp, 150) == -50
    assert left(lamp, -30) == 100  # the clock was set back
    assert left(replace(lamp, text="100 cars"), 150) == 100
    assert left(lamp, 160) == 100
    kept.close()


def unheard(*_: Any) -> None:
    """What is written nowhere."""


def broken(*_: Any) -> Any:
    raise RunError("this process is gone")


def test_over_http(tmp_path: Path) -> None:
    team = person_team(Journal(f"sqlite:///{tmp_path}/runs.db"))
    with serving({"desk": team}, max_body=1000) as address, httpx.Client(base_url=address, timeout=20) as http:
        out: list[httpx.Response] = []
        body = {"model": "desk", "messages": [{"role": "user", "content": "how much?"}]}
        thread = threading.Thread(target=lambda: out.append(http.post("/v1/chat/completions", json=body)))
        thread.start()
        wait_for(lambda: http.get("/v1/questions").json()["data"])
        (question,) = http.get("/v1/questions").json()["data"]
        told = {"text": "how much?\n\nann: I say 12", "model": "desk", "agent": "boss", "approval": False, "wait": 20.0}
        assert question | {"run": "", "id": ""} == told | {"run": "", "id": ""}
        there = f"/v1/questions/{question['run']}/{question['id']}"
        for wrong, said in (
            ({"text": ""}, "the answer is empty; boss asks: how much?"),
            ({"approved": True}, "this is no question of yes or no, but of words"),
            ({"word": "12"}, "word: Extra inputs are not permitted; write"),
            ({"text": 12}, "text: Input should be a valid string; write"),
        ):
            response = http.post(there, json=wrong)
            assert response.status_code == 400
            assert said in response.json()["error"]["message"]
        for body, kind, status in ((b"12", "text/plain", 415), (b" " * 2000 + b"12", "application/json", 413)):
            response = http.post(there, content=body, headers={"content-type": kind})
            assert (response.status_code, response.json()["error"]["type"]) == (status, "invalid_request_error")
        response = http.post(there, content=b"12 or so", headers={"content-type": "application/json"})
        assert (response.status_code, "the body: Invalid JSON" in response.json()["error"]["message"]) == (400, True)
        assert http.post(f"/v1/questions/{question['run']}/no", json={"text": "12"}).status_code == 404
        taken = {"object": "answer", "run": question["run"], "question": question["id"]}
        assert http.post(there, json={"text": "12"}).json() == taken
        thread.join(20)
        assert out[0].json()["choices"][0]["message"]["content"] == "12"
        assert http.get("/v1/questions").json()["data"] == []
        assert http.post(there, json={"text": "12"}).status_code == 404


def test_over_http_each_team_has_its_own_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    alpha, beta, gamma = (person_team(journal, name=name) for name in ("alpha", "beta", "gamma"))
    monkeypatch.setattr("podium.orchestrator.people.SOON", 5.0)  # an answer by way of the journal would take too long
    with under_way(beta) as done, under_way(gamma) as other:
        wait_for(lambda: beta.questions() and gamma.questions())
        with serving({"alpha": alpha, "beta": beta}) as address, httpx.Client(base_url=address, timeout=20) as http:
            (question,) = http.get("/v1/questions").json()["data"]
            assert question["model"] == "beta"
            (elsewhere,) = gamma.questions()
            assert http.post(f"/v1/questions/{elsewhere.run}/{elsewhere.id}", json={"text": "12"}).status_code == 404
            began = time.monotonic()
            there = f"/v1/questions/{question['run']}/{question['id']}"
            assert http.post(there, json={"text": "12"}).status_code == 200
            assert done().answer == "12"
            assert time.monotonic() - began < 3
        gamma.answer(elsewhere.run, "13")
        assert other().answer == "13"


def test_over_http_a_journal_that_cannot_be_used_is_an_error_in_openais_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    team = person_team(journal)
    with under_way(team) as result:
        question = asked(team)
        there = f"/v1/questions/{question.run}/{question.id}"
        with serving({"desk": team}) as address, httpx.Client(base_url=address, timeout=20) as http:
            for name, error in (("questions", InputError("cannot be read")), ("answer", JournalError("is full"))):
                with monkeypatch.context() as patched:
                    patched.setattr(journal, name, raising(error))
                    asks = [http.post(there, json={"text": "12"})]
                    asks += [http.get("/v1/questions")] if name == "questions" else []
                for response in asks:
                    told = response.json()["error"]
                    assert (response.status_code, told["type"]) == (500, "server_error")
                    assert told["message"] == str(error)
            assert http.post(there, json={"text": "12"}).status_code == 200
            assert result().answer == "12"


def test_over_http_who_hangs_up_while_answering_is_not_an_error() -> None:
    async def work() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/v1/questions/r/c1", "query_string": b""}
        await make_app({"desk": person_team()})(
            {**scope, "headers": [(b"content-type", b"application/json")]}, receive, send
        )
        return sent

    assert asyncio.run(work())[0]["status"] == 499


def raising(error: Exception) -> Callable[..., Any]:
    def raises(*_: Any) -> Any:
        raise error

    return raises


def sender(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    journal: Journal | None = None,
    *more: str,
    wait: float = 20,
) -> tuple[Team, Callable[[], list[str]]]:
    """ann wants to send something, which needs a yes; and to whom it was sent."""
    file = folder / "sent"
    (folder / "post.py").write_text(
        "import os\n\ndef send(to: str) -> str:\n"
        f"    with open({json.dumps(str(file))}, 'a') as sent:\n        sent.write(to + '\\n')\n    return 'sent'\n"
    )
    monkeypatch.chdir(folder)
    tools = [{"name": "post:send", "approve": True, "wait": wait}]
    team = person_team(journal, tools=tools, replies=[wants("send", arguments, *more), "done"])
    return team, lambda: file.read_text().split() if file.exists() else []
