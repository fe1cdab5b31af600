"""`podium eval --frontier` and `--pass-at`: tables, files, caps, Ctrl-C, and one line for what is wrong."""

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
from podium.commands.counting import Counting
from podium.orchestrator.learned import Policy, save_policy
from podium.orchestrator.learned.options import Options
from tests.agents.endpoint_server import Server
from tests.training.paid_school import CALL, School, open_school, paid_team, questions
from tests.training.school import school as recorded

RUNNER = CliRunner()


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


def _policy(folder: Path) -> str:
    save_policy(Policy.fresh(Options(context=("task",), max_steps=2), ("adder", "timer")), folder / "policy")
    return f"learned:{folder}/policy"


def test_a_frontier_from_the_command_line(tmp_path: Path) -> None:
    learned, team = _policy(tmp_path), recorded(tmp_path)
    asked = (
        "eval",
        team,
        "--tasks",
        f"recorded:{tmp_path}/pool.jsonl",
        "--coordinators",
        f"{learned},own",
        "--frontier",
    )
    asked += ("--knobs", "0.001, 0.01")
    done = podium(*asked, "--plot", tmp_path / "f.png", "--figures", tmp_path / "f.json")
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "Gain: score less what right answers cost" in text
    assert "The front, cheapest first" in text
    assert "knobs: one passed answer is worth $0.001, $0.01" in text
    assert "Where an answer is worth $0.01, " in text
    assert (tmp_path / "f.png").stat().st_size > 10_000
    found = json.loads((tmp_path / "f.json").read_text())
    assert list(found["per_task"]) == [f"{learned}, $0.001", f"{learned}, $0.01", "own", "oracle"]
    assert len(found["task_ids"]) == found["tasks"] == 40
    assert [point["row"] for point in found["frontier"]["points"]] == list(found["per_task"])
    told = json.loads(podium(*asked, "--json").stdout)
    assert "per_task" not in told
    assert told["frontier"] == found["frontier"]


def test_pass_at_from_the_command_line(tmp_path: Path) -> None:
    asked = ("eval", recorded(tmp_path), "--tasks", f"recorded:{tmp_path}/pool.jsonl", "--pass-at", "1,2,4")
    done = podium(*asked, "--turns", "1,2", "--plot", tmp_path / "p.png")
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "How often one of k runs passes" in text
    assert "k = 4" in text
    assert "own, 1 turn" in text
    assert (tmp_path / "p.png").stat().st_size > 10_000
    assert {each["turns"] for each in json.loads(podium(*asked, "--json").stdout)["pass_at"]} == {None}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--frontier", "--knobs", "0.1,x"), "--knobs 0.1,x: 'x' is no number; write --knobs 0.002,0.01"),
        (("--pass-at", "1,2.5"), "--pass-at 1,2.5: '2.5' is no whole number; write --pass-at 1,2,4"),
        (("--knobs", "0.1"), "knobs: there are none without frontier; ask for frontier as well"),
        (("--frontier", "--knobs", ","), "knobs: there are none; leave knobs out, or name some"),
        (("--frontier", "--knobs", "-1"), "knobs: expected dollars"),
        (("--pass-at", "4", "--seeds", "2"), "pass_at 4: needs as many runs of each task; seeds: 2, leave it out"),
        (("--frontier", "--figures", "no/such/f.json"), "--figures no/such/f.json: there is no folder no/such"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, given: tuple[str, ...], words: str) -> None:
    done = podium("eval", recorded(tmp_path), "--tasks", f"recorded:{tmp_path}/pool.jsonl", *given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(words)


def test_knobs_and_turns_pay_for_equal_requests_once(tmp_path: Path, school: School) -> None:
    test = questions(tmp_path, "test", range(6))
    asked = ("eval", paid_team(tmp_path, school), "--tasks", test, "--json", "--coordinators")
    done = podium(*asked, "pipeline?steps=adder,timer", "--pass-at", "1,2", "--turns", "1,2")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(school.requests) == 6 * 2 * 2  # the first step of a run of two turns is that of one turn
    assert [row["calls"] for row in found["rows"]] == [1, 2]
    assert [row["seconds"] is None for row in found["rows"]] == [False, True]
    assert found["spent"] == pytest.approx(CALL * len(school.requests))


def test_a_cap_and_ctrl_c_keep_what_is_finished(tmp_path: Path, school: School) -> None:
    test = questions(tmp_path, "test", range(20))
    asked = ["eval", paid_team(tmp_path, school), "--tasks", test, "--coordinators"]
    asked += ["single?agent=adder,single?agent=timer", "--frontier", "--knobs", "0.01"]
    done = podium(*asked, "--dollars", 30 * CALL, "--figures", tmp_path / "f.json", "--plot", tmp_path / "f.png")
    assert done.exit_code == 1
    assert "The front, cheapest first" in done.stdout
    assert list(json.loads((tmp_path / "f.json").read_text())["per_task"]) == ["single?agent=adder"]
    assert (tmp_path / "f.png").exists()
    school.turns = [_nothing] * 24 + [_interrupt]
    done = podium(*asked, "--figures", tmp_path / "g.json")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "stopped by Ctrl-C"
    assert list(json.loads((tmp_path / "g.json").read_text())["per_task"]) == ["single?agent=adder"]


def _no_start(_: object) -> None: ...


def test_the_line_that_counts_shows_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def show(_: object, text: str) -> None:
        shown.append(text)

    monkeypatch.setattr("rich.status.Status.update", show)
    monkeypatch.setattr("rich.status.Status.start", _no_start)
    now = [0.0]
    with Counting("running", live=True, clock=lambda: now[0]) as counting:
        counting.expect(40)
        counting.begin("own")
        for _ in range(20):
            now[0] += 2.0
            counting.one("own")
        counting.fit("skill_table", 0.0)
        now[0] += 1000.0  # fitting does not count
        counting.begin("skill_table")
        for _ in range(20):
            now[0] += 2.0
            counting.one("skill_table")
    assert [line for line in shown if "runs" in line] == [
        "running own: 10 runs, 30 to go, about 1:00 left",
        "running own: 20 runs, 20 to go, about 0:40 left",
        "running skill_table: 10 runs, 10 to go, about 0:20 left",
        "running skill_table: 20 runs",
    ]
