"""The run loop: state, decision, directives, replies, state, until there is an answer.

One loop serves and trains: what is trained is what is served. It owns the record, the budget and the deadline of a
run; coordinators only decide, agents only answer. Replies are committed in the order of their directives, not of
their arrival, so a run is the same whatever the weather on the network.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.coordinator import Coordinator, Memory, RunState, plurality
from podium.orchestrator.deciding import Decider
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Bus, Card, Envelope, Lease, Reply
from podium.protocols.errors import BudgetExceeded, CoordinatorError, DeadlineExceeded, PodiumError, RunError
from podium.protocols.events import Added, Decided, Ended, Event, Piece, Result, Started, Stop
from podium.protocols.noise import seed_of
from podium.protocols.record import NO_USAGE, Call, Decision, Directive, Finish, Generation, Node, Usage
from podium.protocols.task import Task

SHORTEST_REPLY = 16
"""A request is refused when fewer tokens than this are left for its reply (or than its own cap, if that is lower)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one run is run. seed: of the coordinator's sampling; reply_seed: of the models', None leaves it to them."""

    seed: int = 0
    reply_seed: int | None = None
    mode: Literal["sample", "greedy"] | None = None
    preference: float | None = None
    limits: Limits | None = None


DEFAULTS = Settings()


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
    ) -> None:
        self.name = name
        self.bus = bus
        self.coordinator = coordinator
        self.topology = topology
        self.limits = limits
        self.mode: Literal["sample", "greedy"] = mode
        self.preference = preference
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


@dataclass(slots=True)
class _Request:
    """One sample of a directive. turn: how often the agent has been asked in this run; it keys the reply's seed.

    reserved: tokens, calls and dollars, set aside until the request ends.
    """

    directive: Directive
    sample: int
    lease: Lease
    turn: int
    estimate: int
    reserved: tuple[int, int, float]


_Answered = tuple[str, tuple[Call, ...], Usage]
"""What came back from a request: words, completed calls, and what they used."""


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
        self.task_chars = sum(len(message.content) for message in task.messages)
        self.shown = dict.fromkeys(self.by_name, 0)  # characters of all replies each agent may see
        self.asked = dict.fromkeys(self.by_name, 0)
        self.replied = 0  # characters of all replies: a bound on their tokens
        self.longest = max(card.overhead + card.max_tokens for card in self.cards) + self.task_chars + 1
        self.ample = all(card.chars_per_token >= 1 for card in self.cards)
        self.refused = 0
        self.overshoot = 0
        self.unanswered = NO_USAGE  # of requests that ended without a reply
        self.affordable = (True,) * len(self.cards)

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
        bounded = self.budget.limits != Limits()
        try:
            self.memory = coordinator.begin(task.messages, self.cards)
        except Exception as error:
            raise self._blame("begin", error) from error
        while True:
            if bounded and not self._ample():
                self.affordable = tuple(self._room(card) > 0 for card in self.cards)
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
                    decision = (made if isinstance(made, Sequence) else await made)[0]
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
        work = [each for directive in directives for each in self._leases(directive)]
        if not work:
            return self.wind_down("budget", "the budget does not hold the calls that were decided")
        upto = len(self.nodes)
        if len(work) == 1:
            directive = work[0].directive
            content, calls, usage = await self._ask(work[0], upto)
            node = self._reply(directive, content, calls, usage, (upto - 1,))
            return self.result("answered", node) if directive.answer else None
        done: list[_Answered | None] = [None] * len(work)

        async def keep(place: int) -> None:
            done[place] = await self._ask(work[place], upto)

        try:
            async with asyncio.TaskGroup() as group:
                for place in range(1, len(work)):
                    group.create_task(keep(place))
                await keep(0)
        except BaseExceptionGroup as failed:
            self._gather(directives, work, done, upto)
            raise failed.exceptions[0] from None
        except BaseException:
            self._gather(directives, work, done, upto)
            raise
        answer = self._gather(directives, work, done, upto)
        return None if answer is None else self.result("answered", answer)

    def _gather(
        self,
        directives: tuple[Directive, ...],
        work: Sequence[_Request],
        done: Sequence[_Answered | None],
        upto: int,
    ) -> Node | None:
        """Commit what came back, in the order of the directives; the run's answer, if it is among it."""
        answer: Node | None = None
        for directive in directives:
            drawn = [
                each
                for request, each in zip(work, done, strict=True)
                if request.directive is directive and each is not None
            ]
            if drawn:
                node = self._reduce(directive, drawn, upto)
                answer = node if directive.answer else answer
        return answer

    def _reduce(self, directive: Directive, drawn: list[_Answered], upto: int) -> Node:
        """One reply from a directive's samples; where there are several, they stay in the record as candidates."""
        parents = (upto - 1,)
        if len(drawn) == 1:
            content, calls, usage = drawn[0]
            return self._reply(directive, content, calls, usage, parents)
        candidates = [
            self._add(
                Node(
                    len(self.nodes),
                    parents,
                    "candidate",
                    directive.agent,
                    content,
                    self.task.answer(content),
                    calls,
                    usage,
                    time.monotonic() - self.budget.started,
                    directive.id,
                )
            )
            for content, calls, usage in drawn
        ]
        best = plurality(candidates) if directive.compute.reduce == "vote" else candidates[0]
        return self._reply(directive, best.content, (), NO_USAGE, tuple(node.id for node in candidates))

    def _reply(
        self, directive: Directive, content: str, calls: tuple[Call, ...], usage: Usage, parents: tuple[int, ...]
    ) -> Node:
        node = Node(
            len(self.nodes),
            parents,
            "reply",
            directive.agent,
            content,
            self.task.answer(content),
            calls,
            usage,
            time.monotonic() - self.budget.started,
            directive.id,
        )
        self._add(node)
        size = len(content) + len(directive.agent) + 4
        self.replied += size
        for viewer in self.team.topology.viewers(directive.agent):
            self.shown[viewer] += size
        return node

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

    async def _ask(self, request: _Request, upto: int) -> _Answered:
        """One request over the bus: its words, its completed calls, and what they used."""
        directive, sample, lease = request.directive, request.sample, request.lease
        agent, settings = directive.agent, self.settings
        seed = None
        if settings.reply_seed is not None:
            seed = seed_of(settings.reply_seed, agent, request.turn, sample) & 0x7FFFFFFF
        emit = self.emit
        envelope = Envelope(
            f"{directive.id}.{sample}" if sample else directive.id,
            self.id,
            self.task.messages,
            directive,
            partial(self._visible, directive, upto),
            lease,
            request.estimate,
            sample,
            seed,
            emit is not None and directive.compute.samples == 1,
        )
        reserved = request.reserved
        content: str | None = None
        calls: list[Call] = []
        usage = NO_USAGE
        try:
            async for item in self.team.bus.request(agent, envelope):
                if isinstance(item, Call):
                    calls.append(item)
                    if isinstance(item.result, Generation):
                        usage = item.result.usage if usage is NO_USAGE else usage + item.result.usage
                elif isinstance(item, Reply):
                    content = item.content
                elif emit:
                    emit(Piece(self.id, agent, item.text, directive.answer))
        except PodiumError:
            raise
        except Exception as error:
            raise RunError(f"it failed with {type(error).__name__}: {error}", run=self.id, agent=agent) from error
        finally:
            budget = self.budget
            budget.release(*reserved)
            budget.spend(usage.tokens, usage.calls, usage.dollars)
            if content is None:
                self.unanswered = self.unanswered + usage
            if usage.tokens > reserved[0]:
                self.overshoot += usage.tokens - reserved[0]
        if content is None:
            raise RunError("the bus ended a request without a reply", run=self.id, agent=agent)
        return content, tuple(calls), usage

    def _leases(self, directive: Directive) -> list[_Request]:
        """A request for each sample that the budget holds; reserved here, released when the request ends."""
        card = self.by_name.get(directive.agent)
        if card is None:
            names = ", ".join(self.by_name)
            raise CoordinatorError(f"no agent {directive.agent!r} in this team; there are: {names}", run=self.id)
        self.asked[card.name] += 1
        turn = self.asked[card.name]
        requests: list[_Request] = []
        estimate, budget = self._estimate(directive), self.budget
        cap = directive.compute.max_tokens or card.max_tokens
        for sample in range(directive.compute.samples):
            room = self._room(card, estimate, cap)
            if room <= 0:
                self.refused += 1
                break
            rounds = card.rounds
            tokens = estimate + room
            dollars = (estimate * card.price[0] + room * card.price[1]) * 1e-6
            while rounds > 1 and not budget.admits(tokens * rounds, rounds, dollars * rounds):
                rounds -= 1
            reserved = (tokens * rounds, rounds, dollars * rounds)
            budget.reserve(*reserved)
            lease = Lease(*reserved, budget.deadline)
            if (
                rounds > 1
            ):  # what tools return comes on top of the estimate: where nothing is limited, nothing is refused
                lease.tokens = lease.tokens if budget.limits.tokens < math.inf else math.inf
                lease.dollars = lease.dollars if budget.limits.dollars < math.inf else math.inf
            requests.append(_Request(directive, sample, lease, turn, estimate, reserved))
        return requests

    def _ample(self) -> bool:
        """Whether the budget holds a request to any agent with ease: a bound that costs less than asking each."""
        budget, limits = self.budget, self.budget.limits
        return (
            self.ample
            and limits.dollars == math.inf
            and budget.calls + budget.reserved_calls + 1 <= limits.calls
            and budget.tokens + budget.reserved_tokens + self.longest + self.replied <= limits.tokens
        )

    def _room(self, card: Card, estimate: int | None = None, cap: int | None = None) -> int:
        """Reply tokens that one more request to an agent may use; 0 when it does not fit the budget."""
        cap = cap or card.max_tokens
        budget = self.budget
        limits = budget.limits
        if estimate is None:
            estimate = card.overhead + int((self.task_chars + self.shown[card.name]) / card.chars_per_token) + 1
        if budget.calls + budget.reserved_calls + 1 > limits.calls:
            return 0
        room = limits.tokens - budget.tokens - budget.reserved_tokens - estimate
        if limits.dollars != math.inf:
            dollars = limits.dollars - budget.dollars - budget.reserved_dollars - estimate * card.price[0] * 1e-6
            if dollars < 0:
                return 0
            if card.price[1] > 0:
                room = min(room, dollars / (card.price[1] * 1e-6))
        return 0 if room < min(cap, SHORTEST_REPLY) else cap if room >= cap else int(room)

    def _estimate(self, directive: Directive) -> int:
        """Prompt tokens of a directive, roughly, without rendering it."""
        card, view = self.by_name[directive.agent], directive.visible
        chars = self.task_chars + len(directive.instruction)
        if view.kind == "all" and view.upto is None:
            chars += self.shown[directive.agent]
        elif view.kind != "none":
            chars += sum(len(node.content) + len(node.author) + 4 for node in self._visible(directive, len(self.nodes)))
        return card.overhead + int(chars / card.chars_per_token) + 1

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
        self.budget.spend(usage.tokens, usage.calls, usage.dollars)
        text = decision.calls[-1].result.text
        clock = time.monotonic() - self.budget.started
        self._add(
            Node(len(self.nodes), (len(self.nodes) - 1,), "decision", name, text, None, decision.calls, usage, clock)
        )

    def _finish(self, action: Finish) -> Result:
        if not 0 < action.answer < len(self.nodes) or self.nodes[action.answer].kind == "decision":
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
            self.refused,
            self.overshoot,
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
