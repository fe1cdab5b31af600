"""Progress of work that is counted in runs, on standard error: a line that counts, or one plain line per name."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import typer

__all__ = ["Counting"]


class Counting:
    """live: a terminal is there to count on; elsewhere each name is told as its runs begin."""

    def __init__(self, verb: str, *, live: bool) -> None:
        self._verb = verb
        self._count = 0
        self._name = ""
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

    def begin(self, name: str) -> None:
        """Something else is worked on now."""
        self._name, self._count = name, 0
        if self._status is None:
            typer.echo(f"{self._verb} {name} ...", err=True)
        self._show()

    def one(self, name: str) -> None:
        """One run of this name is done."""
        if name != self._name:
            self.begin(name)
        self._count += 1
        if self._count % 10 == 0:
            self._show()

    def _show(self) -> None:
        if self._status is not None:
            self._status.update(f"{self._verb} {self._name}" + (f": {self._count:,} runs" if self._count else " ..."))
