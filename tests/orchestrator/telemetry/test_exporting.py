"""What leaves the process, and only when it is asked for: OTLP over HTTP, files, the console, /metrics."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics,  # pyright: ignore[reportUnknownVariableType]
)
from prometheus_client.parser import text_string_to_metric_families as families

from podium.orchestrator.team import Team
from podium.orchestrator.team_file import parse_team
from podium.protocols.events import Result
from tests.orchestrator.test_server import serving

TEAM = """
name: {name}
models:
  small: {{provider: scripted, replies: ["it is 42", "it is 41"], price: {{input: 1, output: 2}}}}
agents:
  ann: {{role: solver, model: small}}
  bob: {{role: solver, model: small}}
coordinator: {{kind: vote}}
telemetry: {telemetry}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def made(telemetry: str, name: str = "desk", base: Path = Path()) -> Team:
    return Team.of(parse_team(TEAM.format(name=name, telemetry=telemetry), base=base))


@dataclass
class Receiver:
    """What an OTLP receiver was sent: path, headers, body."""

    address: str = ""
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list[tuple[str, dict[str, str], bytes]])

    @property
    def spans(self) -> list[Any]:
        found: list[Any] = []
        for path, _, body in self.came:
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    found += [span for scope in resource.scope_spans for span in scope.spans]
        return found

    @property
    def services(self) -> set[str]:
        return {
            attribute.value.string_value
            for path, _, body in self.came
            if path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


@pytest.fixture
def receiver() -> Generator[Receiver]:
    """A real OTLP receiver over HTTP, on a free port."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.came.append((self.path, dict(self.headers), body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    server.shutdown()
    thread.join(10)
    server.server_close()


def check(receiver: Receiver, result: Result) -> None:
    names = sorted(span.name for span in receiver.spans)
    assert names == [
        "chat small",
        "chat small",
        "invoke_agent ann",
        "invoke_agent bob",
        "invoke_workflow desk",
        "plan vote",
        "plan vote",
    ]
    used = 0
    for span in receiver.spans:
        for attribute in span.attributes:
            if attribute.key in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
                used += attribute.value.int_value
    assert used == result.usage.tokens


def test_spans_and_figures_reach_an_otlp_receiver(receiver: Receiver) -> None:
    with made(f'{{traces: otlp, metrics: otlp, endpoint: "{receiver.address}"}}') as team:
        result = team.run("how much?")
    check(receiver, result)
    assert receiver.services == {"podium"}
    (sent,) = [body for path, _, body in receiver.came if path == "/v1/metrics"]
    metrics = ExportMetricsServiceRequest.FromString(sent).resource_metrics[0].scope_metrics[0].metrics
    points = next(each for each in metrics if each.name == "gen_ai.client.token.usage").histogram.data_points
    assert sum(point.sum for point in points) == result.usage.tokens


def test_the_environment_says_where_and_with_which_headers(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=mine")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "answers")
    with made("{traces: otlp}") as team:
        result = team.run("how much?")
    check(receiver, result)
    assert {headers["x-tenant"] for _, headers, _ in receiver.came} == {"mine"}
    assert receiver.services == {"answers"}


def test_nothing_is_sent_where_the_file_does_not_say_so(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    for telemetry in ("{}", "{metrics: prometheus}", "{logs: json}"):
        with made(telemetry) as team:
            team.run("how much?")
    assert receiver.came == []


def test_a_receiver_that_is_not_there_holds_nothing_up(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with made('{traces: otlp, endpoint: "http://127.0.0.1:9"}') as team:
        assert team.run("how much?").seconds < 1
    assert any("opentelemetry" in record.name for record in caplog.records)


def test_spans_go_to_a_file_a_line_each(tmp_path: Path) -> None:
    for _ in range(2):
        with made("{traces: logs/spans.jsonl}", base=tmp_path) as team:
            team.run("how much?")
    lines = [json.loads(line) for line in (tmp_path / "logs" / "spans.jsonl").read_text().splitlines()]
    assert len(lines) == 14
    assert {line["name"] for line in lines} >= {"invoke_workflow desk", "invoke_agent bob", "chat small"}
    assert lines[0]["resource"]["attributes"]["service.name"] == "podium"


def test_the_console_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with made("{traces: console}") as team:
        team.run("how much?")
    said = capsys.readouterr()
    assert said.out == ""
    assert [json.loads(line)["name"] for line in said.err.splitlines()][-1] == "invoke_workflow desk"


def counted(found: dict[str, Metric], sample: str, **labels: str) -> float:
    """The sum of a figure's samples with these labels."""
    return sum(
        each.value
        for family in found.values()
        for each in family.samples
        if each.name == sample and labels.items() <= each.labels.items()
    )


@contextmanager
def asked(*teams: Team) -> Generator[tuple[str, dict[str, Result]]]:
    """A server of these teams, each of which has worked one task."""
    with serving({team.name: team for team in teams}) as address:
        results: dict[str, Any] = {}
        for team in teams:
            body = {"model": team.name, "messages": [{"role": "user", "content": "how much?"}]}
            made = httpx.post(f"{address}/v1/chat/completions", json=body).json()
            results[team.name] = made
        yield address, results


def test_prometheus_reads_the_figures_of_all_teams() -> None:
    teams = made("{metrics: prometheus}", "desk"), made("{metrics: prometheus}", "shop"), made("{}", "quiet")
    with asked(*teams) as (address, results):
        scraped = httpx.get(f"{address}/metrics")
        other = httpx.get(f"{address}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert scraped.status_code == 200
    assert scraped.headers["content-type"].startswith("text/plain; version=")
    listed = list(families(scraped.text))
    found = {family.name: family for family in listed}
    assert len(found) == len(listed), "each figure is told once"
    for name in ("desk", "shop"):
        used: Any = results[name]
        tokens = counted(found, "gen_ai_client_token_usage_sum", gen_ai_workflow_name=name)
        assert tokens == used["usage"]["total_tokens"]
        for agent, share in used["podium"]["by_agent"].items():
            labels = {"gen_ai_workflow_name": name, "gen_ai_agent_name": agent}
            mine = counted(found, "gen_ai_client_token_usage_sum", **labels)
            assert mine == share["prompt_tokens"] + share["completion_tokens"]
            assert counted(found, "podium_dollars_total", **labels) == pytest.approx(share["dollars"])
        assert counted(found, "podium_runs_total", gen_ai_workflow_name=name, podium_stop="answered") == 1
        assert counted(found, "podium_decisions_total", gen_ai_workflow_name=name) == 2
        assert counted(found, "gen_ai_workflow_duration_seconds_count", gen_ai_workflow_name=name) == 1
    assert counted(found, "podium_runs_total", gen_ai_workflow_name="quiet") == 0
    assert other.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(other.text)} >= set(found)


def test_there_are_no_figures_to_read_where_no_team_wants_any() -> None:
    with asked(made("{}")) as (address, _):
        assert httpx.get(f"{address}/metrics").status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_a_served_run_joins_the_trace_of_its_request(stream: bool, tmp_path: Path) -> None:
    with serving({"desk": made("{traces: spans.jsonl}", base=tmp_path)}) as address:
        body = {"model": "desk", "messages": [{"role": "user", "content": "how much?"}], "stream": stream}
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers).status_code == 200
    lines = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    assert {line["context"]["trace_id"] for line in lines} == {f"0x{TRACE}"}
    run = next(line for line in lines if line["name"] == "invoke_workflow desk")
    assert run["parent_id"] == f"0x{PARENT}"


@pytest.fixture
def deaf() -> Generator[str]:
    """The address of a receiver that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_receiver_that_is_deaf_is_not_waited_for(
    deaf: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("podium.orchestrator.telemetry.watch.SENDING", 0.3)
    desk = made(f"{{traces: otlp, metrics: otlp, endpoint: '{deaf}'}}")
    desk.run("how much?")
    began = time.monotonic()
    desk.close()
    assert time.monotonic() - began < 8  # twice ten seconds, where it is waited for
    assert "telemetry: not all of it could be sent within 0.3 seconds" in caplog.text


def test_what_cannot_be_closed_does_not_keep_the_rest_open(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    shutdown = TracerProvider.shutdown

    def fails(provider: TracerProvider) -> None:
        shutdown(provider)
        raise ValueError("no")

    monkeypatch.setattr(TracerProvider, "shutdown", fails)
    desk = made(f"{{traces: otlp, metrics: otlp, endpoint: '{receiver.address}'}}")
    desk.run("how much?")
    with pytest.raises(ValueError, match="no"):
        desk.close()
    assert "/v1/metrics" in [path for path, _, _ in receiver.came]
