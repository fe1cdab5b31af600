"""podium run, show and serve: what is printed where, exit codes, and what a user gets wrong."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from typer.testing import CliRunner

from podium.cli import app
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.team import Team
from podium.protocols.errors import JournalError, RunError

RUNNER = CliRunner()
PODIUM = [sys.executable, "-c", "from podium.cli import main; main()"]

TEAM = """\
name: desk
models:
  small: {provider: scripted, replies: ["a plan", "it is 42"], price: {input: 1, output: 2}}
agents:
  ann: {role: planner, model: small}
  bob: {role: solver, model: small}
coordinator: {kind: sequential}
budget: {tokens: 9000, calls: 5}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team.yaml").write_text(TEAM)
    return tmp_path


def podium(*args: str, **options: Any) -> Any:
    return RUNNER.invoke(app, list(args), **options)


def endpoint_team(here: Path, url: str) -> None:
    model = f'{{provider: openai, base_url: "{url}", model: q, api_key: sk-very-secret, timeout: 5}}'
    (here / "team.yaml").write_text(TEAM.replace(TEAM.splitlines()[2].split("small: ")[1], model))


def test_run_prints_the_answer_and_where_to_read_on() -> None:
    done = podium("run", "team.yaml", "how much?")
    assert (done.exit_code, done.stdout) == (0, "it is 42\n")
    assert "answered by bob, 2 steps, 2 calls" in done.stderr
    run = done.stderr.split("podium show ")[1].strip()
    shown = podium("show", run)
    assert shown.exit_code == 0
    for words in ("how much?", "step 1  asks ann", "A fixed chain", "a plan", "answer, by bob", "it is 42", "replies"):
        assert words in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 100


def test_show_tells_the_seed_to_repeat_a_run_with() -> None:
    told = json.loads(podium("run", "team.yaml", "how much?", "--seed", "17", "--json").stdout)
    assert "seed 17" in podium("show", told["run"]).stdout
    assert json.loads(podium("show", told["run"], "--json").stdout)["seed"] == 17


def test_run_json_can_be_read_by_a_program() -> None:
    done = podium("run", "team.yaml", "how much?", "--json", "--quiet", "--seed", "3")
    told = json.loads(done.stdout)
    assert (told["answer"], told["stop"], told["steps"], told["answered_by"]) == ("it is 42", "answered", 2, "bob")
    assert told["usage"]["tokens"] == sum(each["tokens"] for each in told["by_agent"].values()) > 0
    assert done.stderr == ""
    assert json.loads(podium("show", told["run"], "--json").stdout)["answer"] == "it is 42"


def test_quiet_prints_the_answer_only_and_a_task_may_come_from_standard_input() -> None:
    done = podium("run", "team.yaml", "-", "--quiet", input="how much?\n")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "it is 42\n", "")
    assert "how much?" in podium("show").stdout


def test_stream_prints_the_answer_once() -> None:
    assert podium("run", "team.yaml", "x", "--stream").stdout == "it is 42\n"


def test_no_journal_keeps_nothing(here: Path) -> None:
    done = podium("run", "team.yaml", "x", "--no-journal")
    assert done.exit_code == 0
    assert "podium show" not in done.stderr
    assert not (here / ".podium").exists()
    listed = podium("show")
    assert (listed.exit_code, "no runs are kept in" in listed.stderr) == (2, True)


def test_runs_go_to_the_teams_own_journal(here: Path) -> None:
    (here / "team.yaml").write_text(TEAM + "journal: sqlite:///mine.db\n")
    done = podium("run", "team.yaml", "x")
    assert (here / "mine.db").exists()
    assert not (here / ".podium").exists()
    where = done.stderr.split("podium show ")[1].split()
    assert podium("show", *where).exit_code == 0


def test_a_journals_folder_is_made_once_and_told(here: Path) -> None:
    (here / "team.yaml").write_text(TEAM + "journal: sqlite:///kept/mine.db\n")
    assert f"made the folder {here}/kept, where runs are kept" in podium("run", "team.yaml", "x").stderr
    assert "made the folder" not in podium("run", "team.yaml", "x").stderr
    for command in (["run", "team.yaml", "x"], ["serve", "team.yaml", "--port", "0"]):
        (here / "team.yaml").write_text(TEAM + "journal: sqlite:///no/such/mine.db\n")
        refused = podium(*command)
        assert (refused.exit_code, f"there is no folder {here}/no; make it first" in refused.stderr) == (2, True)
    assert not (here / "no").exists()


def test_a_journal_that_cannot_be_written_can_be_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = json.loads(podium("run", "team.yaml", "x", "--json").stdout)["run"]
    (here / "kept & old").mkdir()
    (here / ".podium/runs.db").rename(here / "kept & old/runs.db")

    def denied(path: object, mode: int) -> bool:
        return mode != os.W_OK

    monkeypatch.setattr(os, "access", denied)  # the tests may run as root, to whom nothing is denied
    (here / "team.yaml").write_text(TEAM + 'journal: "sqlite:///kept & old/runs.db"\n')
    assert "it is 42" in podium("show", run, "--journal", "sqlite:///kept & old/runs.db").stdout
    assert [file.name for file in (here / "kept & old").iterdir()] == ["runs.db"]
    with closing(sqlite3.connect(here / "kept & old/runs.db")) as writer:  # what is not in the file yet is read too
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("UPDATE podium_runs SET task = 'another'")
        writer.commit()
        assert "another" in podium("show", "--journal", "sqlite:///kept & old/runs.db").stdout
    with Team.load("team.yaml") as desk, pytest.raises(JournalError, match="was not written: attempt to write a read"):
        desk.run("x")
    refused = podium("run", "team.yaml", "x")
    assert (refused.exit_code, "kept & old cannot be written to" in refused.stderr) == (2, True)
    unread = podium("show", "--journal", "sqlite:///team.yaml/runs.db")
    assert unread.stderr == "journal team.yaml/runs.db: cannot be read: Not a directory\n"


def test_show_lists_the_newest_first_and_knows_what_it_lacks() -> None:
    for task in ("one", "two"):
        podium("run", "team.yaml", task)
    listed = json.loads(podium("show", "--json").stdout)
    assert [entry["task"] for entry in listed] == ["two", "one"]
    assert podium("show", listed[0]["run"][:6]).exit_code == 0
    lost = podium("show", "zz")
    assert (lost.exit_code, "no run 'zz'" in lost.stderr) == (2, True)
    assert listed[0]["run"] in lost.stderr
    wrong = podium("show", "--journal", "nonsense")
    assert (wrong.exit_code, "not a URL" in wrong.stderr) == (2, True)


def test_show_is_not_fooled_by_what_a_model_wrote(here: Path) -> None:
    (here / "team.yaml").write_text(TEAM.replace('"a plan"', r'"[red]\x1b[2Jgone[/nothing]"'))
    podium("run", "team.yaml", "[bold]why?")
    shown = podium("show", json.loads(podium("show", "--json").stdout)[0]["run"])
    assert shown.exit_code == 0
    assert "\x1b[2J" not in shown.stdout
    assert "[red]�[2Jgone[/nothing]" in shown.stdout
    assert "[bold]why?" in shown.stdout


def test_long_replies_are_shortened_unless_all_is_wanted(here: Path) -> None:
    (here / "team.yaml").write_text(TEAM.replace('"a plan"', '"' + "line\\n" * 40 + 'end of it"'))
    podium("run", "team.yaml", "x")
    run = json.loads(podium("show", "--json").stdout)[0]["run"]
    assert "30 more lines (--full)" in podium("show", run).stdout
    assert "end of it" in podium("show", run, "--full").stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nothere.yaml", "x"), "there is no such file"),
        (("team.yaml", "  "), "the task is empty"),
        (("team.yaml", "x", "--json", "--stream"), "choose one"),
        (("team.yaml", "x", "--preference", "0.01"), "--preference is for a learned coordinator"),
        (("team.yaml", "x", "--seconds", "0"), "--seconds 0: must be more than 0"),
        (("team.yaml", "x", "--preference", "-1"), "--preference -1: must be more than 0"),
        (("team.yaml", "x", "--dollars", "nan"), "must be more than 0"),
        (("team.yaml", "x", "--tokens", "0"), "--tokens"),
        (("team.yaml", "x", "--mode", "wild"), "greedy"),
        (("team.yaml",), "Missing argument"),
    ],
)
def test_wrong_input_is_said_and_starts_nothing(here: Path, args: tuple[str, ...], words: str) -> None:
    done = podium("run", *args)
    assert done.exit_code == 2
    assert words in done.stderr
    told = podium("run", *args, *(() if "--json" in args else ("--json",)))
    assert (told.exit_code, told.stderr) == (2, done.stderr)
    error = json.loads(told.stdout)
    assert words in error["error"]
    assert error["kind"] in ("InputError", "TeamFileError")
    assert done.stdout == (told.stdout if "--json" in args else "")
    assert not (here / ".podium").exists()


def test_an_empty_standard_input_is_an_empty_task() -> None:
    done = podium("run", "team.yaml", "-", input="")
    assert (done.exit_code, "the task is empty" in done.stderr) == (2, True)


def test_an_unknown_model_is_told_with_its_line(here: Path) -> None:
    (here / "team.yaml").write_text(TEAM.replace("solver, model: small", "solver, model: smal"))
    done = podium("run", "team.yaml", "x")
    assert done.exit_code == 2
    assert "team.yaml:6" in done.stderr
    assert "small" in done.stderr


def test_a_budget_that_holds_nothing_fails(here: Path) -> None:
    done = podium("run", "team.yaml", "x", "--tokens", "5")
    assert (done.exit_code, "; raise the limits that the run was given (" in done.stderr) == (1, True)
    (here / "team.yaml").write_text(TEAM.replace("tokens: 9000", "tokens: 5"))
    done = podium("run", "team.yaml", "x")
    assert (done.exit_code, "; raise the budget of the team file (" in done.stderr) == (1, True)


def test_a_last_turn_that_is_not_set_aside_is_told(here: Path) -> None:
    (here / "team.yaml").write_text(TEAM.replace("calls: 5", "calls: 5, wind_down: bob"))
    told = "warning: no call of bob is set aside: a quarter of each limit does not hold it\n"
    assert told not in podium("run", "team.yaml", "x").stderr
    assert podium("run", "team.yaml", "x", "--tokens", "200").stderr.startswith(told)
    assert told not in podium("run", "team.yaml", "x", "--tokens", "200", "--quiet").stderr


def test_an_endpoint_that_is_down_is_one_line_and_the_run_is_kept(here: Path) -> None:
    endpoint_team(here, "http://127.0.0.1:9/v1")
    done = podium("run", "team.yaml", "x")
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert "agent ann" in line
    assert "http://127.0.0.1:9/v1" in line
    assert "secret" not in line
    (entry,) = json.loads(podium("show", "--json").stdout)
    assert entry["stop"] == "failed"
    assert entry["run"] in line
    told = json.loads(podium("run", "team.yaml", "x", "--json").stdout)
    assert (told["kind"], told["stop"], told["answer"]) == ("ModelUnreachable", "failed", "")
    assert "it failed" in podium("show", entry["run"]).stdout


def test_an_answer_that_cannot_be_kept_is_printed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RunError("journal: the run was not written: the disk is full")

    monkeypatch.setattr(RunLog, "end", full)
    done = podium("run", "team.yaml", "x")
    assert (done.exit_code, done.stdout) == (1, "it is 42\n")
    assert "the disk is full" in done.stderr


@contextmanager
def answering(body: bytes, kind: str) -> Generator[str]:
    """An endpoint that says the same to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>hello</html>", "text/html"),
        (b'{"hello": 1}', "application/json"),
        (b"data: {broken\n\n", "text/event-stream"),
        (b"", "text/event-stream"),
    ],
)
def test_an_endpoint_that_sends_garbage_is_one_line_and_the_run_is_kept(here: Path, body: bytes, kind: str) -> None:
    with answering(body, kind) as url:
        endpoint_team(here, url)
        done = podium("run", "team.yaml", "x")
    assert done.exit_code == 1
    (line,) = done.stderr.strip().splitlines()
    assert "agent ann" in line
    assert [entry["stop"] for entry in json.loads(podium("show", "--json").stdout)] == ["failed"]


@contextmanager
def never_answering() -> Generator[tuple[str, threading.Event]]:
    """An endpoint that takes a request and keeps silent; the event says that one came."""
    asked, done = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.set()
            done.wait(30)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            done.set()
            server.shutdown()
            thread.join()


def test_ctrl_c_ends_the_run_in_one_line_and_keeps_it(here: Path) -> None:
    with never_answering() as (url, asked):
        endpoint_team(here, url)
        text = (here / "team.yaml").read_text().replace("timeout: 5", "timeout: 60")
        (here / "team.yaml").write_text(text)
        heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # nohup is inherited
        command = [sys.executable, "-c", f"{heard}; from podium.cli import main; main()", "run", "team.yaml", "x"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    (line,) = err.strip().splitlines()
    assert "stopped by Ctrl-C" in line
    run = line.split("podium show ")[1].rstrip(")")
    assert "it was cancelled" in podium("show", run).stdout


@contextmanager
def served(*args: str) -> Generator[tuple[subprocess.Popen[str], str, str]]:
    """`podium serve` on a free port, its address, and what it said first."""
    process = subprocess.Popen(
        [*PODIUM, "serve", *args, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        head = "".join(process.stdout.readline() for _ in range(4))
        assert " at http://" in head, process.stderr and process.stderr.read()
        address = head.split(" at ")[1].split("/v1")[0]
        end = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.ConnectError:
                assert time.monotonic() < end
                time.sleep(0.05)
        yield process, address, head
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_the_openai_client_until_it_is_told_to_stop(here: Path, how: signal.Signals) -> None:
    (here / "other.yaml").write_text(TEAM.replace("name: desk", "name: other"))
    with served("team.yaml", "other.yaml") as (process, address, head):
        with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as api:
            assert [model.id for model in api.models.list()] == ["desk", "other"]
            made = api.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}])
            assert made.choices[0].message.content == "it is 42"
        process.send_signal(how)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"curl {address}/v1/chat/completions" in head
    assert "stopped" in out
    assert "other: run" in err
    assert "Traceback" not in err


def test_serve_refuses_what_cannot_be_served(here: Path) -> None:
    twice = podium("serve", "team.yaml", "team.yaml", "--port", "0")
    assert (twice.exit_code, "both named 'desk'" in twice.stderr) == (2, True)
    lost = podium("serve", "nothere.yaml")
    assert (lost.exit_code, "there is no such file" in lost.stderr) == (2, True)
    assert podium("serve").exit_code == 2


def test_a_loop_is_called_one() -> None:
    Path("loop.yaml").write_text(
        "name: desk\nmodels: {m: {provider: scripted, replies: [same]}}\nagents: {ann: {role: solver, model: m}}\n"
        "coordinator: {kind: round_robin, rounds: 30}\n"
    )
    done = podium("run", "loop.yaml", "x")
    assert (done.exit_code, done.stdout) == (0, "same\n")
    assert "ended as a loop, answered by ann, 11 steps" in done.stderr


def test_a_pool_that_ends_a_run_is_told(here: Path) -> None:
    pool = "pool: {calls: 3, every: month}\nagents:\n  cyd: {role: solver, model: small, budget: {seconds: 9}}\n"
    (here / "team.yaml").write_text(TEAM.replace("agents:\n", pool).replace("calls: 5", "calls: 3"))
    planned = " ".join(podium("plan", "team.yaml").stdout.split())
    assert "cyd is at work for 9 seconds of a run at most." in planned
    assert "All runs together use 3 calls at most, each month (UTC)." in planned
    data = json.loads(podium("plan", "team.yaml", "--json").stdout)
    assert data["pool"] == {"tokens": None, "calls": 3, "seconds": None, "dollars": None, "every": "month"}
    assert data["agents"][0]["budget"]["seconds"] == 9
    (here / "team.yaml").write_text(
        TEAM.replace("agents:\n", "pool: {calls: 3, every: month}\nagents:\n", 1).replace("calls: 5", "calls: 3")
    )
    assert podium("run", "team.yaml", "why?").exit_code == 0
    short = podium("run", "team.yaml", "why?")
    words = "the pool, which all runs of the team share, does not hold one call more before 2"
    assert f": ended since {words}" in short.stderr
    assert words in podium("show", short.stderr.partition("podium show ")[2].split()[0]).stdout.replace("\n", " ")
    none = podium("run", "team.yaml", "why?")
    assert (none.exit_code, words in none.stderr, "raise the pool of the team file" in none.stderr) == (1, True, True)
