"""A team, ready to run: agents on a bus under a coordinator, from one file.

Immutable and shared by any number of runs. Everything may be awaited (`arun`, `astream`) or called plainly (`run`,
`stream`); the plain form keeps one event loop of its own, so that connections live from call to call.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from podium.agents.model import Model
from podium.agents.providers import build_model
from podium.orchestrator.asked import Ask, check_settings, task_of
from podium.orchestrator.budget import Limits
from podium.orchestrator.budget_spec import ShareSpec
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinator_spec import LearnedSpec, LLMSpec
from podium.orchestrator.coordinators import build_coordinator
from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.journal import Head, ResumeState
from podium.orchestrator.members import agents_of, limits, models_of, own_voices, pool_of
from podium.orchestrator.model_spec import HumanModel
from podium.orchestrator.people import People
from podium.orchestrator.retrying import Retry
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.team_file import FINISH, TeamSpec, load_team
from podium.orchestrator.telemetry.logs import PLACE, Place, told
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Answerer, MemoryBus
from podium.protocols.errors import InputError, RunError, RunPaused
from podium.protocols.events import Event, Result
from podium.protocols.people import Question
from podium.protocols.task import Task

if TYPE_CHECKING:
    from podium.orchestrator.journal import Journal
    from podium.orchestrator.telemetry.watch import Telemetry

T = TypeVar("T")
LOG = logging.getLogger("podium.team")
CLOSING = 3.0
"""Seconds that models and telemetry may take to be closed: who has the answer should not wait for long."""


class Team:
    """A team of agents under a coordinator.

    spec: what it was made from. models: by name. journal: where runs are kept as they happen, None keeps none.
    telemetry: what watches its runs, None: nothing does, and nothing is wrapped.
    """

    def __init__(
        self,
        spec: TeamSpec,
        models: Mapping[str, Model],
        *,
        coordinator: Coordinator | None = None,
        journal: Journal | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        if coordinator is not None and not hasattr(coordinator, "decide"):
            raise InputError(f"coordinator: expected one that decides, found {coordinator!r}")
        self.spec = spec
        self.models = models
        self.journal = journal
        self.telemetry = telemetry
        guarded = models_of(spec, models, telemetry)
        self.agents = agents_of(spec, guarded, telemetry)
        names = tuple(self.agents)
        self.people = People(journal, spec.name)
        asks = any(isinstance(model, HumanModel) for model in spec.models.values())
        retry = Retry(spec.retry.attempts, spec.retry.wait, spec.retry.longest)
        steered = spec.coordinator if isinstance(spec.coordinator, LearnedSpec | LLMSpec) else None
        self._bus = MemoryBus(self.agents)
        self.orchestrator = Orchestrator(
            spec.name,
            self._bus,
            coordinator or build_coordinator(spec.coordinator, names, guarded, retry),
            Topology(spec.topology, names),
            limits(spec.budget),
            mode=steered.mode if steered else "greedy",
            preference=steered.preference if steered else None,
            shares={name: limits(agent.budget) for name, agent in spec.agents.items() if agent.budget != ShareSpec()},
            pool=pool_of(spec, journal),
            retry=retry,
            timeouts={name: agent.timeout for name, agent in spec.agents.items() if agent.timeout is not None},
            wind_down=spec.budget.wind_down,
            people=self.people.ask if asks or any(agent.asks for agent in self.agents.values()) else None,
        )
        self._runner = telemetry.watched(self.orchestrator) if telemetry else self.orchestrator
        self._digest = spec.digest if journal else ""
        self._loop: asyncio.Runner | None = None

    @classmethod
    def load(cls, path: str | Path, *, coordinator: Coordinator | None = None, journal: str | None = None) -> Self:
        """A team from its file. coordinator: instead of the file's; journal: URL, where the file names none.

        Raises TeamFileError with every problem of the file, PolicyError for a policy that cannot be used, and
        MissingExtra where a model needs packages that are not installed.
        """
        return cls.of(load_team(path), coordinator=coordinator, journal=journal)

    @classmethod
    def of(cls, spec: TeamSpec, *, coordinator: Coordinator | None = None, journal: str | None = None) -> Self:
        """A team from its spec. Raises as `load` does."""
        spec = own_voices(spec)
        models = {name: build_model(name, model.model_dump()) for name, model in spec.models.items()}
        url = spec.journal or journal
        telemetry = kept = None
        if spec.telemetry.watches:
            from podium.orchestrator.telemetry.watch import Telemetry

            telemetry = Telemetry(spec)
        if url:
            from podium.orchestrator.journal import Journal

            kept = Journal(url)
        return cls(spec, models, coordinator=coordinator, journal=kept, telemetry=telemetry)

    def led_by(self, coordinator: Coordinator) -> Self:
        """The same team, with the same models and whoever is in it now, under another coordinator."""
        kept, watching = self.journal, self.telemetry
        made = type(self)(self.spec, self.models, coordinator=coordinator, journal=kept, telemetry=watching)
        made._bus.follow(self._bus)
        return made

    @property
    def name(self) -> str:
        """The team's name."""
        return self.spec.name

    async def arun(
        self,
        ask: Ask,
        *,
        seed: int | None = None,
        mode: Literal["sample", "greedy"] | None = None,
        preference: float | None = None,
        limits: Limits | None = None,
        emit: Callable[[Event], None] | None = None,
    ) -> Result:
        """Work one task.

        seed: makes the run repeatable as far as the models are. preference: dollars that a passed answer is worth, a
        finite number more than 0. limits: instead of the file's budget; counts from 1, seconds and dollars more than 0.
        emit: is called with every event as it happens.
        Raises RunError (or a kind of it) when there is no answer, or when the journal cannot be written; what was
        done up to there, also when the caller cancels, is in the journal and on the error as `partial`. Raises
        InputError for arguments of another kind, or with values that make no sense.
        """
        if not (seed is mode is preference is limits is None):
            check_settings(seed, mode, preference, limits)
        token = secrets.token_bytes(12)
        run, task = token[:6].hex(), task_of(ask)
        settings = Settings(
            int.from_bytes(token[6:]) if seed is None else seed,
            None if seed is None else seed & 0xFFFFFFFF,
            mode,
            preference,
            limits,
        )
        log = None
        if self.journal:
            log = RunLog(self.journal, run)
            own = settings.seed, settings.reply_seed, settings.mode, settings.preference, settings.limits
            edges = self.orchestrator.topology.edges
            names = tuple(card.name for card in self.orchestrator.bus.cards())
            others = None if set(names) == set(self.spec.agents) else names
            log.add(Head(run, self.spec.name, task.messages, time.time(), *own, self._digest, edges, others))
        return await self._work(task, settings, run, emit, log)

    async def aresume(
        self, run: str, *, task: Task | None = None, emit: Callable[[Event], None] | None = None
    ) -> Result:
        """Go on with a run of the journal that has no end, as the process that began it would have.

        run: its id, or the beginning of it. Calls that were completed are not made again: their results are in the
        journal. A tool that was in flight and must not run twice is not repeated; its agent is told that nobody knows
        whether it took effect. The time between does not count. task: the run's task, where its answers are told apart
        by a function, which no journal can keep; left out: the whole text is the answer.

        Raises InputError for a run that has ended, that is under way, in this process or another, or that another team
        began (or this one, before its file was changed), else as `arun`.
        """
        if self.journal is None:
            raise InputError(f"team {self.spec.name} keeps no journal: name one in its file, or give one")
        before = await asyncio.to_thread(self.journal.resume_state, run)
        head = before.head
        if head.team != self.spec.name:
            raise InputError(f"run {head.run} was begun by team {head.team}, and this is team {self.spec.name}")
        if head.digest and head.digest != self._digest:
            raise InputError(
                f"run {head.run} was begun by this team before its file was changed; resume it with the file as it was"
            )
        if task is not None and task.messages != head.messages:
            raise InputError(f"run {head.run} works on another task: {head.messages[-1].content[:60]!r}")
        settings = Settings(head.seed or 0, head.reply_seed, head.mode, head.preference, head.limits)
        await self.journal.ago_on(before)
        log = RunLog(self.journal, head.run)
        return await self._work(task or Task("task", head.messages), settings, head.run, emit, log, before)

    async def _work(
        self,
        task: Task,
        settings: Settings,
        run: str,
        emit: Callable[[Event], None] | None,
        log: RunLog | None,
        before: ResumeState | None = None,
    ) -> Result:
        """One run, whose id is on whatever is logged meanwhile."""
        if self.spec.telemetry.logs != "none":
            emit = told(emit, content=self.spec.telemetry.content)
        place = PLACE.set(Place(run))
        try:
            return await self._runner.run(task, settings, id=run, emit=emit, log=log, before=before)
        except RunPaused:
            if self.journal:
                self.journal.leave(run)
            raise
        finally:
            PLACE.reset(place)

    def resume(self, run: str, *, task: Task | None = None) -> Result:
        """`aresume` without await. Raises RuntimeError inside a running event loop: await `aresume` there."""
        return self.wait(self.aresume(run, task=task))

    def run(
        self,
        ask: Ask,
        *,
        seed: int | None = None,
        mode: Literal["sample", "greedy"] | None = None,
        preference: float | None = None,
        limits: Limits | None = None,
        emit: Callable[[Event], None] | None = None,
    ) -> Result:
        """`arun` without await, raising as it does. RuntimeError inside a running event loop: await `arun` there."""
        work = self.arun(ask, seed=seed, mode=mode, preference=preference, limits=limits, emit=emit)
        loop = self._own_loop(work).get_loop()
        task = loop.create_task(work)
        try:
            return loop.run_until_complete(task)  # not `wait`: to listen for Ctrl-C costs a fifth of a short run
        except KeyboardInterrupt:
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
            raise

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the team's own event loop, for callers that have none. Ctrl-C cancels it, and is raised
        as KeyboardInterrupt when it has ended.

        Raises RuntimeError inside a running event loop: await there.
        """
        return self._own_loop(work).run(work, context=copy_context())

    def _own_loop(self, work: Coroutine[Any, Any, Any]) -> asyncio.Runner:
        """Where plain calls run. Raises RuntimeError inside a running event loop, and closes the work."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._loop is None:
                self._loop = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            return self._loop
        work.close()
        raise RuntimeError(
            "an event loop is running here: await the asynchronous form (arun, astream, aevaluate, atrain)"
        )

    def join(self, agent: Answerer) -> None:
        """One agent more, from the next step of each run on, also of those under way: a `podium.agents.agent.Agent`, or
        anything that has a card and answers.

        A coordinator that chooses among all agents may ask it from then on; one that was given a list goes on with it.
        Where a topology is set, it sees nobody else's messages and nobody sees its. Thread-safe. Raises InputError when
        there is one of its name, or that name is "finish".
        """
        if agent.card.name == FINISH:
            raise InputError(f"agent {FINISH}: no agent can have this name: decisions call the end of a run so")
        self._bus.join(agent)

    def leave(self, name: str) -> None:
        """One agent less, from the next step of each run on; what it is asked just now comes to nothing, and the runs
        go on without it. What it said before stays. Thread-safe. Raises InputError when it is not there.
        """
        self._bus.leave(name)

    def questions(self) -> list[Question]:
        """What people are asked and have not answered, the oldest first; with a journal, also by other processes."""
        return self.people.questions()

    def answer(
        self, run: str, text: str = "", *, yes: bool = False, no: bool = False, id: str | None = None
    ) -> Question:
        """Answer a question that a run waits with; which one that was. Thread-safe.

        run: its id, or the beginning; id: which question, where several wait. yes, no: whether a tool call that needs
        a yes has it; the text is then why, and may be left out. A run that is not under way in this process finds the
        answer within seconds, or when it is resumed.

        Raises InputError when no such question waits or this is no answer to it, JournalError when it is not kept.
        """
        return self.people.answer(run, text, yes=yes, no=no, id=id)

    async def astream(
        self,
        ask: Ask,
        *,
        seed: int | None = None,
        mode: Literal["sample", "greedy"] | None = None,
        preference: float | None = None,
        limits: Limits | None = None,
    ) -> AsyncGenerator[Event]:
        """The events of a run as they happen; the last one is `Ended`. Leaving the loop early cancels the run.

        Raises as `arun` does: InputError before the first event, RunError (or a kind of it) after the last one.
        """
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        work = asyncio.ensure_future(
            self.arun(ask, seed=seed, mode=mode, preference=preference, limits=limits, emit=events.put_nowait)
        )
        work.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            await work
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError, RunError):
                await work

    def stream(
        self,
        ask: Ask,
        *,
        seed: int | None = None,
        mode: Literal["sample", "greedy"] | None = None,
        preference: float | None = None,
        limits: Limits | None = None,
    ) -> Generator[Event]:
        """`astream` without await. The run goes on only while the next event is waited for, so do not be long.

        Raises as `astream` does, and RuntimeError inside a running event loop: iterate over `astream` there.
        """
        events = self.astream(ask, seed=seed, mode=mode, preference=preference, limits=limits)
        try:
            while (event := self.wait(_next(events))) is not None:
                yield event
        finally:
            self.wait(_left(events))

    async def aclose(self) -> None:
        """Free the models' sockets, threads and memory, and the journal; send what telemetry has not sent yet.

        What takes longer than a few seconds is given up with a warning in the log. What cannot be closed does not keep
        the rest open; the first error is raised when all has been tried.
        """
        closing = [asyncio.ensure_future(model.close()) for model in self.models.values()]
        if self.telemetry:
            closing.append(asyncio.ensure_future(self.telemetry.close()))
        try:
            if closing:
                _, late = await asyncio.wait(closing, timeout=CLOSING)
                if late:
                    LOG.warning("team %s: not all of it could be closed within %g seconds", self.name, CLOSING)
        finally:
            for each in closing:
                each.cancel()
            done = await asyncio.gather(*closing, return_exceptions=True)
            if self.journal:
                self.journal.close()
        for came in done:
            if isinstance(came, Exception):
                raise came

    def close(self) -> None:
        """`aclose` without await."""
        try:
            self.wait(self.aclose())
        finally:
            if self._loop is not None:
                self._loop.close()
                self._loop = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _next(events: AsyncGenerator[Event]) -> Event | None:
    """The next event, None after the last one."""
    return await anext(events, None)


async def _left(events: AsyncGenerator[Event]) -> None:
    await events.aclose()
