"""One thread writes everything: it takes all that waits and commits it in one transaction.

So concurrent runs share the price of a commit, which is mostly that of waiting for the disk, and no event loop ever
waits for a database. When a transaction fails, the runs in it are told and the thread goes on with what comes next; a
run whose entry was not written takes no more, because what follows would have a gap before it.

The same thread owns the runs that it writes (`owners`): on its connection it locks the owner's name, takes runs over
and leaves them. A run is left together with what is written next.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from queue import Empty, SimpleQueue
from typing import TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from podium.orchestrator.journal.address import first_line
from podium.orchestrator.journal.owners import Owner, Taking
from podium.orchestrator.journal.tables import Cells, Line, entries, insert_cells, runs
from podium.protocols.errors import InputError, JournalError
from podium.protocols.frozen import slotted

T = TypeVar("T")

LOOK = 5.0
"""Seconds after which an idle connection, whose end would be that of the owner's lock, is looked after."""

SOON = 0.5
"""Seconds after which what could not be done is tried again."""

_insert_runs = runs.insert()
_end_runs = (
    runs.update()
    .where(runs.c.run == bindparam("ended"))
    .values(stop=bindparam("stop"), tokens=bindparam("tokens"), dollars=bindparam("dollars"), owner=None)
)
_delete = [table.delete().where(table.c.run == bindparam("replaced")) for table in (entries, runs)]


@dataclass(slots=True)
class Tail:
    """The end of a run that is being written. place: of its next entry; error: why there can be none.

    hold: of the owner's lock, during which the run is known to be its own.
    """

    place: int = 0
    error: JournalError | None = None
    hold: int = 0


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


@slotted
class Leaving:
    """A run that anybody may go on with."""

    run: str


Order = Work | Taking | Leaving | None
"""What the thread is told; None: to end."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class Writer:
    """The thread and its connection. It starts with the first work, and again with the first one after `close`.

    name: of the journal, as errors may show it. owner: of the runs. statistics: works and transactions written.
    """

    engine: Engine
    name: str
    owner: Owner
    works: int = 0
    transactions: int = 0
    _connection: Connection | None = None
    _thread: threading.Thread | None = None
    _queue: SimpleQueue[Order] = field(default_factory=SimpleQueue[Order])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: set[str] = field(default_factory=set[str])  # runs to be left with the next transaction

    def __post_init__(self) -> None:
        _writers.add(self)

    def leave(self, run: str) -> None:
        """Let anybody go on with a run, when what waits is written."""
        with self._lock:
            if self._thread is None:  # the owner's lock is free, too
                self._left.add(run)
            else:
                self._queue.put(Leaving(run))

    def put(self, work: Work | Taking) -> None:
        """Have something done, in the order it comes."""
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

    def _live(self, queue: SimpleQueue[Order]) -> None:
        going = True
        while going:
            try:
                waiting = [queue.get(timeout=self._rest())]
            except Empty:
                self._look()
                continue
            with suppress(Empty):
                while True:
                    waiting.append(queue.get_nowait())
            going = None not in waiting
            self._do(waiting)
        if self._left:
            self._look()
        self.owner.free()
        self._disconnect()

    def _rest(self) -> float | None:
        """Seconds after which something is to be done though nobody asks for it."""
        if self._left or (self.owner.may_lose_it and not self.owner.held):
            return SOON
        return LOOK if self.owner.may_lose_it else None

    def _do(self, orders: Iterable[Order]) -> None:
        works: list[Work] = []
        leaving = False
        for order in orders:
            if isinstance(order, Work):
                works.append(order)
            elif isinstance(order, Leaving):
                self._left.add(order.run)
                leaving = True
            elif order is not None:
                self._write(works)
                _tell(works)
                works = []
                self._take_over(order)
        self._write(works)
        _tell(works)
        if leaving and self._left:
            self._look()

    def _look(self) -> None:
        """Keep the owner's lock, and leave what is to be left. What cannot be done now is tried again."""

        def look(connection: Connection) -> None:
            connection.execute(text("SELECT 1"))
            self._leave(connection)
            connection.commit()
            self._left.clear()

        with suppress(Exception):
            self._connectedly(look)

    def _take_over(self, taking: Taking) -> None:
        try:
            hold = self._connectedly(lambda connection: self.owner.take_over(connection, taking))
        except Exception as error:
            taking.future.set_exception(error)
            return
        self._left.discard(taking.run)
        taking.future.set_result(hold)

    def _write(self, works: Iterable[Work]) -> None:
        """Write in one transaction, else leave the error on the tails. One run's mistake does not hurt the others."""
        works = self._writable(works)
        if not works:
            return
        try:
            self._connectedly(lambda connection: self._commit(connection, works))
            self.works += len(works)
            self.transactions += 1
            self._writable(works)  # what took too long is told to have failed
            return
        except (IntegrityError, DataError) as error:
            failure = error
            alone = len(works) == 1
        except Exception as error:  # whatever it is, the thread has to live on
            failure = error
            alone = True
        for work in works:
            if alone:
                work.tail.error = self._error(work.run, failure)
                self._left.add(work.run)
            else:
                self._write([work])

    def _writable(self, works: Iterable[Work]) -> list[Work]:
        """Works of runs that nothing has gone wrong with; the others can be gone on with by anybody."""
        out: list[Work] = []
        for work in works:
            if work.tail.error is None:
                out.append(work)
            else:
                self._left.add(work.run)
        return out

    def _commit(self, connection: Connection, works: Sequence[Work]) -> None:
        """One transaction."""
        hold = self.owner.holds
        for work in works:
            if work.head is not None:
                work.tail.hold = hold
        doubtful = {work.run for work in works if work.tail.hold != hold and not work.replaces}
        if doubtful:
            works = self._still(connection, works, doubtful)
        self._leave(connection)
        _send(connection, works, self.owner.name)
        connection.commit()
        self._left.clear()

    def _still(self, connection: Connection, works: Sequence[Work], doubtful: Collection[str]) -> list[Work]:
        """Works of runs that nobody took over while the owner had no lock."""
        ours = self.owner.still(connection, doubtful)
        for work in works:
            if work.run in ours:
                work.tail.hold = self.owner.holds
            elif work.run in doubtful:
                reason = "another process has taken it over"
                work.tail.error = JournalError(f"journal {self.name}: the run was not written: {reason}", run=work.run)
        return [work for work in works if work.tail.error is None]

    def _leave(self, connection: Connection) -> None:
        if self._left:
            self.owner.leave(connection, self._left)

    def _connectedly(self, work: Callable[[Connection], T]) -> T:
        """Do something with the connection and the owner's lock.

        A connection that died while nothing was written is noticed here, and replaced once; after any other error it
        is closed.
        """
        try:
            try:
                return work(self._connected())
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                self._disconnect()
                return work(self._connected())
        except InputError:
            raise
        except BaseException:
            self._disconnect()
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self.engine.connect()
        self.owner.hold(self._connection)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self.owner.disconnected()
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def inherited(self) -> None:
        """In a child: the thread is the parent's, and so is the connection, of which nothing must be heard any more."""
        connection, self._connection = self._connection, None
        self._thread, self._lock, self._left = None, threading.Lock(), set()
        self.owner.inherited()
        if connection is not None:
            _inherited.append(connection)
            with suppress(Exception):
                descriptor = connection.connection.driver_connection.fileno()  # pyright: ignore
                with open(os.devnull) as nothing:
                    os.dup2(nothing.fileno(), descriptor)

    def _error(self, run: str, error: Exception) -> JournalError:
        reason = first_line(error)
        if isinstance(error, IntegrityError):
            reason = f"somebody else wrote it too, or its id was used before ({reason})"
        return JournalError(f"journal {self.name}: the run was not written: {reason}", run=run)


_writers = WeakSet[Writer]()
_inherited: list[Connection] = []
"""Not even closed here: that would be felt at the other end."""


def _orphans() -> None:
    for writer in list(_writers):
        writer.inherited()


os.register_at_fork(after_in_child=_orphans)


def _send(connection: Connection, works: Sequence[Work], owner: str) -> None:
    """All rows of a transaction, in as few statements as there are kinds."""
    replaced = [{"replaced": work.run} for work in works if work.replaces]
    if replaced:
        works = _without_replaced(works)
        for statement in _delete:
            connection.execute(statement, replaced)
    heads = [work.head | {"owner": None if work.replaces else owner} for work in works if work.head is not None]
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
