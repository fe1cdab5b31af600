"""One thread writes everything: it takes all that waits and commits it in one transaction.

So concurrent runs share the price of a commit, which is mostly that of waiting for the disk, and no event loop ever
waits for a database. When a transaction fails, the runs in it are told and the thread goes on with what comes next; a
run whose entry was not written takes no more, because what follows would have a gap before it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from queue import Empty, SimpleQueue

from sqlalchemy import Connection, Engine, bindparam
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from podium.orchestrator.journal.address import first_line
from podium.orchestrator.journal.tables import Cells, Line, entries, insert_cells, runs
from podium.protocols.errors import JournalError
from podium.protocols.frozen import slotted

_insert_runs = runs.insert()
_end_runs = (
    runs.update()
    .where(runs.c.run == bindparam("ended"))
    .values(stop=bindparam("stop"), tokens=bindparam("tokens"), dollars=bindparam("dollars"))
)
_delete = [table.delete().where(table.c.run == bindparam("replaced")) for table in (entries, runs)]


@dataclass(slots=True)
class Tail:
    """The end of a run that is being written. place: of its next entry; error: why there can be none."""

    place: int = 0
    error: JournalError | None = None


@slotted
class Work:
    """Rows of one run that are written together or not at all.

    future: done when that is known; in the loop's thread where there is a loop. due: when it has to be known, by the
    loop's clock. head, end: what the rows mean for the list of runs; a run takes no more after its end. replaces: all
    that is kept of the run goes before.
    """

    run: str
    tail: Tail
    cells: Cells
    future: asyncio.Future[None] | Future[None]
    loop: asyncio.AbstractEventLoop | None = None
    due: float = inf
    head: Line | None = None
    end: Line | None = None
    replaces: bool = False

    def done(self) -> None:
        """It is written, or it cannot be, as the tail says."""
        if self.future.done():
            return
        if self.tail.error is None:
            self.future.set_result(None)
            return
        self.future.set_exception(self.tail.error)
        if self.end is None:
            self.future.exception()  # if nobody awaits it, the next append will say so, and not the event loop


@dataclass(slots=True)
class Writer:
    """The thread and its connection. It starts with the first work, and again with the first one after `close`.

    name: of the journal, as errors may show it. statistics: works and transactions written.
    """

    engine: Engine
    name: str
    works: int = 0
    transactions: int = 0
    _connection: Connection | None = None
    _thread: threading.Thread | None = None
    _queue: SimpleQueue[Work | None] = field(default_factory=SimpleQueue[Work | None])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, work: Work) -> None:
        """Have something written. Works are written in the order they come."""
        with self._lock:
            if self._thread is None:
                self._queue = SimpleQueue()
                self._thread = threading.Thread(target=self._live, args=(self._queue,), name="journal", daemon=True)
                self._thread.start()
            self._queue.put(work)

    def close(self, timeout: float) -> None:
        """Write what waits and end the thread, within `timeout` seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._queue.put(None)
        if thread is not None:
            thread.join(timeout)

    def _live(self, queue: SimpleQueue[Work | None]) -> None:
        going = True
        while going:
            waiting = [queue.get()]
            with suppress(Empty):
                while True:
                    waiting.append(queue.get_nowait())
            going = None not in waiting
            works = [work for work in waiting if work is not None]
            self._write(works)
            _tell(works)
        self._disconnect()

    def _write(self, works: Iterable[Work]) -> None:
        """Write in one transaction, else leave the error on the tails. One run's mistake does not hurt the others."""
        works = [work for work in works if work.tail.error is None]
        if not works:
            return
        try:
            self._commit(works)
            self.works += len(works)
            self.transactions += 1
            return
        except (IntegrityError, DataError) as error:
            failure = error
            alone = len(works) == 1
        except Exception as error:  # whatever it is, the thread has to live on
            failure = error
            alone = True
        self._disconnect()
        for work in works:
            if alone:
                work.tail.error = self._error(work.run, failure)
            else:
                self._write([work])

    def _commit(self, works: Sequence[Work]) -> None:
        """One transaction. A connection that died while nothing was written is noticed here, and replaced once."""
        try:
            connection = self._connected()
            _send(connection, works)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self._disconnect()
            connection = self._connected()
            _send(connection, works)
        connection.commit()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self.engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _error(self, run: str, error: Exception) -> JournalError:
        reason = first_line(error)
        if isinstance(error, IntegrityError):
            reason = f"somebody else wrote it too, or its id was used before ({reason})"
        return JournalError(f"journal {self.name}: the run was not written: {reason}", run=run)


def _send(connection: Connection, works: Sequence[Work]) -> None:
    """All rows of a transaction, in as few statements as there are kinds."""
    replaced = [{"replaced": work.run} for work in works if work.replaces]
    if replaced:
        works = _without_replaced(works)
        for statement in _delete:
            connection.execute(statement, replaced)
    heads = [work.head for work in works if work.head is not None]
    if heads:
        connection.execute(_insert_runs, heads)
    insert_cells(connection, [cell for work in works for cell in work.cells])
    ends = [{"ended": work.run, **work.end} for work in works if work.end is not None]
    if ends:
        connection.execute(_end_runs, ends)


def _without_replaced(works: Sequence[Work]) -> list[Work]:
    """What is left of works when each one that replaces its run makes those before it void."""
    last = {work.run: place for place, work in enumerate(works) if work.replaces}
    return [work for place, work in enumerate(works) if place >= last.get(work.run, 0)]


def _tell(works: Iterable[Work]) -> None:
    """Say what became of each work, waking each event loop once."""
    loops: dict[asyncio.AbstractEventLoop | None, list[Work]] = {}
    for work in works:
        loops.setdefault(work.loop, []).append(work)
    for loop, its in loops.items():
        if loop is None:
            _done(its)
        else:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_done, its)


def _done(works: Iterable[Work]) -> None:
    for work in works:
        work.done()
