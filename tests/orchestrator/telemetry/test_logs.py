"""Log records of runs: where they happened, in text and as JSON, and without secrets."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from podium.agents.model import Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.orchestrator.telemetry.logs import PLACE, JsonLines, Place, TextLines
from podium.orchestrator.telemetry.secrets import masking
from podium.orchestrator.telemetry.spec import TelemetrySpec
from podium.orchestrator.telemetry.watch import Telemetry
from podium.protocols.errors import ModelError
from tests.orchestrator.teams import scripted, team
from tests.orchestrator.telemetry.watched import watch

KEY = "a-very-plain-key"


class Lines:
    """What loggers of podium say, in one form."""

    def __init__(self, form: logging.Formatter) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(form)

    @property
    def all(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def data(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.all]


@pytest.fixture
def podium() -> Generator[logging.Logger]:
    """The loggers of podium, as they were before when the test is over."""
    logger = logging.getLogger("podium")
    before = logger.level, list(logger.handlers)
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


def listening(logger: logging.Logger, form: type[JsonLines | TextLines] = JsonLines) -> Lines:
    lines = Lines(form(masking([KEY])))
    logger.addHandler(lines.handler)
    return lines


def telling(logs: str = "json", *, content: bool = False, **models: Any) -> Team:
    plain = team(models, retry={"attempts": 2, "wait": 0.01})
    spec = TelemetrySpec.model_validate({"logs": logs, "content": content})
    return Team(plain.spec.model_copy(update={"telemetry": spec}), models)


def test_what_happens_in_a_run_is_one_object_a_line(podium: logging.Logger) -> None:
    lines = listening(podium)
    with telling(ann=scripted("a plan"), bob=scripted("it is 42")) as desk:
        result = desk.run("how much?")
    assert [line["event"] for line in lines.data] == [
        "run.started",
        "decided",
        "reply",
        "decided",
        "reply",
        "run.ended",
    ]
    assert {line["run"] for line in lines.data} == {result.run}
    decided, replied, ended = lines.data[1], lines.data[2], lines.data[-1]
    assert (decided["step"], decided["agents"], decided["policy"]) == (0, ["ann"], "sequential")
    assert (replied["agent"], replied["step"], replied["node"]) == ("ann", 0, 1)
    assert (ended["stop"], ended["tokens"], ended["steps"]) == ("answered", result.usage.tokens, 2)
    assert {line["level"] for line in lines.data} == {"INFO"}
    assert all(line["time"].endswith("Z") and line["logger"] == "podium.run" for line in lines.data)
    assert "a plan" not in lines.stream.getvalue()
    assert "trace_id" not in ended


def test_attempts_and_requests_that_fail_are_warnings_without_the_key(podium: logging.Logger) -> None:
    lines = listening(podium)
    broken = ModelError(f"the endpoint says: wrong key {KEY}", transient=True)
    with telling(ann=scripted(broken)) as desk, pytest.raises(ModelError):
        desk.run("how much?")
    found = [line for line in lines.data if line["level"] == "WARNING"]
    assert [line["event"] for line in found][:3] == ["attempt.failed", "attempt.failed", "failed"]
    assert {line["agent"] for line in found[:3]} == {"ann"}
    assert [line["attempt"] for line in found[:2]] == [1, 2]
    assert lines.data[-1]["stop"] == "failed"
    assert KEY not in lines.stream.getvalue()
    assert "wrong key ***" in lines.stream.getvalue()


def test_who_comes_and_goes_is_told(podium: logging.Logger) -> None:
    lines = listening(podium)

    def leaves(_: Prompt) -> str:
        desk.leave("bob")
        return "a plan"

    with telling(ann=ScriptedModel(leaves, "ann"), bob=scripted("b"), cyd=scripted("c")) as desk:
        desk.run("how much?")
    told = next(line for line in lines.data if line["event"] == "team")
    assert (told["message"], told["level"], told["node"]) == ("bob left", "INFO", 2)


def test_what_was_said_is_logged_only_where_it_is_asked_for(podium: logging.Logger) -> None:
    lines = listening(podium)
    with telling(content=True, ann=scripted("a plan")) as desk:
        desk.run("a question of mine")
    assert (lines.data[0]["task"], lines.data[2]["content"]) == ("a question of mine", "a plan")


def test_nothing_is_logged_where_nothing_is_asked_for(podium: logging.Logger) -> None:
    lines = listening(podium)
    with telling("none", ann=scripted("a plan")) as desk:
        desk.run("how much?")
    assert lines.all == []


def test_whatever_is_logged_in_a_run_carries_its_id(podium: logging.Logger) -> None:
    lines, text = listening(podium), listening(podium, TextLines)

    def talking(_: Any) -> str:
        logging.getLogger("podium.endpoint").warning("it reports no usage")
        return "yes"

    seen = watch(team({"ann": scripted("yes")}).spec, {"ann": _speaking(talking)})
    with seen.team as desk:
        result = desk.run("how much?")
    logging.getLogger("podium.endpoint").warning("between runs")
    inside, outside = lines.data
    assert (inside["run"], inside["agent"], inside["step"]) == (result.run, "ann", 0)
    span = seen.of("chat")[0]
    assert span.context
    assert inside["trace_id"] == format(span.context.trace_id, "032x")
    assert inside["event"] == "podium.endpoint"
    assert "run" not in outside
    assert text.all[0].endswith(f" run {result.run}: it reports no usage")
    assert text.all[1].endswith(" between runs")
    assert PLACE.get() is None


def test_a_run_without_spans_has_no_trace_to_name(podium: logging.Logger) -> None:
    lines = listening(podium)

    def talking(_: Any) -> str:
        logging.getLogger("podium.endpoint").warning("it reports no usage")
        return "yes"

    spec = team({"ann": scripted("yes")}).spec
    with Team(spec, {"ann": _speaking(talking)}, telemetry=Telemetry(spec)) as desk:
        desk.run("how much?")
    assert lines.data[0]["agent"] == "ann"
    assert "trace_id" not in lines.data[0]


def _speaking(script: Any) -> Any:
    from podium.agents.scripted import ScriptedModel

    return ScriptedModel(script)


def test_an_id_that_a_line_names_already_is_not_repeated(podium: logging.Logger) -> None:
    text = listening(podium, TextLines)
    token = PLACE.set(Place("abc"))
    podium.info("desk: run abc answered")
    PLACE.reset(token)
    assert text.all[0].endswith(" desk: run abc answered")


def test_fields_that_are_named_as_secrets_and_tracebacks_are_masked(podium: logging.Logger) -> None:
    lines = listening(podium)
    fields = {"api_key": "abc", "headers": {"Authorization": "Basic abcdefgh", "x": [KEY, 3]}, "tokens": 5}
    try:
        raise ValueError(f"with {KEY}")
    except ValueError:
        podium.exception("it broke", extra=fields)
    (line,) = lines.data
    assert line["api_key"] == "***"
    assert line["headers"] == {"Authorization": "***", "x": ["***", 3]}
    assert line["tokens"] == 5
    assert line["exception"].endswith("ValueError: with ***")


def test_the_mask_of_a_team_knows_its_keys(tmp_path: Path) -> None:
    from podium.orchestrator.telemetry.secrets import mask_of

    spec = TeamSpec.model_validate(
        {
            "name": "desk",
            "models": {
                "small": {"provider": "openai", "base_url": "http://h/v1", "model": "m", "api_key": KEY},
                "none": {"provider": "openai", "base_url": "http://h/v1", "model": "m"},
                "own": {
                    "provider": "openai",
                    "base_url": "http://h/v1?token=in-the-query&version=2024-01",
                    "model": "m",
                    "extra": {"guard": {"x_api_key": "in-the-body"}, "user": "somebody"},
                },
            },
            "agents": {"ann": {"role": "solver", "model": "small"}},
            "coordinator": {"kind": "single", "agent": "ann"},
            "journal": "postgresql://me:hidden-word@h/db",
        }
    )
    assert mask_of(spec)(f"{KEY}, hidden-word, none") == "***, ***, none"
    assert mask_of(spec)("in-the-query 2024-01 in-the-body somebody") == "*** 2024-01 *** somebody"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("OPENAI_API_KEY=abc next", "OPENAI_API_KEY=*** next"),
        ("password: abc; then", "password: ***; then"),
        ("postgresql://me:word@host/db", "postgresql://me:***@host/db"),
        ("Incorrect API key provided: sk-abcdefghijkl", "Incorrect API key provided: ***"),
        ("access_token=abc&x=1", "access_token=***&x=1"),
        ("run --my-api-key=abc next", "run --my-api-key=*** next"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("sent Basic dXNlcjpwYXNzMQ== to it", "sent Basic *** to it"),
        ("basic research shows a basic understanding of Basic English", None),
        ("180 tokens: fine, a secret garden, 12:30, the password is lost", None),
        ("http://localhost:8000/v1 at 10:20", None),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str | None) -> None:
    assert masking([])(text) == (text if masked is None else masked)


HOSTILE = ("a-", "x", "|---", "secret", "secret-", "password ", "api-key=", "://", "://a:", "bearer ", "basic a", "sk-")
"""What a pattern may begin to match again and again."""


def test_the_time_that_masking_takes_does_not_grow_with_the_square_of_a_text() -> None:
    """In a process of its own, since nothing can interrupt a pattern. What was quadratic took an hour for this."""
    program = f"""
from podium.orchestrator.telemetry.secrets import masking
mask = masking([])
for piece in {HOSTILE!r}:
    for end in ("", " ", "\\n", ":", "="):
        mask(piece * (200_000 // len(piece)) + end)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
