"""Questions to people, kept beside the runs that ask them.

A question's row is answered at most once. A run that asks again under the same id asks the same question, and has its
answer or waits for what is left of its time; or it asks another one: what was said to the old one is no answer to it,
and its time begins. A question that nobody waits with any more, because it was withdrawn or its run has ended, is not
open. One whose time was up while no process waited is: an answer is worth more than a failure.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Select, and_, or_, select, text

from podium.orchestrator.journal.tables import questions, runs
from podium.protocols.frozen import plain
from podium.protocols.people import Question, Word

__all__ = ["Kept", "answer", "ask", "opened", "withdraw", "word"]

INSERT = text(
    "INSERT INTO podium_questions (run, id, agent, text, approval, wait, asked)"
    " VALUES (:run, :id, :agent, :text, :approval, :wait, :asked) ON CONFLICT (run, id) DO NOTHING"
)
"""A question that is asked again is there already. The first statement writes: no lock has to be raised later."""


@plain
class Kept:
    """A question that is kept. word: its answer, if there is one already; left: seconds of its wait, may be over."""

    word: Word | None
    left: float


def ask(connection: Connection, question: Question) -> Kept:
    """Keep a question. One that was withdrawn is asked again, if any of its time is left."""
    now = time.time()
    row: dict[str, Any] = {
        "run": question.run,
        "id": question.id,
        "agent": question.agent,
        "text": _storable(question.text),
        "approval": int(question.approval),
        "wait": question.wait,
        "asked": now,
    }
    connection.execute(INSERT, row)
    columns = questions.c
    here = and_(columns.run == question.run, columns.id == question.id)
    other = or_(*(columns[name] != row[name] for name in ("agent", "text", "approval")))
    unsaid = {"answer": None, "approved": None, "answered": None, "withdrawn": None}
    connection.execute(questions.update().where(here, other).values(row | unsaid))
    connection.execute(questions.update().where(here, columns.withdrawn.is_not(None)).values(withdrawn=None))
    asked: float = connection.execute(select(columns.asked).where(here)).scalar_one()
    waited = max(0.0, now - asked)  # a clock may be set back
    return Kept(word(connection, question.run, question.id), question.wait - waited)


def word(connection: Connection, run: str, id: str) -> Word | None:
    """What was answered, if anything was."""
    columns = questions.c
    query = select(columns.answer, columns.approved).where(
        columns.run == run, columns.id == id, columns.answered.is_not(None)
    )
    row = connection.execute(query).first()
    return None if row is None else Word(row.answer, bool(row.approved))


def answer(connection: Connection, question: Question, said: Word) -> bool:
    """Answer a question; False: it is not there, or no longer this one, or was answered or withdrawn before."""
    columns = questions.c
    change = questions.update().where(
        columns.run == question.run,
        columns.id == question.id,
        columns.text == _storable(question.text),
        columns.answered.is_(None),
        columns.withdrawn.is_(None),
    )
    values = {"answer": _storable(said.text), "approved": int(said.approved), "answered": time.time()}
    return connection.execute(change.values(values)).rowcount == 1


def withdraw(connection: Connection, run: str, id: str) -> Word | None:
    """Nobody waits any more; an answer that came at the last moment stands, and is returned."""
    columns = questions.c
    change = questions.update().where(columns.run == run, columns.id == id, columns.answered.is_(None))
    connection.execute(change.values(withdrawn=time.time()))
    return word(connection, run, id)


def opened(team: str | None) -> Select[*tuple[Any, ...]]:
    """Questions that wait, of one team or (None) of all, the oldest first."""
    columns = questions.c
    query = (
        select(columns.run, columns.id, columns.agent, columns.text, columns.approval, columns.wait)
        .join(runs, runs.c.run == columns.run)
        .where(columns.answered.is_(None), columns.withdrawn.is_(None), runs.c.stop == "unfinished")
        .order_by(columns.asked)
    )
    return query if team is None else query.where(runs.c.team == team)


def _storable(text: str) -> str:
    """PostgreSQL's text holds no zero."""
    return text.replace("\0", "\ufffd")
