"""Journals whose disk is full, whose file is locked, and whose server is killed in the middle of a run.

Bob's last request is when it happens, or the last that the coordinator makes, where it asks a model; and all that was
completed by then is written: in a wide step, the replies beside bob's too. A run that cannot be written ends with a
JournalError; when the place is well again it goes on from there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from podium.orchestrator.journal import Journal
from podium.protocols.errors import JournalError
from podium.protocols.events import Result
from tests.faults.account import kept, same
from tests.faults.desk import SEED, TASK, Desk, desk, last_request
from tests.faults.matrix import ASKING, COLUMNS, DISK, LEAD, LOCK, SERVER, Cell
from tests.orchestrator.journal.conftest import Server

pytestmark = pytest.mark.timeout(90)

MOMENT = 0.5
"""Seconds of a lock that is waited for."""
LONGEST = 10.0
"""Seconds that a completed call has to be written, before its journal is struck."""

Act = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls the place of a journal. strike: at the last request of whom it hits; mend: after the run.

    told: by the error that ends the run, a regular expression; empty: no run has to notice.
    """

    row: str
    strike: Act
    mend: Act
    told: str = ""


class Strike:
    """Strikes at a model's last request, when all that was completed by then, beside it too, is in the journal.

    due: what that is; completed: what it was, by the endpoint's list. fired: how often the fault did what it should.
    """

    def __init__(self, small: Desk, journal: Journal, expected: Result, act: Act, model: str) -> None:
        self.fired = 0
        self.completed: set[str] = set()
        self._small = small
        self._journal = journal
        self._act = act
        self._model = model
        self._left, self.due = last_request(expected, model)
        small.endpoint.meanwhile = self._meanwhile

    async def _meanwhile(self, model: str) -> None:
        if model != self._model:
            return
        self._left -= 1
        if self._left:
            return
        (run,) = [each.run for each in self._journal.entries(unfinished=True)]
        ends = time.monotonic() + LONGEST
        while not self.due <= await asyncio.to_thread(kept, self._journal, run):
            assert time.monotonic() < ends, "a completed call was not written"
            await asyncio.sleep(0.01)
        self.completed = set(self._small.delivered())
        await self._act()
        self.fired += 1


async def tried(small: Desk, fault: Fault, column: str) -> Cell:
    """A run under the fault; if that breaks it off, it is carried on by a team of its own, as by another process."""
    async with small.team() as team:
        expected = await small.reference(team)
        assert team.journal is not None
        strike = Strike(small, team.journal, expected, fault.strike, LEAD if column == ASKING else "bob")
        (came,) = await asyncio.gather(team.arun(TASK, seed=SEED), return_exceptions=True)
    small.check()
    assert strike.completed == strike.due
    assert strike.due
    if not fault.told:
        assert isinstance(came, Result), came
        assert same(came, expected)
        return Cell(fault.row, column, "answered as without it", strike.fired, *small.account(came.run))
    assert isinstance(came, JournalError), came
    assert re.search(fault.told, came.message), came.message
    partial = came.partial
    assert isinstance(partial, Result)
    assert came.run == partial.run
    small.endpoint.meanwhile = None
    await fault.mend()
    written = small.kept(partial.run)
    async with small.team() as again:
        assert again.journal is not None
        assert [each.run for each in again.journal.entries(unfinished=True)] == [partial.run]
        result = await again.aresume(partial.run)
        assert again.journal.entries(unfinished=True) == []
    assert same(result, expected)
    lost, repeated, unwritten = small.account(result.run, written)
    assert unwritten == 1, "only one reply was on its way"
    lost += len(strike.completed - written)
    ended = "JournalError; resumed: answered as without it"
    return Cell(fault.row, column, ended, strike.fired, lost, repeated, unwritten)


async def nothing() -> None:
    """There is nothing to mend."""


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", DISK)
def test_full(fault: str, column: str, tmp_path: Path, small_disk: Path, tell: Callable[[Cell], None]) -> None:
    filler = small_disk / "filler"

    async def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    async def mend() -> None:
        filler.unlink()

    async def main() -> Cell:
        async with desk(column, tmp_path, journal=f"sqlite:///{small_disk}/runs.db") as small:
            return await tried(small, Fault(f"journal: {fault}", fill, mend, "disk is full"), column)

    tell(asyncio.run(main()))


HOLDS = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    held.execute(line)
    print(line, end="", flush=True)
"""


@contextmanager
def another_process(database: Path) -> Generator[Callable[[str], None]]:
    """A process with a connection of its own, which does what it is told."""
    command = [sys.executable, "-S", "-c", HOLDS, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        read, write = process.stdout, process.stdin

        def do(statement: str) -> None:
            write.write(statement + "\n")
            write.flush()
            assert read.readline().strip() == statement

        yield do
        write.close()


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", LOCK)
def test_locked(fault: str, column: str, tmp_path: Path, tell: Callable[[Cell], None]) -> None:
    row, briefly = f"journal: {fault}", fault == LOCK[0]
    file = tmp_path / "runs.db"

    async def main() -> Cell:
        url = f"sqlite:///{file}?timeout={20 if briefly else MOMENT}"
        with another_process(file) as do:
            async with desk(column, tmp_path, journal=url) as small, asyncio.TaskGroup() as later:

                async def lock() -> None:
                    do("BEGIN IMMEDIATE")
                    if briefly:
                        later.create_task(unlock(small.kept(newest(small))))

                async def unlock(before: set[str]) -> None:
                    ends = time.monotonic() + LONGEST
                    while len(small.delivered()) == len(before):  # until the answer is there, to be written
                        assert time.monotonic() < ends
                        await asyncio.sleep(0.01)
                    await asyncio.sleep(MOMENT)
                    assert small.kept(newest(small)) == before, "written in spite of the lock"
                    do("ROLLBACK")

                async def mend() -> None:
                    do("ROLLBACK")

                told = "" if briefly else "is locked|it took more than"
                return await tried(small, Fault(row, lock, mend, told), column)

    tell(asyncio.run(main()))


def newest(small: Desk) -> str:
    """The run under way."""
    journal = Journal(small.journal)
    (run,) = [each.run for each in journal.entries(unfinished=True)]
    journal.close()
    return run


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", SERVER)
def test_killed(fault: str, column: str, tmp_path: Path, doomed_server: Server, tell: Callable[[Cell], None]) -> None:
    row, at_once = f"journal: {fault}", fault == SERVER[0]
    url = doomed_server.database(f"killed_{os.getpid()}_{time.time_ns()}") + "?timeout=20"
    born = "SELECT pg_postmaster_start_time()"
    first = doomed_server.sql(born).stdout

    async def kill() -> None:
        process = doomed_server.process
        assert process is not None
        await asyncio.to_thread(doomed_server.stop)
        assert process.poll() is not None
        assert doomed_server.sql(born, check=False).returncode != 0
        if at_once:
            await back()

    async def back() -> None:
        await asyncio.to_thread(doomed_server.start)

    async def main() -> Cell:
        async with desk(column, tmp_path, journal=url) as small:
            told = "" if at_once else "was not written: .*(refused|closed|termin|down)"
            cell = await tried(small, Fault(row, kill, nothing if at_once else back, told), column)
            assert doomed_server.sql(born).stdout != first
            return cell

    tell(asyncio.run(main()))
