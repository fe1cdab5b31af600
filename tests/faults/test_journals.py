"""Journals whose disk is full, whose file is locked, and whose server is killed in the middle of a run.

Bob's request is when it happens. A run that cannot be written ends with a JournalError; when the place is well again it
goes on from its last durable step.
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

from podium.protocols.errors import JournalError
from podium.protocols.events import Result
from tests.faults.desk import SEED, TASK, Desk, desk, same
from tests.faults.matrix import COLUMNS, DISK, LOCK, SERVER, Cell
from tests.orchestrator.journal.conftest import Server

pytestmark = pytest.mark.timeout(90)

MOMENT = 0.5
"""Seconds of a lock that is waited for."""


def when_bob_is_asked(small: Desk, act: Callable[[], Awaitable[None]]) -> list[float]:
    """Do something at bob's next request, before it is answered; when that was."""
    fired: list[float] = []

    async def meanwhile(agent: str) -> None:
        if agent == "bob" and not fired:
            fired.append(time.monotonic())
            await act()

    small.endpoint.meanwhile = meanwhile
    return fired


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls the place of a journal. strike: at bob's request; mend: after the run; told: by the error then.

    harmless: no run has to notice.
    """

    row: str
    strike: Callable[[], Awaitable[None]]
    mend: Callable[[], Awaitable[None]]
    told: str
    harmless: bool = False


async def tried(small: Desk, fault: Fault, column: str) -> Cell:
    """A run under the fault; if that breaks it off, it is carried on by a team of its own, as by another process."""
    async with small.team() as team:
        expected = await small.reference(team)
        fired = when_bob_is_asked(small, fault.strike)
        (came,) = await asyncio.gather(team.arun(TASK, seed=SEED), return_exceptions=True)
    if isinstance(came, Result):
        assert fault.row.endswith("at once") or fault.harmless
        assert same(came, expected)
        return Cell(fault.row, column, "answered as without it", len(fired), *small.account(came.run))
    assert isinstance(came, JournalError), came
    assert not fault.harmless, came
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
    account = small.account(result.run, written)
    return Cell(fault.row, column, "JournalError; resumed: answered as without it", len(fired), *account)


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
        with another_process(file) as do:

            async def lock() -> None:
                do("BEGIN IMMEDIATE")
                if briefly:
                    asyncio.get_running_loop().call_later(MOMENT, do, "ROLLBACK")

            async def mend() -> None:
                do("ROLLBACK")

            url = f"sqlite:///{file}?timeout={20 if briefly else MOMENT}"
            async with desk(column, tmp_path, journal=url) as small:
                began = time.monotonic()
                cell = await tried(small, Fault(row, lock, mend, "is locked|it took more than", briefly), column)
                assert time.monotonic() - began > MOMENT
                return cell

    tell(asyncio.run(main()))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", SERVER)
def test_killed(fault: str, column: str, tmp_path: Path, doomed_server: Server, tell: Callable[[Cell], None]) -> None:
    row, at_once = f"journal: {fault}", fault == SERVER[0]
    url = doomed_server.database(f"killed_{os.getpid()}_{time.time_ns()}") + "?timeout=20"

    async def kill() -> None:
        await asyncio.to_thread(doomed_server.stop)
        if at_once:
            await back()

    async def back() -> None:
        await asyncio.to_thread(doomed_server.start)

    async def main() -> Cell:
        async with desk(column, tmp_path, journal=url) as small:
            mend = nothing if at_once else back
            return await tried(small, Fault(row, kill, mend, "was not written: .*(refused|closed|termin|down)"), column)

    tell(asyncio.run(main()))
