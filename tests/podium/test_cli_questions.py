"""podium run and podium runs questions | answer, where a person is asked: real processes, at a terminal or not."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from podium.commands.questions import Console, in_words
from podium.protocols.people import Question

pytestmark = pytest.mark.timeout(120)

PODIUM = str(Path(sys.executable).with_name("podium"))

TEAM = """
name: desk
models:
  small: {provider: scripted, replies: ["I say 12"]}
  person: {provider: human}
agents:
  ann: {role: solver, model: small}
  boss: {role: boss, model: person}
coordinator: {kind: sequential}
"""

ALONE = """
name: desk
models:
  small: {{provider: scripted, replies: ["I say 12"]}}
agents:
  ann: {{role: solver, model: small, tools: {tools}}}
coordinator: {{kind: single, agent: ann}}
"""

TWO = """
name: desk
models:
  first: {{provider: human, wait: {wait}}}
  second: {{provider: human, wait: 60}}
agents:
  ann: {{role: boss, model: first}}
  bob: {{role: boss, model: second}}
coordinator: {{kind: vote}}
"""

LAPSING = "{provider: human, wait: 1.5, fallback: [small]}"

SEATED = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command at a terminal that is its own, and hears Ctrl-C there, also where the tests run under nohup."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team.yaml").write_text(TEAM)


def podium(*args: str) -> subprocess.CompletedProcess[str]:
    command = [PODIUM, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def started(*args: str, **options: Any) -> subprocess.Popen[str]:
    command = [PODIUM, *args]
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **(given | options))


def waiting() -> dict[str, Any]:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = podium("runs", "questions", "--json")
        if found.returncode == 0 and (questions := json.loads(found.stdout)):
            return questions[0]
    raise AssertionError("no question came")


def test_a_run_without_a_terminal_says_how_it_is_answered() -> None:
    run = started("run", "team.yaml", "how much?")
    question = waiting()
    listed = podium("runs", "questions").stdout
    asked = f"run {question['run']}, question {question['id']}, boss asks:\nhow much?\n\nann: I say 12\n"
    assert listed == f"{asked}\n"
    for wrong, said in (([], "the answer is empty"), (["--yes"], "no question of yes or no")):
        refused = podium("runs", "answer", question["run"], *wrong)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    assert "no question of run beef waits" in podium("runs", "answer", "beef", "13").stderr
    answered = podium("runs", "answer", question["run"][:5], "make it 13")
    assert answered.stderr == f"run {question['run']}: answered boss, who asked: how much? ann: I say 12\n"
    assert answered.stdout == ""
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, "make it 13\n")
    how = f'answer it with: podium runs answer {question["run"]} --question {question["id"]} "TEXT"\n'
    assert f"{asked}{how}" in err
    assert podium("runs", "questions").stdout == "nobody is asked anything\n"


def test_a_process_that_is_killed_while_it_waits_is_answered_and_resumed() -> None:
    run = started("run", "team.yaml", "how much?")
    question = waiting()
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=30)
    assert podium("runs", "answer", question["run"], "make it 14").returncode == 0
    done = podium("runs", "resume", "team.yaml", question["run"])
    assert (done.returncode, done.stdout) == (0, "make it 14\n"), done.stderr


def test_where_nobody_can_be_asked_nobody_is_waited_for() -> None:
    run = podium("run", "team.yaml", "how much?", "--no-journal")
    assert run.returncode == 1
    assert "there is nobody to ask: the run keeps no journal, and no terminal is here" in run.stderr


def test_at_a_terminal_the_person_is_asked_there() -> None:
    with seated("run", "team.yaml", "how much?") as (run, ours):
        said = heard(ours, "your answer:")
        assert "boss asks:" in said
        os.write(ours, b"\n")
        heard(ours, "the answer is empty")
        os.write(ours, b"\xe9\n")
        heard(ours, "the answer is not text in UTF-8")
        os.write(ours, b"13, I think\n")
        out, _ = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, "13, I think\n")


def test_questions_at_a_terminal_come_one_after_another() -> None:
    Path("team.yaml").write_text(TWO.format(wait=60))
    with seated("run", "team.yaml", "how much?", "--no-journal") as (run, ours):
        first = heard(ours, "your answer:")
        assert first.count("asks:") == 1
        os.write(ours, b"12\n")
        assert heard(ours, "your answer:").count("asks:") == 1
        os.write(ours, b"12\n")
        out, _ = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, "12\n")


def test_what_was_typed_for_a_question_that_lapsed_answers_no_other_one() -> None:
    Path("team.yaml").write_text(TWO.format(wait=2.5))
    with seated("run", "team.yaml", "how much?", "--no-journal") as (run, ours):
        assert "ann asks:" in heard(ours, "your answer:")
        os.write(ours, b"13")  # and then thinks about it
        assert "bob asks:" in heard(ours, "your answer:", after="it is not asked any more")
        os.write(ours, b"12\n")
        out, _ = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, "12\n")


def test_a_question_that_was_answered_elsewhere_is_not_asked_any_more() -> None:
    with seated("run", "team.yaml", "how much?") as (run, ours):
        heard(ours, "your answer:")
        question = waiting()
        assert podium("runs", "answer", question["run"], "make it 14").returncode == 0
        heard(ours, "it is not asked any more")
        out, _ = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, "make it 14\n")


def test_who_closes_the_keyboard_is_told_how_else_to_answer() -> None:
    with seated("run", "team.yaml", "how much?") as (run, ours):
        heard(ours, "your answer:")
        os.write(ours, b"\x04")
        heard(ours, "not answered; answer it with: podium runs answer")
        assert podium("runs", "answer", waiting()["run"], "make it 14").returncode == 0
        out, _ = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, "make it 14\n")


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_is_stopped_at_a_question_keeps_it_if_it_is_kept(kept: bool) -> None:
    with seated("run", "team.yaml", "how much?", *([] if kept else ["--no-journal"])) as (run, ours):
        heard(ours, "your answer:")
        os.write(ours, b"\x03")
        said = heard(ours, "go on with: podium runs resume team.yaml" if kept else "stopped by Ctrl-C")
        assert "not asked any more" not in said
        assert run.wait(30) == 1
    if kept:
        question = waiting()
        assert podium("runs", "answer", question["run"], "make it 14").returncode == 0
        assert podium("runs", "resume", "team.yaml", question["run"]).stdout == "make it 14\n"


def test_a_run_that_ends_by_itself_leaves_no_reader_behind() -> None:
    Path("team.yaml").write_text(f"{TEAM}budget: {{calls: 2}}\n".replace("{provider: human}", LAPSING))
    with seated("run", "team.yaml", "how much?", "--no-journal") as (run, ours):
        heard(ours, "your answer:")
        out, _ = run.communicate(timeout=30)  # nobody answers: the fallback does
    assert (run.returncode, out) == (0, "I say 12\n")


def test_a_server_that_stops_leaves_its_questions_open() -> None:
    url = f"sqlite:///{Path('.podium').resolve()}/runs.db"
    server = started("serve", "team.yaml", "--port", "0", "--journal", url)
    assert server.stdout is not None
    address = server.stdout.readline().split(" at ")[1].split("/v1")[0]
    body = {"model": "desk", "messages": [{"role": "user", "content": "how much?"}]}
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(httpx.post, f"{address}/v1/chat/completions", json=body, timeout=60)
        question = waiting()
        server.send_signal(signal.SIGTERM)
        response = asking.result()
    out, err = server.communicate(timeout=30)
    assert (server.returncode, out.endswith("stopped\n")) == (0, True), err
    told = response.json()["error"]
    assert (response.status_code, told["code"], told["run"]) == (503, "run_paused", question["run"])
    assert podium("runs", "answer", question["run"], "make it 14").returncode == 0
    assert podium("runs", "resume", "team.yaml", question["run"]).stdout == "make it 14\n"


def test_who_resumes_all_runs_waits_for_nobody() -> None:
    first = started("run", "team.yaml", "how much?")
    question = waiting()
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    run = question["run"]
    for _ in range(2):
        done = podium("runs", "resume", "team.yaml", "--all")
        then = f"podium runs answer {run} ..., and then podium runs resume team.yaml {run}"
        assert (done.returncode, done.stdout) == (0, f"run {run}: waits for a person: {then}\n"), done.stderr
    assert podium("runs", "answer", run, "make it 14").returncode == 0
    done = podium("runs", "resume", "team.yaml", "--all")
    assert (done.returncode, done.stdout.endswith(": make it 14\n")) == (0, True), done.stderr


SLOW = """
import asyncio, signal, sys
from podium.agents.human import HumanModel
from podium.cli import main

async def hang(self, prompt, sampling):
    print("hangs", file=sys.stderr, flush=True)
    await asyncio.sleep(60)
    yield ""

signal.signal(signal.SIGINT, signal.default_int_handler)
HumanModel.generate = hang
sys.argv = ["podium", "runs", "resume", "team.yaml", "--all"]
main()
"""
"""Resumes all runs, and never hears from whom one asks. What runs in the background ignores Ctrl-C otherwise."""


def test_all_runs_that_are_being_resumed_can_be_stopped() -> None:
    url = "sqlite:///.podium/runs.db"
    first = started("run", "team.yaml", "how much?")
    run = waiting()["run"]
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    going = subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert going.stderr is not None
    while "hangs" not in (line := going.stderr.readline()):
        assert line
    going.send_signal(signal.SIGINT)
    _, err = going.communicate(timeout=30)
    assert (going.returncode, f"run {run}: stopped by Ctrl-C (it can be resumed)" in err) == (1, True), err
    listed = json.loads(podium("runs", "list", "--unfinished", "--json", "--journal", url).stdout)
    assert [each["run"] for each in listed] == [run]


def test_a_server_that_resumes_goes_on_when_it_is_answered() -> None:
    first = started("run", "team.yaml", "how much?")
    question = waiting()
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    url = f"sqlite:///{Path('.podium').resolve()}/runs.db"
    server = started("serve", "team.yaml", "--port", "0", "--journal", url, "--resume")
    assert server.stdout is not None
    address = server.stdout.readline().split(" at ")[1].split("/v1")[0]
    there, told = f"{address}/v1/questions/{question['run']}/{question['id']}", None
    end = time.monotonic() + 30
    while told is None and time.monotonic() < end:
        try:
            told = httpx.post(there, json={"text": "make it 14"}, timeout=30)
        except httpx.ConnectError:
            time.sleep(0.05)
    assert told is not None
    assert told.status_code == 200, told.text
    while podium("runs", "list", "--unfinished").stdout != "every run has ended\n":
        assert time.monotonic() < end
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=30)
    assert server.returncode == 0, err
    assert f"desk: run {question['run']} goes on" in err
    assert f"desk: run {question['run']} answered, 2 steps" in err


def test_a_server_without_a_journal_has_nothing_to_resume() -> None:
    server = podium("serve", "team.yaml", "--port", "0", "--resume")
    assert (server.returncode, "team desk keeps no journal, and so no runs to resume" in server.stderr) == (2, True)


def test_a_command_that_answers_can_be_pasted() -> None:
    question = Question("r1", "c1; reboot", "ann", "?", approval=True)
    assert in_words(question) == "run r1, question c1; reboot, approve or refuse:\n?"
    how = Console(cast(Any, None), where=" --journal sqlite:///x.db").elsewhere(question)
    assert how == (
        "answer it with: podium runs answer r1 --question 'c1; reboot' --yes or --no --journal sqlite:///x.db"
    )


@pytest.mark.parametrize(
    ("file", "waits"),
    [
        (TEAM, True),
        (ALONE.format(tools="[{name: calculator, approve: true}]"), True),
        (ALONE.format(tools="[ask_human]"), True),
        (ALONE.format(tools="[calculator]"), False),
    ],
)
def test_a_plan_says_whose_time_does_not_count(file: str, waits: bool) -> None:
    Path("team.yaml").write_text(file)
    said = " ".join(podium("plan", "team.yaml").stdout.split())
    besides = "; what a person takes to answer does not count" if waits else ""
    assert f"A run ends after 300 seconds at the latest{besides}." in said


@contextmanager
def seated(*args: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    """A command that somebody sits at, who types and reads at the other end. Its answer goes elsewhere."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SEATED, PODIUM, *args]
    ends: dict[str, Any] = {"stdin": theirs, "stderr": theirs, "stdout": subprocess.PIPE}
    run = subprocess.Popen(command, text=True, start_new_session=True, **ends)
    os.close(theirs)
    try:
        yield run, ours
    finally:
        with run:
            run.kill()
        os.close(ours)


def heard(terminal: int, until: str, *, after: str = "") -> str:
    """What a terminal shows, up to some words (that come after others)."""
    out, end = "", time.monotonic() + 30
    while until not in out.partition(after)[2] if after else until not in out:
        ready, _, _ = select.select([terminal], [], [], end - time.monotonic())
        assert ready, out
        out += os.read(terminal, 4096).decode(errors="replace")
    return out
