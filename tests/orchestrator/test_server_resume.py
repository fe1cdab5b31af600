"""Runs that a server goes on with: those that an earlier process left, and those whose questions it is answered."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium.agents.scripted import ScriptedModel
from podium.orchestrator.journal import Journal
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.server import make_app
from podium.orchestrator.server_resume import left_over
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, RunPaused
from podium.protocols.people import Question
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


def waiting(url: str) -> Question:
    """A run that waits for a person, in a process that is gone; what it asks."""
    gone = person_team(Journal(url))

    async def until_asked() -> None:
        gone.people.leave()
        with pytest.raises(RunPaused):
            await gone.arun("how much?")
        await gone.aclose()

    asyncio.run(until_asked())
    return Journal(url).questions()[0]


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
    assert left_over(of(url)) == (runs, [changed])
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
