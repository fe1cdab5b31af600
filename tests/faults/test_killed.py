"""Processes that are killed with SIGKILL after every single step of a run, and inside of every step; and resumed.

After: when a decision is durable and nothing of it is done, and once more when the last reply is there and the run's
end is not yet written. Inside: when all calls of the step are completed and written, but one. Where the coordinator
asks a model, also while it does, and between that call and the decision that comes of it.
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
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import pytest

from podium.orchestrator.journal import Journal
from tests.faults.account import counted, kept, write_policy
from tests.faults.lives import Death, Life
from tests.faults.matrix import AGENTS, ASKING, COLUMNS, KILL, Cell, models

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
        "models": {name: {"provider": "scripted", "replies": ["unused"]} for name in models(column)},
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


@dataclass(frozen=True, slots=True)
class Lived:
    """A run that nobody killed. made: its calls."""

    folder: Path
    whole: Death
    made: Counter[str]

    @property
    def calls(self) -> Path:
        """The file of the calls that were made."""
        return self.folder / "calls"

    def left(self) -> tuple[str, set[str]]:
        """The run that a killed process left, and its calls that are written."""
        with journal_in(self.folder) as journal:
            (run,) = [each.run for each in journal.entries(unfinished=True)]
            return run, kept(journal, run)


def expected(lived: Lived, column: str, where: str, kills: int) -> tuple[int, int, int]:
    """Calls that have begun, that are completed, and of these that are on their way to the journal, when it is over."""
    done = (0, *lived.whole.done)
    if where == "after":
        at_the_end = kills == len(done) - 1
        alone = column == ASKING or done[-1] - done[-2] == 1
        return done[kills], done[kills], int(at_the_end and alone)  # to be written with the run's end
    if where == "heard":
        return done[kills], done[kills], 1  # to be written with the decision
    if where == "asking":
        return done[kills], done[kills] - 1, 0
    if column == ASKING:  # the coordinator's own call is another matter
        return done[kills] + 1, done[kills], 0
    return done[kills + 1], done[kills + 1] - 1, 0


@pytest.mark.parametrize("where", KILL)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_run_whose_process_is_killed_after_any_step_is_resumed(
    column: str, where: str, tmp_path: Path, live: Callable[[Life], Death], tell: Callable[[Cell], None]
) -> None:
    write_team(tmp_path, column)
    whole = live(Life(str(tmp_path)))
    assert whole.code == 0, whole.told
    lived = Lived(tmp_path, whole, Counter())
    made, completed = counted(lived.calls)
    assert made == completed == Counter(set(made))
    lived.made.update(made)
    with journal_in(tmp_path) as journal:
        assert kept(journal, whole.run) == set(made)
    lived.calls.unlink()
    steps = len(whole.done)
    places = {where: steps - (where == "inside")}
    if column == ASKING and where == "inside":
        places |= {"asking": steps, "heard": steps - 1}  # the last decision is written with the run's end
    found = [killed(lived, column, place, live) for place in places]
    assert [each.fired for each in found] == list(places.values())
    fired, lost, repeated, unwritten = (sum(each) for each in zip(*(astuple(each) for each in found), strict=True))
    ended_as = "resumed: answered as without it"
    tell(Cell(f"process: {KILL[where]}", column, ended_as, fired, lost, repeated, unwritten))


@dataclass(frozen=True, slots=True)
class Killed:
    """What came of killing, as a cell has it."""

    fired: int
    lost: int
    repeated: int
    again: int


def killed(lived: Lived, column: str, where: str, live: Callable[[Life], Death]) -> Killed:
    """Kill run after run, each one step later than the one before, and go on with each."""
    folder, whole = str(lived.folder), lived.whole
    kills = lost = repeated = unwritten = 0
    while (death := live(Life(folder, kills + 1, where))).code:
        assert death.code == -signal.SIGKILL, death.told
        kills += 1
        began, ended = counted(lived.calls)
        left, written = lived.left()
        missing = set(ended) - written
        begun, over, on_their_way = expected(lived, column, where, kills)
        assert (began.total(), ended.total()) == (begun, over)
        if on_their_way:
            assert len(missing) == on_their_way
        else:
            lost += len(missing)
        again = live(Life(folder, run=left))
        assert again.code == 0, again.told
        assert (again.run, again.came) == (left, whole.came)
        began_all, ended_all = counted(lived.calls)
        lived.calls.unlink()
        assert began_all == lived.made + (began - ended) + Counter(missing)
        with journal_in(lived.folder) as journal:
            lost += len(set(ended_all) - kept(journal, left))
            assert journal.entries(unfinished=True) == []
        twice = {call: count - 1 for call, count in ended_all.items()}
        repeated += sum(count for call, count in twice.items() if call in written)
        unwritten += sum(count for call, count in twice.items() if call not in written)
    assert (death.came, death.done) == (whole.came, whole.done)
    lived.calls.unlink()
    return Killed(kills, lost, repeated, unwritten)
