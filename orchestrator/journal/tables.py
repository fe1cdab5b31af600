"""The tables of a journal, and the way from those of earlier versions to these.

`podium_entries` is the truth: append-only, one row per entry, in the order they were written. `podium_runs` is what
lists of runs are sorted and filtered by, and could be made again from it, but for who has a run under way.
`podium_questions` holds what people are asked and what they said, until it is part of an entry. `podium_journal` says
in which form all of them are. Opening a journal brings it to the present form; one transaction, so that it is in one
form or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import NoSuchTableError

from podium.orchestrator.journal.entries import FORM as ENTRY_FORM
from podium.orchestrator.journal.entries import End, Entry, Head, encode
from podium.orchestrator.journal.reading import entries_of
from podium.protocols.errors import InputError
from podium.protocols.saved import from_json

FORM = 4
"""Of the tables. 1: a table `runs` with one JSON row per finished run. 2: without questions. 3: without owners of runs.
4: those below."""

LOCK = 0x506F6469
"""Key of the PostgreSQL advisory lock under which tables are made."""

Cells = list[str | int]
"""Rows of `podium_entries`, one behind the other: run, place, kind, form of the entry, its JSON."""

Line = dict[str, Any]
"""Of `podium_runs`, by column; or a part of one."""

tables = MetaData()
journal = Table("podium_journal", tables, Column("form", Integer, nullable=False))
runs = Table(
    "podium_runs",
    tables,
    Column("run", Text, primary_key=True),
    Column("team", Text, nullable=False),
    Column("started", Float, nullable=False),
    Column("task", Text, nullable=False),
    Column("stop", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("dollars", Float, nullable=False),
    Column("owner", Text),  # of a run under way (`owners`)
    Index("podium_runs_started", "started"),
    Index("podium_runs_stop", "stop", "started"),
)
entries = Table(
    "podium_entries",
    tables,
    Column("run", Text, primary_key=True),
    # Two writers of one run cannot both write a place: whoever comes second learns that it is not alone.
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("form", SmallInteger, nullable=False),
    Column("body", Text, nullable=False),
)
questions = Table(
    "podium_questions",
    tables,
    Column("run", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("approval", Integer, nullable=False),
    Column("wait", Float, nullable=False),
    Column("asked", Float, nullable=False),
    Column("answer", Text),
    Column("approved", Integer),
    Column("answered", Float),
    Column("withdrawn", Float),
)


def cells_of(run: str, place: int, given: Iterable[Entry]) -> Cells:
    """Rows of `podium_entries`, from a place on. Raises ValueError for text that is not Unicode."""
    out: Cells = []
    for entry in given:
        kind, body = encode(entry)
        out += (run, place, kind, ENTRY_FORM, body)
        place += 1
    return out


def insert_cells(connection: Connection, cells: Cells) -> None:
    """Write rows of `podium_entries`, past the half of SQLAlchemy that turns dictionaries into tuples."""
    if not cells:
        return
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    columns = entries.columns.keys()
    statement = f"INSERT INTO {entries.name} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))})"
    connection.exec_driver_sql(statement, list(zip(*[iter(cells)] * len(columns), strict=True)))


def listed(head: Head) -> Line:
    """The row of `podium_runs` while a run has no end."""
    task = head.messages[-1].content.replace("\0", "\ufffd")  # PostgreSQL's text holds no zero
    row = {"run": head.run, "team": head.team, "started": head.started, "task": task}
    return row | {"stop": "unfinished", "tokens": 0, "dollars": 0.0, "owner": None}


def ended(end: End) -> Line:
    """What changes in that row when it has one."""
    return {"stop": end.stop, "tokens": end.usage.tokens, "dollars": end.usage.dollars}


def prepare(engine: Engine, name: str) -> None:
    """Make the tables, or bring those that are there to the present form.

    Raises InputError for a form that only a later version reads, and what SQLAlchemy raises.
    """
    with engine.connect() as connection:
        if _form(connection) == FORM:
            return
        connection.rollback()
        lite = engine.dialect.name == "sqlite"
        connection.execute(text("BEGIN IMMEDIATE" if lite else f"SELECT pg_advisory_xact_lock({LOCK})"))
        form = _form(connection)  # again: another process may have been faster
        if form > FORM:
            raise InputError(
                f"journal {name}: it is in form {form}; this version of Podium reads form {FORM}: install a newer one"
            )
        tables.create_all(connection)
        for old in range(form or FORM, FORM):
            _migrations[old](connection)
        connection.execute(journal.delete())
        connection.execute(journal.insert().values(form=FORM))
        connection.commit()


def _form(connection: Connection) -> int:
    """The form of what is there: 0 where there is nothing yet."""
    found = inspect(connection)
    if found.has_table(journal.name):
        return connection.execute(select(journal.c.form)).scalar() or 0
    try:
        old = {column["name"] for column in found.get_columns("runs")}
    except NoSuchTableError:  # it never was there, or another process has just moved it
        return 0
    return 1 if {"run", "record"} <= old else 0


def _from_one_row_per_run(connection: Connection) -> None:
    """Form 1 to 2. A row that cannot be read stays in the old table, which goes when it is empty."""
    names: Sequence[str] = connection.execute(text("SELECT run FROM runs")).scalars().all()
    for name in names:
        record = connection.execute(text("SELECT record FROM runs WHERE run = :run"), {"run": name}).scalar_one()
        try:
            given = entries_of(from_json(record))
            head, end = given[0], given[-1]
            assert isinstance(head, Head)
            assert isinstance(end, End)
        except (InputError, AssertionError):
            continue
        connection.execute(runs.insert(), listed(head) | ended(end))
        insert_cells(connection, cells_of(name, 0, given))
        connection.execute(text("DELETE FROM runs WHERE run = :run"), {"run": name})
    if not connection.execute(text("SELECT count(*) FROM runs")).scalar_one():
        connection.execute(text("DROP TABLE runs"))


def _with_questions(connection: Connection) -> None:
    """Form 2 to 3: another table, which is there by now."""


def _with_owners(connection: Connection) -> None:
    """Form 3 to 4: nobody owns what is there, so that it can be gone on with."""
    if "owner" not in {column["name"] for column in inspect(connection).get_columns(runs.name)}:
        connection.execute(text("ALTER TABLE podium_runs ADD COLUMN owner TEXT"))


_migrations: dict[int, Callable[[Connection], None]] = {
    1: _from_one_row_per_run,
    2: _with_questions,
    3: _with_owners,
}
