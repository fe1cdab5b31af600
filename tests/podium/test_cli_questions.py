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
from pathlib import Path
from typing import Any

import pytest

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
    assert answered.stderr == f"run {question['run']}: answered boss\n"
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, "make it 13\n")
    assert f'{asked}answer it with: podium runs answer {question["run"]} "TEXT"\n' in err
    assert podium("runs", "questions").stdout == "nobody is asked anything\n"


def test_a_process_that_is_killed_while_it_waits_is_answered_and_resumed() -> None:
    run = started("run", "team.yaml", "how much?")
    question = waiting()
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=30)
    assert podium("runs", "answer", question["run"], "make it 14").returncode == 0
    done = podium("runs", "resume", "team.yaml", question["run"])
    assert (done.returncode, done.stdout) == (0, "make it 14\n"), done.stderr


def test_at_a_terminal_the_person_is_asked_there() -> None:
    ours, theirs = pty.openpty()
    run = started("run", "team.yaml", "how much?", stdin=theirs, stderr=theirs)
    os.close(theirs)
    said = heard(ours, "your answer:")
    assert "boss asks:" in said
    os.write(ours, b"\n")
    heard(ours, "the answer is empty")
    os.write(ours, b"13, I think\n")
    out, _ = run.communicate(timeout=30)
    os.close(ours)
    assert (run.returncode, out) == (0, "13, I think\n")


def heard(terminal: int, until: str) -> str:
    """What a terminal shows, up to some words."""
    out, end = "", time.monotonic() + 30
    while until not in out:
        ready, _, _ = select.select([terminal], [], [], end - time.monotonic())
        assert ready, out
        out += os.read(terminal, 4096).decode(errors="replace")
    return out
