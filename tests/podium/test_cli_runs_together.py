"""Two processes that go on with one run at once: one does, the other says so, and no call is made twice."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from podium.orchestrator.journal import Journal
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.team import Team
from tests.orchestrator.journal.conftest import postgres_bin, server, url

__all__ = ["postgres_bin", "server", "url"]

ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "it is 42"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


class Endpoint(ThreadingHTTPServer):
    """Counts what it is asked, and answers when it may."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Counted)
        self.calls = 0
        self.asked, self.may = threading.Event(), threading.Event()
        self.may.set()


class Counted(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """One call."""
        endpoint = self.server
        assert isinstance(endpoint, Endpoint)
        self.rfile.read(int(self.headers["content-length"]))
        endpoint.calls += 1
        endpoint.asked.set()
        assert endpoint.may.wait(60)
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def endpoint() -> Generator[Endpoint]:
    with Endpoint() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield made
        finally:
            made.may.set()
            made.shutdown()
            thread.join(10)


def podium(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "podium", "runs", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def cut_off(file: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose process died before it could write its only reply; its id."""

    async def nothing(*_: object) -> None:
        pass

    with monkeypatch.context() as patch, Team.load(file) as team:
        patch.setattr(RunLog, "end", nothing)
        return team.run("how much?").run


@pytest.mark.timeout(120)
def test_two_resume_one_run_at_once(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "team.yaml"
    with endpoint() as counted:
        model = {"provider": "openai", "base_url": f"http://127.0.0.1:{counted.server_port}/v1", "model": "m"}
        team = {
            "name": "desk",
            "models": {"small": model},
            "agents": {"ann": {"role": "solver", "model": "small"}},
            "coordinator": {"kind": "single", "agent": "ann"},
            "journal": url,
        }
        file.write_text(json.dumps(team))
        run = cut_off(file, monkeypatch)
        assert counted.calls == 1
        counted.calls = 0
        counted.asked.clear()
        counted.may.clear()
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(podium, "resume", file, run, "--quiet") for _ in range(2)]
            while not any(each.done() for each in both):
                counted.asked.wait(0.1)
            (refused,) = (each.result() for each in both if each.done())
            assert (refused.returncode, refused.stdout) == (2, "")
            assert f"run {run} is under way in another process" in " ".join(refused.stderr.split())
            rest = podium("resume", file, "--all")
            told = [f"run {run} is left: it is under way in another process", "no run of team desk is to be resumed"]
            assert (rest.returncode, rest.stderr.splitlines()) == (0, told)
            assert "running" in podium("list", "--journal", url).stdout
            counted.may.set()
            answered = next(each.result() for each in both if each.result() is not refused)
        assert (answered.returncode, answered.stdout) == (0, "it is 42\n")
        assert counted.calls == 1
    journal = Journal(url)
    assert journal.load(run).stop == "answered"
    journal.close()
