"""Where finished runs are kept: one row a run, in SQLite by default or PostgreSQL by URL.

The row holds the run's record as versioned JSON, and beside it what lists are sorted and filtered by.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Float, Integer, MetaData, Select, String, Table, Text, create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from podium.protocols.errors import InputError, RunError
from podium.protocols.saved import SavedRun, from_json, to_json

DEFAULT = "sqlite:///.podium/runs.db"
"""Where the command line keeps runs of a team whose file names no journal; relative to the working directory."""

_tables = MetaData()
_runs = Table(
    "runs",
    _tables,
    Column("run", String(64), primary_key=True),
    Column("team", String(64), index=True),
    Column("started", Float, index=True),
    Column("task", Text),
    Column("stop", String(16)),
    Column("tokens", Integer),
    Column("dollars", Float),
    Column("record", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list of runs. started: seconds since the epoch."""

    run: str
    team: str
    started: float
    task: str
    stop: str
    tokens: int
    dollars: float


class Journal:
    """The runs kept behind one URL.

    Raises InputError for a URL that leads nowhere, RunError when a run cannot be written.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
                Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(parsed)
            _tables.create_all(self._engine)
        except (ArgumentError, SQLAlchemyError, ModuleNotFoundError, OSError) as error:
            reason = str(error).split("\n")[0]
            raise InputError(f"journal {_masked(url)}: cannot be opened: {reason}") from None

    def save(self, run: SavedRun) -> None:
        """Keep a run; a run that is there already is replaced. Raises RunError when it cannot be written."""
        try:
            row = {
                "run": run.run,
                "team": run.team,
                "started": run.started,
                "task": run.task,
                "stop": run.stop,
                "tokens": run.usage.tokens,
                "dollars": run.usage.dollars,
                "record": to_json(run).decode(),
            }
            with self._engine.begin() as connection:
                connection.execute(_runs.delete().where(_runs.c.run == run.run))
                connection.execute(_runs.insert().values(**row))
        except (SQLAlchemyError, ValueError) as error:  # ValueError: text that is not Unicode, such as half a character
            reason = str(error).split("\n")[0]
            raise RunError(f"journal {_masked(self.url)}: the run was not written: {reason}", run=run.run) from None

    def load(self, run: str) -> SavedRun:
        """A kept run, by its id or the beginning of it. Raises InputError when none or several match."""
        found = self._read(
            select(_runs.c.run, _runs.c.record).where(_runs.c.run.startswith(run, autoescape=True)).limit(5)
        )
        exact = [record for name, record in found if name == run]
        if exact or len(found) == 1:
            return from_json(exact[0] if exact else found[0][1])
        if found:
            raise InputError(f"several runs begin with {run!r}: {', '.join(name for name, _ in found)}")
        newest = ", ".join(entry.run for entry in self.entries(3)) or "none"
        raise InputError(f"no run {run!r} in {_masked(self.url)}; the newest are: {newest}")

    def entries(self, most: int = 20) -> list[Entry]:
        """The newest runs first."""
        columns = (_runs.c.run, _runs.c.team, _runs.c.started, _runs.c.task, _runs.c.stop, _runs.c.tokens)
        rows = self._read(select(*columns, _runs.c.dollars).order_by(_runs.c.started.desc()).limit(most))
        return [Entry(*row) for row in rows]

    def _read(self, query: Select[*tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        try:
            with self._engine.connect() as connection:
                return [tuple(row) for row in connection.execute(query)]
        except SQLAlchemyError as error:
            reason = str(error).split("\n")[0]
            raise InputError(f"journal {_masked(self.url)}: cannot be read: {reason}") from None

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def _masked(url: str) -> str:
    """The URL as errors may show it: no password, no home folder spelled out."""
    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        shown = url
    return shown.replace(os.path.expanduser("~"), "~")
