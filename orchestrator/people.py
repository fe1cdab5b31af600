"""The people of a team: questions that runs wait with, and the words that end the waiting.

A question is written to the journal before anybody is asked, and so is its answer. So it outlives the process: it is
answered whether or not the run is under way, from this process or another, and a run that is resumed finds the answer.
Without a journal it lives as long as the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from podium.orchestrator.journal import Journal
from podium.protocols.errors import InputError, NobodyAnswered
from podium.protocols.people import Question, Word

__all__ = ["People"]

SOON, LATE = 0.5, 5.0
"""Seconds between two looks into the journal for an answer that another process took: first, and after a while."""


@dataclass(slots=True)
class _Waiting:
    """A question that a run of this process waits with."""

    question: Question
    loop: asyncio.AbstractEventLoop
    word: asyncio.Future[Word]


class People:
    """Whoever may be asked by the runs of one team. journal: where questions are kept; None: in memory."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._waiting: dict[tuple[str, str], _Waiting] = {}

    async def ask(self, question: Question, asked: Callable[[], None]) -> Word:
        """Wait for a person's word. asked: called once the question can be answered.

        Raises NobodyAnswered when none came in time, and JournalError when the question cannot be kept.
        """
        loop = asyncio.get_running_loop()
        key = question.run, question.id
        if self._journal is not None:
            said = await asyncio.to_thread(self._journal.ask, question)
            if said is not None:
                return said
        waiting = self._waiting[key] = _Waiting(question, loop, loop.create_future())
        asked()
        ends, pause = time.monotonic() + question.wait, SOON
        try:
            while (left := ends - time.monotonic()) > 0:
                done, _ = await asyncio.wait((waiting.word,), timeout=min(left, pause if self._journal else left))
                if done:
                    return waiting.word.result()
                if self._journal is not None and (said := await asyncio.to_thread(self._journal.word, *key)):
                    return said
                pause = min(LATE, pause * 1.2)
        finally:
            del self._waiting[key]
        if self._journal is not None:
            await asyncio.to_thread(self._journal.withdraw, *key)
        who = "no person said yes or no" if question.approval else "no person answered"
        raise NobodyAnswered(f"{who} within {question.wait:g} seconds", run=question.run, agent=question.agent)

    def questions(self) -> list[Question]:
        """Those that wait for an answer, the oldest first; with a journal, also those of other processes."""
        if self._journal is not None:
            return self._journal.questions()
        return [waiting.question for waiting in self._waiting.values()]

    def answer(
        self, run: str, text: str = "", *, yes: bool = False, no: bool = False, id: str | None = None
    ) -> Question:
        """Answer a question; which one that was. Thread-safe.

        run: its id, or the beginning; id: which question, where several wait. yes, no: whether a tool call that needs
        a yes has it; the text is then why, and may be left out.

        Raises InputError when no such question waits or this is no answer to it, JournalError when it is not kept.
        """
        question = chosen(self.questions(), run, id)
        if question.approval and yes == no:
            raise InputError(f"say yes or no, one of the two: {question.text}")
        if not question.approval and (yes or no):
            raise InputError(f"this is no question of yes or no, but of words: {question.text}")
        if not question.approval and not text.strip():
            raise InputError(f"the answer is empty; {question.agent} asks: {question.text}")
        word = Word(text, not no)
        if self._journal is not None:
            self._journal.answer(question, word)
        waiting = self._waiting.get((question.run, question.id))
        if waiting is not None:
            waiting.loop.call_soon_threadsafe(_settle, waiting.word, word)
        return question


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


def _settle(word: asyncio.Future[Word], said: Word) -> None:
    if not word.done():
        word.set_result(said)
