"""What runs ask people, on the console: told, and answered there when somebody sits at it."""

from __future__ import annotations

import sys
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import typer

from podium.commands.terminal import for_terminal
from podium.protocols.errors import InputError, RunError
from podium.protocols.people import Question

if TYPE_CHECKING:
    from podium.orchestrator.team import Team

__all__ = ["Console", "in_words"]


def in_words(question: Question) -> str:
    """A question with what is needed to answer it."""
    asked = "approve or refuse" if question.approval else f"{question.agent} asks"
    return f"run {question.run}, question {question.id}, {asked}:\n{for_terminal(question.text)}"


class Console:
    """Where a run's questions go: to whoever sits at the terminal, else into a note on standard error.

    where: how `podium runs answer` is told the journal; None: there is none. quiet: says nothing of what is going on.
    """

    def __init__(self, team: Team, *, where: str | None) -> None:
        self._team = team
        self._where = where
        self._seated = sys.stdin.isatty() and sys.stderr.isatty()

    def __call__(self, question: Question, paused: AbstractContextManager[object]) -> None:
        """Tell a question, and take the answer if there is somebody. paused: holds the live line back meanwhile."""
        if self._seated:
            threading.Thread(target=self._ask, args=(question, paused), daemon=True).start()
            return
        how = "nobody can answer it: the run keeps no journal, and no terminal is here"
        if self._where is not None:
            given = "--yes or --no" if question.approval else '"TEXT"'
            how = f"answer it with: podium runs answer {question.run} {given}{self._where}"
        typer.echo(f"{in_words(question)}\n{how}", err=True)

    def _ask(self, question: Question, paused: AbstractContextManager[object]) -> None:
        with paused:
            typer.echo(f"\n{in_words(question)}", err=True)
            while True:
                try:
                    self._take(question)
                    return
                except InputError as error:
                    typer.echo(str(error), err=True)
                except (EOFError, RunError) as error:
                    typer.echo(f"not answered: {error}", err=True)
                    return

    def _take(self, question: Question) -> None:
        typer.echo("yes, or no and why? " if question.approval else "your answer: ", err=True, nl=False)
        line = input().strip()
        if not question.approval:
            self._team.answer(question.run, line, id=question.id)
            return
        first, _, why = line.partition(" ")
        said = first.rstrip(",.:").lower()
        yes, no = said in ("y", "yes"), said in ("n", "no")
        self._team.answer(question.run, why.strip(), yes=yes, no=no, id=question.id)
