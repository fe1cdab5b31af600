"""A run's way into its journal: what happened waits here until the next thing is about to happen.

So a reply and the decision that follows it share one transaction, and nothing is done on the strength of a decision
that is not durable. Where the decision takes calls of a model, the reply does not wait for it. What comes in while a
step is under way (calls that are completed, tools that are about to run and must not run twice) goes to the journal at
once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from podium.orchestrator.journal import Completed, End, Entry
from podium.protocols.errors import JournalError, RunError
from podium.protocols.events import Result
from podium.protocols.record import Begun, Call

if TYPE_CHECKING:
    from podium.orchestrator.journal import Journal


class RunLog:
    """What one run has to write."""

    __slots__ = ("_broken", "_journal", "_run", "_waiting")

    def __init__(self, journal: Journal, run: str) -> None:
        self._journal = journal
        self._run = run
        self._waiting: list[Entry] = []
        self._broken: JournalError | None = None  # why the run can be written no more; whoever tries is told the same

    def add(self, entry: Entry) -> None:
        """Have it written with what comes next."""
        self._waiting.append(entry)

    async def commit(self) -> None:
        """Have all that waits written. Raises JournalError when it, or what came before it, was not."""
        waiting, self._waiting = self._waiting, []
        await self._append(waiting)

    def flush(self) -> None:
        """Have what waits written now, since what comes next takes its time; the next commit says if it cannot be."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            with suppress(JournalError):
                self._append(waiting)

    def completed(self, directive: str, sample: int, call: Call) -> None:
        """A call of a request that goes on, or whose step does; if it cannot be written, the next commit says so."""
        with suppress(JournalError):
            self._append((Completed(directive, call, sample),))

    def begun(self, tool: Begun) -> asyncio.Future[None]:
        """A tool that must not run twice; it may run when this is done."""
        return self._append((tool,))

    def end(self, result: Result, why: str = "") -> asyncio.Future[None]:
        """The run ended; done when that is written. why: it failed. Raises JournalError where nothing can be."""
        waiting, self._waiting = self._waiting, []
        above = result.overshoot, why or result.why, result.overshoot_dollars
        end = End(result.stop, result.node, result.usage, result.seconds, result.refused, *above)
        return self._append((*waiting, end))

    async def give_up(self, error: Exception, result: Result) -> None:
        """The run failed. That it could not be written either is said beside what went wrong first."""
        try:
            await self.end(result, _why(error))
        except RunError as unwritten:
            if isinstance(error, RunError) and unwritten is not error:
                error.kept = unwritten.message
            elif unwritten is not error:
                error.add_note(unwritten.message)

    def _append(self, entries: Sequence[Entry]) -> asyncio.Future[None]:
        """Have entries written. Raises JournalError when something before them was not."""
        if self._broken is not None:
            raise self._broken
        try:
            return self._journal.append(self._run, entries)
        except JournalError as error:
            self._broken = error
            raise


def _why(error: Exception) -> str:
    """What a run failed of, in words that can be written down."""
    if isinstance(error, RunError):
        told = f"{error.agent}: {error.message}" if error.agent else error.message
    else:
        told = f"{type(error).__name__}: {error}"
    return told.encode(errors="replace").decode()
