"""The engine: tasks in, results out, for any number of runs at once.

What a run does stands in `run_loop`, and how it ends here: answered, out of time, cancelled or failed, and in each case
with its record, and with the journal told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Literal

from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.deciding import Decider
from podium.orchestrator.journal import ResumeState
from podium.orchestrator.last_turn import last_turn
from podium.orchestrator.leases import Leases
from podium.orchestrator.retrying import PATIENT, Retry
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.run_loop import Run
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Bus, Card
from podium.protocols.errors import RunError, RunPaused
from podium.protocols.events import Event, Result, Stop
from podium.protocols.frozen import frozen
from podium.protocols.people import WayToPeople
from podium.protocols.task import Task


@frozen
class Settings:
    """How one run is run. seed: of the coordinator's sampling; reply_seed: of the models', None leaves it to them."""

    seed: int = 0
    reply_seed: int | None = None
    mode: Literal["sample", "greedy"] | None = None
    preference: float | None = None
    limits: Limits | None = None


DEFAULTS = Settings()

NO_SHARES: Mapping[str, Limits] = MappingProxyType({})
NO_TIMEOUTS: Mapping[str, float] = MappingProxyType({})


class Orchestrator:
    """Runs tasks with one team: a bus with agents on it, a coordinator, a topology and limits.

    limits: of each run; shares: the most that an agent may use of them; pool: what all runs together may use;
    timeouts: seconds that a request to an agent may take. people: the way to a person; None: nobody can be asked.
    wind_down: the agent that writes the best answer so far when a run can go on no more; its call is set aside. known:
    cards of the agents that were there when the team was made, also of those that left.
    Immutable, but for what the pool has paid; any number of runs share it.
    """

    def __init__(
        self,
        name: str,
        bus: Bus,
        coordinator: Coordinator,
        topology: Topology,
        limits: Limits,
        *,
        mode: Literal["sample", "greedy"] = "greedy",
        preference: float | None = None,
        retry: Retry = PATIENT,
        shares: Mapping[str, Limits] = NO_SHARES,
        pool: Budget | None = None,
        timeouts: Mapping[str, float] = NO_TIMEOUTS,
        people: WayToPeople | None = None,
        wind_down: str | None = None,
        known: Mapping[str, Card] | None = None,
    ) -> None:
        self.name = name
        self.bus = bus
        self.coordinator = coordinator
        self.topology = topology
        self.limits = limits
        self.mode: Literal["sample", "greedy"] = mode
        self.preference = preference
        self.retry = retry
        self.shares = shares
        self.pool = pool
        self.timeouts = timeouts
        self.people = people
        self.wind_down = wind_down
        self.known = {card.name: card for card in bus.cards()} if known is None else known
        self._decider = Decider(coordinator)

    def led_by(self, coordinator: Coordinator) -> Orchestrator:
        """The same team under another coordinator."""
        return Orchestrator(
            self.name,
            self.bus,
            coordinator,
            self.topology,
            self.limits,
            mode=self.mode,
            preference=self.preference,
            retry=self.retry,
            shares=self.shares,
            pool=self.pool,
            timeouts=self.timeouts,
            people=self.people,
            wind_down=self.wind_down,
            known=self.known,
        )

    def within(self, cards: Sequence[Card]) -> dict[str, tuple[Budget, ...]]:
        """Budgets, besides a run's own, that each of these agents' requests fall under in a new run."""
        if not self.shares and self.pool is None:
            return {}
        pool = () if self.pool is None else (self.pool,)
        return {
            card.name: (*((Budget(self.shares[card.name], metered=True),) if card.name in self.shares else ()), *pool)
            for card in cards
        }

    def winds_down(self, task: Task, limits: Limits | None = None) -> bool:
        """Whether a run of this task has a last turn set aside. limits: of the run, instead of the team's."""
        if self.wind_down is None:
            return False
        cards, size = self.bus.cards(), sum(len(message.content) for message in task.messages)
        leases = Leases(Budget(limits or self.limits), cards, size, self.within(cards))
        there = any(card.name == self.wind_down for card in cards)
        held = there and last_turn(self.wind_down, cards, leases) is not None
        leases.close()
        return held

    async def run(
        self,
        task: Task,
        settings: Settings = DEFAULTS,
        *,
        id: str,
        emit: Callable[[Event], None] | None = None,
        log: RunLog | None = None,
        before: ResumeState | None = None,
    ) -> Result:
        """Work one task.

        log: where the run is written as it happens; nothing is done before the decision to do it is durable.
        before: what an earlier life of the run left; it goes on from there, and no completed call is made again.

        Raises RunError (or a kind of it) with the run's id when there is no answer to give; the record up to there is
        on the error as `partial`. When the caller cancels, it is the only argument of the CancelledError. What could
        not be written is a JournalError; where there is an answer all the same, it is on the error as `partial`. What
        `emit` raises ends the run, too. RunPaused alone does not: the run can be resumed.
        """
        work = Run(self, self._decider, task, settings, id, emit, log)
        work.clock.begin()
        try:
            if before is not None:
                work.restore(before)
            try:
                result = await work.clock.limit(work.loop())
            except TimeoutError:
                if not work.clock.expired:
                    raise
                result = await work.time_up()
        except RunPaused:
            raise
        except asyncio.CancelledError as error:
            result = _broken_off(work, "cancelled")
            if log:
                with suppress(RunError):
                    log.end(result)  # who is cancelled should not wait again: the journal writes it all the same
            error.args = (result,)
            raise
        except Exception as error:  # a RunError, or whatever a watcher or a model raises: the run has ended in any case
            result = _broken_off(work, "failed")
            if isinstance(error, RunError):
                error.run = error.run or id
                error.kept = error.kept or work.record.kept()
                error.partial = result
            if log:
                try:
                    await log.give_up(error, result)
                except asyncio.CancelledError as cancelled:
                    cancelled.args = (result,)
                    raise
            raise
        finally:
            work.leases.close()
            work.clock.end()
        if log:
            try:
                await log.end(result)
            except RunError as error:
                error.partial, error.kept = result, "the answer is on the error, as `partial`"
                raise
            except asyncio.CancelledError as error:  # too late: it has ended, and its end is written all the same
                error.args = (result,)
                raise
        return result


def _broken_off(work: Run, stop: Stop) -> Result:
    """A run that breaks off, as it stands. Who watches it is told, unless that is what fails."""
    try:
        return work.result(stop, None)
    except Exception:
        work.emit = None
        return work.result(stop, None)
