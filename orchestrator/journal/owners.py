"""A run that is under way has one owner: the journal that writes it, in one process.

The name of its owner stands in the run's row, written with its head. It is worth what the owner's lock is (`locks`):
who finds that nobody holds it may put its own name there instead, by compare-and-swap while it keeps that lock from
being taken, and so alone goes on with the run. A journal that had lost its lock for a while (its server was restarted,
or it was closed and is used again) looks once, before it writes a run again, whether that is still its own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from dataclasses import field

from sqlalchemy import Connection, func, or_, select

from podium.orchestrator.journal.locks import Locks
from podium.orchestrator.journal.tables import entries, runs
from podium.protocols.errors import InputError
from podium.protocols.frozen import slotted

__all__ = ["Owner", "Taking", "living", "under_way"]

BYTES = 7
"""Of a name: a lock's number has 63 bits at most."""

_here = set[str]()
"""Owners of this process."""
os.register_at_fork(after_in_child=_here.clear)


@slotted
class Taking:
    """A run to be taken over, as it was read. owner: who had it; place: of its next entry.

    future: done when it is; which hold of the new owner that was.
    """

    run: str
    owner: str | None
    place: int
    future: Future[int] = field(default_factory=Future[int])


class Owner:
    """Who writes the runs of one journal. Only for the thread that writes.

    name: empty before it first held its lock. holds: how often it took it; held: whether it has it.
    """

    def __init__(self, locks: Locks) -> None:
        self.name = ""
        self.holds = 0
        self.held = False
        self._locks = locks

    @property
    def may_lose_it(self) -> bool:
        """Whether the lock is the connection's, and so has to be looked after."""
        return self._locks.in_session and bool(self.name)

    def hold(self, connection: Connection) -> None:
        """Have the lock.

        Where the old name cannot be locked, because a dead session has not let go of it or somebody just looks at it,
        the runs that are its own still get a new one. Raises OSError, and what SQLAlchemy does.
        """
        if self.held:
            return
        if not (self.name and self._locks.take(self.name, connection)):
            name = secrets.token_hex(BYTES)
            if not self._locks.take(name, connection):
                raise OSError("the lock of a new owner is taken")  # 56 random bits
            if self.name:
                theirs = runs.update().where(runs.c.owner == self.name, runs.c.stop == "unfinished")
                connection.execute(theirs.values(owner=name))
                connection.commit()
            self.name = name
            _here.add(name)
        self.held = True
        self.holds += 1

    def disconnected(self) -> None:
        """The connection is gone."""
        self.held = self.held and not self._locks.in_session

    def free(self) -> None:
        """Let go of the lock: what is unfinished may be taken over."""
        self._locks.free()
        self.held = False

    def inherited(self) -> None:
        """In a child: another owner."""
        self.name, self.held = "", False

    def still(self, connection: Connection, given: Collection[str]) -> set[str]:
        """Which of some runs are its own."""
        query = select(runs.c.run).where(runs.c.run.in_(given), runs.c.owner == self.name)
        return set(connection.execute(query).scalars())

    def take_over(self, connection: Connection, taking: Taking) -> int:
        """Take a run over, in a transaction of its own; how often the lock was taken by then.

        Raises InputError where its owner lives, or where it was written after it was read.
        """
        self.hold(connection)
        before, run = taking.owner, taking.run
        if before is None or before == self.name:
            self._swap(connection, taking)
        else:
            with self._locks.watched(before, connection) as lives:
                if lives:
                    connection.rollback()
                    raise under_way(run, before)
                self._swap(connection, taking)
        return self.holds

    def _swap(self, connection: Connection, taking: Taking) -> None:
        before, run = taking.owner, taking.run
        free = or_(runs.c.owner.is_(None), runs.c.owner == before)
        change = runs.update().where(runs.c.run == run, runs.c.stop == "unfinished", free).values(owner=self.name)
        changed = connection.execute(change).rowcount == 1
        last = connection.execute(select(func.max(entries.c.place)).where(entries.c.run == run)).scalar()
        if not changed or last is None or last + 1 != taking.place:
            connection.rollback()
            raise InputError(f"run {run} is under way in another process, or was until now: nothing was done here")
        connection.commit()

    def leave(self, connection: Connection, given: Iterable[str]) -> None:
        """Anybody may go on with these runs. It is not committed."""
        here = runs.c.run.in_(list(given))
        connection.execute(runs.update().where(here, runs.c.owner == self.name).values(owner=None))


def living(locks: Locks, connection: Connection, owners: Iterable[str]) -> set[str]:
    """Those owners that live; each is asked once."""
    out = set[str]()
    for owner in set(owners):
        with locks.watched(owner, connection) as lives:
            if lives:
                out.add(owner)
    return out


def under_way(run: str, owner: str | None = None) -> InputError:
    """A run cannot be gone on with. owner: who has it under way; None: whoever says this."""
    if owner is None or owner in _here:
        return InputError(f"run {run} is under way in this process")
    return InputError(f"run {run} is under way in another process; it can be resumed when that one has ended")
