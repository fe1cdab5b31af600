"""train, eval and record from the command line: output, JSON, and exit codes 0, 1 and 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from podium.cli import app
from podium.orchestrator.learned import Policy, save_policy
from podium.orchestrator.learned.options import Options
from podium.protocols.pool import read_pool
from podium.training.evaluate import evaluate
from tests.training.school import question, school, training

RUNNER = CliRunner()


def _nothing(*_: object, **__: object) -> None: ...


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds."""
    monkeypatch.setattr("podium.training.curves.training_curves", _nothing)
    monkeypatch.setattr("podium.training.curves.diagnosis_curves", _nothing)


def podium(*arguments: object) -> Any:
    return RUNNER.invoke(app, [str(each) for each in arguments])


def test_train_and_go_on(tmp_path: Path) -> None:
    file = training(tmp_path)
    done = podium("train", file, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["finished"] is True
    assert told["iterations"] == 4
    assert told["parameters"] <= 300_000
    assert 0 <= told["measured"]["score"] <= 1
    assert Path(told["policy"], "policy.json").exists()
    assert "iteration    1/4" in done.stderr
    again = podium("train", file)
    assert again.exit_code == 0
    assert f"policy: {tmp_path}/out" in again.stdout
    assert "On the test tasks" in again.stdout


def test_train_tells_of_runs_that_fail(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"never recorded {number}", "reference": "1"}) for number in range(8)]
    (tmp_path / "other.jsonl").write_text("\n".join(lines) + "\n")
    both = "+jsonl:other.jsonl"
    tasks = {"train": f"recorded:pool.jsonl?split=train&limit=8{both}", "validation": 0}
    done = podium("train", training(tmp_path, tasks=tasks, tasks_per_iteration=16, iterations=3))
    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if "failed" in line]
    assert len(told) == 1
    assert told[0].startswith("iteration 1: 32 of 64 runs failed and count as wrong; the first: agent ")
    assert "answers only the tasks that were recorded" in told[0]
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["failed"] for row in rows] == [0.5] * 3
    bad = f"recorded:pool.jsonl?split=test{both}"
    again = podium(
        "train", training(tmp_path, tasks={"train": "recorded:pool.jsonl?split=train", "test": bad}), "--fresh"
    )
    assert "learned: 8 of " in again.stderr
    assert "Failed runs, which count as wrong: 8 of learned" in " ".join(again.stdout.split())
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("eval_failed") for row in rows] == [None, 0, None, 0]


def test_eval(tmp_path: Path) -> None:
    team, spec = school(tmp_path), f"recorded:{tmp_path}/pool.jsonl"
    done = podium(
        "eval", team, "--tasks", spec, "--coordinators", "own,vote?agents=adder,timer,single?agent=timer", "--json"
    )
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert [row["name"] for row in told["rows"]] == ["own", "vote?agents=adder,timer", "single?agent=timer"]
    assert told["rows"][2]["score"] == 0.5
    table = podium("eval", team, "--tasks", spec, "--coordinators", "oracle", "--limit", 4)
    assert table.exit_code == 0
    assert "oracle" in table.stdout
    assert "solves 100%" in table.stdout


def test_what_eval_keeps_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    team, spec = school(tmp_path), "recorded:pool.jsonl"
    fitted = ["best_single", "best_self_consistency", "best_pipeline", "skill_table"]
    asked = ["eval", "team.yaml", "--tasks", f"{spec}?split=test", "--fit", f"{spec}?split=train"]
    done = podium(*asked, "--coordinators", ",".join(["vote", *fitted]), "--keep", "kept")
    assert done.exit_code == 0, done.output
    told = [f"{name}: to serve it, put the line of kept/{name}.yaml into team.yaml" for name in fitted]
    assert done.stdout.splitlines()[-4:] == told
    again = json.loads(podium(*asked, "--coordinators", ",".join(fitted), "--keep", "kept", "--json").stdout)
    assert list(again["kept"]) == fitted
    prompt, reference = question(1)
    said = dict[str, str]()
    for name, row in zip(fitted, again["rows"], strict=True):
        line = Path("kept", f"{name}.yaml").read_text().splitlines()[-1]
        plain = team.read_text().splitlines()
        team.write_text("\n".join([line if each.startswith("coordinator:") else each for each in plain]) + "\n")
        assert podium("validate", "team.yaml").exit_code == 0
        own = json.loads(podium(*asked, "--json").stdout)["rows"][0]
        figures = ("score", "low", "high", "tokens", "calls", "dollars")
        assert [own[each] for each in figures] == [row[each] for each in figures]
        ran = podium("run", "team.yaml", prompt, "--no-journal", "--quiet")
        assert ran.exit_code == 0, ran.output
        said[name] = ran.stdout.strip()
    assert set(said.values()) <= {reference, "0"}
    assert said["skill_table"] == reference
    refused = podium(*asked, "--coordinators", "own,vote", "--keep", "kept")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert "keep kept: nothing is fitted in own, vote; what can be kept is best_single, " in refused.stderr
    nowhere = podium(*asked, "--coordinators", "best_single", "--keep", "/proc/kept")
    assert (nowhere.exit_code, len(nowhere.stderr.splitlines())) == (2, 1)
    assert "keep /proc/kept: nothing can be written there: " in nowhere.stderr


def test_eval_in_a_pipe_says_what_it_does_and_keeps_what_it_measured(tmp_path: Path) -> None:
    team, spec = school(tmp_path), f"recorded:{tmp_path}/pool.jsonl"
    names = "single?agent=adder,vote"
    done = podium("eval", team, "--tasks", spec, "--coordinators", names)
    assert done.stderr.splitlines() == ["running single?agent=adder ...", "running vote ..."]
    assert "bold" not in done.stdout
    team.write_text(
        team.read_text()
        .replace("agents:", "  dead: {provider: openai, base_url: 'http://127.0.0.1:9/v1', model: q}\nagents:")
        .replace("timer: {role: solver, model: past", "timer: {role: solver, model: dead")
    )
    asked = ("eval", team, "--tasks", spec, "--coordinators", "single?agent=adder,single?agent=timer,vote")
    failed = podium(*asked, "--limit", 3)
    assert failed.exit_code == 1
    assert "single?agent=adder │" in failed.stdout
    assert "timer" not in failed.stdout
    assert "cannot reach" in failed.stderr
    assert podium(*asked, "--plot", tmp_path / "no" / "x.png").exit_code == 2
    drawn = podium("eval", team, "--tasks", spec, "--coordinators", "vote", "--limit", 2, "--plot", "/proc/x.png")
    assert drawn.exit_code == 2
    assert "vote" in drawn.stdout
    assert "--plot /proc/x.png: the picture cannot be written: " in drawn.stderr


def test_record(tmp_path: Path) -> None:
    team, pool = school(tmp_path), tmp_path / "made.jsonl"
    asked = ("record", team, "--tasks", f"recorded:{tmp_path}/pool.jsonl", "--limit", 6, "-o", pool)
    done = podium(*asked)
    assert done.exit_code == 0
    assert "6 tasks, 2 agents" in done.stdout
    assert len(read_pool(pool).tasks) == 6
    assert "spent $0.000480 of about $0.000480" in done.stderr
    again = podium(*asked, "--dollars", 0.0001)
    assert again.exit_code == 0
    assert again.stderr.splitlines() == ["6 of 6 tasks, spent $0 of about $0"]
    fewer = podium(*asked, "--limit", 5)
    assert fewer.exit_code == 2
    assert "1 task that would be lost" in fewer.stderr
    Path(f"{pool}.replies").unlink()
    bare = podium(*asked)
    assert bare.exit_code == 2
    assert "--force" in bare.stderr
    assert podium(*asked, "--force").exit_code == 0
    capped = podium(*asked, "--force", "--dollars", 0.00001)
    assert capped.exit_code == 1
    assert "raise dollars" in capped.stderr
    assert "would cost" not in capped.stderr  # nothing came that would tell
    assert "0 of 6 tasks, spent $0\n" in capped.stderr
    for amount in (0, -1, "nan", "inf"):
        refused = podium(*asked, "--force", "--dollars", amount)
        words = f"--dollars {amount}: must be a finite number, more than 0\n"
        assert (refused.exit_code, refused.stderr) == (2, words)


def test_record_as_json(tmp_path: Path) -> None:
    team, pool = school(tmp_path), tmp_path / "made.jsonl"
    asked = ("record", team, "--tasks", f"recorded:{tmp_path}/pool.jsonl", "-o", pool, "--json")
    part = podium(*asked, "--dollars", 0.002)  # the worst case of a call is about 0.001
    told = json.loads(part.stdout)
    assert part.exit_code == 1
    assert (told["complete"], told["asked"]) == (False, 40)
    assert 0 < told["tasks"] < 40
    assert f"held {told['tasks']} of 40 tasks" in told["why"]
    assert told["why"] in part.stderr
    done = podium(*asked)
    assert done.exit_code == 0
    spent = json.loads(done.stdout)
    assert spent["dollars"] + told["dollars"] == pytest.approx(40 * 80e-6)
    assert {key: spent[key] for key in ("output", "replies", "agents", "tasks", "complete", "why", "judged")} == {
        "output": str(pool),
        "replies": f"{pool}.replies",
        "agents": ["adder", "timer"],
        "tasks": 40,
        "complete": True,
        "why": "",
        "judged": {},
    }
    assert "spent $" in done.stderr


def test_demo_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from podium.training.demo import Shown

    team, spec = school(tmp_path), f"recorded:{tmp_path}/pool.jsonl"
    evaluation = evaluate(team, spec, ["single?agent=adder"], limit=4)
    finished = True

    async def demonstrated(folder: Path, **given: Any) -> Shown | None:
        if given["fresh"]:
            given["tell"]("A new one begins.")
        return Shown(folder, evaluation, ["It is better."], "How much?") if finished else None

    monkeypatch.setattr("podium.training.demo.demonstrate", demonstrated)
    done = podium("demo", "--folder", tmp_path / "demo", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["finished"], told["folder"]) == (0, True, f"{tmp_path}/demo")
    assert (told["team"], told["policy"]) == (f"{tmp_path}/demo/team.yaml", f"{tmp_path}/demo/policy")
    assert told["plots"] == [f"{tmp_path}/demo/comparison.png", f"{tmp_path}/demo/training.png"]
    assert told["evaluation"]["rows"][0]["name"] == "single?agent=adder"
    assert (told["verdicts"], told["example"]) == (["It is better."], "How much?")
    words = podium("demo", "--folder", tmp_path / "demo")
    assert words.exit_code == 0
    for line in ("Five tiny language models", "It is better.", f"podium serve {tmp_path}/demo/team.yaml"):
        assert line in words.stdout
    finished = False
    stopped = podium("demo", "--folder", tmp_path / "demo", "--json")
    assert stopped.exit_code == 1
    assert json.loads(stopped.stdout) == {"folder": f"{tmp_path}/demo", "finished": False}
    assert stopped.stderr == ""
    assert "the same command goes on" in podium("demo", "--folder", tmp_path / "demo").stdout
    anew = podium("demo", "--folder", tmp_path / "demo", "--json", "--fresh")
    assert json.loads(anew.stdout) == {"folder": f"{tmp_path}/demo", "finished": False}
    assert anew.stderr == "A new one begins.\n"


def test_training_that_fails_exits_with_one(tmp_path: Path) -> None:
    file = training(tmp_path, tasks={"train": "jsonl:other.jsonl", "validation": 0})
    (tmp_path / "other.jsonl").write_text('{"prompt": "never recorded", "reference": "1"}\n')
    done = podium("train", file)
    assert done.exit_code == 1
    assert "answers only the tasks that were recorded" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "{}/nowhere.yaml"), "there is no such file"),
        (("train", "{}/broken.yaml"), 'did you mean "iterations"'),
        (("train", "{}/empty.yaml"), "empty.jsonl"),
        (("train", "{}/endless.yaml"), "endless.yaml:1: dollars: expected a finite number; found inf\n"),
        (("eval", "{}/nowhere.yaml", "--tasks", "recorded:{}/pool.jsonl"), "there is no such file"),
        (("eval", "{}/team.yaml", "--tasks", "recorded:{}/nothing.jsonl"), "no such pool"),
        (("eval", "{}/team.yaml", "--tasks", "recorded:"), "recorded: names no pool; write recorded:POOL.jsonl\n"),
        (("eval", "{}/team.yaml", "--tasks", "recorded:{}"), "this is a folder; name the file of the pool\n"),
        (("eval", "{}/team.yaml", "--tasks", "nonsense"), "is not a task source"),
        (("eval", "{}/team.yaml", "--tasks", "jsonl:{}/empty.jsonl"), "empty.jsonl"),
        (
            ("eval", "{}/team.yaml", "--tasks", "recorded:{}/pool.jsonl", "--coordinators", "nobody"),
            "is no coordinator",
        ),
        (
            ("eval", "{}/team.yaml", "--tasks", "recorded:{}/pool.jsonl", "--coordinators", ","),
            "no coordinator is named",
        ),
        (
            ("eval", "{}/team.yaml", "--tasks", "recorded:{}/pool.jsonl", "--coordinators", "learned:{}/other"),
            "another architecture",
        ),
        (("eval", "{}/served.yaml", "--tasks", "recorded:{}/pool.jsonl"), "another architecture"),
        (("eval", "{}/team.yaml", "--tasks", "recorded:{}/pool.jsonl", "--seeds", "0"), "seeds"),
        (("record", "{}/team.yaml", "--tasks", "jsonl:{}/bare.jsonl", "-o", "{}/x.jsonl"), "cannot be scored"),
        (("record", "{}/team.yaml", "--tasks", "recorded:{}/pool.jsonl", "-o", "{}/no/x.jsonl"), "there is no folder"),
    ],
)
def test_wrong_input_exits_with_two(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    training(tmp_path, iteratoins=3).rename(tmp_path / "broken.yaml")
    (tmp_path / "endless.yaml").write_text(training(tmp_path, dollars=1.5).read_text().replace("1.5", ".inf"))
    training(tmp_path, tasks={"train": "jsonl:empty.jsonl"}).rename(tmp_path / "empty.yaml")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bare.jsonl").write_text(json.dumps({"prompt": question(1)[0]}) + "\n")
    school(tmp_path, coordinator="{kind: learned, policy: other}").rename(tmp_path / "served.yaml")
    school(tmp_path)
    other = Policy.fresh(Options())
    del other.weights["gap.w"]
    save_policy(other, tmp_path / "other")
    done = podium(*(each.format(tmp_path) for each in arguments))
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output


def test_train_tells_of_a_collapse_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def collapsed(self: object, progress: float) -> str:
        return "the policy decides alike"

    monkeypatch.setattr("podium.training.diagnostics.Diagnosis.collapse", collapsed)
    done = podium("train", training(tmp_path, iterations=3, warm_up=1), "--fresh")
    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if "alike" in line]
    assert told == ["iteration 2: the policy decides alike"]
