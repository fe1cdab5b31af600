"""Runs that have no end, gone on with in bulk: what a process that died has left, or a server that was stopped.

Only who is asked to does so: a run that is under way in another process looks just like one that was cut off, and of
two processes that go on with one run, the one that writes later fails. A run that is stopped here has no end either,
and waits for the next time.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Mapping, Sequence

from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, PodiumError, RunPaused
from podium.protocols.events import Result

__all__ = ["Resuming", "command", "gone_on", "left_over"]

LOG = logging.getLogger("podium.server")


def left_over(team: Team) -> tuple[list[str], list[str]]:
    """A team's runs that have no end and are not under way in this process, the oldest first: those that it can go on
    with, and those that it began before its file was changed.

    Raises InputError for a team that keeps no journal, or one that cannot be read.
    """
    journal = team.journal
    if journal is None:
        raise InputError(f"team {team.name} keeps no journal, and so no runs to go on with: name one in its file")
    heads = [head for head in journal.unfinished(team.name) if not journal.under_way(head.run)]
    ours = ("", team.spec.digest)
    return [each.run for each in heads if each.digest in ours], [each.run for each in heads if each.digest not in ours]


async def gone_on(team: Team, run: str) -> Result:
    """As `Team.aresume`; but a run that is cancelled is left as it is, without an end."""
    work = asyncio.ensure_future(team.aresume(run))
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
    """What a server goes on with in the background: all of it at once, as if it had just been asked."""

    def __init__(self, teams: Mapping[str, Team]) -> None:
        self._teams = teams
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def begin(self) -> None:
        """Go on with all runs of the teams. A journal that cannot be read is told, and keeps nobody from serving."""
        for team in self._teams.values():
            try:
                runs, changed = await asyncio.to_thread(left_over, team)
            except InputError as error:
                LOG.error("%s: no run is resumed: %s", team.name, error)
                continue
            for run in changed:
                LOG.warning("%s: run %s is not resumed: the team's file was changed since it began", team.name, run)
            for run in runs:
                self._begin(team, run)

    async def answered(self, team: Team, run: str) -> bool:
        """Go on with a run whose question was answered; False: it cannot be."""
        if run in self._under_way:
            return True
        try:
            runs, _ = await asyncio.to_thread(left_over, team)
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
        LOG.info("%s: run %s goes on", team.name, run, extra=about)
        try:
            result = await gone_on(team, run)
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
