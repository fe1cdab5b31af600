"""Everything under examples/, and the embedded team's files, does what its comments say."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from typer.testing import CliRunner

from podium import Team, evaluate, train
from podium.agents import sandbox
from podium.cli import app
from podium.orchestrator.team_file import load_team
from podium.orchestrator.team_schema import team_schema
from podium.training.train_file import load_training

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FILES = sorted([*EXAMPLES.rglob("*.yaml"), *(ROOT / "agents" / "embedded").rglob("*.yaml")])

GOATS = "How many goats can John buy with 4,500 dollars at 500 each?"
ANSWERS = {
    "chain": (GOATS, "9 times 500 is 4500: right.\n9"),
    "debate": (GOATS, "4500 / 500 = 9\n9"),
    "llm_lead": (GOATS, "4500 / 500 = 9\n9"),
    "mixture_of_agents": (
        "Name a river that flows through Vienna.",
        "The Danube flows through Vienna, where the small river Wien joins it.",
    ),
    "research_desk": ("When was the lighthouse of Sandhaven built?", "The source says so.\n1826"),
}
NEED_AN_ENDPOINT = {"endpoint"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def contents(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def training_files() -> list[Path]:
    return [path for path in FILES if "tasks" in contents(path)]


def team_files() -> list[Path]:
    return [path for path in FILES if "tasks" not in contents(path)]


@pytest.mark.parametrize("path", team_files(), ids=name_of)
def test_team_files_are_right_for_podium_and_for_editors(path: Path) -> None:
    load_team(path)
    jsonschema.Draft202012Validator(team_schema()).validate(contents(path))


@pytest.mark.parametrize("path", training_files(), ids=name_of)
def test_training_files_are_right(path: Path) -> None:
    load_team(load_training(path).team)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(team_schema())


@pytest.mark.parametrize("name", ANSWERS)
def test_teams_answer(name: str) -> None:
    task, answer = ANSWERS[name]
    with Team.load(EXAMPLES / "teams" / f"{name}.yaml") as team:
        result = team.run(task, seed=0)
    assert result.answer == answer
    assert result.stop == "answered"


def test_every_team_is_tried() -> None:
    assert {path.stem for path in (EXAMPLES / "teams").glob("*.yaml")} == {*ANSWERS, *NEED_AN_ENDPOINT}


def test_quickstart(capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(EXAMPLES / "quickstart.py"))
    example["plainly"]()
    told = capsys.readouterr().out
    assert "in 3 steps, " in told
    assert "  3 reply by checker: '9 times 500 is 4500: right.\\n9'" in told


def test_quickstart_as_a_script(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "quickstart.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("  ended: answered\n")


def test_tools(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "tools" / "run.py"), run_name="__main__")
    assert capsys.readouterr().out == (
        "scripted: asks for a tool\nprice: 4.32\nscripted: Twelve apples are $4.32.\nTwelve apples are $4.32.\n"
    )


def test_code_is_run_in_a_sandbox_or_not_at_all() -> None:
    """`podium validate` accepts the file where a sandbox can be made, and says what to do where not."""
    done = CliRunner().invoke(app, ["validate", str(EXAMPLES / "tools" / "python.yaml")])
    if problem := sandbox.problem():
        assert done.exit_code == 2
        assert f"python.yaml:14: agents.coder.tools.1: the tool python needs a sandbox: {problem}" in done.stderr
    else:
        assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.timeout(600)
def test_training_on_your_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of its README, called from Python."""
    files = tmp_path / "mine"
    shutil.copytree(EXAMPLES / "train_on_your_tasks", files, ignore=shutil.ignore_patterns("policy"))
    monkeypatch.chdir(files)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # test processes share the cores; threads that wait for each other would cost minutes
    try:
        assert train("train.yaml").finished
    finally:
        torch.set_num_threads(threads)
    tasks = "jsonl:tasks.jsonl?split=test&fraction=0.6"
    found = evaluate("team.yaml", tasks, ["own", "random", "learned:policy"])
    own, random, learned = found.rows
    assert learned.score > own.score > random.score
    assert learned.score >= 0.9
    assert learned.calls < own.calls
