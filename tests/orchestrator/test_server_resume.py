"""Runs that a server goes on with: those that an earlier process left, and those whose questions it is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium.agents.model import Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.journal import Journal
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.server import make_app
from podium.orchestrator.server_resume import LeftOver, Resuming, left_over
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, RunPaused
from podium.protocols.people import Question
from podium.protocols.record import Generation, Sampling
from tests.orchestrator.teams import scripted, team
from tests.orchestrator.test_people import person_team
from tests.orchestrator.test_server import serving, wait_for


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


def of(url: str, *models: ScriptedModel, name: str = "desk", **more: Any) -> Team:
    ann, bob = models or (scripted("a plan"), scripted("it is 42"))
    return team({"ann": ann, "bob": bob}, name=name, journal=Journal(url), **more)


def cut_off(team: Team, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose process died before it could write its last reply; its id."""

    async def nothing(*_: object) -> None:
        pass

    with monkeypatch.context() as patch, team:
        patch.setattr(RunLog, "end", nothing)
        return team.run("how much?").run


def waiting(url: str, but: Sequence[Question] = ()) -> Question:
    """A run that waits for a person, in a process that is gone; what it asks. but: others that do."""
    gone = person_team(Journal(url))

    async def until_asked() -> None:
        gone.people.leave()
        with pytest.raises(RunPaused):
            await gone.arun("how much?")
        await gone.aclose()

    asyncio.run(until_asked())
    return next(each for each in Journal(url).questions() if each not in but)


def stop_of(url: str, run: str) -> str:
    journal = Journal(url)
    try:
        return journal.load(run).stop
    finally:
        journal.close()


def test_a_server_goes_on_with_what_its_team_left(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podium.server")
    runs = [cut_off(of(url), monkeypatch) for _ in range(2)]
    changed = cut_off(of(url, budget={"calls": 99}), monkeypatch)
    other = cut_off(of(url, name="other"), monkeypatch)
    assert left_over(of(url)) == LeftOver(runs, [changed], [])
    with serving({"desk": of(url)}, resume=True):
        for run in runs:
            wait_for(lambda run=run: f"desk: run {run} answered, 2 steps" in caplog.messages)
    assert [stop_of(url, run) for run in (*runs, changed, other)] == ["answered"] * 2 + ["unfinished"] * 2
    assert [line for line in caplog.messages if "goes on" in line] == [f"desk: run {run} goes on" for run in runs]
    assert f"desk: run {changed} is not resumed: the team's file was changed since it began" in caplog.messages


def test_without_being_asked_to_it_does_not(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cut_off(of(url), monkeypatch)
    with serving({"desk": of(url)}) as address:
        assert httpx.get(f"{address}/health").status_code == 200
    assert stop_of(url, run) == "unfinished"


def test_a_server_that_stops_leaves_what_it_goes_on_with(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podium.server")
    run = cut_off(of(url), monkeypatch)
    slow = scripted("it is 42", delay=60)
    with serving({"desk": of(url, scripted("a plan"), slow)}, resume=True):
        wait_for(lambda: slow.calls)
    assert stop_of(url, run) == "unfinished"
    assert caplog.messages[-1] == f"desk: run {run} is left as it is, and can be resumed"
    with of(url) as again:
        assert again.resume(run).answer == "it is 42"


def test_a_run_that_fails_is_told_and_does_not_end_the_server(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = cut_off(of(url), monkeypatch)
    with serving({"desk": of(url, scripted("a plan"), scripted(ValueError("no")))}, resume=True) as address:
        wait_for(lambda: any("it failed with ValueError: no" in line and run in line for line in caplog.messages))
        assert httpx.get(f"{address}/health").status_code == 200
    assert stop_of(url, run) == "failed"


def answered(address: str, question: Question) -> dict[str, Any]:
    return httpx.post(f"{address}/v1/questions/{question.run}/{question.id}", json={"text": "make it 14"}).json()


def test_an_answer_to_a_run_that_nobody_here_works_on_says_so(url: str) -> None:
    question = waiting(url)
    with serving({"desk": person_team(Journal(url))}) as address:
        told = answered(address, question)
    assert (told["object"], told["run"], told["resumed"]) == ("answer", question.run, False)
    assert "no run of this server waits for it: a process that works on the run finds it" in told["hint"]
    by_hand = f"podium runs resume TEAM.yaml {question.run} (it looks into the journal that the file names)"
    assert told["hint"].endswith(f"go on with: {by_hand}")
    assert stop_of(url, question.run) == "unfinished"


def test_an_answer_has_a_server_that_resumes_go_on(url: str) -> None:
    team = person_team(Journal(url))
    with serving({"desk": team}, resume=True) as address:
        question = waiting(url)  # only now: an answer alone has it go on
        told = answered(address, question)
        assert (told["resumed"], "hint" in told) == (True, False)
        wait_for(lambda: stop_of(url, question.run) == "answered")
    assert Journal(url).load(question.run).answer == "make it 14"


def test_an_answer_to_a_run_that_was_resumed_is_heard_by_it(url: str) -> None:
    question = waiting(url)
    team = person_team(Journal(url))
    with serving({"desk": team}, resume=True) as address:
        wait_for(lambda: team.people.waits(question))
        assert "resumed" not in answered(address, question)
        wait_for(lambda: stop_of(url, question.run) == "answered")


def test_a_question_of_another_file_is_not_resumed(url: str) -> None:
    with serving({"desk": person_team(Journal(url), budget={"calls": 99})}, resume=True) as address:
        told = answered(address, waiting(url))
    assert (told["resumed"], "podium runs resume" in told["hint"]) == (False, True)


def test_who_keeps_no_journal_has_nothing_to_resume() -> None:
    with pytest.raises(InputError, match="team desk keeps no journal, and so no runs to resume: name one in its file"):
        make_app({"desk": person_team()}, resume=True)
    with pytest.raises(InputError, match="team desk keeps no journal"):
        left_over(person_team())


def test_runs_that_piled_up_go_on_a_few_at_a_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [cut_off(of(url), monkeypatch) for _ in range(6)]
    slow = Busy("it is 42", delay=0.05)
    asyncio.run(gone_on_with(of(url, scripted("a plan"), slow), at_once=2))
    assert [stop_of(url, run) for run in runs] == ["answered"] * 6
    assert (slow.calls, slow.most) == (6, 2)


class Busy(ScriptedModel):
    """most: how many calls it worked on at once."""

    now = most = 0

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        self.now += 1
        self.most = max(self.most, self.now)
        async for part in super().generate(prompt, sampling):
            yield part
        self.now -= 1


async def gone_on_with(team: Team, at_once: int) -> None:
    """All runs that it left, to their ends."""
    async with team:
        resuming = Resuming({"desk": team}, at_once)
        await resuming.begin()
        await until(lambda: all_answered(team))
        await resuming.leave()


def all_answered(team: Team) -> bool:
    assert team.journal is not None
    return all(line.stop == "answered" for line in team.journal.entries())


async def until(so: Callable[[], bool]) -> None:
    while not await asyncio.to_thread(so):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_who_waits_for_a_person_keeps_no_other_run_waiting(url: str) -> None:
    asked: list[Question] = []
    for _ in range(3):
        asked.append(waiting(url, but=asked))

    async def work() -> None:
        team = person_team(Journal(url))
        async with team:
            resuming = Resuming({"desk": team}, at_once=1)
            await resuming.begin()
            await until(lambda: all(map(team.people.waits, asked)))
            for question in asked:
                assert await resuming.answered(team, question.run)  # it has it under way: nothing is begun again
                await asyncio.to_thread(team.answer, question.run, "make it 14")
            await until(lambda: all_answered(team))
            await resuming.leave()

    asyncio.run(work())
    assert [Journal(url).load(each.run).answer for each in asked] == ["make it 14"] * 3


def test_what_another_process_has_under_way_is_left_to_it(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = cut_off(of(url), monkeypatch)
    owner = Journal(url)
    owner.go_on(owner.resume_state(run))
    assert left_over(of(url)) == LeftOver([], [], [run])
    with serving({"desk": of(url)}, resume=True):
        told = f"desk: run {run} is not resumed: it is under way in another process"
        wait_for(lambda: told in caplog.messages)
    assert stop_of(url, run) == "unfinished"
    owner.close()
    assert left_over(of(url)) == LeftOver([run], [], [])
