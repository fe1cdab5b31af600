"""What breaks under a journal: locks, full disks, killed processes, servers that die, come back or fall silent."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from podium.orchestrator.journal import Journal
from podium.protocols.errors import InputError, JournalError
from tests.orchestrator.journal.conftest import Server
from tests.orchestrator.journal.runs import beginning, ending, step

PATIENCE = 3
"""A journal gives an entry this many of its timeouts."""


async def fails(journal: Journal, run: str, words: str) -> None:
    """A run that cannot be written says so: when it is awaited, and when it goes on."""
    writing = journal.append(run, beginning(run))
    with pytest.raises(JournalError, match=words) as caught:
        await writing
    assert caught.value.run == run
    with pytest.raises(JournalError, match=words):
        journal.append(run, step(run, 1))
    with pytest.raises(JournalError, match="did not begin here"):
        journal.append(run, step(run, 2))


async def works(journal: Journal, run: str) -> None:
    """A run that can be written, from beginning to end."""
    await journal.append(run, beginning(run))
    await journal.append(run, [*step(run, 1), *ending(1)])
    assert journal.load(run).stop == "answered"


def test_a_locked_database_is_waited_for_and_then_told(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db?timeout=0.3")
    other = sqlite3.connect(tmp_path / "runs.db")
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    asyncio.run(fails(journal, "r1", r"runs\.db\?timeout=0\.3: the run was not written: database is locked"))
    assert 0.3 <= time.monotonic() - began < 0.3 * PATIENCE + 1
    other.rollback()
    asyncio.run(works(journal, "r2"))
    asyncio.run(works(journal, "r1"))

    async def patient() -> None:
        other.execute("BEGIN IMMEDIATE")
        writing = journal.append("r3", beginning("r3"))
        await asyncio.sleep(0.1)
        assert not writing.done()
        other.rollback()
        await writing

    asyncio.run(patient())
    other.close()
    journal.close()


def test_a_full_disk_tears_nothing_and_is_over_when_there_is_room(small_disk: Path) -> None:
    journal = Journal(f"sqlite:///{small_disk}/runs.db")
    written = 0

    async def grow() -> None:
        nonlocal written
        while written < 200:
            await journal.append("r", step("r", written + 1, text="x" * 10_000))
            written += 1

    async def fill() -> None:
        await journal.append("r", beginning("r"))
        with pytest.raises(JournalError, match="database or disk is full"):
            await grow()
        await fails(journal, "r2", "disk")

    asyncio.run(fill())
    assert written > 5
    assert len(journal.load("r").nodes) == len(journal.load("r").decisions) == written + 1
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True, timeout=10)
    asyncio.run(works(journal, "after"))
    state = journal.resume_state("r")
    assert state.nodes[-1].id == written
    journal.go_on(state)
    asyncio.run(goes_on(journal, "r", written))
    journal.close()


async def goes_on(journal: Journal, run: str, written: int) -> None:
    await journal.append(run, [*step(run, written + 1), *ending(written + 1)])


WRITES = """
import asyncio, os, sys
from podium.orchestrator.journal import Journal
from tests.orchestrator.journal.runs import beginning, step

async def work(journal, run):
    await journal.append(run, beginning(run))
    for number in range(1, 10000):
        await journal.append(run, step(run, number, text="x" * 3000))
        os.write(1, f"{run} {number}\\n".encode())  # whole or not at all, unlike print

async def main(url, round):
    journal = Journal(url)
    await asyncio.gather(*(work(journal, f"{round}-{run}") for run in range(3)))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("commits", [1, 2, 3, 7, 40, 200])
def test_a_killed_process_leaves_whole_steps_and_all_it_was_promised(url: str, commits: int) -> None:
    command = [sys.executable, "-c", WRITES, url, "r"]
    told = {f"r-{run}": 0 for run in range(3)}
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as writer:
        assert writer.stdout
        for line in writer.stdout:
            run, number = line.split()
            told[run] = int(number)
            if sum(told.values()) >= commits:
                writer.kill()  # and read on: what it said before it died
    assert writer.returncode == -signal.SIGKILL
    journal = Journal(url)
    for run, number in told.items():
        if not number and run not in {line.run for line in journal.entries()}:
            continue
        kinds = [json.loads(line)["kind"] for line in journal.export(run).splitlines()]
        steps, torn = divmod(len(kinds) - 3, 2)
        assert (torn, kinds) == (0, ["head", *["node", "decision"] * (steps + 1)])
        assert number <= steps <= number + 1
        assert journal.load(run).nodes[-1].id >= steps  # a server may still finish the last commit
    journal.close()


def test_a_server_that_dies_is_told_and_found_again_when_it_is_back(doomed_server: Server) -> None:
    url = doomed_server.database("dying") + "?timeout=2"
    journal = Journal(url)
    asyncio.run(works(journal, "before"))
    doomed_server.stop()
    asyncio.run(fails(journal, "r1", "the run was not written: .*(refused|terminating|closed)"))
    with pytest.raises(InputError, match="cannot be read") as caught:
        journal.entries()
    assert "sesame" not in str(caught.value)
    with pytest.raises(InputError, match=r"podium:\*\*\*@.*cannot be opened") as caught:
        Journal(url)
    assert "sesame" not in str(caught.value)
    doomed_server.start()
    asyncio.run(works(journal, "after"))
    assert [line.run for line in journal.entries()] in (["before", "after"], ["after", "before"])
    journal.close()


def test_a_connection_that_was_closed_while_nobody_wrote_is_replaced(doomed_server: Server) -> None:
    journal = Journal(doomed_server.database("reaped"))

    async def work() -> None:
        await journal.append("r", beginning("r"))
        closed = doomed_server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'reaped'")
        assert closed.stdout.count("t") == 1
        await journal.append("r", [*step("r", 1), *ending(1)])

    asyncio.run(work())
    assert journal.load("r").stop == "answered"
    journal.close()


def test_a_server_that_falls_silent_is_not_waited_for(doomed_server: Server) -> None:
    journal = Journal(doomed_server.database("silent") + "?timeout=0.5")
    asyncio.run(works(journal, "before"))
    (session,) = doomed_server.sql("SELECT pid FROM pg_stat_activity WHERE datname = 'silent'").stdout.split()
    os.kill(int(session), signal.SIGSTOP)
    began = time.monotonic()
    try:
        asyncio.run(fails(journal, "r1", r"it took more than 1\.5 seconds"))
        assert time.monotonic() - began < 3
    finally:
        os.kill(int(session), signal.SIGCONT)
    asyncio.run(works(journal, "after"))
    journal.close()


@contextmanager
def held(server: Server, url: str, table: str) -> Generator[None]:
    """Somebody else holds a whole table."""
    hold = f"BEGIN; LOCK TABLE {table}; SELECT pg_sleep(60)"
    command = [str(server.bin / "psql"), "-X", f"{url}?application_name=holder", "-c", hold]
    holder = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        locks = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL"
        seen(server, url, locks, "1")
        yield
    finally:
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'")
        holder.wait(10)


def seen(server: Server, url: str, query: str, pattern: str) -> str:
    """What a query gives, once it gives that."""
    deadline = time.monotonic() + 20
    while not re.fullmatch(pattern, found := server.sql(query, database=url.rpartition("/")[2]).stdout.strip()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_a_server_that_falls_silent_while_it_is_read_is_not_waited_for(doomed_server: Server) -> None:
    url = doomed_server.database("mute")
    journal = Journal(url + "?timeout=1")
    asyncio.run(works(journal, "before"))
    with held(doomed_server, url, "podium_runs"), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(journal.entries)
        session = seen(doomed_server, url, "SELECT pid FROM pg_locks WHERE NOT granted", r"\d+")
        os.kill(int(session), signal.SIGSTOP)
        try:
            with pytest.raises(InputError, match=r"mute\?timeout=1: cannot be read: it took more than 3 seconds"):
                reading.result(10)
        finally:
            os.kill(int(session), signal.SIGCONT)
    assert [line.run for line in journal.entries()] == ["before"]
    journal.close()


def test_a_row_that_somebody_holds_is_not_waited_for(doomed_server: Server) -> None:
    url = doomed_server.database("held")
    journal = Journal(url + "?timeout=0.3")
    with held(doomed_server, url, "podium_entries"):
        asyncio.run(fails(journal, "r1", "lock timeout|statement timeout"))
    asyncio.run(works(journal, "after"))
    journal.close()
