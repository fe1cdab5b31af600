"""What is off costs nothing, and what is on is the team's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import metrics, trace

from podium.agents.breaker import Breaker, Guarded
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec, parse_team
from podium.orchestrator.telemetry.watch import Telemetry
from podium.protocols.errors import InputError, ModelError
from tests.orchestrator.teams import scripted, team
from tests.orchestrator.telemetry.watched import awaited, parents, told, watch, watched

FILE = """
name: desk
models: {small: {provider: scripted, replies: ["it is 42"]}}
agents: {ann: {role: solver, model: small, tools: [calculator]}}
coordinator: {kind: single, agent: ann}
"""

RUN = """
import sys
for name in %(hidden)r:
    sys.modules[name] = None
from podium import Team
from podium.orchestrator.server import make_app
with Team.load("team.yaml") as team:
    assert team.run("how much?").answer == "it is 42"
    make_app({team.name: team})
print(sorted(name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "prometheus_client")))
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_nothing_is_wrapped_or_imported_where_nothing_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(FILE)
    done = python(RUN % {"hidden": []}, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    with Team.of(parse_team(FILE)) as plain:
        assert plain.telemetry is None
        assert vars(plain)["_runner"] is plain.orchestrator
        assert type(plain.orchestrator) is Orchestrator
        assert plain.agents["ann"].model is plain.models["small"]


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "prometheus_client"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(missing: str, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(FILE + "telemetry: {traces: spans.jsonl}")
    done = python(RUN % {"hidden": [missing]}, tmp_path)
    assert done.returncode != 0
    assert "MissingExtra: telemetry needs the package " + missing in done.stderr
    assert 'pip install "podium[telemetry]"' in done.stderr


def test_the_orchestrator_that_trains_is_the_plain_one() -> None:
    seen = watched({"ann": scripted("yes")})
    assert type(seen.team.orchestrator.coordinator).__name__ == "Sequential"
    assert type(seen.team.orchestrator.bus).__name__ == "MemoryBus"
    seen.team.close()


def test_a_team_under_another_coordinator_is_watched_by_the_same() -> None:
    seen = watched({"ann": scripted("yes"), "bob": scripted("no")})
    other = seen.team.led_by(team({"ann": scripted("yes"), "bob": scripted("no")}, "vote").orchestrator.coordinator)
    other.run("how much?")
    assert len(seen.of("chat")) == 2
    other.close()


@awaited
async def test_a_run_inside_a_span_of_the_application_is_its_child() -> None:
    seen = watched({"ann": scripted("yes")})
    with seen.tracers.get_tracer("application").start_as_current_span("handle"):
        await seen.team.arun("how much?")
        async for _ in seen.team.astream("how much?"):
            pass
    seen.exporter.shutdown()
    names = [span.name for span in seen.exporter.get_finished_spans()]
    assert names.count("invoke_workflow desk") == 2
    runs = [span for span in seen.exporter.get_finished_spans() if span.name == "invoke_workflow desk"]
    handle = next(span for span in seen.exporter.get_finished_spans() if span.name == "handle")
    assert handle.context
    assert {run.parent.span_id for run in runs if run.parent} == {handle.context.span_id}
    assert trace.get_current_span() is trace.INVALID_SPAN
    await seen.team.aclose()


def test_an_application_may_have_it_all_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched({"ann": scripted("yes")})
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: seen.tracers)
    spec = parse_team(FILE + "telemetry: {traces: application, metrics: application}")
    assert spec.telemetry.watches
    with Team.of(spec) as mine:
        assert mine.run("how much?").answer == "it is 42"
    assert "chat small" in parents(seen.spans)
    with Team.of(spec) as mine:  # the application's providers were not shut down with the team
        mine.run("how much?")
    assert len(seen.of("invoke_workflow")) == 2
    seen.team.close()


def test_the_global_providers_are_left_alone(tmp_path: Path) -> None:
    before = trace.get_tracer_provider(), metrics.get_meter_provider()
    spec = parse_team(FILE + "telemetry: {traces: spans.jsonl, metrics: prometheus}", base=tmp_path)
    with Team.of(spec) as mine:
        mine.run("how much?")
    assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == before
    assert (tmp_path / "spans.jsonl").read_text().count("\n") == 4


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"telemetry\.traces: .*spans\.jsonl cannot be written: "):
        Team.of(parse_team(FILE + "telemetry: {traces: file/spans.jsonl}", base=tmp_path))


REMOTE = """
name: desk
models:
  small: {provider: openai, base_url: "http://llm.example.com/v1", model: small-1, api_key: sk-of-the-desk-1234}
agents: {ann: {role: solver, model: small}}
coordinator: {kind: single, agent: ann}
retry: {attempts: 1, open_after: 2}
telemetry: {content: true}
"""


def remote() -> TeamSpec:
    return parse_team(REMOTE)


def test_a_remote_model_is_told_with_its_server_and_its_breaker() -> None:
    failing = scripted(ModelError("HTTP 500: your key sk-of-the-desk-1234 is fine", transient=True), name="small")
    seen = watch(remote(), {"small": failing})
    assert isinstance(seen.team.agents["ann"].model, Guarded)
    assert seen.sums("podium.breaker.open", "podium.breaker") == {"small": 0}
    for _ in range(3):
        with pytest.raises(ModelError):
            seen.team.run("how much?")
    assert seen.sums("podium.breaker.open", "podium.breaker") == {"small": 1}
    chats = seen.of("chat")
    assert len(chats) == 2, "what the breaker refuses is no call"
    assert len(seen.of("invoke_agent")) == 3
    chat = told(chats[0])
    assert (chat["server.address"], chat["server.port"], chat["gen_ai.provider.name"]) == (
        "llm.example.com",
        80,
        "openai",
    )
    assert (chats[0].name, chat["podium.model"], chats[0].kind.name) == ("chat small-1", "small", "CLIENT")
    assert chats[0].status.description == "HTTP 500: your key *** is fine"
    assert "sk-of-the-desk" not in "".join(span.to_json() for span in seen.spans)
    seen.team.close()


def test_the_breaker_of_a_tool_is_told_by_agent() -> None:
    seen = watch(parse_team(FILE), {"small": scripted("yes")})
    assert seen.sums("podium.breaker.open", "podium.breaker") == {"calculator": 0}
    assert seen.team.telemetry
    breaker = Breaker(1)
    seen.team.telemetry.breaker(breaker, "calculator", "bob")
    breaker.failed("no")
    assert seen.sums("podium.breaker.open", "gen_ai.agent.name") == {"ann": 0, "bob": 1}
    seen.team.close()


def test_without_spans_there_are_figures_and_without_figures_spans() -> None:
    only = parse_team(FILE + "telemetry: {metrics: prometheus}")
    with Team.of(only) as figures:
        figures.run("how much?")
        assert figures.telemetry
        assert figures.telemetry.scrape
        assert any(family.name == "podium_runs" for family in figures.telemetry.scrape.registry.collect())
    assert Telemetry(parse_team(FILE)).scrape is None
