"""Locks that last as long as the process that took them: who can take one knows that its owner is gone.

No clock is asked, so a process that stands still for an hour is not taken for dead, and one that was killed is dead at
once. Beside an SQLite file lies a second one, `FILE-owners`, which stays empty: an owner has locked the byte whose
number is its name (POSIX record locks, as SQLite itself uses them: the kernel lets go of them when the process ends,
and a child does not inherit them, so it cannot keep a dead parent's alive). Nothing in it is ever stale. In PostgreSQL
it is an advisory lock of the session that writes: when the server has given it up, that session writes no more.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

from sqlalchemy import Connection, Engine, func, select

__all__ = ["FileLocks", "Locks", "ServerLocks", "locks_of"]


class Locks(Protocol):
    """The locks of one journal's place. An owner is named by at most 15 hexadecimal digits.

    in_session: a lock is lost with the connection it was taken on.
    """

    in_session: bool

    def take(self, owner: str, connection: Connection) -> bool:
        """Lock an owner's name for this process; False: somebody else has it, or just looks."""
        ...

    def free(self) -> None:
        """Let go of what was taken last, unless that is the session's own."""
        ...

    def watched(self, owner: str, connection: Connection) -> AbstractContextManager[bool]:
        """Whether an owner lives. One that does not cannot come back meanwhile, nor before the transaction ends."""
        ...


@dataclass(slots=True, eq=False)
class _File:
    """A file of locks that is open in this process, once: to close it anywhere lets go of all that is locked in it."""

    descriptor: int
    held: set[int] = field(default_factory=set[int])


class _Files:
    """Those of this process, by device and inode."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.open: dict[tuple[int, int], _File] = {}

    def at(self, path: str) -> _File | None:
        """The file of a path, if it is open here already."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        return self.open.get((found.st_dev, found.st_ino))

    def opened(self, path: str, mode: int) -> _File:
        """The file of a path, made where it is missing. mode: who else may use it."""
        file = self.at(path)
        if file is None:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                with suppress(PermissionError):
                    os.fchmod(descriptor, mode)  # whoever may write the database, whatever the umask is
            except FileExistsError:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            found = os.fstat(descriptor)
            file = self.open[found.st_dev, found.st_ino] = _File(descriptor)
        return file

    def closed(self, file: _File) -> None:
        """Close a file in which this process has locked nothing any more."""
        if not file.held:
            self.open = {key: each for key, each in self.open.items() if each is not file}
            os.close(file.descriptor)

    def inherited(self) -> None:
        """In a child: the locks are the parent's."""
        files = self.open.values()
        self.lock, self.open = Lock(), {}
        for file in files:
            os.close(file.descriptor)


_files = _Files()
os.register_at_fork(after_in_child=_files.inherited)


class FileLocks:
    """Beside an SQLite file."""

    in_session = False

    def __init__(self) -> None:
        self._mine: tuple[_File, int] | None = None

    def take(self, owner: str, connection: Connection) -> bool:
        """As `Locks` says. Raises OSError where the file cannot be made or locked."""
        place, number = _beside(connection), int(owner, 16)
        with _files.lock:
            file = _files.opened(place, os.stat(place.removesuffix(BESIDE)).st_mode & 0o777)
            try:
                fcntl.lockf(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):
                _files.closed(file)
                return False
            file.held.add(number)
            self._mine = file, number
            return True

    def free(self) -> None:
        """As `Locks` says."""
        mine, self._mine = self._mine, None
        if mine is None:
            return
        file, number = mine
        with _files.lock:
            if file not in _files.open.values():  # a parent's
                return
            fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, number)
            file.held.discard(number)
            _files.closed(file)

    @contextmanager
    def watched(self, owner: str, connection: Connection) -> Generator[bool]:
        """As `Locks` says; makes no file."""
        place, number = _beside(connection), int(owner, 16)
        with _files.lock:  # within a process record locks do not know each other
            file = _files.at(place)
            if file is not None and number in file.held:
                yield True
                return
            try:
                descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC) if file is None else file.descriptor
            except FileNotFoundError:
                yield False
                return
            try:
                try:
                    fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, number)
                except (BlockingIOError, PermissionError):
                    yield True
                    return
                try:
                    yield False
                finally:
                    fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, number)
            finally:
                if file is None:
                    os.close(descriptor)


BESIDE = "-owners"


def _beside(connection: Connection) -> str:
    """Where the locks of a database are, whichever way led to it: SQLite says which file it has open."""
    for _, name, file in connection.exec_driver_sql("PRAGMA database_list"):
        if name == "main":
            return f"{Path(file).resolve()}{BESIDE}"
    raise OSError("SQLite does not say which file it has open")


class ServerLocks:
    """Of a PostgreSQL server, in the session that writes."""

    in_session = True

    def take(self, owner: str, connection: Connection) -> bool:
        """As `Locks` says. It outlasts the transaction. Raises what SQLAlchemy does."""
        return bool(connection.execute(select(func.pg_try_advisory_lock(int(owner, 16)))).scalar())

    def free(self) -> None:
        """The session's end does."""

    @contextmanager
    def watched(self, owner: str, connection: Connection) -> Generator[bool]:
        """As `Locks` says: several may look at once, and hold it until their transaction ends."""
        free = connection.execute(select(func.pg_try_advisory_xact_lock_shared(int(owner, 16)))).scalar()
        yield not free


def locks_of(engine: Engine) -> Locks:
    """The locks of a journal's place."""
    return FileLocks() if engine.dialect.name == "sqlite" else ServerLocks()
