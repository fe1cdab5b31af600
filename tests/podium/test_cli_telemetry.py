"""Telemetry by options of the command line, and by the team file where podium runs or serves it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from podium.cli import app
from tests.podium.test_cli_run import PODIUM, TEAM, served

RUNNER = CliRunner()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a team file, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team.yaml").write_text(TEAM)
    return tmp_path


def test_run_writes_its_spans_where_it_is_told_to(here: Path) -> None:
    done = RUNNER.invoke(app, ["run", "team.yaml", "how much?", "--no-journal", "--trace", "spans.jsonl"])
    assert done.exit_code == 0, done.output
    spans = [json.loads(line) for line in (here / "spans.jsonl").read_text().splitlines()]
    assert [span["name"] for span in spans].count("chat small") == 2
    assert spans[-1]["name"] == "invoke_workflow desk"


def test_an_answer_does_not_wait_for_a_receiver_that_is_deaf(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        told = f"telemetry: {{traces: otlp, metrics: otlp, endpoint: '{address}'}}\n"
        (here / "team.yaml").write_text(TEAM + told)
        command = [*PODIUM, "run", "team.yaml", "how much?", "--no-journal"]
        with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            answer = process.stdout.read(8)
            with pytest.raises(subprocess.TimeoutExpired):  # telemetry is still trying
                process.wait(1)
            answered = time.monotonic()
            process.communicate(timeout=60)
    assert answer == b"it is 42"
    assert process.returncode == 0
    assert time.monotonic() - answered < 10


def test_a_place_that_is_none_is_refused(here: Path) -> None:
    done = RUNNER.invoke(app, ["run", "team.yaml", "how much?", "--no-journal", "--trace", "oltp"])
    assert done.exit_code == 2
    assert "--trace oltp: there is no such place; choose console, otlp, or a file that ends in .jsonl" in done.output


def test_serve_gives_figures_and_logs_where_it_is_told_to(here: Path) -> None:
    with served("team.yaml", "--metrics", "--logs", "json", "--trace", "spans.jsonl") as (process, address, _):
        body = {"model": "desk", "messages": [{"role": "user", "content": "how much?"}]}
        answer = httpx.post(f"{address}/v1/chat/completions", json=body).json()
        figures = {each.name: each for each in text_string_to_metric_families(httpx.get(f"{address}/metrics").text)}
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert sum(sample.value for sample in figures["podium_runs"].samples if sample.name == "podium_runs_total") == 1
    lines = [json.loads(line) for line in said.splitlines()]
    run = answer["podium"]["run"]
    events = [line["event"] for line in lines if line.get("run") == run]
    assert events[0] == "run.started"
    assert set(events) >= {"decided", "reply", "run.ended", "request.answered"}
    assert "how much?" not in said
    spans = [json.loads(line) for line in (here / "spans.jsonl").read_text().splitlines()]
    traces = {span["context"]["trace_id"].removeprefix("0x") for span in spans}
    assert {line["trace_id"] for line in lines if "trace_id" in line} == traces
