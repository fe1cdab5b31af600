"""What runs ask people, on the console: told, and answered there when somebody sits at it.

Questions are put one after another, and each is read for only while its run waits with it: the answer to one can
never be taken for the answer to another. What was typed before a question was shown is no answer to it, and is
dropped.
"""

from __future__ import annotations

import asyncio
import os
import select
import shlex
import sys
import termios
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from podium.commands.terminal import harmless
from podium.protocols.errors import InputError, RunError
from podium.protocols.people import Question, Word

if TYPE_CHECKING:
    from podium.orchestrator.team import Team

__all__ = ["Console", "in_words"]

T = TypeVar("T")

LOOK = 0.1
"""Seconds between two looks at the keyboard, and at whether the question still waits."""

LINE = 4096
"""Bytes that a terminal gives at once at most: a line."""


def in_words(question: Question) -> str:
    """A question with what is needed to answer it. Its text may hold codes that a terminal would obey."""
    asked = "approve or refuse" if question.approval else f"{question.agent} asks"
    return f"run {question.run}, question {question.id}, {asked}:\n{question.text}"


class Console:
    """Where a run's questions go: to whoever sits at the terminal, else into a note on standard error.

    seated: somebody sits there. where: how `podium runs answer` is told the journal; None: there is none.
    """

    def __init__(self, team: Team, *, where: str | None) -> None:
        self.seated = sys.stdin.isatty() and sys.stderr.isatty()
        self._team = team
        self._where = where
        self._put: deque[tuple[Question, AbstractContextManager[object]]] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """A run's result; the terminal is read for no longer than it takes.

        Cancelled while it waits for a person, a run that is kept is left as it is: raises RunPaused.
        """
        run = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            if self._asking is not None:
                self._asking.cancel()
            if not self._team.people.leave():
                run.cancel()
            return await run
        finally:
            if self._asking is not None:
                await asyncio.wait((self._asking,))

    def __call__(self, question: Question, paused: AbstractContextManager[object]) -> None:
        """Tell a question, and take the answer if there is somebody. paused: holds the live line back meanwhile.

        Called in the run's event loop.
        """
        if not self.seated:
            typer.echo(f"{in_words(question)}\n{self.elsewhere(question)}", err=True)
            return
        self._put.append((question, paused))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._in_turn())

    async def _in_turn(self) -> None:
        while self._put:
            question, paused = self._put.popleft()
            with paused:
                await self._ask(question)

    async def _ask(self, question: Question) -> None:
        people, keyboard = self._team.people, _Keyboard()
        if not people.waits(question):
            return
        typer.echo(f"\n{harmless(in_words(question))}", err=True)
        try:
            word = await self._word(question, keyboard)
            if word is None:
                typer.echo("\nit is not asked any more", err=True)
                return
            await asyncio.to_thread(people.give, question, word)
        except EOFError:
            typer.echo(f"\nnot answered; {self.elsewhere(question)}", err=True)
        except (InputError, RunError) as error:
            typer.echo(f"not answered: {error}", err=True)

    async def _word(self, question: Question, keyboard: _Keyboard) -> Word | None:
        """What the person says, asked again until it is an answer; None: nobody waits for it any more."""
        from podium.orchestrator.people import said

        while True:
            typer.echo("yes, or no and why? " if question.approval else "your answer: ", err=True, nl=False)
            line = await keyboard.line(lambda: self._team.people.waits(question))
            if line is None:
                return None
            try:
                if not question.approval:
                    return said(question, line)
                first, _, why = line.partition(" ")
                first = first.rstrip(",.:").lower()
                return said(question, why.strip(), yes=first in ("y", "yes"), no=first in ("n", "no"))
            except InputError as error:
                typer.echo(harmless(str(error)), err=True)

    def elsewhere(self, question: Question) -> str:
        """How a question is answered that is not answered here."""
        if self._where is None:
            return "nobody can answer it elsewhere: the run keeps no journal"
        given = "--yes or --no" if question.approval else '"TEXT"'
        which = f"{question.run} --question {shlex.quote(question.id)}"
        return f"answer it with: podium runs answer {which} {given}{self._where}"


class _Keyboard:
    """The lines that are typed at the terminal from now on.

    They are read when they are there: a thread that waits inside `input` could be ended by nobody, and would take the
    next question's answer, or Python with it when that ends.
    """

    def __init__(self) -> None:
        self._keys = sys.stdin.fileno()
        self._typed = b""
        self._forget()

    async def line(self, wanted: Callable[[], bool]) -> str | None:
        """The next line; None as soon as it is not wanted any more. Raises EOFError when no more can come."""
        while b"\n" not in self._typed:
            there = select.select([self._keys], [], [], 0)[0]
            if not wanted():
                self._forget()
                return None
            if not there:
                await asyncio.sleep(LOOK)
                continue
            try:
                typed = os.read(self._keys, LINE)
            except OSError:  # the terminal is gone
                typed = b""
            if not typed:
                raise EOFError
            self._typed += typed
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode(errors="surrogateescape").strip()

    def _forget(self) -> None:
        with suppress(termios.error):
            termios.tcflush(self._keys, termios.TCIFLUSH)
