"""Progress of work that is counted in runs, shown on a terminal's standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

__all__ = ["Counting"]


class Counting:
    """A line that counts. live: False shows nothing."""

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
        self._show()

    def one(self, name: str) -> None:
        """One run of this name is done."""
        if name != self._name:
            self._name, self._count = name, 0
        self._count += 1
        if self._count % 10 == 0:
            self._show()

    def _show(self) -> None:
        if self._status is not None:
            self._status.update(f"{self._verb} {self._name}" + (f": {self._count:,} runs" if self._count else " ..."))
