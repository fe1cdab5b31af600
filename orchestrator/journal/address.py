"""Where a journal is: its URL, how it is opened, and how errors may name it.

Two settings may stand in the query of the URL. `synchronous=normal` gives up the last commits when the machine loses
power, and none when the process dies, for commits that wait for no disk (SQLite: PRAGMA synchronous; PostgreSQL:
synchronous_commit off, which a dying server counts as lost power). `timeout=SECONDS` is the longest wait for a lock,
a connection or a statement.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Literal, TypeVar, cast
from urllib.parse import quote

from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from podium.protocols.errors import InputError, MissingExtra

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds that a lock, a connection or a statement is waited for, unless the URL says otherwise."""

PROBES = 3
"""Unanswered keep-alive probes after which a PostgreSQL server counts as gone."""


@dataclass(frozen=True, slots=True)
class Address:
    """A journal's place. name: the URL as errors may show it; timeout: seconds."""

    url: URL
    name: str
    synchronous: Literal["full", "normal"]
    timeout: float

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a URL. Raises InputError for what no journal can be kept at."""
        name = masked(url)
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise InputError(f"journal {name}: cannot be opened: {first_line(error)}") from None
        query = dict(parsed.query)
        synchronous, timeout = query.get("synchronous", "full"), query.get("timeout", TIMEOUT)
        if synchronous not in {"full", "normal"}:
            raise InputError(f"journal {name}: synchronous={synchronous}: write full or normal")
        try:
            seconds = float(cast(str, timeout))
        except (TypeError, ValueError):
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise InputError(f"journal {name}: timeout={timeout}: write seconds, more than 0")
        parsed = parsed.difference_update_query(["synchronous", "timeout"])
        if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
            raise InputError(f"journal {name}: a database in memory keeps nothing; write sqlite:///FILE")
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        return cls(parsed, name, cast(Literal["full", "normal"], synchronous), seconds)

    def engine(self) -> Engine:
        """Connections to it, each opened when asked for and closed after use. Where nothing can be written, a SQLite
        file is read as it is.

        Raises MissingExtra without the driver for PostgreSQL; what SQLAlchemy and the file system raise, else.
        """
        lite, url = self.url.get_backend_name() == "sqlite", self.url
        if lite:
            file = Path(str(url.database))
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.is_file() and not os.access(file.parent, os.W_OK):  # SQLite writes beside it, even to read
                only = {"mode": "ro", "uri": "true"}
                if not Path(f"{file}-wal").exists():  # nobody writes, and nothing waits there to be read
                    only["immutable"] = "1"
                url = url.set(database=f"file:{quote(str(file))}").update_query_dict(only)
        options: dict[str, Any] = {"timeout": self.timeout, "check_same_thread": False} if lite else self._patience()
        style = {} if lite else {"paramstyle": "format"}  # by position, like SQLite's
        try:
            engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=options, **style)
        except ModuleNotFoundError as error:
            if self.url.drivername == "postgresql+psycopg":
                raise MissingExtra("a journal in PostgreSQL", "postgres", str(error.name)) from None
            raise
        event.listen(engine, "connect", self._lite if lite else self._server)
        return engine

    def _patience(self) -> dict[str, Any]:
        """How long a PostgreSQL server may be silent (libpq's connection parameters)."""
        seconds = max(2, round(self.timeout))  # libpq waits for two at least
        return {
            "connect_timeout": seconds,
            "tcp_user_timeout": round(1000 * self.timeout),
            "keepalives_idle": seconds,
            "keepalives_interval": max(1, seconds // PROBES),
            "keepalives_count": PROBES,
        }

    def _lite(self, connection: Any, _: object) -> None:
        # For this lock SQLite itself does not always wait: of two who change the mode at once, one fails without delay.
        tries = Retrying(
            retry=retry_if_exception(_busy),
            wait=wait_random(0, 0.02),
            stop=stop_after_delay(self.timeout),
            reraise=True,
        )
        tries(connection.execute, "PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self.synchronous}")

    def _server(self, connection: Any, _: object) -> None:
        connection.autocommit = True
        wait = round(1000 * self.timeout)
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {setting} = {wait}")
        connection.execute(f"SET synchronous_commit = {'off' if self.synchronous == 'normal' else 'on'}")
        # So that the server, too, knows soon of a machine that is gone; and keeps a session that has nothing to say.
        for setting, value in self._patience().items():
            if setting.startswith("keepalives_"):
                connection.execute(f"SET tcp_{setting} = {value}")
        connection.execute("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'")
        connection.autocommit = False


def _busy(error: BaseException) -> bool:
    """Whether SQLite says, in whichever extended form, that somebody else holds a lock."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def masked(url: str) -> str:
    """A URL as errors may show it: no password, no home folder spelled out."""
    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        shown = re.sub(r":[^:@/]*@", ":***@", url)
    shown = re.sub(r"\b(password=)[^&]*", r"\1***", shown)
    return shown.replace(os.path.expanduser("~"), "~")


def first_line(error: BaseException) -> str:
    """What an error says, without the statement it came from."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(told).strip() or type(told).__name__).split("\n")[0]


def within(seconds: float, work: Callable[[], T]) -> T:
    """What work returns or raises; TimeoutError where it takes longer: a frozen server obeys no timeout of its own."""
    done = Future[T]()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name="podium-journal-read", daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"it took more than {seconds:g} seconds") from None
