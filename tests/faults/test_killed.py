"""Processes that are killed with SIGKILL after every single step of a run, and inside of every step; and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path

import pytest

from podium.orchestrator.journal import Journal
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy, save_policy
from tests.faults.lives import Death, Life
from tests.faults.matrix import AGENTS, COLUMNS, KILL, Cell

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def live() -> Generator[Callable[[Life], Death]]:
    """Has lives lived, one after another."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a process with threads should not fork
    command, root = [sys.executable, "-m", "tests.faults.lives"], Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root, env=environment
    ) as process:
        assert process.stdin
        assert process.stdout
        read, write = process.stdout, process.stdin

        def lived(life: Life) -> Death:
            write.write(json.dumps(asdict(life)) + "\n")
            write.flush()
            heard = json.loads(read.readline())
            return Death(heard["code"], tuple(heard["said"]), heard["told"])

        yield lived
        write.close()
        process.wait(30)


def write_team(folder: Path, column: str) -> None:
    if column == "learned":
        save_policy(Policy.fresh(Options(samples=(1, 3), width=2), AGENTS, seed=5), folder / "policy")
    team = {
        "name": "desk",
        "models": {name: {"provider": "scripted", "replies": ["unused"]} for name in AGENTS},
        "agents": {name: {"role": "solver", "model": name} for name in AGENTS},
        "coordinator": COLUMNS[column],
        "journal": "sqlite:///runs.db",
    }
    (folder / "team.yaml").write_text(json.dumps(team))


def lines(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each call began and ended, over all processes; empties the file."""
    file = folder / "calls"
    found = [line.split(maxsplit=1) for line in file.read_text().splitlines()]
    file.unlink()
    began, ended = (Counter(call for word, call in found if word == which) for which in ("began", "ended"))
    return began, ended


def unfinished(folder: Path) -> list[str]:
    journal = Journal(f"sqlite:///{folder}/runs.db")
    found = [each.run for each in journal.entries(unfinished=True)]
    journal.close()
    return found


@pytest.mark.parametrize("where", KILL)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_run_whose_process_is_killed_after_any_step_is_resumed(
    column: str, where: str, tmp_path: Path, live: Callable[[Life], Death], tell: Callable[[Cell], None]
) -> None:
    write_team(tmp_path, column)
    folder = str(tmp_path)
    whole = live(Life(folder))
    assert whole.code == 0, whole.told
    began, ended = lines(tmp_path)
    kills = lost = repeated = 0
    while True:
        killed = live(Life(folder, kills + 1, where))
        if killed.code == 0:
            break
        assert killed.code == -signal.SIGKILL, killed.told
        kills += 1
        (left,) = unfinished(tmp_path)
        again = live(Life(folder, run=left))
        assert again.code == 0, again.told
        assert again.said == (left, *whole.said[1:])
        began_now, ended_now = lines(tmp_path)
        lost += sum((ended - ended_now).values())
        repeated += sum((ended_now - ended).values())
        if where == "after":  # nothing was in flight
            assert began_now == began
        assert unfinished(tmp_path) == []
    assert kills >= (1 if column == "parallel" else 2)
    tell(Cell(f"process: {KILL[where]}", column, "resumed: answered as without it", kills, lost, repeated))
