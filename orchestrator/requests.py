"""From a directive to what came of it: requests are leased from the budget, sent over the bus, retried, and paid for.

The run loop decides nothing here and a request knows nothing of the loop: it ends as an answer or as a failure, both
with the calls that were made for it and what they used.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from podium.agents.plans import plan_words
from podium.orchestrator.budget import ROUNDING, Hold
from podium.orchestrator.clock import Clock
from podium.orchestrator.last_turn import LastTurn
from podium.orchestrator.leases import Leases
from podium.orchestrator.listening import listener
from podium.orchestrator.membership import Members
from podium.orchestrator.retrying import Retry, recover
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.together import together
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Bus, Envelope, Lease, Send
from podium.protocols.errors import (
    BudgetExceeded,
    CoordinatorError,
    DeadlineExceeded,
    ModelError,
    ModelUnreachable,
    PodiumError,
    RunError,
)
from podium.protocols.events import Asked, Event
from podium.protocols.noise import seed_of
from podium.protocols.people import Question, WayToPeople, Word
from podium.protocols.record import NO_USAGE, Call, Directive, Generation, Node, Sampling, ToolResult, Usage
from podium.protocols.task import Message

LOG = logging.getLogger("podium.budget")

Request = tuple[Envelope, Hold]
"""One sample of a directive, with what is set aside for it until it ends."""

Answered = tuple[str, tuple[Call, ...], Usage]
"""What came back from a request: words, completed calls, and what they used."""


STOPPED = "stopped before it was done"
"""What is kept of a request, and of a tool, that was under way when its run or its time ended."""


@dataclass(slots=True)
class Failed:
    """A request that came to nothing, with the calls that were made for it and what they used."""

    error: RunError
    calls: tuple[Call, ...]
    usage: Usage


Outcome = Answered | Failed | None
"""What came of a request; None: it was stopped."""


class Requests:
    """The requests of one run.

    nodes: the run's record, which grows. reply_seed: keys the seeds of all replies, None leaves them to the models.
    done: calls that earlier lives of the run made, by directive and sample. cut: requests that were stopped
    in the middle, with the calls that they had completed. people: the way to a person; None: there is none.
    plans: the nodes of that kind, oldest first.
    """

    __slots__ = (
        "_absent",
        "_asked",
        "_bus",
        "_cards",
        "_clock",
        "_emit",
        "_held",
        "_leases",
        "_limited",
        "_log",
        "_nodes",
        "_people",
        "_reply_seed",
        "_retry",
        "_run",
        "_task",
        "_timed",
        "_timeouts",
        "_topology",
        "cut",
        "done",
        "plans",
    )

    def __init__(
        self,
        run: str,
        task: tuple[Message, ...],
        nodes: Sequence[Node],
        *,
        bus: Bus,
        topology: Topology,
        retry: Retry,
        timeouts: Mapping[str, float],
        leases: Leases,
        reply_seed: int | None,
        emit: Callable[[Event], None] | None,
        log: RunLog | None,
        people: WayToPeople | None,
        clock: Clock,
    ) -> None:
        self._run = run
        self._task = task
        self._nodes = nodes
        self._bus = bus
        self._topology = topology
        self._retry = retry
        self._timeouts = timeouts
        self._limited = {*timeouts, *leases.meters}  # agents that have a timeout, or seconds of their own in the run
        self._leases = leases
        self._reply_seed = reply_seed
        self._emit = emit
        self._log = log
        self._people = people
        self._clock = clock
        self._timed: dict[str, asyncio.Timeout] = {}  # requests under way that have a timeout of their own
        self._held: dict[str, Hold] = {}  # for requests under way whose failed attempts used something
        self._cards = {card.name: card for card in bus.cards()}
        self._absent = frozenset[str]()  # agents that left
        self._asked = dict.fromkeys(self._cards, 0)  # how often: it keys the seeds of an agent's replies
        self.done: dict[tuple[str, int], tuple[Call, ...]] = {}
        self.cut: list[tuple[Directive, Failed]] = []
        self.plans: list[Node] = []

    def of(self, directives: Sequence[Directive]) -> list[Request]:
        """The requests that the budget holds. Raises CoordinatorError for an agent that the team does not have."""
        work: list[Request] = []
        for directive in directives:
            self._lease(directive, work)
        if self._people is not None:
            self._clock.leases = [envelope.lease for envelope, _ in work]
        return work

    def changed(self, members: Members, absent: frozenset[str], topology: Topology) -> None:
        """Other agents are there now. absent: who had left before the run began."""
        self._cards = {card.name: card for card in members.present}
        self._absent, self._topology = absent | members.closed, topology
        self._limited = {*self._timeouts, *self._leases.meters}
        for name in self._cards:
            self._asked.setdefault(name, 0)

    def all(self, work: Sequence[Request]) -> Awaitable[tuple[Sequence[Outcome], BaseException | None]]:
        """Make requests in parallel: what came of each, and what stopped them all, if anything did."""
        return together([self.ask(*each) for each in work])

    def replay(self, directives: Sequence[Directive]) -> None:
        """Count directives that an earlier life of the run carried out."""
        for directive in directives:
            self._asked[directive.agent] = self._asked.get(directive.agent, 0) + 1

    def _lease(self, directive: Directive, out: list[Request]) -> None:
        """Add a request for each sample that the budget holds."""
        agent, compute = directive.agent, directive.compute
        card = self._cards.get(agent)
        if card is None:
            names = ", ".join(self._cards)
            what = f"{agent} has left this team" if agent in self._absent else f"no agent {agent!r} in this team"
            raise CoordinatorError(f"{what}; there are: {names}", run=self._run)
        self._asked[agent] = turn = self._asked[agent] + 1
        upto, characters = len(self._nodes), len(directive.instruction) + self._characters(directive)
        if compute.plan != "none":
            characters += len(plan_words(compute.plan, self._plan(directive)))
        estimate = self._leases.estimate(card, characters)
        for sample in range(compute.samples):
            cap = min(compute.max_tokens or card.max_tokens, card.max_tokens)
            leased = self._leases.lease(card, estimate, cap)
            if leased is None:
                break
            out.append(self._request(directive, sample, turn, upto, *leased, estimate))

    def last(self, directive: Directive, turn: LastTurn) -> Request:
        """The request that was set aside for when nothing else fits any more."""
        self._asked[directive.agent] += 1
        asked = self._asked[directive.agent]
        shown = len(directive.instruction) + self._characters(directive)
        estimate = min(turn.estimate, self._leases.estimate(turn.card, shown))
        return self._request(directive, 0, asked, len(self._nodes), turn.lease, turn.hold, estimate)

    def _request(
        self, directive: Directive, sample: int, turn: int, upto: int, lease: Lease, hold: Hold, estimate: int
    ) -> Request:
        """One sample of a directive, to be sent. turn: how often its agent was asked; upto: nodes there are so far."""
        agent, seed = directive.agent, None
        if self._reply_seed is not None:
            seed = seed_of(self._reply_seed, agent, turn, sample) & 0x7FFFFFFF
        envelope = Envelope(
            f"{directive.id}.{sample}" if sample else directive.id,
            self._run,
            self._task,
            directive,
            partial(self._topology.shown, agent, directive.visible, self._nodes, upto),
            lease,
            estimate,
            sample,
            seed,
            self._emit is not None and directive.compute.samples == 1,
        )
        if directive.compute.plan == "keep":
            envelope.plan = self._plan(directive)
        if self._people is not None:
            envelope.ask = partial(self._person, envelope, self._people)
        if self.done:
            known = self._known(envelope)
            envelope.done = tuple(call for call in known if call.error is None)
            for call in envelope.done:
                if isinstance(call.result, Generation):
                    lease.pay(call.result.usage)
            for call in known:
                if call.error is not None and isinstance(call.result, Generation):
                    hold = self._leases.extend(agent, lease, hold, call.result.usage, estimate)
        return envelope, hold

    def _known(self, envelope: Envelope) -> tuple[Call, ...]:
        """Calls that earlier lives of the run made for a request, those that failed included."""
        return self.done.get((envelope.directive.id, envelope.sample), ())

    async def ask(self, envelope: Envelope, hold: Hold, *, alone: bool = False) -> Answered | Failed:
        """One request over the bus, asked again where that may help: what came of it. alone: in its step."""
        agent = envelope.directive.agent
        calls = list(self._known(envelope)) if self.done else []
        content, error = "", None
        usage, stopped, above = NO_USAGE, True, 0
        try:
            at_once = not alone or self._cards[agent].rounds > 1
            send = listener(self._run, envelope, calls, self._emit, self._log, at_once)
            if self._limited and agent in self._limited:
                content = await self._in_share(envelope, hold, send, calls)
            else:
                try:
                    content = await self._bus.request(agent, envelope, send)
                except ModelError as first:
                    content = await self._ask_again(envelope, hold, send, calls, first)
            stopped = False
        except RunError as raised:
            error, stopped = raised, False
            error.run, error.agent = error.run or self._run, error.agent or agent
        except PodiumError:
            raise
        except Exception as raised:
            error = RunError(f"it failed with {type(raised).__name__}: {raised}", run=self._run, agent=agent)
            error.__cause__, stopped = raised, False
        finally:
            for call in calls:
                result = call.result
                if isinstance(result, Generation):
                    usage = result.usage if usage is NO_USAGE else usage + result.usage
                    if result.usage.output_tokens > result.sampling.max_tokens:
                        above += result.usage.output_tokens - result.sampling.max_tokens
            if self._held:
                hold = self._held.pop(envelope.id, hold)
            for budget in self._leases.under[agent]:
                budget.settle(hold, usage, above)
            if usage.dollars > hold[2] + ROUNDING:
                LOG.warning(
                    "run %s, agent %s: billed $%.6f, which is $%.6f more than was set aside",
                    self._run,
                    agent,
                    usage.dollars,
                    usage.dollars - hold[2],
                )
            if stopped and calls:
                self.cut.append((envelope.directive, Failed(RunError(STOPPED), _closed(calls), usage)))
        return (content, tuple(calls), usage) if error is None else Failed(error, _closed(calls), usage)

    async def _in_share(self, envelope: Envelope, hold: Hold, send: Send, calls: list[Call]) -> str:
        """The reply, while its agent has seconds left in this run.

        Raises DeadlineExceeded when they are over, and what a request raises that has a timeout of its own.
        """
        agent = envelope.directive.agent
        meter = self._leases.meters.get(agent)
        if meter is None:
            return await self._in_time(envelope, hold, send, calls)
        over = f"{agent} has worked for the {meter.limit:g} seconds that it may use of a run"
        if not meter.left:
            raise DeadlineExceeded(over)
        with meter.during() as clock:
            try:
                async with clock:
                    envelope.lease.deadline = min(envelope.lease.deadline, time.monotonic() + meter.left)
                    return await self._in_time(envelope, hold, send, calls)
            except TimeoutError:
                if not clock.expired():
                    raise
                raise DeadlineExceeded(over) from None

    async def _in_time(self, envelope: Envelope, hold: Hold, send: Send, calls: list[Call]) -> str:
        """The reply, within its agent's timeout. Raises ModelUnreachable when it is over, and what a request raises."""
        lease, seconds = envelope.lease, self._timeouts.get(envelope.directive.agent, math.inf)
        lease.deadline = min(lease.deadline, time.monotonic() + seconds)
        clock = self._timed[envelope.id] = asyncio.timeout(seconds if seconds < math.inf else None)
        try:
            async with clock:
                try:
                    return await self._bus.request(envelope.directive.agent, envelope, send)
                except ModelError as first:
                    return await self._ask_again(envelope, hold, send, calls, first)
        except TimeoutError:
            if not clock.expired():
                raise
            raise ModelUnreachable(f"no reply within {seconds:g} seconds") from None
        finally:
            del self._timed[envelope.id]

    async def _person(self, envelope: Envelope, people: WayToPeople, question: Question) -> Word:
        """A person's word. What they take counts neither for the seconds of the run or its agent, nor the request's."""

        def asked() -> None:
            if self._emit:
                self._emit(Asked(self._run, question))

        meter = self._leases.meters.get(envelope.directive.agent)
        with self._clock.stopped(self._timed.get(envelope.id)), meter.stopped() if meter else nullcontext():
            return await people(question, asked)

    async def _ask_again(self, envelope: Envelope, hold: Hold, send: Send, calls: list[Call], first: ModelError) -> str:
        """The reply after a failed attempt. Calls that were completed stand; the failed ones are in the record too.

        What a failed attempt used is set aside anew where the budgets hold as much, and where not it is off the lease.
        """
        agent, directive = envelope.directive.agent, envelope.directive

        def ask(attempt: int, rung: int) -> Coroutine[Any, Any, str]:
            done = tuple(call for call in calls if call.error is None)
            again = replace(envelope, attempt=attempt, rung=rung, done=done, stream=False)
            return self._bus.request(agent, again, send)

        last = first
        sampling = Sampling(max_tokens=directive.compute.max_tokens or self._cards[agent].max_tokens)

        def failed(error: ModelError, attempt: int) -> None:
            nonlocal last
            last = error
            nothing = Generation("", error.usage, sampling, "cancelled")
            number = 1 + sum(call.error is not None for call in calls)  # in all lives of the run
            call = Call(f"{envelope.id}.failed.{number}", error.model, nothing, number, error.message)
            calls.append(call)
            if self._log is not None:
                self._log.completed(directive.id, envelope.sample, call)
            if error.usage is not NO_USAGE:
                held = self._held.get(envelope.id, hold)
                lease, estimate = envelope.lease, envelope.estimate
                self._held[envelope.id] = self._leases.extend(agent, lease, held, error.usage, estimate)

        try:
            return await recover(self._retry, first, self._cards[agent].rungs, ask, failed)
        except BudgetExceeded as error:
            run, agent = error.run, error.agent
            what = f"{error.message}, after an attempt that failed: {last.message}"
            raise BudgetExceeded(what, run=run, agent=agent) from None

    def _characters(self, directive: Directive) -> int:
        """Characters of the replies that a directive shows, with their authors' names."""
        view = directive.visible
        if view.kind == "all" and view.upto is None:
            return self._leases.shown[directive.agent]
        if view.kind == "none":
            return 0
        replies = self._topology.shown(directive.agent, view, self._nodes, len(self._nodes))
        return sum(len(node.content) + len(node.author) + 4 for node in replies)

    def _plan(self, directive: Directive) -> str:
        """The newest plan that a directive's agent may see; empty where there is none."""
        return self._topology.newest_plan(directive.agent, self.plans, directive.visible.upto)


def _closed(calls: Sequence[Call]) -> tuple[Call, ...]:
    """Calls of a request that came to nothing, with a result for each tool that was asked for and had not answered."""
    known = {call.id for call in calls}
    open_ones = [
        Call(f"{call.id}.{asked.id}", asked.name, ToolResult(STOPPED, failed=True), call.attempt)
        for call in calls
        if isinstance(call.result, Generation)
        for asked in call.result.tool_calls
    ]
    return (*calls, *(call for call in open_ones if call.id not in known))
