"""People in a run: as members of the team, as those who approve tool calls, and as those whom agents ask."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium.agents.human import HumanModel
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.journal import Journal
from podium.orchestrator.people import People
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.errors import InputError, NobodyAnswered, RunError
from podium.protocols.events import Asked, Event, Result
from podium.protocols.people import Question, Word
from podium.protocols.record import NO_USAGE, Generation, Sampling, ToolCall, ToolResult
from tests.orchestrator.test_server import serving, wait_for

SENT = Path("sent")


def wants(tool: str, arguments: str) -> Generation:
    return Generation("", NO_USAGE, Sampling(), "tool", tool_calls=(ToolCall("c1", tool, arguments),))


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
            async for event in team.stream("how much?"):
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


def broken(*_: Any) -> Any:
    raise RunError("this process is gone")


def test_over_http(tmp_path: Path) -> None:
    team = person_team(Journal(f"sqlite:///{tmp_path}/runs.db"))
    with serving({"desk": team}) as address, httpx.Client(base_url=address, timeout=20) as http:
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
        response = http.post(there, content=b"12 or so")
        assert (response.status_code, "the body: Invalid JSON" in response.json()["error"]["message"]) == (400, True)
        assert http.post(f"/v1/questions/{question['run']}/no", json={"text": "12"}).status_code == 404
        taken = {"object": "answer", "run": question["run"], "question": question["id"]}
        assert http.post(there, json={"text": "12"}).json() == taken
        thread.join(20)
        assert out[0].json()["choices"][0]["message"]["content"] == "12"
        assert http.get("/v1/questions").json()["data"] == []
        assert http.post(there, json={"text": "12"}).status_code == 404


def sender(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, journal: Journal | None = None
) -> tuple[Team, Callable[[], list[str]]]:
    """ann wants to send something, which needs a yes; and to whom it was sent."""
    file = folder / "sent"
    (folder / "post.py").write_text(
        "import os\n\ndef send(to: str) -> str:\n"
        f"    with open({json.dumps(str(file))}, 'a') as sent:\n        sent.write(to + '\\n')\n    return 'sent'\n"
    )
    monkeypatch.chdir(folder)
    tools = [{"name": "post:send", "approve": True}]
    team = person_team(journal, tools=tools, replies=[wants("send", arguments), "done"])
    return team, lambda: file.read_text().split() if file.exists() else []
