"""The people of a team: questions that runs wait with, and the words that end the waiting.

A question is written to the journal before anybody is asked, and so is its answer. So it outlives the process: it is
answered whether or not the run is under way, from this process or another, and a run that is resumed finds the answer,
or waits for what is left of the question's time since it was first asked. Without a journal it lives as long as the
process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podium.protocols.errors import InputError, JournalError, NobodyAnswered, RunPaused
from podium.protocols.people import Question, Word

if TYPE_CHECKING:
    from podium.orchestrator.journal import Journal

__all__ = ["People", "said"]

LOG = logging.getLogger("podium.people")

SOON, LATE = 0.5, 5.0
"""Seconds between two looks into the journal for an answer that another process took: first, and after a while."""

Key = tuple[str, str]
"""Of a question: its run and its id."""


@dataclass(slots=True)
class _Waiting:
    """A question that a run of this process waits with."""

    question: Question
    loop: asyncio.AbstractEventLoop
    word: asyncio.Future[Word]


class People:
    """Whoever may be asked by the runs of one team.

    journal: where questions are kept; None: in memory. team: whose questions these are; None: all of the journal.
    absent: why nobody can be asked; empty: somebody can.
    """

    def __init__(self, journal: Journal | None, team: str | None = None) -> None:
        self.absent = ""
        self._journal = journal
        self._team = team
        self._lock = threading.Lock()  # answers come from any thread
        self._waiting: dict[Key, _Waiting] = {}
        self._leaving = False

    async def ask(self, question: Question, asked: Callable[[], None]) -> Word:
        """Wait for a person's word. asked: called once the question can be answered.

        Raises NobodyAnswered when none came in time or nobody can be asked, JournalError when the question cannot be
        kept, and RunPaused when the process stops. The wait of a question that an earlier life of the run asked goes
        on where it was: if it is over, nobody is asked again.
        """
        if self.absent:
            raise NobodyAnswered(f"there is nobody to ask: {self.absent}", run=question.run, agent=question.agent)
        left = question.wait
        if self._journal is not None:
            kept = await asyncio.to_thread(self._journal.ask, question)
            if kept.word is not None:
                return kept.word
            left = kept.left
        loop, key = asyncio.get_running_loop(), (question.run, question.id)
        waiting = _Waiting(question, loop, loop.create_future())
        with self._lock:
            if self._leaving:
                raise _paused(question)
            self._waiting[key] = waiting
        try:
            if left > 0:
                asked()
            word = await self._heard(waiting, left)
            if word is None:
                word = await self._taken_back(waiting)
        finally:
            with self._lock:
                self._waiting.pop(key, None)
        if word is None:
            who = "no person said yes or no" if question.approval else "no person answered"
            raise NobodyAnswered(f"{who} within {question.wait:g} seconds", run=question.run, agent=question.agent)
        return word

    async def _heard(self, waiting: _Waiting, wait: float) -> Word | None:
        """The word, as soon as it is there; None: it was not in time. wait: seconds."""
        question, journal = waiting.question, self._journal
        ends, pause, deaf = time.monotonic() + wait, SOON, False
        while (left := ends - time.monotonic()) > 0:
            await asyncio.wait((waiting.word,), timeout=left if journal is None else min(left, pause))
            if waiting.word.done():
                return waiting.word.result()
            if journal is not None:
                try:
                    word, deaf = await asyncio.to_thread(journal.word, question.run, question.id), False
                except JournalError as error:  # a day is long: a journal that is gone for a while is not the end
                    word = None
                    if not deaf:
                        LOG.warning("%s; the answer is looked for again and again", error, extra={"run": question.run})
                    deaf = True
                if word is not None:
                    return word
            pause = min(LATE, pause * 1.2)
        return None

    async def _taken_back(self, waiting: _Waiting) -> Word | None:
        """Nobody waits any more; the word that came at the last moment, if one did."""
        question = waiting.question
        if self._journal is None:
            with self._lock:
                given = self._waiting.pop((question.run, question.id), None) is None
            return await waiting.word if given else None
        try:
            return await asyncio.to_thread(self._journal.withdraw, question.run, question.id)
        except JournalError as error:
            LOG.warning("%s; the question is not withdrawn", error, extra={"run": question.run})
            return None

    def questions(self) -> list[Question]:
        """Those that wait for an answer, the oldest first; with a journal, also those of other processes.

        Raises InputError when the journal cannot be read.
        """
        if self._journal is not None:
            return self._journal.questions(self._team)
        with self._lock:
            return [waiting.question for waiting in self._waiting.values()]

    def waits(self, question: Question) -> bool:
        """Whether a run of this process waits with the question, as far as it knows."""
        with self._lock:
            return (question.run, question.id) in self._waiting

    def answer(
        self, run: str, text: str = "", *, yes: bool = False, no: bool = False, id: str | None = None
    ) -> Question:
        """Answer a question; which one that was. Thread-safe.

        run: its id, or the beginning; id: which question, where several wait. yes, no: whether a tool call that needs
        a yes has it; the text is then why, and may be left out.

        Raises InputError when no such question waits or this is no answer to it, JournalError when it is not kept.
        """
        question = chosen(self.questions(), run, id)
        self.give(question, said(question, text, yes=yes, no=no))
        return question

    def give(self, question: Question, word: Word) -> None:
        """Answer a question as it was read: of two answers, one is taken. Thread-safe.

        Raises InputError when it waits no more, or was replaced by another one, JournalError when the answer is not
        kept.
        """
        if self._journal is not None:
            self._journal.answer(question, word)
        key = question.run, question.id
        with self._lock:
            waiting = self._waiting.get(key)
            here = waiting is not None and waiting.question == question
            if here:
                del self._waiting[key]
        if waiting is not None and here:
            waiting.loop.call_soon_threadsafe(_settle, waiting.word, word)
        elif self._journal is None:
            raise InputError(f"question {question.id} of run {question.run} waits no more: it was answered")

    def leave(self) -> bool:
        """The process stops: runs that wait for a person end with RunPaused, and their questions stay. Thread-safe.

        So do runs that would wait from now on. False: none waits, or none can, since nothing keeps the question.
        """
        if self._journal is None:
            return False
        with self._lock:
            self._leaving = True
            left = list(self._waiting.values())
        for waiting in left:
            waiting.loop.call_soon_threadsafe(_settle, waiting.word, _paused(waiting.question))
        return bool(left)


def said(question: Question, text: str = "", *, yes: bool = False, no: bool = False) -> Word:
    """What a person said to a question. yes, no: as in `People.answer`.

    Raises InputError when this is no answer to it.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("the answer is not text in UTF-8") from None
    if question.approval and yes == no:
        raise InputError(f"say yes or no, one of the two: {question.text}")
    if not question.approval and (yes or no):
        raise InputError(f"this is no question of yes or no, but of words: {question.text}")
    if not question.approval and not text.strip():
        raise InputError(f"the answer is empty; {question.agent} asks: {question.text}")
    return Word(text, not no)


def chosen(questions: list[Question], run: str, id: str | None = None) -> Question:
    """The question of a run, by its id or the beginning of it. Raises InputError where none or several fit."""
    fitting = [each for each in questions if each.run.startswith(run) and id in (None, each.id)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(f"{each.id} (run {each.run})" for each in fitting)
        raise InputError(f"several questions wait there: {names}; say which one")
    waiting = ", ".join(f"{each.id} (run {each.run})" for each in questions) or "none"
    what = f"no question {id} of run {run}" if id else f"no question of run {run}"
    raise InputError(f"{what} waits for an answer; waiting: {waiting}")


def _paused(question: Question) -> RunPaused:
    return RunPaused(f"run {question.run}: stopped while it waits for a person; the question is kept", question.run)


def _settle(word: asyncio.Future[Word], given: Word | RunPaused) -> None:
    if word.done():
        return
    if isinstance(given, Word):
        word.set_result(given)
    else:
        word.set_exception(given)
