"""The `telemetry:` block of a team file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from podium.orchestrator.team_file import load_team, parse_team
from podium.orchestrator.team_schema import team_schema
from podium.protocols.errors import TeamFileError

TEAM = """\
name: desk
models: {small: {provider: scripted, replies: ["42"]}}
agents: {ann: {role: solver, model: small}}
coordinator: {kind: single, agent: ann}
"""


def test_everything_is_off_by_default() -> None:
    found = parse_team(TEAM).telemetry
    assert (found.traces, found.metrics, found.logs, found.content) == ("none", "none", "none", False)
    assert not found.watches


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{traces: oltp}", 'telemetry.traces: not in the form that is expected; found "oltp"'),
        ("{traces: oltp}", "none, console (standard error), otlp, a file that ends in .jsonl"),
        ("{traces: spans.txt}", 'telemetry.traces: not in the form that is expected; found "spans.txt"'),
        ("{metrics: true}", "telemetry.metrics: not one of the choices; found true"),
        ("{metrics: promtheus}", 'did you mean "prometheus"?'),
        ("{logs: yaml}", 'telemetry.logs: not one of the choices; found "yaml"; allowed: none, text, json'),
        ("{content: 3}", "telemetry.content: expected true or false; found 3"),
        ("{endpoint: localhost}", 'telemetry.endpoint: not in the form that is expected; found "localhost"'),
        ("{trace: otlp}", 'telemetry.trace: unknown key "trace"; allowed: traces, metrics, endpoint, content, logs'),
    ],
)
def test_what_is_wrong_is_told(said: str, told: str) -> None:
    with pytest.raises(TeamFileError) as caught:
        parse_team(TEAM + f"telemetry: {said}\n", "desk.yaml")
    assert told in str(caught.value)
    assert str(caught.value).startswith("desk.yaml:5: ")


def test_a_file_of_spans_is_beside_the_team_file(tmp_path: Path) -> None:
    (tmp_path / "desk.yaml").write_text(TEAM + "telemetry: {traces: logs/spans.jsonl}\n")
    assert load_team(tmp_path / "desk.yaml").telemetry.traces == str(tmp_path / "logs" / "spans.jsonl")


def test_telemetry_is_no_part_of_what_a_team_is() -> None:
    plain, told = parse_team(TEAM), parse_team(TEAM + "telemetry: {traces: otlp, logs: json}\n")
    assert plain.digest == told.digest


def test_the_schema_describes_it() -> None:
    schema: Any = team_schema()
    fields = schema["$defs"]["TelemetrySpec"]["properties"]
    assert all(field["description"] for field in fields.values())
    check: Any = jsonschema.Draft202012Validator(schema)
    team = {
        "name": "desk",
        "models": {"small": {"provider": "scripted", "replies": ["42"]}},
        "agents": {"ann": {"role": "solver", "model": "small"}},
        "coordinator": {"kind": "single", "agent": "ann"},
    }
    check.validate({**team, "telemetry": {"traces": "spans.jsonl", "metrics": "prometheus", "content": True}})
    assert not check.is_valid({**team, "telemetry": {"traces": "elsewhere"}})
