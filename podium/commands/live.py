"""A run while it goes on: who is speaking, steps, tokens; or the answer itself, as it is written."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Self

import typer

from podium.commands.terminal import for_terminal, harmless
from podium.protocols.events import Added, Asked, Decided, Event, Piece, Result, Started
from podium.protocols.people import Question
from podium.protocols.record import Finish
from podium.protocols.words import counted

__all__ = ["Progress"]

TAIL = 60
"""Characters of what is being said that the live line shows."""


class Progress:
    """Takes a run's events. live: draw a line on standard error; stream: print the answer's pieces.

    run: the run's id, as soon as there is one. ask: takes what people are asked, and what holds the line back.
    """

    def __init__(
        self, *, live: bool, stream: bool, ask: Callable[[Question, AbstractContextManager[object]], None]
    ) -> None:
        self.run = ""
        self._ask = ask
        self._stream = stream
        self._printed = ""
        self._steps = self._tokens = 0
        self._speakers: list[str] = []
        self._tail = ""
        self._status = None
        if live:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
            self._status = self._console.status("", spinner="dots")

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status:
            self._status.stop()
        if self._printed and error is not None:
            typer.echo()  # the error begins on a line of its own

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Started():
                self.run = event.run
            case Decided():
                self._steps += 1
                action = event.decision.action
                self._speakers = [] if isinstance(action, Finish) else [directive.agent for directive in action]
                self._tail = ""
            case Piece():
                if event.answer and self._stream and len(self._speakers) == 1:
                    self._printed += event.text
                    typer.echo(for_terminal(event.text), nl=False)
                self._tail = (self._tail + event.text)[-4 * TAIL :]
            case Asked():
                self._ask(event.question, self._held())
                return
            case Added():
                self._tokens += event.node.usage.tokens
                if event.node.kind == "reply" and self._status:
                    self._say(event.node.author, event.node.content)
            case _:
                return
        self._draw()

    def answer(self, result: Result) -> None:
        """Print the answer, or what of it was not printed as it came."""
        if not self._printed:
            typer.echo(for_terminal(result.answer))
        elif result.answer.startswith(self._printed):
            typer.echo(for_terminal(result.answer[len(self._printed) :]))
        else:  # another reply than the one that was being written
            typer.echo(f"\n\n{for_terminal(result.answer)}")

    @contextmanager
    def _held(self) -> Generator[None]:
        """While somebody types, nothing is drawn."""
        if self._status:
            self._status.stop()
        yield
        if self._status:
            self._status.start()

    def _say(self, author: str, content: str) -> None:
        from rich.text import Text

        first = " ".join(harmless(content).split())
        line = Text.assemble((f"{self._steps:>3}  ", "dim"), (author, "cyan"), "  ", first)
        line.truncate(max(20, self._console.width - 1), overflow="ellipsis")
        self._console.print(line)

    def _draw(self) -> None:
        if self._status is None:
            return
        from rich.text import Text

        doing = f"{' and '.join(self._speakers)} speaking" if self._speakers else "deciding"
        line = Text.assemble((doing, "bold"), f"  {counted(self._steps, 'step')}, {counted(self._tokens, 'token')}  ")
        line.append(" ".join(harmless(self._tail).split())[-TAIL:], "dim")
        self._status.update(line)
