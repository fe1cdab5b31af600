"""A run is written by one process at a time: it is left alone while that lives, and free at once when it does not."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from podium.orchestrator.journal import Journal
from podium.protocols.errors import InputError, JournalError
from tests.orchestrator.journal.conftest import Server
from tests.orchestrator.journal.runs import beginning, ending, step

LIVES = """
import asyncio, os, sys, time
from podium.orchestrator.journal import Journal
from tests.orchestrator.journal.runs import beginning

async def main(url, forks):
    journal = Journal(url)
    await journal.append("r", beginning("r"))
    if forks and not os.fork():
        os.write(1, f"{os.getpid()}\\n".encode())
    elif not forks:
        os.write(1, b"0\\n")
    time.sleep(60)

asyncio.run(main(sys.argv[1], len(sys.argv) > 2))
"""


@contextmanager
def life(url: str, *forks: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    """A process that has a run under way; and its child, if it has one."""
    command, root = [sys.executable, "-W", "ignore", "-c", LIVES, url, *forks], Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            if child:
                os.kill(child, signal.SIGKILL)


async def goes_on(journal: Journal, number: int = 1) -> None:
    await journal.append("r", [*step("r", number), *ending(number)])


def taken_over(url: str) -> None:
    """Go on with the run, to its end."""
    journal = Journal(url)
    journal.go_on(journal.resume_state("r"))
    asyncio.run(goes_on(journal))
    journal.close()
    assert journal.load("r").stop == "answered"


def test_a_run_belongs_to_its_process_until_that_is_dead(url: str) -> None:
    journal = Journal(url)
    with life(url) as (process, _):
        for still in (False, True):
            if still:  # for as long as it likes: nobody asks a clock
                process.send_signal(signal.SIGSTOP)
            with pytest.raises(InputError, match="run r is under way in another process"):
                journal.resume_state("r")
            assert [line.under_way for line in journal.entries()] == [True]
            assert journal.elsewhere("desk") == {"r"}
        process.kill()
        process.wait(10)
        taken_over(url)
    assert [line.under_way for line in journal.entries()] == [False]
    assert journal.elsewhere("desk") == set()


def test_a_child_does_not_keep_a_dead_parents_run(url: str) -> None:
    with life(url, "forks") as (process, child):
        process.kill()
        process.wait(10)
        os.kill(child, 0)
        taken_over(url)


def test_what_was_read_while_nobody_had_it_is_not_taken_from_who_has_it_since(journal: Journal) -> None:
    asyncio.run(begun(journal))
    journal.close()
    others = [Journal(journal.url) for _ in range(6)]
    states = [other.resume_state("r") for other in others]

    def take(place: int) -> str:
        try:
            others[place].go_on(states[place])
        except InputError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(take, range(6)))
    assert sum("run r is under way in" in each for each in told) == 5
    winner = others[told.index("")]
    asyncio.run(goes_on(winner))
    assert journal.load("r").stop == "answered"
    for other in others:
        other.close()


async def begun(journal: Journal) -> None:
    await journal.append("r", beginning("r"))


def test_what_was_written_after_it_was_read_is_not_gone_on_with(journal: Journal) -> None:
    async def read_early() -> None:
        await begun(journal)
        journal.leave("r")
        state = journal.resume_state("r")
        journal.go_on(state)
        await journal.append("r", step("r", 1))
        journal.leave("r")
        with pytest.raises(InputError, match="nothing was done here"):
            journal.go_on(state)
        journal.go_on(journal.resume_state("r"))
        await goes_on(journal, 2)

    asyncio.run(read_early())


def test_a_run_that_was_left_can_be_gone_on_with_by_another(journal: Journal) -> None:
    other = Journal(journal.url)

    async def leave() -> None:
        await begun(journal)
        with pytest.raises(InputError, match="run r is under way in this process"):
            other.resume_state("r")
        journal.leave("r")
        await journal.append("s", beginning("s"))  # what was left is left by the time this is written
        other.go_on(other.resume_state("r"))
        await goes_on(other)

    asyncio.run(leave())
    assert {line.run: line.under_way for line in other.entries()} == {"r": False, "s": True}
    other.close()


def test_a_run_that_could_not_be_written_can_be_gone_on_with_by_another(journal: Journal) -> None:
    async def fail() -> None:
        await begun(journal)
        with pytest.raises(JournalError, match="surrogates"):
            await journal.append("r", step("r", 1, text="\ud800"))
        await journal.append("s", beginning("s"))
        taken = Journal(journal.url)
        taken.go_on(taken.resume_state("r"))
        taken.close()

    asyncio.run(fail())


def test_who_is_used_again_after_it_was_closed_has_its_runs_unless_they_were_taken(journal: Journal) -> None:
    other = Journal(journal.url)

    async def work() -> None:
        for run in ("r", "s"):
            await journal.append(run, beginning(run))
        journal.close()
        other.go_on(other.resume_state("r"))
        with pytest.raises(JournalError, match="another process has taken it over"):
            await journal.append("r", step("r", 1))
        await journal.append("s", step("s", 1))
        with pytest.raises(InputError, match="under way in this process"):
            other.resume_state("s")
        await goes_on(other)

    asyncio.run(work())
    assert len(journal.load("s").nodes) == 2
    other.close()


def test_a_lock_that_somebody_looks_at_while_it_is_taken_again_gives_the_runs_a_new_owner(journal: Journal) -> None:
    owner = journal._writer.owner  # pyright: ignore[reportPrivateUsage]

    async def work() -> None:
        await begun(journal)
        before = owner.name
        journal.close()
        with looked_at(journal.url, before):
            await journal.append("r", step("r", 1))
        assert owner.name != before
        await goes_on(journal, 2)

    asyncio.run(work())
    assert journal.load("r").stop == "answered"


@contextmanager
def looked_at(url: str, owner: str) -> Generator[None]:
    """Another process wants to know whether an owner lives, and takes its time."""
    with subprocess.Popen([sys.executable, "-c", LOOKS, url, owner], stdout=subprocess.PIPE, text=True) as looking:
        assert looking.stdout
        assert looking.stdout.readline() == "False\n"
        try:
            yield
        finally:
            looking.kill()


LOOKS = """
import sys, time
from podium.orchestrator.journal import Journal
journal = Journal(sys.argv[1])
with journal._engine.connect() as connection, journal._locks.watched(sys.argv[2], connection) as lives:
    print(lives, flush=True)
    time.sleep(60)
"""


def test_a_run_costs_no_transaction_more_for_being_owned(journal: Journal) -> None:
    commits = 0

    def count(_: object) -> None:
        nonlocal commits
        commits += 1

    async def work() -> None:
        await journal.append("first", beginning("first"))
        event.listen(journal._engine, "commit", count)  # pyright: ignore[reportPrivateUsage]
        await begun(journal)
        for number in range(1, 10):
            await journal.append("r", step("r", number))
        await journal.append("r", ending(9))

    asyncio.run(work())
    assert commits == 11


def test_who_only_reads_makes_no_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    journal = Journal(url)
    asyncio.run(begun(journal))
    journal.close()
    (tmp_path / "runs.db-owners").unlink()
    reader = Journal(url)
    assert [line.under_way for line in reader.entries()] == [False]
    reader.resume_state("r")
    reader.close()
    assert not (tmp_path / "runs.db-owners").exists()


def test_many_owners_leave_one_empty_file(tmp_path: Path) -> None:
    for number in range(5):
        journal = Journal(f"sqlite:///{tmp_path}/runs.db")
        asyncio.run(journal_with(journal, f"r{number}"))
        journal.close()
    assert [file.stat().st_size for file in tmp_path.glob("*owners*")] == [0]


async def journal_with(journal: Journal, run: str) -> None:
    await journal.append(run, beginning(run))


KEY = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


def test_a_lock_that_was_lost_with_its_connection_is_taken_again(doomed_server: Server) -> None:
    url = doomed_server.database("lost")
    journal, other = Journal(url), Journal(url)
    asyncio.run(begun(journal))
    doomed_server.sql(END.format("lost"))
    began = time.monotonic()
    while not re.fullmatch(r"1\s*", doomed_server.sql(KEY, database="lost").stdout):
        assert time.monotonic() - began < 15
        time.sleep(0.1)
    with pytest.raises(InputError, match="run r is under way in this process"):
        other.resume_state("r")
    asyncio.run(goes_on(journal))
    journal.close()


def test_who_lost_its_lock_writes_nothing_more_of_a_run_that_was_taken_over(doomed_server: Server) -> None:
    url = doomed_server.database("overtaken")
    journal, other = Journal(url), Journal(url)
    asyncio.run(begun(journal))
    doomed_server.sql(END.format("overtaken"))
    other.go_on(other.resume_state("r"))

    async def too_late() -> None:
        with pytest.raises(JournalError, match="another process has taken it over"):
            await journal.append("r", step("r", 1))
        await goes_on(other)

    asyncio.run(too_late())
    journal.close()
    other.close()
