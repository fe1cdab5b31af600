"""Progress of work that is counted in runs, on standard error: a line that counts, or one plain line per name.

Fitting takes far more runs than measuring what was fitted, and may cost as much more: it is told as well, with dollars.
How many runs it takes is not known beforehand; the time left is that of measuring alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import typer

from podium.commands.terminal import dollars, remaining

__all__ = ["Counting"]

LINE_EVERY = 1000
"""Runs of a fitting between two lines where there is no terminal to count on."""


class Counting:
    """live: a terminal is there to count on; elsewhere each name is told as its runs begin. clock: seconds."""

    def __init__(self, verb: str, *, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._verb = self._now = verb
        self._count = 0
        self._name = ""
        self._spent = 0.0
        self._clock = clock
        self._expected = self._done = 0
        self._busy = self._since = 0.0
        self._status = None
        if live:
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False).status("")

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def expect(self, runs: int) -> None:
        """So many runs are to be made in all, fitting aside."""
        self._expected = runs

    def begin(self, name: str) -> None:
        """Something else is worked on now."""
        self._begin(self._verb, name)
        self._since = self._clock()

    def one(self, name: str) -> None:
        """One run of this name is done."""
        if (self._now, self._name) != (self._verb, name):
            self.begin(name)
        self._count += 1
        self._done += 1
        now = self._clock()
        self._busy, self._since = self._busy + now - self._since, now
        if self._count % 10 == 0:
            self._show()

    def fit(self, name: str, spent: float) -> None:
        """Its fitting begins, or one run of it is done. spent: dollars so far."""
        if (self._now, self._name) != ("fitting", name):
            self._begin("fitting", name, spent)
            return
        self._count, self._spent = self._count + 1, spent
        if self._count % 10 == 0:
            self._show()
        if self._status is None and self._count % LINE_EVERY == 0:
            typer.echo(self._line(), err=True)

    def _begin(self, verb: str, name: str, spent: float = 0.0) -> None:
        self._now, self._name, self._count, self._spent = verb, name, 0, spent
        if self._status is None:
            typer.echo(f"{verb} {name} ...", err=True)
        self._show()

    def _show(self) -> None:
        if self._status is not None:
            from rich.markup import escape

            self._status.update(escape(self._line()))

    def _line(self) -> str:
        if not self._count:
            return f"{self._now} {self._name} ..."
        spent = f", {dollars(self._spent)}" if self._spent else ""
        left = f", {self._left()}" if self._now == self._verb and self._done < self._expected else ""
        return f"{self._now} {self._name}: {self._count:,} runs{spent}{left}"

    def _left(self) -> str:
        """How much measuring is left: runs, and the time they take at the pace so far."""
        runs = self._expected - self._done
        return f"{runs:,} to go, about {remaining(runs * self._busy / self._done)}"
