"""The run loop: state, decision, directives, replies, state, until there is an answer.

One loop serves and trains: what is trained is what is served. It owns the record, the budget and the deadline of a
run; coordinators only decide, agents only answer. Replies are committed in the order of their directives, not of
their arrival, so a run is the same whatever the weather on the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, cast

from podium.orchestrator.budget import Budget
from podium.orchestrator.clock import Clock
from podium.orchestrator.commits import Commits
from podium.orchestrator.coordinator import RunState, plurality
from podium.orchestrator.deciding import Decider
from podium.orchestrator.journal import ResumeState
from podium.orchestrator.last_turn import LAST_TURN, LastTurn, last_turn
from podium.orchestrator.leases import Leases, OwnCalls, used
from podium.orchestrator.lived import lived
from podium.orchestrator.membership import Members
from podium.orchestrator.record import Record
from podium.orchestrator.requests import STOPPED, Failed, Outcome, Requests
from podium.orchestrator.run_log import RunLog
from podium.protocols.bus import Card
from podium.protocols.errors import AgentLeft, BudgetExceeded, CoordinatorError, DeadlineExceeded
from podium.protocols.events import Ended, Event, Result, Started, Stop
from podium.protocols.record import NO_USAGE, Call, Decision, Directive, Finish, Kind, Node, Usage
from podium.protocols.task import Task

if TYPE_CHECKING:
    from podium.orchestrator.engine import Orchestrator, Settings

__all__ = ["Run"]

NO_ANSWERS: tuple[Kind, ...] = ("decision", "failure", "plan", "team")
"""Kinds of nodes that no run can end with."""


class Run:
    """One run under way."""

    def __init__(
        self,
        team: Orchestrator,
        decider: Decider,
        task: Task,
        settings: Settings,
        id: str,
        emit: Callable[[Event], None] | None,
        log: RunLog | None,
    ) -> None:
        self.team = team
        self.decider = decider
        self.task = task
        self.settings = settings
        self.id = id
        self.emit = emit
        self.log = log
        self.budget = Budget(settings.limits or team.limits)
        self.clock = Clock(self.budget, team.pool)
        self.cards = team.bus.cards()
        self.mode: Literal["sample", "greedy"] = settings.mode or team.mode
        self.preference = team.preference if settings.preference is None else settings.preference
        self.record = Record(id, team.coordinator, emit, log)
        self.nodes = self.record.nodes
        size = sum(len(message.content) for message in task.messages)
        self.leases = Leases(self.budget, self.cards, size, team.within(self.cards))
        self.own = OwnCalls(self.budget, team.pool, self._write_own if log else None)
        self.members = Members(self.cards)
        names = [card.name for card in self.cards]
        self.absent = frozenset(team.topology.agents).difference(names)
        self.gone = self.members.closed
        self.topology = team.topology if set(names) == set(team.topology.agents) else team.topology.among(names)
        self.last_turn = last_turn(team.wind_down, self.cards, self.leases) if team.wind_down in names else None
        self.requests = Requests(
            id,
            task.messages,
            self.nodes,
            bus=team.bus,
            topology=self.topology,
            retry=team.retry,
            timeouts=team.timeouts,
            leases=self.leases,
            reply_seed=settings.reply_seed,
            emit=emit,
            log=log,
            people=team.people,
            clock=self.clock,
        )
        if self.absent:
            self.requests.changed(self.members, self.absent, self.topology)
        self.affordable: tuple[bool, ...] = ()
        self.commits = Commits(id, task, self.record, self.budget, self.leases, self.requests, self.topology)
        self.unfinished: tuple[Directive, ...] = ()  # what an earlier life of the run decided and did not do
        self.ending: Decision | None = None  # the last turn, if an earlier life of the run got there

    def restore(self, before: ResumeState) -> None:
        """Go back to where an earlier life of the run ended: record, memory, budget and clock, without a call."""
        names = before.head.agents or self.team.topology.agents
        if before.head.agents or names != self.topology.agents or any(node.kind == "team" for node in before.nodes):
            self.members = Members.restored(
                names, before.nodes, {**self.team.known, **{card.name: card for card in self.cards}}
            )
            self.absent = frozenset(self.team.topology.agents)
            self._settle()
            turn = self.last_turn
            if turn is not None and not Members.stayed(turn.card.name, names, before.nodes):
                self._give_back(turn)
        self.record.begin(before.nodes[0], self.task.messages, self.cards, known=True)
        actions = [each.action for each in before.decisions if not isinstance(each.action, Finish)]
        told = {directive.id: directive for action in actions for directive in action}
        for node in before.nodes[1:]:
            self.record.add(node, known=True)
            self.leases.spend(node.author, node.usage)
            if node.kind == "plan":
                self.commits.planned(node)
            if node.kind == "reply" and node.directive in told:
                self.commits.heard(told[node.directive], node.content)
        self.budget.started -= before.nodes[-1].clock
        self.budget.deadline -= before.nodes[-1].clock
        if self.leases.meters:
            self.leases.lived(lived(before.nodes, before.decisions, before.completed))
        self.record.decisions.extend(before.decisions)
        if before.decisions and before.decisions[-1].policy.startswith(LAST_TURN):
            self.ending = before.decisions[-1]
        spoken = {node.directive for node in before.nodes}
        for action in actions:
            if any(directive.id in spoken for directive in action):
                self.requests.replay(action)
            else:
                self.unfinished = action
        self.requests.done = before.calls()
        self.own.restore(each.call for each in before.completed if each.directive not in told)

    async def loop(self) -> Result:
        """Decide and act until there is an answer.

        When nothing more fits the budget the coordinator is asked once more: finishing is free, and which reply is
        the answer is its choice (the run counts as stopped by the budget). If it would rather go on, the run winds
        down; where a last turn is set aside, it is asked as if it could.
        """
        task = self.task
        coordinator, decider, log = self.team.coordinator, self.decider, self.log
        batched, pool = coordinator.batched, self.team.pool
        if self.emit:
            self.emit(Started(self.id, task.text))
        if not self.cards:
            return await self.wind_down("budget", "all agents have left the team")
        if not self.nodes:
            self.record.begin(Node(0, (), "task", "user", task.text), task.messages, self.cards)
        if self.ending is not None:
            return await self.wind_down(cast(Stop, self.ending.policy.removeprefix(LAST_TURN)), "it was at its end")
        if self.unfinished:
            ended = await self._act(self.unfinished)
            if ended is not None:
                return ended
        while True:
            if self.commits.loop_of:
                return await self.wind_down("loop", f"{self.commits.loop_of} gives the same reply again and again")
            cards = self.team.bus.cards()
            if cards is not self.members.present:
                self._changed(cards)
                if not cards:
                    return await self.wind_down("budget", "all agents have left the team")
            self.affordable = self.leases.affordable()
            if len(self.nodes) == 1 and not any(self.affordable):
                return await self.wind_down("budget", "the budget does not hold one call")
            if self.last_turn is not None and not any(self.affordable):
                open_to = self.leases.everyone  # would it go on, if it could? then the last turn is made
            else:
                open_to = self.affordable
            state = RunState(
                self.id,
                task.messages,
                self.cards,
                self.nodes,
                len(self.record.decisions),
                self.budget.left() if pool is None else self.budget.left().within(pool.left()),
                open_to,
                self.record.memory,
                self.settings.seed,
                self.mode,
                self.preference,
                self.own,
                self.absent,
                self.gone,
            )
            try:
                if batched:
                    decision = await decider.decide(state)
                else:
                    made = coordinator.decide((state,))
                    if log and not isinstance(made, list):
                        log.flush()
                    decision = (made if isinstance(made, list) else await made)[0]
            except Exception as error:
                self._own_calls("failure", str(error))
                raise self.record.blame("decide", error) from error
            except BaseException:
                self._own_calls("failure", STOPPED)
                raise
            self.record.decided(decision)
            if decision.calls or self.own.calls:
                said = (call.result.text for call in reversed(decision.calls) if call.error is None)
                self._own_calls("decision", next(said, ""), decision.calls)
            action = decision.action
            if isinstance(action, Finish):
                return self._finish(action)
            if not action:
                raise CoordinatorError(f"{coordinator.name} decided nothing: no directive and no finish", run=self.id)
            if log:
                await log.commit()
            ended = await self._act(action)
            if ended is not None:
                return ended

    async def _act(self, directives: tuple[Directive, ...]) -> Result | None:
        """Carry directives out in parallel; the result, if that ends the run."""
        work = self.requests.of(directives)
        if not work:
            return await self.wind_down("budget", "the budget does not hold the calls that were decided")
        done: Sequence[Outcome]
        if len(work) == 1:
            try:
                came, stopped = await self.requests.ask(*work[0], alone=True), None
            except BaseException:
                self.commits.cut_off()
                raise
            if not isinstance(came, Failed):  # the usual step, by the shortest way
                directive = work[0][0].directive
                node = self.commits.reply(directive, *came, (len(self.nodes) - 1,))
                return self.result("answered", node) if directive.answer else None
            done = (came,)
        else:
            done, stopped = await self.requests.all(work)
        answer = self.commits.gather(work, done)
        if stopped:
            self.commits.cut_off()
            raise stopped
        failed = [each for each in done if isinstance(each, Failed)]
        if failed and (len(failed) == len(done) or (answer is None and any(each.answer for each in directives))):
            return await self._given_up(failed)
        return None if answer is None else self.result("answered", answer)

    def _changed(self, cards: tuple[Card, ...]) -> None:
        """Agents joined or left since the last step: from here on the run has other ones."""
        change = self.members.now(cards)
        self._settle()
        turn, clock = self.last_turn, time.monotonic() - self.budget.started
        if turn is not None and turn.card.name in self.gone:
            self._give_back(turn)
        if change.joined or change.left:
            self.record.add(Node(len(self.nodes), (len(self.nodes) - 1,), "team", "", change.content, clock=clock))
        self.record.rebuild(self.task.messages, self.cards)

    def _give_back(self, turn: LastTurn) -> None:
        """Its agent has left: the run has no last turn any more, not even if the agent comes back."""
        self.last_turn = None
        turn.release()
        self.clock.changed()

    def _settle(self) -> None:
        """Let everything know who the members are."""
        self.cards = self.members.cards
        self.absent = self.absent.difference(card.name for card in self.cards)
        self.gone = self.members.closed
        self.topology = topology = self.team.topology.among([card.name for card in self.cards])
        shown, plans = dict.fromkeys(topology.agents, 0), dict.fromkeys(topology.agents, 0)
        for node in self.nodes:
            for name in topology.agents if node.kind in ("reply", "plan") else ():
                if topology.may_see(name, node.author) and node.kind == "plan":
                    plans[name] = len(node.content)
                elif topology.may_see(name, node.author):
                    shown[name] += len(node.content) + len(node.author) + 4
        self.leases.changed(self.cards, self.gone, self.team.within(self.cards), shown, plans)
        self.requests.changed(self.members, self.absent, topology)
        self.commits.topology = topology

    async def _given_up(self, failed: Sequence[Failed]) -> Result | None:
        """The run's end when nothing came of a step: a budget that was used up still leaves the best answer so far.

        None where it is the seconds of agents, and others can still be asked.
        """
        other = self.team.bus.cards() is not self.members.present  # else whoever left is there: that would not end
        lasting = [each for each in failed if not (other and isinstance(each.error, AgentLeft))]
        if not lasting:
            return None
        error = lasting[0].error
        if not isinstance(error, BudgetExceeded):
            raise error
        late = all(isinstance(each.error, DeadlineExceeded) for each in lasting)
        if late and any(node.kind == "reply" for node in self.nodes) and any(self.leases.affordable()):
            return None
        return await self.wind_down("budget", error.message)

    def _write_own(self, call: Call) -> None:
        """A call that the coordinator made to decide, and that another one is going to follow, is written down."""
        if self.log:
            self.log.completed(f"{self.id}.{len(self.record.decisions)}", 0, call)

    def _own_calls(self, kind: Kind, text: str, named: Sequence[Call] = ()) -> None:
        """Calls that the coordinator made to decide become a node of the record. named: by the decision."""
        calls = self.own.take(named)
        if calls:
            clock = time.monotonic() - self.budget.started
            name, parents = self.team.coordinator.name, (len(self.nodes) - 1,)
            self.record.add(Node(len(self.nodes), parents, kind, name, text, None, calls, used(calls), clock))

    def _finish(self, action: Finish) -> Result:
        if not 0 < action.answer < len(self.nodes) or self.nodes[action.answer].kind in NO_ANSWERS:
            raise CoordinatorError(
                f"finished with node {action.answer}, which is not an answer; replies so far: "
                + (", ".join(str(node.id) for node in self.nodes if node.kind == "reply") or "none"),
                run=self.id,
            )
        return self.result("answered" if any(self.affordable) else "budget", self.nodes[action.answer])

    async def time_up(self) -> Result:
        """End early, since the run's seconds are over, or those of the pool."""
        if self.clock.by_pool:
            return await self.wind_down("budget", "the seconds of the pool are over")
        return await self.wind_down("deadline", f"no reply within {self.budget.limits.seconds:g} seconds")

    async def wind_down(self, stop: Stop, why: str) -> Result:
        """End early with the best answer so far: the last turn's, if one was set aside; else what most replies agree
        on; else the newest reply.

        Raises BudgetExceeded when there is no reply at all, DeadlineExceeded when it is the time that was up.
        """
        turn, self.last_turn = self.last_turn, None
        if turn is not None:
            answer = await self._write_answer(turn, stop)
            if answer is not None:
                return self.result(stop, answer)
        replies = [node for node in self.nodes if node.kind == "reply"]
        if not replies:
            if not self.leases.there:
                raise AgentLeft("all agents have left the team; a run needs one that can be asked", run=self.id)
            exceeded = DeadlineExceeded if stop == "deadline" else BudgetExceeded
            if stop == "budget" and (short := self.leases.short_of()):
                raise exceeded(f"{short}; raise the pool of the team file", run=self.id)
            limits = "budget of the team file" if self.settings.limits is None else "limits that the run was given"
            raise exceeded(f"{why}; raise the {limits}", run=self.id)
        answers = [node.answer for node in replies if node.answer is not None]
        agreed = len(set(answers)) < len(answers)
        return self.result(stop, plurality(replies) if agreed else replies[-1])

    async def _write_answer(self, turn: LastTurn, stop: Stop) -> Node | None:
        """The last turn: its reply, or None where nothing came of it. An earlier life of the run may have begun it."""
        directive = self._last_directive(turn, stop)
        for node in self.nodes:
            if node.directive == directive.id and node.kind == "reply":
                return node
        try:
            async with turn.timeout(self.clock):
                if self.log:
                    await self.log.commit()
                came = await self.requests.ask(*self.requests.last(directive, turn), alone=True)
        except TimeoutError:
            self.commits.cut_off()
            return None
        except BaseException:
            self.commits.cut_off()
            raise
        if isinstance(came, Failed):
            self.commits.failure(directive, came)
            return None
        return self.commits.reply(directive, *came, (len(self.nodes) - 1,))

    def _last_directive(self, turn: LastTurn, stop: Stop) -> Directive:
        """What the last turn is told."""
        if self.ending is not None and not isinstance(self.ending.action, Finish):
            return self.ending.action[0]
        step = len(self.record.decisions)
        directive = turn.directive(f"{self.id}.{step}.0", self.nodes, self.topology)
        left = self.budget.left().fractions
        name = f"{self.id}.{step}"
        self.record.decided(
            Decision(name, step, (directive,), LAST_TURN + stop, seen=len(self.nodes), budget_left=left)
        )
        return directive

    def result(self, stop: Stop, node: Node | None) -> Result:
        """The run as it stands."""
        usage = Usage.total(node.usage for node in self.nodes if node.usage is not NO_USAGE)
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
            tuple(self.record.decisions),
            self.settings.seed,
            self.leases.refused,
            self.budget.overshoot,
            seconds,
            self.budget.overshoot_dollars,
            self.leases.short_of() if stop == "budget" else "",
        )
        if self.emit:
            self.emit(Ended(self.id, result))
        return result
