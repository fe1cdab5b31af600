"""Runs that have no end, gone on with in bulk: what a process that died has left, or a server that was stopped.

A run that another process has under way is left to it (`journal.owners`). A run that is stopped here has no end either,
and waits for the next time.

They go on a few at a time: what piled up while nobody served would fall upon the models all at once. Who waits for a
person is no load, and keeps nobody waiting: once a run has asked, the next one begins, and the answer finds it as any
other run.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, PodiumError, RunPaused
from podium.protocols.events import Asked, Event, Result

__all__ = ["LeftOver", "Resuming", "command", "gone_on", "left_over"]

LOG = logging.getLogger("podium.server")

AT_ONCE = 8
"""Runs that a server goes on with at once, those that wait for a person not counted."""


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A team's runs that have no end and that its journal does not have under way, the oldest first.

    runs: those that it can go on with. changed: begun before its file was changed. elsewhere: under way in another
    process, or for another journal of this one.
    """

    runs: list[str]
    changed: list[str]
    elsewhere: list[str]


def left_over(team: Team) -> LeftOver:
    """What a team has left.

    Raises InputError for a team that keeps no journal, or one that cannot be read.
    """
    journal = team.journal
    if journal is None:
        raise InputError(f"team {team.name} keeps no journal, and so no runs to go on with: name one in its file")
    heads = [head for head in journal.unfinished(team.name) if not journal.under_way(head.run)]
    elsewhere = journal.elsewhere(team.name) if heads else set[str]()
    free = [head for head in heads if head.run not in elsewhere]
    ours = ("", team.spec.digest)
    return LeftOver(
        [each.run for each in free if each.digest in ours],
        [each.run for each in free if each.digest not in ours],
        [each.run for each in heads if each.run in elsewhere],
    )


async def gone_on(team: Team, run: str, emit: Callable[[Event], None] | None = None) -> Result:
    """As `Team.aresume`; but a run that is cancelled is left as it is, without an end."""
    work = asyncio.ensure_future(team.aresume(run, emit=emit))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if team.journal is not None:
            team.journal.leave(run)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        raise


def command(team: Team, run: str) -> str:
    """How a run of a team is resumed by hand."""
    by_hand = f"podium runs resume {shlex.quote(str(team.spec.source or 'TEAM.yaml'))} {run}"
    return by_hand if team.spec.journal else f"{by_hand} (it looks into the journal that the file names)"


class Resuming:
    """What a server goes on with in the background. at_once: so many runs, besides those that wait for a person."""

    def __init__(self, teams: Mapping[str, Team], at_once: int = AT_ONCE) -> None:
        self._teams = teams
        self._places = asyncio.Semaphore(at_once)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def begin(self) -> None:
        """Go on with all runs of the teams. A journal that cannot be read is told, and keeps nobody from serving."""
        for team in self._teams.values():
            try:
                found = await asyncio.to_thread(left_over, team)
            except InputError as error:
                LOG.error("%s: no run is resumed: %s", team.name, error)
                continue
            for run in found.elsewhere:
                LOG.warning("%s: run %s is not resumed: it is under way in another process", team.name, run)
            for run in found.changed:
                LOG.warning("%s: run %s is not resumed: the team's file was changed since it began", team.name, run)
            for run in found.runs:
                if run not in self._under_way:
                    self._begin(team, run)

    async def answered(self, team: Team, run: str) -> bool:
        """Go on with a run whose question was answered; False: it cannot be."""
        if run in self._under_way:
            return True
        try:
            runs = (await asyncio.to_thread(left_over, team)).runs
        except InputError as error:
            LOG.error("%s: run %s is not resumed: %s", team.name, run, error)
            return False
        if run in runs and run not in self._under_way:
            self._begin(team, run)
        return run in self._under_way

    async def leave(self) -> None:
        """Stop; runs that are under way are left as they are."""
        tasks: Sequence[asyncio.Task[None]] = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, team: Team, run: str) -> None:
        task = self._under_way[run] = asyncio.get_running_loop().create_task(self._go_on(team, run))
        task.add_done_callback(lambda _: self._under_way.pop(run))

    async def _go_on(self, team: Team, run: str) -> None:
        about = {"event": "run.resumed", "run": run}
        place = _Place(self._places)
        try:
            await place.taken()
            LOG.info("%s: run %s goes on", team.name, run, extra=about)
            result = await gone_on(team, run, place.heard)
            LOG.info("%s: run %s %s, %d steps", team.name, run, result.stop, result.steps, extra=about)
        except asyncio.CancelledError:
            LOG.info("%s: run %s is left as it is, and can be resumed", team.name, run, extra=about)
            raise
        except RunPaused as paused:
            LOG.info("%s: %s", team.name, paused, extra=about)
        except PodiumError as error:
            LOG.warning("%s: %s", team.name, error, extra=about)
        except Exception:
            LOG.exception("%s: run %s failed", team.name, run, extra=about)
        finally:
            place.free()


class _Place:
    """One of those that a server has for runs that it goes on with."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._has_one = False

    async def taken(self) -> None:
        """Wait for it."""
        await self._places.acquire()
        self._has_one = True

    def heard(self, event: Event) -> None:
        """Of the run: once it waits for a person, it needs the place no more."""
        if isinstance(event, Asked):
            self.free()

    def free(self) -> None:
        """It is somebody else's, if it was taken."""
        if self._has_one:
            self._has_one = False
            self._places.release()
