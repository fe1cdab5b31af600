"""Processes that are killed with SIGKILL after every single step of a run, and inside of every step; and resumed.

After: when a decision is durable and nothing of it is done, and once more when the last reply is there and the run's
end is not yet written. Inside: when all calls of the step are completed and written, but one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from podium.orchestrator.journal import Journal
from tests.faults.account import counted, kept, write_policy
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
            return Death(**json.loads(read.readline()))

        yield lived
        write.close()
        process.wait(30)


def write_team(folder: Path, column: str) -> None:
    if column == "learned":
        write_policy(folder)
    team = {
        "name": "desk",
        "models": {name: {"provider": "scripted", "replies": ["unused"]} for name in AGENTS},
        "agents": {name: {"role": "solver", "model": name} for name in AGENTS},
        "coordinator": COLUMNS[column],
        "journal": "sqlite:///runs.db",
    }
    (folder / "team.yaml").write_text(json.dumps(team))


@contextmanager
def journal_in(folder: Path) -> Generator[Journal]:
    journal = Journal(f"sqlite:///{folder}/runs.db")
    yield journal
    journal.close()


@pytest.mark.parametrize("where", KILL)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_run_whose_process_is_killed_after_any_step_is_resumed(
    column: str, where: str, tmp_path: Path, live: Callable[[Life], Death], tell: Callable[[Cell], None]
) -> None:
    write_team(tmp_path, column)
    folder, calls = str(tmp_path), tmp_path / "calls"
    whole = live(Life(folder))
    assert whole.code == 0, whole.told
    made, completed = counted(calls)
    assert made == completed == Counter(set(made))
    with journal_in(tmp_path) as journal:
        assert kept(journal, whole.run) == set(made)
    calls.unlink()
    last_is_alone = whole.done[-1] - whole.done[-2] == 1
    kills = lost = repeated = unwritten = 0
    while (killed := live(Life(folder, kills + 1, where))).code:
        assert killed.code == -signal.SIGKILL, killed.told
        kills += 1
        began, ended = counted(calls)
        if where == "after":
            assert began.total() == ended.total() == whole.done[kills - 1]
        else:
            assert began.total() == whole.done[kills]
            assert ended.total() == whole.done[kills] - 1
        with journal_in(tmp_path) as journal:
            (left,) = [each.run for each in journal.entries(unfinished=True)]
            written = kept(journal, left)
        missing = set(ended) - written
        if where == "after" and kills == len(whole.done) and last_is_alone:
            assert len(missing) == 1  # its reply was to be written with the run's end
        else:
            lost += len(missing)
        again = live(Life(folder, run=left))
        assert again.code == 0, again.told
        assert (again.run, again.came) == (left, whole.came)
        began_all, ended_all = counted(calls)
        calls.unlink()
        assert began_all == made + (began - ended) + Counter(missing)
        with journal_in(tmp_path) as journal:
            lost += len(set(ended_all) - kept(journal, left))
            assert journal.entries(unfinished=True) == []
        twice = {call: count - 1 for call, count in ended_all.items()}
        repeated += sum(count for call, count in twice.items() if call in written)
        unwritten += sum(count for call, count in twice.items() if call not in written)
    assert (killed.came, killed.done) == (whole.came, whole.done)
    assert kills == len(whole.done) - (where == "inside")
    ended_as = "resumed: answered as without it"
    tell(Cell(f"process: {KILL[where]}", column, ended_as, kills, lost, repeated, unwritten))
