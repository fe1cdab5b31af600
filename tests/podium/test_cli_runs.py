"""podium runs: lists that align, exports that are whole, and what a user gets wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from podium.cli import app
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.journal import Journal
from podium.orchestrator.run_log import RunLog
from podium.protocols.errors import ModelUnreachable
from podium.protocols.events import Result
from podium.protocols.people import Question
from tests.orchestrator.journal.runs import beginning, ending, step

WORKED = "aaaa00000001"
CUT_OFF = "bbbb00000002"


@pytest.fixture(autouse=True)
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A journal with a run that ended and one that did not, where the command line looks for it."""
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///.podium/runs.db"
    journal = Journal(url)

    async def work() -> None:
        task = "a very long task " * 20
        await journal.append(WORKED, [*beginning(WORKED, task=task), *step(WORKED, 1), *ending(1)])
        await journal.append(CUT_OFF, [*beginning(CUT_OFF, started=2.0), *step(CUT_OFF, 1)])

    asyncio.run(work())
    journal.close()
    return url


def podium(*args: str) -> Any:
    return CliRunner().invoke(app, ["runs", *args])


def test_a_list_aligns_and_says_what_is_unfinished() -> None:
    heading, *lines = [line for line in podium("list").stdout.splitlines() if "run" in line or "0000" in line]
    assert [line[:12] for line in lines] == [CUT_OFF, WORKED]
    place = heading.index("stop")
    assert [line[place:].split()[0] for line in lines] == ["unfinished", "answered"]
    assert lines[1][:100].split()[5:7] == ["76", "$0.000200"]
    assert max(len(line) for line in lines) <= 100
    only = json.loads(podium("list", "--unfinished", "--json").stdout)
    assert [(run["run"], run["stop"]) for run in only] == [(CUT_OFF, "unfinished")]


def test_when_every_run_has_ended_the_list_says_so(url: str) -> None:
    journal = Journal(url)
    state = journal.resume_state(CUT_OFF)
    assert state.nodes[-1].id == 1
    journal.go_on(state)
    asyncio.run(finish(journal))
    journal.close()
    assert podium("list", "--unfinished").stdout == "every run has ended\n"


async def finish(journal: Journal) -> None:
    await journal.append(CUT_OFF, ending(1))


def test_a_run_is_shown_though_it_has_no_end() -> None:
    told = podium("show", "bbbb")
    assert told.exit_code == 0
    assert "ended: no end was written: it is under way, or its process died; 2 steps" in told.stdout
    assert json.loads(podium("show", CUT_OFF, "--json").stdout)["stop"] == "unfinished"
    assert told.stdout == CliRunner().invoke(app, ["show", "bbbb"]).stdout


def test_an_export_is_what_was_written(url: str, tmp_path: Path) -> None:
    printed = podium("export", "aaaa")
    assert printed.stdout_bytes == Journal(url).export(WORKED)
    saved = podium("export", "aaaa", "-o", "run.jsonl")
    assert (saved.exit_code, saved.stdout) == (0, "")
    assert (tmp_path / "run.jsonl").read_bytes() == printed.stdout_bytes
    assert [json.loads(line)["kind"] for line in printed.stdout.splitlines()][-1] == "end"


def test_an_answer_tells_who_asked_what(url: str) -> None:
    journal = Journal(url)
    journal.ask(Question(CUT_OFF, "c1", "ann", "ann wants to use shop:order:\n\n\x1b[2J{'what': 'tea'}", approval=True))
    journal.ask(Question(CUT_OFF, "c2", "bob", "of which " + "very " * 50 + "many?"))
    journal.close()
    said = podium("answer", CUT_OFF, "--question", "c1", "--no", "too dear")
    told = f"run {CUT_OFF}: said no to: ann wants to use shop:order: �[2J{{'what': 'tea'}}\n"
    assert (said.exit_code, said.stdout, said.stderr) == (0, "", told)
    answered = podium("answer", CUT_OFF, "the blue one", "--json")
    assert (answered.exit_code, answered.stderr) == (0, "")
    data = json.loads(answered.stdout)
    assert (data["run"], data["id"], data["agent"], data["approval"]) == (CUT_OFF, "c2", "bob", False)
    assert (data["text"][:8], data["answer"], data["approved"]) == ("of which", "the blue one", None)


def test_a_long_question_is_told_in_short(url: str) -> None:
    journal = Journal(url)
    journal.ask(Question(CUT_OFF, "c2", "bob", "of which " + "very " * 50 + "many?"))
    journal.close()
    said = podium("answer", CUT_OFF, "all")
    assert said.stderr.startswith(f"run {CUT_OFF}: answered bob, who asked: of which very very ")
    assert said.stderr.endswith(" ...\n")
    assert len(said.stderr) < 150


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("show", "zz"), "no run 'zz' in sqlite:///.podium/runs.db"),
        (("export", "zz"), "no run 'zz'"),
        (("export", "aaaa", "-o", "no/such/file"), "there is no folder no/such"),
        (("export", "aaaa", "-o", "."), "cannot be written: Is a directory"),
        (("list", "--journal", "sqlite:///no.db"), "no runs are kept in no.db"),
        (("list", "--journal", "nonsense"), "not a URL"),
        (("list", "--journal", "postgresql://me:secret@127.0.0.1:1/x?timeout=1"), "me:***@127.0.0.1:1/x"),
        (("list", "--journal", "sqlite:///.podium/runs.db?timeout=soon"), "timeout=soon: write seconds, more than 0"),
        (("list", "--journal", "sqlite:///.podium/runs.db?synchronous=off"), "write full or normal"),
        (("show",), "Missing argument"),
    ],
)
def test_what_a_user_gets_wrong(args: tuple[str, ...], words: str) -> None:
    done = podium(*args)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "secret" not in done.output


TEAM = """
name: desk
models: {small: {provider: scripted, replies: ["a plan", "it is 42"]}}
agents: {ann: {role: planner, model: small}, bob: {role: solver, model: small}}
coordinator: {kind: sequential}
"""


SURE = TEAM.replace('["a plan", "it is 42"]', '["it is 42"]')
"""The same, whose replies do not depend on how many there were before."""


def cut_off(monkeypatch: pytest.MonkeyPatch, team: str = TEAM) -> str:
    """A run whose process died before it could write its last reply; its id."""
    Path("team.yaml").write_text(team)

    async def nothing(*_: object) -> None:
        pass

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "end", nothing)
        made = CliRunner().invoke(app, ["run", "team.yaml", "how much?", "--json"])
    return json.loads(made.stdout)["run"]


def test_a_run_is_resumed_where_it_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    run = cut_off(monkeypatch)
    assert json.loads(podium("list", "--unfinished", "--json").stdout)[0]["run"] == run
    Path("team.yaml").write_text(TEAM.replace('["a plan", "it is 42"]', '["it is 42"]'))
    changed = podium("resume", "team.yaml", run)
    assert changed.exit_code == 2
    assert "before its file was changed" in changed.stderr
    Path("team.yaml").write_text(TEAM)
    done = podium("resume", "team.yaml", run[:8], "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["run"], told["steps"], told["usage"]["calls"]) == (0, run, 2, 2)
    again = podium("resume", "team.yaml", run)
    assert (again.exit_code, "has ended (answered)" in again.stderr) == (2, True)


def test_there_is_nothing_to_resume_where_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    Path("team.yaml").write_text(TEAM)
    done = podium("resume", "team.yaml", "abc")
    assert (done.exit_code, "no runs are kept in" in done.stderr) == (2, True)
    assert not Path(".podium").exists()


def failing(monkeypatch: pytest.MonkeyPatch, run: str) -> None:
    """Have a run fail when it is resumed."""
    before = Orchestrator.run

    async def fails(self: Orchestrator, *args: Any, id: str, **options: Any) -> Result:
        if id == run:
            raise ModelUnreachable("nobody there", run=run)
        return await before(self, *args, id=id, **options)

    monkeypatch.setattr(Orchestrator, "run", fails)


def test_all_runs_of_a_team_are_resumed_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".podium/runs.db").unlink()
    changed = cut_off(monkeypatch)
    other = cut_off(monkeypatch, SURE.replace("name: desk", "name: other"))
    runs = [cut_off(monkeypatch, SURE) for _ in range(3)]
    failing(monkeypatch, runs[1])
    done = podium("resume", "team.yaml", "--all")
    spent = "answered by bob, 2 steps, 2 calls, 102 tokens"
    first, second, third = done.stdout.splitlines()
    assert (first, third) == (f"run {runs[0]}: {spent}: it is 42", f"run {runs[2]}: {spent}: it is 42")
    assert second.startswith(f"run {runs[1]}: nobody there")
    assert done.exit_code == 1
    assert f"run {changed} is left: team.yaml was changed since it began" in done.stderr
    left = json.loads(podium("list", "--unfinished", "--json").stdout)
    assert {run["run"] for run in left} == {changed, other, runs[1]}


def test_what_is_resumed_is_told_to_a_program_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".podium/runs.db").unlink()
    runs = [cut_off(monkeypatch, SURE) for _ in range(2)]
    with monkeypatch.context() as patch:
        failing(patch, runs[1])
        done = podium("resume", "team.yaml", "--all", "--json")
    first, second = json.loads(done.stdout)
    assert (first, done.exit_code) == ({"run": runs[0], "stop": "answered", "answer": "it is 42"}, 1)
    assert (second["run"], second["stop"], second["kind"]) == (runs[1], "failed", "ModelUnreachable")
    assert podium("resume", "team.yaml", "--all", "--quiet").exit_code == 0
    again = podium("resume", "team.yaml", "--all")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "no run of team desk is to be resumed\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "say which run: its id, or --all"),
        (("abc", "--all"), "say which run: its id, or --all"),
        (("--all", "--stream"), "leave out --stream"),
    ],
)
def test_one_run_is_resumed_or_all_are(args: tuple[str, ...], words: str) -> None:
    Path("team.yaml").write_text(TEAM)
    done = podium("resume", "team.yaml", *args)
    assert (done.exit_code, words in done.stderr) == (2, True)
