"""`podium eval` at paid endpoints: what failed, what it costs, where it ends, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from podium.cli import app
from podium.commands.counting import LINE_EVERY, Counting
from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.team import Team
from podium.training.evaluate import evaluate
from tests.agents.endpoint_server import Server
from tests.training.paid_school import CALL, School, open_school, paid_team, questions

RUNNER = CliRunner()
ALONE = "single?agent=adder,single?agent=timer"
COUNT = 20
NAMED = "vote?agents=a,router&samples=2"
ALSO = ("vote?agents=a", "vote?agents=vote")


def podium(*arguments: object) -> Any:
    done = RUNNER.invoke(app, [str(each) for each in arguments])
    assert "Traceback" not in done.output
    return done


@pytest.fixture
def school() -> Generator[School]:
    with open_school() as server:
        yield server


def _nothing(_: Server) -> None: ...


def _interrupt(_: Server) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_runs_that_fail_are_told(tmp_path: Path, school: School) -> None:
    school.fails = lambda agent, asked: agent == "timer" and "plus" in asked
    asked = ("eval", paid_team(tmp_path, school), "--tasks", questions(tmp_path, "test", range(COUNT)))
    done = podium(*asked, "--coordinators", ALONE)
    assert done.exit_code == 0
    told = [line for line in done.stderr.splitlines() if "failed" in line]
    first = "single?agent=timer: 10 of 20 runs failed and count as wrong; the first: agent timer: "
    assert len(told) == 1
    assert told[0].startswith(first)
    assert "429" in told[0]
    assert "Failed runs, which count as wrong: 10 of single?agent=timer." in " ".join(done.stdout.split())
    again = podium(*asked, "--coordinators", ALONE, "--json")
    found = json.loads(again.stdout)
    assert [row["failed"] for row in found["rows"]] == [0, 10]
    assert [row["score"] for row in found["rows"]] == [0.5, 0.5]
    assert list(found["failures"]) == ["single?agent=timer"]
    whole = podium(*asked, "--coordinators", "single?agent=adder")
    assert "failed" not in (whole.stdout + whole.stderr).lower()


def test_runs_that_fail_while_fitting_are_told(tmp_path: Path, school: School) -> None:
    school.fails = lambda agent, asked: agent == "timer" and "plus" in asked
    team, test = paid_team(tmp_path, school), questions(tmp_path, "test", range(4))
    fit = questions(tmp_path, "fit", range(20, 30))
    done = podium("eval", team, "--tasks", test, "--fit", fit, "--coordinators", "best_single", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["details"]["best_single"] == "timer; 5 of 20 runs failed while it was fitted"
    assert "fitting best_single: 5 of 20 runs failed and count as wrong; the first: agent timer: " in done.stderr
    assert found["rows"][0]["failed"] == 2


def test_an_empty_pool_is_named(tmp_path: Path, school: School) -> None:
    file = paid_team(tmp_path, school, pool={"calls": 15})
    test = questions(tmp_path, "test", range(COUNT))
    done = podium("eval", file, "--tasks", test, "--coordinators", "single?agent=adder")
    assert done.exit_code == 0
    told = done.stderr.splitlines()[-1]
    assert told.startswith("single?agent=adder: 5 of 20 runs failed and count as wrong; the first: ")
    assert told.endswith(
        "the pool, which all runs of the team share, does not hold one call more; raise the pool of the team file"
    )
    with Team.load(file) as team:
        evaluate(team, test, ["single?agent=adder"])
        pool = team.orchestrator.pool
        assert pool is not None
        assert pool.calls == 15  # the team's own pool has paid


def test_fitting_pays_for_equal_requests_once(tmp_path: Path, school: School) -> None:
    team, fit = paid_team(tmp_path, school), questions(tmp_path, "fit", range(20, 26))
    asked = ("eval", team, "--tasks", questions(tmp_path, "test", range(4)), "--fit", fit, "--json")
    done = podium(*asked, "--coordinators", "best_single,best_pipeline")
    assert done.exit_code == 0
    learning = [each for each in school.requests if school.asked(each) >= 20]
    assert len(learning) > 100
    assert len(learning) == len({json.dumps(each | {"head": ""}, sort_keys=True) for each in learning})
    found = json.loads(done.stdout)
    assert found["spent"] == pytest.approx(CALL * len(school.requests))
    assert done.stderr.splitlines()[:3] == [
        "fitting best_single ...",
        "running best_single ...",
        "fitting best_pipeline ...",
    ]


def test_a_cache_pays_once_and_shows_no_seconds(tmp_path: Path, school: School) -> None:
    asked = ["eval", paid_team(tmp_path, school), "--tasks", questions(tmp_path, "test", range(6))]
    asked += ["--coordinators", "single?agent=adder,vote", "--json"]
    without = json.loads(podium(*asked).stdout)
    assert len(school.requests) == 18  # each coordinator makes its own calls, so that its seconds are its own
    assert all(row["seconds"] > 0 for row in without["rows"])
    school.requests.clear()
    kept = json.loads(podium(*asked, "--cache", tmp_path / "replies.db").stdout)
    assert len(school.requests) == school.distinct() == 12
    assert [row["seconds"] is None for row in kept["rows"]] == [False, True]
    assert kept["spent"] == pytest.approx(12 * CALL)
    again = podium(*asked, "--cache", tmp_path / "replies.db")
    assert len(school.requests) == 12
    found = json.loads(again.stdout)
    assert found["spent"] == 0
    for row, other, before in zip(found["rows"], kept["rows"], without["rows"], strict=True):
        for each in ("score", "tokens", "calls", "dollars"):
            assert row[each] == other[each] == before[each]
    words = podium(*asked[:-1])
    assert words.stdout.splitlines()[-1] == f"spent ${18 * CALL:.6f}"
    nowhere = podium(*asked, "--cache", tmp_path / "no" / "replies.db")
    assert (nowhere.exit_code, "--cache" in nowhere.stderr) == (2, True)


def test_a_cap_ends_it_and_keeps_what_was_measured(tmp_path: Path, school: School) -> None:
    asked = ["eval", paid_team(tmp_path, school), "--tasks", questions(tmp_path, "test", range(COUNT))]
    asked += ["--coordinators", "single?agent=adder,pipeline?steps=adder,timer"]
    cap = 50 * CALL  # 20 calls are the first one's, and the second one's first steps fit as well
    done = podium(*asked, "--dollars", cap)
    assert done.exit_code == 1
    assert "single?agent=adder" in done.stdout
    assert "pipeline" not in done.stdout
    spent = CALL * len(school.requests)
    assert f"spent ${spent:.6f}" in done.stdout
    assert 40 * CALL <= spent <= cap
    told = [line for line in done.stderr.splitlines() if "cap" in line]
    assert len(told) == 1
    assert told[0].startswith(f"the spending cap of ${cap:.4f} does not hold this call")
    assert told[0].endswith(
        "raise --dollars, and add --cache to pay for nothing twice "
        "(coordinator pipeline?steps=adder,timer; those before it were measured)"
    )
    assert podium(*asked, "--dollars", 0).exit_code == 2


def test_a_cap_that_is_only_crowded_changes_no_figure(tmp_path: Path, school: School) -> None:
    asked = ["eval", paid_team(tmp_path, school), "--tasks", questions(tmp_path, "test", range(COUNT)), "--json"]
    asked += ["--coordinators", "pipeline?steps=adder,timer"]
    free = json.loads(podium(*asked).stdout)
    school.requests.clear()
    done = podium(*asked, "--dollars", 60 * CALL)
    assert done.exit_code == 0, done.stderr
    capped = json.loads(done.stdout)
    assert capped["rows"][0]["calls"] == 2  # a run that was refused its second step does not answer with the first
    assert [capped["rows"][0][each] for each in ("score", "failed")] == [
        free["rows"][0][each] for each in ("score", "failed")
    ]
    assert capped["spent"] == pytest.approx(len(school.requests) * CALL)


def test_a_cap_holds_while_fitting_and_for_who_selects(tmp_path: Path, school: School) -> None:
    fit = questions(tmp_path, "fit", range(20, 26))
    test = questions(tmp_path, "test", range(4))
    asked = ("eval", paid_team(tmp_path, school), "--tasks", test, "--fit", fit)
    done = podium(*asked, "--coordinators", "single?agent=adder,best_pipeline", "--dollars", 60 * CALL)
    assert done.exit_code == 1
    assert "raise --dollars" in done.stderr
    assert "running best_pipeline" not in done.stderr
    assert "single?agent=adder" in done.stdout
    assert CALL * len(school.requests) <= 60 * CALL
    school.requests.clear()
    chosen = {"kind": "llm_selector", "model": "chief", "max_steps": 2}
    done = podium("eval", paid_team(tmp_path, school, coordinator=chosen), "--tasks", test, "--json")
    assert done.exit_code == 0, done.stderr
    assert any(each["model"] == "chief" for each in school.requests)
    assert json.loads(done.stdout)["spent"] == pytest.approx(CALL * len(school.requests))


NAMESAKES = """
name: namesakes
models:
  one: {provider: scripted, replies: ["1"]}
agents:
  a: {role: solver, model: one}
  vote: {role: solver, model: one}
  router: {role: solver, model: one}
coordinator: {kind: single, agent: a}
"""
TAKEN = "{}: {} is taken for the agent; the coordinator of this name needs an option of its own: --coordinators {}"


@pytest.mark.parametrize(
    ("named", "expected", "told"),
    [
        (["vote?agents=a,router"], ["vote?agents=a,router"], "router"),
        (["pipeline?steps=a,vote"], ["pipeline?steps=a,vote"], "vote"),
        (["pipeline?steps=a,vote*3+a&finish=vote,own"], ["pipeline?steps=a,vote*3+a&finish=vote", "own"], ""),
        (["pipeline?steps=a", "vote"], ["pipeline?steps=a", "vote"], ""),
        (["own, vote", "vote?agents=a,router&samples=2,debate"], ["own", "vote", NAMED, "debate"], ""),
        (["vote?samples=2,vote,vote?agents=a,vote?agents=vote"], ["vote?samples=2", "vote", *ALSO], ""),
    ],
)
def test_a_comma_goes_on_with_a_list_of_agents(
    tmp_path: Path, named: list[str], expected: list[str], told: str
) -> None:
    (tmp_path / "team.yaml").write_text(NAMESAKES)
    (tmp_path / "tasks.jsonl").write_text('{"prompt": "What is 1?", "reference": "1"}\n')
    asked = ["eval", tmp_path / "team.yaml", "--tasks", f"jsonl:{tmp_path}/tasks.jsonl?verifier=exact", "--json"]
    done = podium(*asked, *(each for names in named for each in ("--coordinators", names)))
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in json.loads(done.stdout)["rows"]] == expected
    said = [line for line in done.stderr.splitlines() if not line.startswith("running")]
    assert said == ([TAKEN.format(expected[0], told, told)] if told else [])


def test_what_no_coordinator_has_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(NAMESAKES)
    (tmp_path / "tasks.jsonl").write_text('{"prompt": "What is 1?", "reference": "1"}\n')
    for named, words in (
        (
            "vote?agents=a,ruoter",
            'coordinator vote?agents=a,ruoter: agents.1: there is no agent of this name; found "ru',
        ),
        ("vote?samples=3,debtae", "'debtae' is no coordinator; allowed: own, "),
        ("own,vote,own", "coordinator own: it is named twice; name it once, it has one row"),
        ("learned:nowhere?preferenc=1", 'coordinator learned:nowhere?preferenc=1: unknown key "preferenc"; allowed: '),
    ):
        spec = f"jsonl:{tmp_path}/tasks.jsonl?verifier=exact"
        done = podium("eval", tmp_path / "team.yaml", "--tasks", spec, "--coordinators", named)
        assert (done.exit_code, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(words)


def test_a_long_name_cuts_no_figure(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(NAMESAKES)
    (tmp_path / "tasks.jsonl").write_text('{"prompt": "What is 1?", "reference": "1"}\n')
    name = "pipeline?steps=a+vote*3+router*2,a*2+router,router&finish=vote&shown=last"
    asked = ("eval", tmp_path / "team.yaml", "--tasks", f"jsonl:{tmp_path}/tasks.jsonl?verifier=exact")
    done = podium(*asked, "--coordinators", f"own,{name}")
    assert done.exit_code == 0, done.output
    assert "…" not in done.stdout
    assert done.stdout.count("100.0 % [100.0, 100.0]") == 2
    assert "10.00" in done.stdout
    cells = [line.split("│")[1].strip() for line in done.stdout.splitlines() if line.startswith("│")]
    assert "".join(cells) == f"own{name}"


def test_the_help_of_eval_shows_how_names_are_written() -> None:
    said = " ".join(podium("eval", "--help").output.replace("│", " ").split())
    assert all(each in said for each in ("vote?samples=3", "steps=a+b*3,c", "learned:FOLDER?preference=1"))


def test_a_coordinator_given_in_python_leads(tmp_path: Path, school: School) -> None:
    with Team.load(paid_team(tmp_path, school), coordinator=Single("timer")) as team:
        evaluate(team, questions(tmp_path, "test", range(4)))
    assert {each["model"] for each in school.requests} == {"timer"}


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, school: School) -> None:
    asked = ("eval", paid_team(tmp_path, school), "--tasks", questions(tmp_path, "test", range(6)))
    asked += ("--coordinators", "single?agent=adder,vote")
    school.turns = [_nothing] * 9 + [_interrupt]
    done = podium(*asked)
    assert done.exit_code == 1
    assert "single?agent=adder" in done.stdout
    assert "vote" not in done.stdout
    assert done.stderr.splitlines()[-1] == "stopped by Ctrl-C"
    school.turns = [_nothing] * 9 + [_interrupt]
    told = podium(*asked, "--json")
    assert told.exit_code == 1
    found = json.loads(told.stdout)
    assert [row["name"] for row in found["rows"]] == ["single?agent=adder"]
    assert found["spent"] >= 6 * CALL


def test_fitting_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with Counting("running", live=False) as counting:
        counting.begin("own")
        counting.one("own")
        for runs in range(LINE_EVERY + 1):
            counting.fit("best_pipeline", 0.00003 * runs)
        counting.begin("best_pipeline")
        counting.one("best_pipeline")
    assert capsys.readouterr().err.splitlines() == [
        "running own ...",
        "fitting best_pipeline ...",
        "fitting best_pipeline: 1,000 runs, $0.030000",
        "running best_pipeline ...",
    ]


def _no_start(_: object) -> None: ...


def test_the_line_that_counts_shows_runs_and_dollars(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def show(_: object, text: str) -> None:
        shown.append(text)

    monkeypatch.setattr("rich.status.Status.update", show)
    monkeypatch.setattr("rich.status.Status.start", _no_start)
    with Counting("running", live=True) as counting:
        for runs in range(21):
            counting.fit("best_pipeline", 0.5 * runs)
        counting.begin("best_pipeline")
    assert shown == [
        "fitting best_pipeline ...",
        "fitting best_pipeline: 10 runs, $5.00",
        "fitting best_pipeline: 20 runs, $10.00",
        "running best_pipeline ...",
    ]
