"""Many runs at once through the engine that serves: the only way training ever gets a trajectory.

Where a model judges the answers, it is asked as the runs end, many at once: whoever scores them afterwards does not
wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from typing import Literal

from podium.agents.model import Model, Prompt, Wrapped
from podium.agents.reply_cache import SpendingCap
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.engine import Orchestrator, Settings
from podium.protocols.errors import BudgetExceeded, RunError, TaskError
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.record import Generation, Sampling
from podium.protocols.task import Task, Verdict
from podium.protocols.words import counted

PAUSE = 0.05
"""Seconds until a run that the cap had no room for begins again."""

Scored = Literal["answer", "replies", "nothing"]
"""What of a run is going to be scored: its answer, every reply too, or nothing."""

_REFUSED: ContextVar[list[BudgetExceeded] | None] = ContextVar("refused", default=None)
"""What a cap refused the run under way here: a run may end with the best answer so far and keep it to itself."""


@dataclass(slots=True)
class Tally:
    """What becomes of runs. runs: that ended; failed: those of them that count as wrong because they failed.

    cap: of the models' spending; done: is called after each run; first: the first failure.
    """

    cap: Cap | None = None
    done: Callable[[], None] | None = None
    runs: int = 0
    failed: int = 0
    first: RunError | None = None

    def count(self, error: RunError | None) -> None:
        """One run more; error: what it failed of."""
        self.runs += 1
        if error is not None:
            self.failed += 1
            self.first = self.first or error
        if self.done:
            self.done()

    @property
    def share(self) -> float:
        """Share of the runs that failed."""
        return self.failed / max(1, self.runs)

    @property
    def words(self) -> str:
        """How many failed, and what the first one failed of; empty where none did."""
        if self.first is None:
            return ""
        agent = f"agent {self.first.agent}: " if self.first.agent else ""
        runs = counted(self.runs, "run")
        what = "failed and counts as wrong" if self.failed == 1 else "failed and count as wrong"
        return f"{self.failed:,} of {runs} {what}; the first: {agent}{self.first.message}"


_TALLY: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def tallied(tally: Tally) -> Generator[None]:
    """Count all runs that are made inside, and cap them: fitting goes through hands that need not know who counts."""
    token = _TALLY.set(tally)
    try:
        yield
    finally:
        _TALLY.reset(token)


class Cap(SpendingCap):
    """A spending cap that remembers what it refused, since a run that fails of it says nothing about the team.

    refusal: the first call that did not fit what is left. crowded: calls that would have fitted, had others not
    reserved their worst case at that moment: they may be tried again.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        self.refusal: BudgetExceeded | None = None
        self.crowded: list[BudgetExceeded] = []

    def reserve(self, dollars: float) -> None:
        """Set aside the worst case of a call. Raises BudgetExceeded, before anything is spent."""
        with self._lock:
            try:
                super().reserve(dollars)
            except BudgetExceeded as error:
                if self.spent + dollars <= self.limit and self.reserved > 0:
                    self.crowded.append(error)
                else:
                    self.refusal = self.refusal or error
                refused = _REFUSED.get()
                if refused is not None:
                    refused.append(error)
                raise

    def passing(self, error: BaseException) -> bool:
        """Whether an error was a crowded call's; it is forgotten by asking."""
        with self._lock:
            found = any(each is error for each in self.crowded)
            self.crowded = [each for each in self.crowded if each is not error]
        return found


class Patient(Wrapped):
    """A model outside of runs, such as a judge, that waits while the cap is only crowded."""

    def __init__(self, model: Model, cap: Cap) -> None:
        super().__init__(model)
        self.cap = cap

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """As the model, later. Raises BudgetExceeded when the cap does not hold the call, and what the model raises."""
        while True:
            try:
                async for item in self.model.generate(prompt, sampling):
                    yield item
                return
            except BudgetExceeded as error:
                if not self.cap.passing(error):
                    raise
            await asyncio.sleep(PAUSE)


class Rollouts:
    """Runs a team over tasks.

    concurrency: runs under way at once; more of them fill the models' batches better. cap: of the models' spending: a
    run that it has no room for yet begins again a little later. strict: once the cap refuses a call, all runs end.
    scored: what a judge is asked about, where the tasks have one. tally: what becomes of the runs; that of `tallied`,
    inside of it.
    """

    def __init__(
        self,
        team: Orchestrator,
        *,
        concurrency: int = 512,
        cap: Cap | None = None,
        strict: bool = True,
        scored: Scored = "answer",
    ) -> None:
        self.team = copy(team)
        self.team.people = None  # a run among thousands has nobody to ask, and would wait for a day
        self.tally = _TALLY.get() or Tally()
        self.cap = cap or self.tally.cap
        self.strict = strict
        self.concurrency = concurrency
        self.scored: Scored = scored

    async def run(
        self,
        coordinator: Coordinator | None,
        tasks: Sequence[Task],
        *,
        seeds: Sequence[int],
        settings: Callable[[int, int], Settings] | None = None,
        teams: Sequence[Orchestrator] | None = None,
        done: Callable[[], None] | None = None,
    ) -> list[Result]:
        """One run for each task and each seed, task by task: result [t * len(seeds) + s].

        coordinator: None takes the team's own. settings: (task, seed's place) -> how to run it; by default greedy,
        replies seeded by the seed. teams: who works each task, in place of the team. A run that fails counts with the
        record it had. Raises the first RunError when every run failed; BudgetExceeded when the cap refuses a call, and
        what a judge raises, at once.
        """
        works = [self.team] * len(tasks) if teams is None else teams
        if coordinator is not None:
            led = {id(team): team.led_by(coordinator) for team in works}  # one each: it decides for many runs at once
            works = [led[id(team)] for team in works]
        gate = asyncio.Semaphore(self.concurrency)
        failures: list[RunError] = []

        async def one(place: int, which: int) -> Result:
            failed = None
            chosen = settings(place, which) if settings else repeatable(tasks[place], seeds[which])
            async with gate:
                try:
                    result = await self._in_turn(works[place], tasks[place], chosen, f"{place}-{seeds[which]}")
                except RunError as error:
                    if self.strict and self.cap is not None and self.cap.refusal is not None:
                        raise self.cap.refusal from None
                    if not isinstance(error.partial, Result):
                        raise
                    failures.append(error)
                    failed, result = error, error.partial
            if self.scored != "nothing":
                await judge_ahead(result, replies=self.scored == "replies")
            self.tally.count(failed)
            if done:
                done()
            return result

        work = [asyncio.ensure_future(one(place, which)) for place in range(len(tasks)) for which in range(len(seeds))]
        try:
            results = await asyncio.gather(*work)
        except BaseException:
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            raise
        if failures and len(failures) == len(results):
            raise failures[0]
        return results

    async def _in_turn(self, team: Orchestrator, task: Task, settings: Settings, id: str) -> Result:
        """One run, again and again while the cap is only crowded: also one that made do without the call."""
        cap = self.cap
        if cap is None:
            return await team.run(task, settings, id=id)
        while True:
            refused: list[BudgetExceeded] = []
            token = _REFUSED.set(refused)
            try:
                result = await team.run(task, settings, id=id)
            except BudgetExceeded as error:
                if not _all_passing(cap, refused or [error]):
                    raise
            else:
                if not refused:
                    return result
                if not _all_passing(cap, refused):
                    if self.strict and cap.refusal is not None:
                        raise cap.refusal
                    return result
            finally:
                _REFUSED.reset(token)
            await asyncio.sleep(PAUSE)


def _all_passing(cap: Cap, refused: Sequence[BudgetExceeded]) -> bool:
    """Whether a cap was only crowded, each time that it refused."""
    return sum(map(cap.passing, refused)) == len(refused)  # every one is asked, which forgets it


def repeatable(task: Task, seed: int) -> Settings:
    """Settings under which a run is the same whenever and beside whatever it is repeated.

    The seed comes from the task's text, so that relabelling tasks changes nothing.
    """
    return Settings(seed_of("decisions", seed, task.text), seed_of("replies", seed, task.text) & 0xFFFFFFFF)


async def judge_ahead(result: Result, *, replies: bool = False) -> None:
    """Until what is going to be scored of a run is judged. replies: each of them, not only the answer."""
    if result.task.ahead is None:
        return
    texts = {result.answer} if result.node else set[str]()
    if replies:
        texts |= {node.content for node in result.nodes if node.kind == "reply"}
    await asyncio.gather(*map(result.task.ahead, texts))


def judged(task: Task, answer: str) -> Verdict:
    """The task's verdict on a text. Raises TaskError where the task cannot judge it."""
    try:
        return task.score(answer)
    except LookupError as error:
        raise TaskError(f"task {task.id}: {error}") from error


def score(result: Result) -> float:
    """The task's score of a run's answer, 0 for a run that ended without one."""
    return judged(result.task, result.answer).score if result.node else 0.0


def passed(result: Result) -> bool:
    """Whether a run's answer is correct; a run without an answer is not."""
    return bool(result.node) and judged(result.task, result.answer).passed
