"""Everything the command line does is a call away, under a name of `podium`; README says which."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main

import podium
from podium.cli import app
from podium.errors import InputError, TeamFileError
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy, save_policy

README = Path(__file__).parents[2] / "README.md"

TEAM = """\
name: desk
models: {small: {provider: scripted, replies: {"17": "17 + 25 is 42."}, price: {input: 1, output: 1}}}
agents: {solver: {role: solver, model: small}, checker: {role: verifier, model: small}}
coordinator: {kind: sequential}
budget: {calls: 2, dollars: 1}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "desk.yaml"
    made.write_text(TEAM)
    return made


def test_readme_has_a_call_for_every_command() -> None:
    rows = re.findall(r"^\| `podium (\w+)` \| (.*) \|$", README.read_text(), re.MULTILINE)
    group = typer.main.get_group(app)
    assert {command for command, _ in rows} == set(group.commands)
    for command, calls in rows:
        named = re.findall(r"`(\w+)", calls)
        assert [name for name in named if name in podium.__all__ or hasattr(podium.Team, name)], command
        for name in named:
            assert name in podium.__all__ or name == "team", f"{command}: podium has no {name}"
        for method in re.findall(r"team\.(\w+)\(", calls):
            assert hasattr(podium.Team, method), method


def test_every_public_name_is_there() -> None:
    assert all(getattr(podium, name) is not None for name in podium.__all__)


def test_init_validate_and_plan(tmp_path: Path) -> None:
    made = tmp_path / "team.yaml"
    podium.init(made)
    with pytest.raises(InputError, match=r"there already; name another file, or --force \(in Python: force=True\)"):
        podium.init(made)
    found = podium.validate(made)
    assert (found.missing, found.warnings, list(found.team.agents)) == ([], [], ["planner", "solver", "checker"])
    assert podium.plan(made).total.calls == podium.plan(found.team).total.calls == 3
    assert podium.plan(made, task_tokens=900).total.tokens > podium.plan(made).total.tokens
    made.write_text(made.read_text().replace("model: small", "modle: small").replace("kind: star", "kind: ring"))
    with pytest.raises(TeamFileError) as error:
        podium.validate(made)
    assert len(error.value.problems) > 2


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("zz", "^provider: expected scripted or openai, found 'zz'$"),
        ("opnai", "found 'opnai'; did you mean \"openai\"\\?$"),
        (5, "found 5$"),
    ],
)
def test_init_names_the_providers_there_are(tmp_path: Path, provider: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        podium.init(tmp_path / "q.yaml", provider=provider)
    assert not (tmp_path / "q.yaml").exists()


@pytest.mark.parametrize("tokens", [0, -500, "x", 1.5])
def test_plan_takes_a_length_from_one(file: Path, tokens: Any) -> None:
    with pytest.raises(InputError, match=f"^task_tokens: expected a whole number, at least 1, found {tokens!r}$"):
        podium.plan(file, task_tokens=tokens)


def test_what_calls_return_has_a_public_name(file: Path) -> None:
    assert isinstance(podium.plan(file), podium.WorstCase)


def test_plan_reads_off_a_policy_how_much_it_may_ask(file: Path) -> None:
    folder = file.parent / "policy"
    save_policy(Policy.fresh(Options(samples=(1, 3), width=2, max_steps=3), ("solver", "checker")), folder)
    led = file.read_text().replace("{kind: sequential}", "{kind: learned, policy: policy}")
    file.write_text(led.replace("calls: 2", "calls: 40"))
    assert podium.plan(file).total.calls == 18
    (folder / "policy.json").unlink()
    assert podium.plan(file).total.calls == 40
    assert podium.Evaluation.__name__ == "Evaluation"
    for call, returned in ((podium.train, "Trained"), (podium.record, "Recorded"), (podium.demo, "Shown | None")):
        assert call.__annotations__["return"] == returned
        assert returned.split()[0] in podium.__all__


@pytest.mark.parametrize("name", ["plan", "atrain", "demo", "record", "init"])
def test_public_calls_say_what_they_raise(name: str) -> None:
    assert "Raises" in getattr(podium, name).__doc__


def test_streams_say_what_they_raise() -> None:
    for each in (podium.Team.arun, podium.Team.astream, podium.Team.stream):
        assert "Raises" in (each.__doc__ or "")


def test_a_run_is_kept_and_told(file: Path) -> None:
    url = f"sqlite:///{file.parent}/runs.db"
    with podium.Team.load(file, journal=url) as team:
        result = team.run("What is 17 + 25?")
    journal = podium.Journal(url)
    story = podium.tell(journal.load(result.run))
    journal.close()
    assert story.answer == "17 + 25 is 42."
    assert [step.told[0].agent for step in story.steps] == ["solver", "checker"]


def test_record_reads_its_tasks_itself(file: Path) -> None:
    (file.parent / "tasks.jsonl").write_text('{"prompt": "What is 17 + 25?", "reference": "42"}\n')
    pool = file.parent / "desk.jsonl"
    spec = f"jsonl:{file.parent}/tasks.jsonl?verifier=numeric"
    with pytest.raises(InputError, match="dollars: expected a finite number"):
        podium.record(file, spec, str(pool), dollars=math.nan)
    found = podium.record(file, spec, str(pool), dollars=0.01)
    assert found.complete
    assert pool.exists()
    assert {name: reply.score for name, reply in found.pool.tasks[0].replies.items()} == {"solver": 1, "checker": 1}
    pooled = file.parent / "pool.yaml"
    podium.init(pooled, from_pool=pool)
    (row,) = podium.evaluate(pooled, f"recorded:{pool}", ["own"]).rows
    assert row.score == 1


def test_serve_answers_until_it_is_stopped(file: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said: list[str] = []

    def ask() -> None:
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}/v1") as client:
            body = {"model": "desk", "messages": [{"role": "user", "content": "What is 17 + 25?"}]}
            said.append(client.post("/chat/completions", json=body).json()["choices"][0]["message"]["content"])
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask)
    asking.start()
    podium.serve(file, port=port)
    asking.join()
    assert said == ["17 + 25 is 42."]


def test_two_teams_of_one_name_are_not_served(file: Path) -> None:
    with pytest.raises(InputError, match="two teams are named 'desk'"):
        podium.serve(file, file, port=0)
