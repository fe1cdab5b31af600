"""The run loop: state, decision, directives, replies, state, until there is an answer.

One loop serves and trains: what is trained is what is served. It owns the record, the budget and the deadline of a
run; coordinators only decide, agents only answer. Replies are committed in the order of their directives, not of
their arrival, so a run is the same whatever the weather on the network.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

from podium.orchestrator.budget import Budget, Hold, Limits
from podium.orchestrator.coordinator import Coordinator, Memory, RunState, plurality
from podium.orchestrator.deciding import Decider
from podium.orchestrator.leases import Leases
from podium.orchestrator.retrying import PATIENT, Retry, recover
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Bus, Delta, Envelope, Send
from podium.protocols.errors import (
    BudgetExceeded,
    CoordinatorError,
    DeadlineExceeded,
    ModelError,
    PodiumError,
    RunError,
)
from podium.protocols.events import Added, Decided, Ended, Event, Piece, Result, Started, Stop
from podium.protocols.frozen import frozen
from podium.protocols.noise import seed_of
from podium.protocols.record import NO_USAGE, Call, Decision, Directive, Finish, Generation, Kind, Node, Sampling, Usage
from podium.protocols.task import Task

T = TypeVar("T")


@frozen
class Settings:
    """How one run is run. seed: of the coordinator's sampling; reply_seed: of the models', None leaves it to them."""

    seed: int = 0
    reply_seed: int | None = None
    mode: Literal["sample", "greedy"] | None = None
    preference: float | None = None
    limits: Limits | None = None


DEFAULTS = Settings()

NO_ANSWERS: tuple[Kind, ...] = ("decision", "failure")
"""Kinds of nodes that no run can end with."""


class Orchestrator:
    """Runs tasks with one team: a bus with agents on it, a coordinator, a topology and limits.

    Immutable; any number of runs share it.
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
    ) -> None:
        self.name = name
        self.bus = bus
        self.coordinator = coordinator
        self.topology = topology
        self.limits = limits
        self.mode: Literal["sample", "greedy"] = mode
        self.preference = preference
        self.retry = retry
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
        )

    async def run(
        self, task: Task, settings: Settings = DEFAULTS, *, id: str, emit: Callable[[Event], None] | None = None
    ) -> Result:
        """Work one task.

        Raises RunError (or a kind of it) with the run's id when there is no answer to give; the record up to there is
        on the error as `partial`. When the caller cancels, it is the only argument of the CancelledError.
        """
        work = _Run(self, self._decider, task, settings, id, emit)
        seconds = work.budget.limits.seconds
        try:
            if seconds == math.inf:
                return await work.loop()
            clock = asyncio.timeout(seconds)
            try:
                async with clock:
                    return await work.loop()
            except TimeoutError:
                if not clock.expired():
                    raise
                return work.wind_down("deadline", f"no reply within {seconds:g} seconds")
        except RunError as error:
            error.run = error.run or id
            error.kept = error.kept or work.kept()
            error.partial = work.result("failed", None)
            raise
        except asyncio.CancelledError as error:
            error.args = (work.result("cancelled", None),)
            raise


_Request = tuple[Envelope, Hold]
"""One sample of a directive, with what is set aside for it until it ends."""

_Answered = tuple[str, tuple[Call, ...], Usage]
"""What came back from a request: words, completed calls, and what they used."""


@dataclass(slots=True)
class _Failed:
    """A request that came to nothing, with the calls that were made for it and what they used."""

    error: RunError
    calls: tuple[Call, ...]
    usage: Usage


class _Run:
    """One run under way."""

    def __init__(
        self,
        team: Orchestrator,
        decider: Decider,
        task: Task,
        settings: Settings,
        id: str,
        emit: Callable[[Event], None] | None,
    ) -> None:
        self.team = team
        self.decider = decider
        self.task = task
        self.settings = settings
        self.id = id
        self.emit = emit
        self.budget = Budget(settings.limits or team.limits)
        self.cards = team.bus.cards()
        self.by_name = {card.name: card for card in self.cards}
        self.mode: Literal["sample", "greedy"] = settings.mode or team.mode
        self.preference = team.preference if settings.preference is None else settings.preference
        self.nodes: list[Node] = []
        self.decisions: list[Decision] = []
        self.memory: Memory = None
        self.leases = Leases(self.budget, self.cards, sum(len(message.content) for message in task.messages))
        self.asked = dict.fromkeys(self.by_name, 0)  # how often: it keys the seeds of an agent's replies
        self.unanswered = NO_USAGE  # of requests that were stopped
        self.affordable: tuple[bool, ...] = ()

    async def loop(self) -> Result:
        """Decide and act until there is an answer.

        When nothing more fits the budget the coordinator is asked once more: finishing is free, and which reply is
        the answer is its choice (the run counts as stopped by the budget). If it would rather go on, the run winds
        down.
        """
        task = self.task
        if self.emit:
            self.emit(Started(self.id, task.text))
        self._add(Node(0, (), "task", "user", task.text), observe=False)
        coordinator, decider = self.team.coordinator, self.decider
        batched = coordinator.batched
        try:
            self.memory = coordinator.begin(task.messages, self.cards)
        except Exception as error:
            raise self._blame("begin", error) from error
        while True:
            self.affordable = self.leases.affordable()
            if len(self.nodes) == 1 and not any(self.affordable):
                return self.wind_down("budget", "the budget does not hold one call")
            state = RunState(
                self.id,
                task.messages,
                self.cards,
                self.nodes,
                len(self.decisions),
                self.budget.left(),
                self.affordable,
                self.memory,
                self.settings.seed,
                self.mode,
                self.preference,
            )
            try:
                if batched:
                    decision = await decider.decide(state)
                else:
                    made = coordinator.decide((state,))
                    decision = (made if isinstance(made, list) else await made)[0]
            except Exception as error:
                raise self._blame("decide", error) from error
            self.decisions.append(decision)
            if self.emit:
                self.emit(Decided(self.id, decision))
            if decision.calls:
                self._charge(decision, coordinator.name)
            action = decision.action
            if isinstance(action, Finish):
                return self._finish(action)
            if not action:
                raise CoordinatorError(f"{coordinator.name} decided nothing: no directive and no finish", run=self.id)
            ended = await self._act(action)
            if ended is not None:
                return ended

    async def _act(self, directives: tuple[Directive, ...]) -> Result | None:
        """Carry directives out in parallel; the result, if that ends the run."""
        work: list[_Request] = []
        for directive in directives:
            work += self._requests(directive)
        if not work:
            return self.wind_down("budget", "the budget does not hold the calls that were decided")
        done: Sequence[_Answered | _Failed | None]
        if len(work) == 1:
            came, directive = await self._ask(*work[0]), work[0][0].directive
            if not isinstance(came, _Failed):  # the usual step, by the shortest way
                node = self._reply(directive, *came, (len(self.nodes) - 1,))
                return self.result("answered", node) if directive.answer else None
            done, stopped = (came,), None
        else:
            done, stopped = await _together([self._ask(*each) for each in work])
        answer = self._gather(directives, work, done)
        if stopped:
            raise stopped
        failed = [each for each in done if isinstance(each, _Failed)]
        if failed and (len(failed) == len(done) or (answer is None and any(each.answer for each in directives))):
            return self._given_up(failed[0].error)
        return None if answer is None else self.result("answered", answer)

    def _given_up(self, error: RunError) -> Result:
        """The run's end when nothing came of a step: a budget that was used up still leaves the best answer so far."""
        if isinstance(error, BudgetExceeded):
            return self.wind_down("budget", error.message)
        raise error

    def _gather(
        self,
        directives: tuple[Directive, ...],
        work: Sequence[_Request],
        done: Sequence[_Answered | _Failed | None],
    ) -> Node | None:
        """Commit what came back, in the order of the directives; the run's answer, if it is among it."""
        answer: Node | None = None
        parents, place = (len(self.nodes) - 1,), 0
        for directive in directives:
            drawn: list[_Answered] = []
            while place < len(work) and work[place][0].directive is directive:
                came = done[place]
                if isinstance(came, _Failed):
                    self._add(
                        self._node("failure", directive, came.error.message, None, came.calls, came.usage, parents)
                    )
                elif came is not None:
                    drawn.append(came)
                place += 1
            if drawn:
                node = self._reduce(directive, drawn, parents)
                answer = node if directive.answer else answer
        return answer

    def _reduce(self, directive: Directive, drawn: list[_Answered], parents: tuple[int, ...]) -> Node:
        """One reply from a directive's samples; where there are several, they stay in the record as candidates."""
        if len(drawn) == 1:
            return self._reply(directive, *drawn[0], parents)
        candidates = [
            self._add(self._node("candidate", directive, content, self._answer(content), calls, usage, parents))
            for content, calls, usage in drawn
        ]
        best = plurality(candidates) if directive.compute.reduce == "vote" else candidates[0]
        return self._reply(directive, best.content, (), NO_USAGE, tuple(node.id for node in candidates))

    def _reply(
        self, directive: Directive, content: str, calls: tuple[Call, ...], usage: Usage, parents: tuple[int, ...]
    ) -> Node:
        node = self._node("reply", directive, content, self._answer(content), calls, usage, parents)
        self.leases.heard(self.team.topology.viewers(directive.agent), len(content) + len(directive.agent) + 4)
        return self._add(node)

    def _answer(self, content: str) -> str | None:
        """The part of a reply that votes compare, as the task tells it apart."""
        try:
            return self.task.answer(content)
        except Exception as error:
            what = f"the answer function of task {self.task.id} failed with {type(error).__name__}: {error}"
            raise RunError(what, run=self.id) from error

    def _node(
        self,
        kind: Kind,
        directive: Directive,
        content: str,
        answer: str | None,
        calls: tuple[Call, ...],
        usage: Usage,
        parents: tuple[int, ...],
    ) -> Node:
        """The next node: what came of a directive."""
        clock = time.monotonic() - self.budget.started
        return Node(len(self.nodes), parents, kind, directive.agent, content, answer, calls, usage, clock, directive.id)

    def _add(self, node: Node, observe: bool = True) -> Node:
        self.nodes.append(node)
        if observe:
            try:
                self.memory = self.team.coordinator.observe(self.memory, node)
            except Exception as error:
                raise self._blame("observe", error) from error
        if self.emit:
            self.emit(Added(self.id, node))
        return node

    def _blame(self, verb: str, error: Exception) -> PodiumError:
        """A coordinator's own error as it is, anything else as a CoordinatorError that says where it happened."""
        if isinstance(error, PodiumError):
            return error
        what = f"{self.team.coordinator.name} failed to {verb} at step {len(self.decisions)}"
        return CoordinatorError(f"{what}: {type(error).__name__}: {error}", run=self.id)

    async def _ask(self, envelope: Envelope, hold: Hold) -> _Answered | _Failed:
        """One request over the bus, asked again where that may help: what came of it."""
        agent = envelope.directive.agent
        calls: list[Call] = []
        content, error = "", None
        usage, stopped = NO_USAGE, True
        try:
            send = self._listener(envelope, calls)
            try:
                content = await self.team.bus.request(agent, envelope, send)
            except ModelError as first:
                content = await self._ask_again(envelope, send, calls, first)
            stopped = False
        except RunError as raised:
            error, stopped = raised, False
            error.run, error.agent = error.run or self.id, error.agent or agent
        except PodiumError:
            raise
        except Exception as raised:
            error = RunError(f"it failed with {type(raised).__name__}: {raised}", run=self.id, agent=agent)
            error.__cause__, stopped = raised, False
        finally:
            for call in calls:
                if isinstance(call.result, Generation):
                    usage = call.result.usage if usage is NO_USAGE else usage + call.result.usage
            self.budget.settle(hold, usage)
            if stopped:
                self.unanswered = self.unanswered + usage
        return (content, tuple(calls), usage) if error is None else _Failed(error, tuple(calls), usage)

    async def _ask_again(self, envelope: Envelope, send: Send, calls: list[Call], first: ModelError) -> str:
        """The reply after a failed attempt. Calls that were completed stand; the failed ones are in the record too."""
        agent = envelope.directive.agent

        def ask(attempt: int, rung: int) -> Coroutine[Any, Any, str]:
            done = tuple(call for call in calls if call.error is None)
            again = replace(envelope, attempt=attempt, rung=rung, done=done, stream=False)
            return self.team.bus.request(agent, again, send)

        def failed(error: ModelError, attempt: int) -> None:
            nothing = Generation("", NO_USAGE, Sampling(), "cancelled")
            calls.append(Call(f"{envelope.id}.failed.{attempt}", error.model, nothing, attempt, error.message))

        rungs = self.by_name[agent].rungs
        return await recover(self.team.retry, first, rungs, ask, failed)

    def _listener(self, envelope: Envelope, calls: list[Call]) -> Send:
        """Takes what an agent sends: calls are kept, pieces of the reply go to whoever watches the run."""
        emit, directive = self.emit, envelope.directive

        def send(item: Delta | Call) -> None:
            if isinstance(item, Call):
                calls.append(item)
            elif emit:
                emit(Piece(self.id, directive.agent, item.text, directive.answer))

        return send

    def _requests(self, directive: Directive) -> list[_Request]:
        """A request for each sample that the budget holds."""
        agent, compute, settings = directive.agent, directive.compute, self.settings
        card = self.by_name.get(agent)
        if card is None:
            names = ", ".join(self.by_name)
            raise CoordinatorError(f"no agent {agent!r} in this team; there are: {names}", run=self.id)
        self.asked[agent] = turn = self.asked[agent] + 1
        upto = len(self.nodes)
        estimate = self.leases.estimate(card, len(directive.instruction) + self._characters(directive))
        out: list[_Request] = []
        for sample in range(compute.samples):
            leased = self.leases.lease(card, estimate, compute.max_tokens or card.max_tokens)
            if leased is None:
                break
            seed = None
            if settings.reply_seed is not None:
                seed = seed_of(settings.reply_seed, agent, turn, sample) & 0x7FFFFFFF
            envelope = Envelope(
                f"{directive.id}.{sample}" if sample else directive.id,
                self.id,
                self.task.messages,
                directive,
                partial(self._visible, directive, upto),
                leased[0],
                estimate,
                sample,
                seed,
                self.emit is not None and compute.samples == 1,
            )
            out.append((envelope, leased[1]))
        return out

    def _characters(self, directive: Directive) -> int:
        """Characters of the replies that a directive shows, with their authors' names."""
        view = directive.visible
        if view.kind == "all" and view.upto is None:
            return self.leases.shown[directive.agent]
        if view.kind == "none":
            return 0
        return sum(len(node.content) + len(node.author) + 4 for node in self._visible(directive, len(self.nodes)))

    def _visible(self, directive: Directive, upto: int) -> tuple[Node, ...]:
        """The replies that a directive shows, oldest first, without what the topology forbids."""
        view, agent = directive.visible, directive.agent
        if view.kind == "none":
            return ()
        end = upto if view.upto is None else min(upto, view.upto + 1)
        may_see = self.team.topology.may_see
        if view.kind == "only":
            nodes = [self.nodes[place] for place in sorted(view.only) if 0 < place < end]
            return tuple(node for node in nodes if may_see(agent, node.author))
        if view.kind == "last":  # from the end, so that it costs the same however long the run is
            found: list[Node] = []
            for place in range(end - 1, 0, -1):
                if len(found) == view.count:
                    break
                node = self.nodes[place]
                if node.kind == "reply" and may_see(agent, node.author):
                    found.append(node)
            return tuple(reversed(found))
        return tuple(node for node in self.nodes[:end] if node.kind == "reply" and may_see(agent, node.author))

    def _charge(self, decision: Decision, name: str) -> None:
        """Calls that the coordinator made to decide become a node of the record, and the run pays for them."""
        usage = Usage.total(call.result.usage for call in decision.calls if isinstance(call.result, Generation))
        self.budget.spend(usage)
        text = decision.calls[-1].result.text
        clock = time.monotonic() - self.budget.started
        self._add(
            Node(len(self.nodes), (len(self.nodes) - 1,), "decision", name, text, None, decision.calls, usage, clock)
        )

    def _finish(self, action: Finish) -> Result:
        if not 0 < action.answer < len(self.nodes) or self.nodes[action.answer].kind in NO_ANSWERS:
            raise CoordinatorError(
                f"finished with node {action.answer}, which is not an answer; replies so far: "
                + (", ".join(str(node.id) for node in self.nodes if node.kind == "reply") or "none"),
                run=self.id,
            )
        return self.result("answered" if any(self.affordable) else "budget", self.nodes[action.answer])

    def wind_down(self, stop: Stop, why: str) -> Result:
        """End early with the best answer so far: what most replies agree on, else the newest reply.

        Raises BudgetExceeded when there is no reply at all, DeadlineExceeded when it is the time that was up.
        """
        replies = [node for node in self.nodes if node.kind == "reply"]
        if not replies:
            exceeded = DeadlineExceeded if stop == "deadline" else BudgetExceeded
            raise exceeded(f"{why}; raise the budget of the team file", run=self.id)
        answers = [node.answer for node in replies if node.answer is not None]
        agreed = len(set(answers)) < len(answers)
        return self.result(stop, plurality(replies) if agreed else replies[-1])

    def result(self, stop: Stop, node: Node | None) -> Result:
        """The run as it stands."""
        usage = Usage.total((self.unanswered, *(node.usage for node in self.nodes if node.usage is not NO_USAGE)))
        seconds = time.monotonic() - self.budget.started
        result = Result(
            self.id,
            self.team.name,
            self.task,
            "" if node is None else node.content,
            0 if node is None else node.id,
            stop,
            usage,
            tuple(self.nodes),
            tuple(self.decisions),
            self.settings.seed,
            self.leases.refused,
            self.budget.overshoot,
            seconds,
        )
        if self.emit:
            self.emit(Ended(self.id, result))
        return result

    def kept(self) -> str:
        """What a failed run leaves behind, in words."""
        replies = sum(node.kind == "reply" for node in self.nodes)
        if not replies:
            return "no reply had arrived"
        return f"{replies} {'reply' if replies == 1 else 'replies'} kept in the record"


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> tuple[list[T | None], BaseException | None]:
    """What came of each, and what stopped them all: the caller's cancellation, or an error. Nothing is left running.

    The first runs in the caller's own task.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(each) for each in work[1:]]
    done: list[T | None] = [None] * len(work)
    stopped: BaseException | None = None
    try:
        done[0] = await work[0]
        await asyncio.sleep(0)  # who answers at once is done then
        if not all(map(asyncio.Task[T].done, tasks)):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    except BaseException as raised:
        stopped = raised
    if not all(map(asyncio.Task[T].done, tasks)):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for place, task in enumerate(tasks, 1):
        if task.cancelled():
            continue
        failure = task.exception()
        if failure is None:
            done[place] = task.result()
        else:
            stopped = stopped or failure
    return done, stopped
