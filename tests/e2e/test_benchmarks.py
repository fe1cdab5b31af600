"""Benchmarks say how their figures were made. Short forms of those that are quick; nobody looks at the figures here."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from podium.orchestrator.learned.survey import Survey
from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, write_pool
from tests.orchestrator.stage import Speaker, Stage

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "run_loop": ["--rounds", "1"],
    "decision": ["--rounds", "1", "--decisions", "6"],
    "telemetry": ["--rounds", "1"],
    "journal": ["--rounds", "1", "--steps", "20"],
}

RULES = """
import sys
sys.path.insert(0, "benchmarks/orchestration")
from run import plan
rounds = {}
for case, number in plan(False):
    if case.kind == "speed":
        rounds.setdefault((case.journal, case.concurrent, case.turns, case.delay), set()).add(number)
print([what for what, numbers in rounds.items() if len(numbers) > 1])
"""

SECRET = """
import sys
sys.path.insert(0, "benchmarks")
from machine import made
print(made()["command"])
"""


def ran(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_result_says_how_it_was_made(name: str, tmp_path: Path) -> None:
    program, file = f"benchmarks/{name}/run.py", tmp_path / "results.json"
    ran(str(ROOT / program), *PROGRAMS[name], "--json", str(file))
    made = json.loads(file.read_text())
    assert made["command"] == " ".join(["python", program, *PROGRAMS[name], "--json", file.name])
    assert made["python"].startswith(f"{platform.python_version()}, ")
    assert made["python"].endswith("--enable-optimizations")
    assert f"{os.cpu_count()} cores" in made["machine"]
    assert "podium" in made["versions"]


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ({"ann": 1.0}, "a cascade needs two agents or more, and this pool has ann alone"),
        ({"ann": 0.0, "bob": 0.0}, "all replies of this pool are free"),
        ({}, "there is no such pool"),
    ],
)
def test_a_pool_without_cascades_is_refused_at_once(agents: dict[str, float], said: str, tmp_path: Path) -> None:
    file = tmp_path / "pool.jsonl"
    replies = dict.fromkeys(agents, PoolReply(score=1.0, completion_tokens=5, prompt_tokens=5, text="1"))
    priced = {name: PoolAgent(price=PoolPrice(output=price)) for name, price in agents.items()}
    if agents:
        write_pool(Pool(agents=priced, tasks=(PoolTask(id="a", prompt="1?", replies=replies),)), file)
    command = [sys.executable, "benchmarks/recorded/run.py", str(file), "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert f"error: argument pool: {file}: {said}" in done.stderr


def test_a_tree_asks_further_where_that_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ann and bob are right where they agree, and else dear is; who pays little for an answer takes ann's."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    replies, tree = (importlib.import_module(f"recorded.{name}") for name in ("cascades", "tree"))

    def stage(agree: bool) -> Stage:
        lines = {"ann": "1", "bob": "1" if agree else "2", "dear": "1" if agree else "3"}
        return Stage(*(Speaker(name, f"The answer is {line}.") for name, line in lines.items()))

    def lesson(agree: bool) -> Any:
        nodes = {node.author: node for node in stage(agree).run(Survey()).nodes if node.kind == "reply"}
        right = {name: float(agree or name == "dear") for name in nodes}
        return replies.Replies(nodes, right, {"ann": 0.01, "bob": 0.01, "dear": 0.2}, "what?")

    known = [lesson(agree) for agree in (True, True, False, False)]
    for worth, agree, asked in (
        (1.0, True, ["ann", "bob"]),
        (1.0, False, ["ann", "bob", "dear"]),
        (0.1, False, ["ann"]),
    ):
        result = stage(agree).run(tree.Tree(known, worth, least=1))
        assert sorted(node.author for node in result.nodes if node.kind == "reply") == asked
        assert result.answer == f"The answer is {'3' if 'dear' in asked else '1'}."
    never_asked = tree.Tree(known, 1.0, least=5)
    assert [node.author for node in stage(agree=False).run(never_asked).nodes if node.kind == "reply"] == ["dear"]


def test_a_command_is_told_without_its_passwords() -> None:
    told = ran("-c", SECRET, "--postgresql", "postgresql://me:very-secret@host/runs")
    assert "postgresql://me:***@host/runs" in told
    assert "very-secret" not in told


def test_all_sides_of_a_comparison_are_measured_as_often() -> None:
    assert ran("-c", RULES) == "[]\n"
