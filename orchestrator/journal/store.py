"""The journal of a place: written entry by entry while runs happen, and read at any time.

    journal.append(run, [Head(...), node])      a run begins with its head
    await journal.append(run, [node, decision]) durable when awaited; in order, and all or nothing, in any case
    journal.append(run, [End(...)])             a run ends, and takes no more

What cannot be written is a JournalError, which the awaitable raises, and where nobody awaits it the run's next
`append`. Nothing waits for ever: an entry that is not written in time counts as not written.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Connection, Select, select
from sqlalchemy.exc import SQLAlchemyError

from podium.orchestrator.journal import questions, reading
from podium.orchestrator.journal.address import Address, first_line, within
from podium.orchestrator.journal.entries import End, Entry, Head, decode
from podium.orchestrator.journal.locks import locks_of
from podium.orchestrator.journal.owners import Owner, Taking, living, under_way
from podium.orchestrator.journal.reading import ResumeState
from podium.orchestrator.journal.tables import Cells, cells_of, ended, listed, prepare
from podium.orchestrator.journal.tables import entries as entry_rows
from podium.orchestrator.journal.tables import runs as run_rows
from podium.orchestrator.journal.watch import Watch
from podium.orchestrator.journal.writer import Tail, Work, Writer
from podium.protocols.errors import InputError, JournalError
from podium.protocols.people import Question, Word
from podium.protocols.record import Usage
from podium.protocols.saved import SavedRun

T = TypeVar("T")

DEFAULT = "sqlite:///.podium/runs.db"
"""Where the command line keeps runs of a team whose file names no journal; relative to the working directory."""

PATIENCE = 3
"""How many timeouts of the journal an entry may take: to connect, to write and to commit."""

MOST_NAMES = 5
"""Runs that are named where the beginning of an id is that of several."""

MOST_TAILS = 10_000
"""Runs under way above which those that failed, and were never asked for again, are forgotten."""


GRACE = 1.0
"""Seconds within which a server has noticed that a process is gone, which an operating system does at once."""

LOOK = 0.02
"""Seconds between two looks at that."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the list of runs. started: seconds since the epoch; stop, tokens, dollars: as in `SavedRun`.

    While a run is unfinished its tokens and dollars are not counted: they are 0. under_way: it is unfinished, and the
    process that works on it lives.
    """

    run: str
    team: str
    started: float
    task: str
    stop: str
    tokens: int
    dollars: float
    under_way: bool = False


class Journal:
    """The runs kept behind one URL (see `address` for the settings it may hold). Thread-safe.

    Raises InputError for a URL that leads nowhere, MissingExtra without the driver that it needs.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        address = Address.of(url)
        try:
            self._engine = engine = address.engine()
            self._deadline = PATIENCE * address.timeout
            within(self._deadline, lambda: prepare(engine, address.name))
        except (SQLAlchemyError, ModuleNotFoundError, OSError) as error:
            raise InputError(f"journal {address.name}: cannot be opened: {first_line(error)}") from None
        self._name = address.name
        self._locks = locks_of(engine)
        self._writer = Writer(self._engine, self._name, Owner(self._locks))
        self._tails: dict[str, Tail] = {}
        self._coming: dict[str, ResumeState] = {}  # runs that are about to be taken over
        self._watches = WeakKeyDictionary[asyncio.AbstractEventLoop, Watch]()

    def append(self, run: str, entries: Sequence[Entry]) -> asyncio.Future[None]:
        """Write what happened, all of it or nothing; done when it is durable. Returns at once, also if not awaited.

        Nothing to write is written after what came before, so that awaiting it awaits that too.

        run: began in this journal with a Head, or goes on in it by `go_on`, and did not end. One event loop
        appends to one run. Raises JournalError where that is not so, and when an earlier entry was not written.
        """
        head = entries[0] if entries and isinstance(entries[0], Head) else None
        end = entries[-1] if entries and isinstance(entries[-1], End) else None
        tail = self._open(run, head)
        if end is not None:
            del self._tails[run]
        loop = asyncio.get_running_loop()
        cells, line, last = self._cells(run, tail, entries), listed(head) if head else None, ended(end) if end else None
        work = Work(run, tail, cells, loop.create_future(), loop, loop.time() + self._deadline, line, last)
        if tail.error is None:
            self._watch(loop).add(work)
            self._writer.put(work)
        else:
            work.done()
            self._writer.leave(run)
        return cast("asyncio.Future[None]", work.future)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> Watch:
        """Whoever sees to it that no append of a loop waits for ever."""
        watch = self._watches.get(loop)
        if watch is None:
            watch = self._watches[loop] = Watch(loop, self._late)
        return watch

    def _open(self, run: str, head: Head | None) -> Tail:
        """Where the run's next entry goes."""
        tail = self._tails.get(run)
        if head is not None:
            if tail is not None and tail.error is None:
                raise self._error(run, "a run of that id is under way in this process")
            if len(self._tails) > MOST_TAILS:
                self._tails = {each: tail for each, tail in self._tails.items() if tail.error is None}
            tail = self._tails[run] = Tail()
            return tail
        if tail is None:
            raise JournalError(f"journal {self._name}: the run did not begin here, or it has ended", run=run)
        if tail.error is not None:
            del self._tails[run]
            raise tail.error
        return tail

    def _cells(self, run: str, tail: Tail, entries: Sequence[Entry]) -> Cells:
        """Rows for entries; those that cannot be written down are the tail's error."""
        try:
            cells = cells_of(run, tail.place, entries)
        except ValueError as error:
            tail.error = self._error(run, first_line(error))
            return []
        tail.place += len(entries)
        return cells

    def _late(self, run: str) -> JournalError:
        return self._error(run, f"it took more than {self._deadline:g} seconds")

    def _error(self, run: str, reason: str) -> JournalError:
        return JournalError(f"journal {self._name}: the run was not written: {reason}", run=run)

    def save(self, run: SavedRun) -> None:
        """Keep a whole run; one that is there already is replaced. Raises JournalError when it cannot be written."""
        given = reading.entries_of(run)
        tail = Tail()
        cells = self._cells(run.run, tail, given)
        if tail.error is not None:
            raise tail.error
        head, end = given[0], given[-1]
        line = (listed(head) if isinstance(head, Head) else {}) | (ended(end) if isinstance(end, End) else {})
        written = Future[None]()
        self._writer.put(Work(run.run, tail, cells, written, head=line, replaces=True))
        try:
            written.result(self._deadline)
        except TimeoutError:
            tail.error = self._late(run.run)
            raise tail.error from None

    def load(self, run: str) -> SavedRun:
        """A kept run, by its id or the beginning of it; also one that has no end.

        Raises InputError when none or several match.
        """
        return reading.saved_run(self._entries(self._find(run)))

    def resume_state(self, run: str) -> ResumeState:
        """What is needed to go on with a run that has no end. It is only read; `go_on` takes the run over.

        Raises InputError as `load`, and for a run that has ended or is under way, in this process or another.
        """
        name = self._find(run)
        self._not_under_way(name)
        owner: str | None = self._read(select(run_rows.c.owner).where(run_rows.c.run == name))[0][0]
        found = self._entries(name)
        if isinstance(found[-1], End):
            raise InputError(f"run {name} has ended ({found[-1].stop}); only a run without an end can be resumed")
        if owner is not None and owner != self._writer.owner.name and self._living({owner}, GRACE):
            raise under_way(name, owner)
        return replace(reading.resume_state(found), owner=owner)

    def go_on(self, state: ResumeState) -> None:
        """Take a run over, as it was read: from here on `append` writes behind that, and nobody else does. Thread-safe.

        Raises InputError for a run that is under way, here or elsewhere, and JournalError when it cannot be written.
        """
        run = state.head.run
        if self._coming.setdefault(run, state) is not state:
            raise under_way(run)
        try:
            self._not_under_way(run)
            taking = Taking(run, state.owner, state.place)
            self._writer.put(taking)
            try:
                hold = taking.future.result(self._deadline)
            except TimeoutError:
                self._writer.leave(run)
                raise self._late(run) from None
            except (SQLAlchemyError, OSError) as error:
                raise self._error(run, first_line(error)) from None
            self._tails[run] = Tail(state.place, hold=hold)
        finally:
            del self._coming[run]

    async def ago_on(self, state: ResumeState) -> None:
        """`go_on`, awaited. Who is cancelled meanwhile leaves the run as it was."""
        work = asyncio.ensure_future(asyncio.to_thread(self.go_on, state))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(lambda done: done.cancelled() or done.exception() or self.leave(state.head.run))
            raise

    def under_way(self, run: str) -> bool:
        """Whether this process works on a run, as far as is known: what an earlier entry made fail is not."""
        tail = self._tails.get(run)
        return tail is not None and tail.error is None

    def leave(self, run: str) -> None:
        """Nothing more is written of a run, not even its end: it can be resumed. `append` raises JournalError then."""
        if self._tails.pop(run, None) is not None:
            self._writer.leave(run)

    def _not_under_way(self, run: str) -> None:
        if self.under_way(run):
            raise under_way(run)

    def entries(self, most: int = 20, unfinished: bool = False) -> list[Listed]:
        """The newest runs first. unfinished: only those that have no end."""
        query = select(run_rows).order_by(run_rows.c.started.desc()).limit(most)
        if unfinished:
            query = query.where(run_rows.c.stop == "unfinished")
        rows = self._read(query)
        alive = self._living({owner for *_, owner in rows if owner is not None})
        return [Listed(*row, owner in alive) for *row, owner in rows]

    def unfinished(self, team: str) -> list[Head]:
        """The heads of a team's runs that have no end, the oldest first. Raises InputError when they cannot be read."""
        columns = entry_rows.c
        query = select(columns.kind, columns.form, columns.body).join(run_rows, run_rows.c.run == columns.run)
        theirs = query.where(columns.place == 0, run_rows.c.team == team, run_rows.c.stop == "unfinished")
        found = [decode(*row) for row in self._read(theirs.order_by(run_rows.c.started))]
        return [head for head in found if isinstance(head, Head)]

    def used(self, team: str, since: float) -> Usage:
        """What a team's runs used that began then or later, by seconds since the epoch; in seconds as `reading.used`.

        Raises InputError when they cannot be read.
        """
        runs, columns = run_rows.c, entry_rows.c
        wanted = select(runs.run, runs.started, columns.kind, columns.form, columns.body)
        query = wanted.join(entry_rows, columns.run == runs.run).where(runs.team == team, runs.started >= since)
        known = query.where((runs.stop == "unfinished") | (columns.kind == "end"))
        rows = self._read(known.order_by(runs.started, runs.run, columns.place))
        return reading.used((run, started, decode(*entry)) for run, started, *entry in rows)

    def elsewhere(self, team: str) -> set[str]:
        """A team's unfinished runs that others than this journal have under way; each of those is asked once.

        Raises InputError when that cannot be read.
        """
        columns = run_rows.c
        query = select(columns.run, columns.owner).where(columns.team == team, columns.stop == "unfinished")
        rows = self._read(query.where(columns.owner.is_not(None), columns.owner != self._writer.owner.name))
        alive = self._living({owner for _, owner in rows}, GRACE)
        return {run for run, owner in rows if owner in alive}

    def _living(self, owners: set[str], patience: float = 0.0) -> set[str]:
        """Those owners whose processes live.

        patience: seconds in which those that do are asked again, where the lock is that of a session, of whose end its
        server may not know yet.
        """
        if not owners:
            return owners
        until = time.monotonic() + (patience if self._locks.in_session else 0.0)
        while True:
            owners = self._reading(lambda connection, asked=owners: living(self._locks, connection, asked))
            if not owners or time.monotonic() >= until:
                return owners
            time.sleep(LOOK)

    def export(self, run: str) -> bytes:
        """A run's entries as JSON lines: run, place, kind, form, and the entry itself. Raises as `load`."""
        name = self._find(run)
        return b"".join(_line(name, *row) for row in self._read(_of(name)))

    def ask(self, question: Question) -> questions.Kept:
        """Keep a question to a person: its answer, if there is one already, and how long it may still take.

        Raises JournalError when it is not kept.
        """
        return self._change(question.run, lambda connection: questions.ask(connection, question))

    def word(self, run: str, id: str) -> Word | None:
        """What a person answered, if anything. Raises JournalError when it cannot be read."""
        return self._change(run, lambda connection: questions.word(connection, run, id))

    def answer(self, question: Question, word: Word) -> None:
        """Keep an answer. Raises InputError when the question waits no more, JournalError when it is not kept."""
        run = question.run
        if not self._change(run, lambda connection: questions.answer(connection, question, word)):
            raise InputError(f"question {question.id} of run {run} waits no more: it was answered, or withdrawn")

    def withdraw(self, run: str, id: str) -> Word | None:
        """Nobody waits with a question any more; its answer, if there is one all the same.

        Raises JournalError when that is not kept.
        """
        return self._change(run, lambda connection: questions.withdraw(connection, run, id))

    def questions(self, team: str | None = None) -> list[Question]:
        """Those that wait for an answer, the oldest first. team: whose; None: all."""
        found = self._read(questions.opened(team))
        return [Question(run, call, agent, text, bool(yes), wait) for run, call, agent, text, yes, wait in found]

    def _change(self, run: str, work: Callable[[Connection], T]) -> T:
        def change() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        try:
            return within(self._deadline, change)
        except (SQLAlchemyError, TimeoutError) as error:
            raise self._error(run, first_line(error)) from None

    @property
    def statistics(self) -> dict[str, int]:
        """Works written so far (an `append` or a `save` each), and the transactions they took."""
        return {"works": self._writer.works, "transactions": self._writer.transactions}

    def close(self) -> None:
        """Write what waits, and give the connection back. The journal may be used again."""
        self._writer.close(self._deadline)

    def _find(self, run: str) -> str:
        """A run's whole id."""
        column = run_rows.c.run
        names = self._names(column == run) or self._names(column.startswith(run, autoescape=True))
        if len(names) == 1:
            return names[0]
        if names:
            raise InputError(f"several runs begin with {run!r}: {', '.join(names)}")
        newest = ", ".join(entry.run for entry in self.entries(3)) or "none"
        raise InputError(f"no run {run!r} in {self._name}; the newest are: {newest}")

    def _names(self, which: ColumnElement[bool]) -> list[str]:
        return [name for (name,) in self._read(select(run_rows.c.run).where(which).limit(MOST_NAMES))]

    def _entries(self, run: str) -> list[Entry]:
        return [decode(kind, form, body) for _, kind, form, body in self._read(_of(run))]

    def _read(self, query: Select[*tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return self._reading(lambda connection: [tuple(row) for row in connection.execute(query)])

    def _reading(self, work: Callable[[Connection], T]) -> T:
        def read() -> T:
            with self._engine.connect() as connection:
                return work(connection)

        try:
            return within(self._deadline, read)
        except (SQLAlchemyError, TimeoutError, OSError) as error:
            raise InputError(f"journal {self._name}: cannot be read: {first_line(error)}") from None


def _of(run: str) -> Select[*tuple[Any, ...]]:
    """The rows of a run, in the order they were written: place, kind, form, body."""
    columns = entry_rows.c
    query = select(columns.place, columns.kind, columns.form, columns.body)
    return query.where(columns.run == run).order_by(columns.place)


def _line(run: str, place: int, kind: str, form: int, body: str) -> bytes:
    return f'{{"run":{json.dumps(run)},"place":{place},"kind":"{kind}","form":{form},"entry":{body}}}\n'.encode()
