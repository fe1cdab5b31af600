"""What came back of a step becomes nodes of the record, in the order of its directives.

A reply is a node; several samples of one directive stay as candidates beside the reply that one of them becomes; a plan
that a reply opened with goes before it as a node of its own; a request that came to nothing is a node, too, with what
it used. Whatever is committed here is counted where it will be shown, so that the next prompt's size is known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from podium.agents.plans import plan_in
from podium.orchestrator.budget import Budget
from podium.orchestrator.coordinator import plurality
from podium.orchestrator.leases import Leases
from podium.orchestrator.record import Record
from podium.orchestrator.requests import Answered, Failed, Outcome, Request, Requests
from podium.orchestrator.topology import Topology
from podium.protocols.errors import RunError
from podium.protocols.record import NO_USAGE, Call, Directive, Kind, Node, Usage
from podium.protocols.task import Task

__all__ = ["Commits"]


class Commits:
    """Of one run. topology: of its members now. loop_of: who gave one reply too often, empty while nobody did."""

    __slots__ = (
        "_budget",
        "_leases",
        "_nodes",
        "_record",
        "_requests",
        "_run",
        "_said",
        "_task",
        "loop_of",
        "topology",
    )

    def __init__(
        self,
        run: str,
        task: Task,
        record: Record,
        budget: Budget,
        leases: Leases,
        requests: Requests,
        topology: Topology,
    ) -> None:
        self._run, self._task = run, task
        self._record, self._nodes = record, record.nodes
        self._budget, self._leases, self._requests = budget, leases, requests
        self.topology = topology
        self._said: dict[tuple[str, str, str, str], int] = {}  # how often who replied what to which instruction
        self.loop_of = ""

    def gather(self, work: Sequence[Request], done: Sequence[Outcome]) -> Node | None:
        """Commit what came back, in the order of the directives; the run's answer, if it is among it."""
        answer: Node | None = None
        parents, last = (len(self._nodes) - 1,), len(work) - 1
        drawn: list[Answered] = []
        for place, came in enumerate(done):
            directive = work[place][0].directive
            if isinstance(came, Failed):
                self.failure(directive, came, parents)
            elif came is not None:
                drawn.append(came)
            if drawn and (place == last or work[place + 1][0].directive is not directive):
                node = self._reduce(directive, drawn, parents)
                answer = node if directive.answer else answer
                drawn = []
        return answer

    def reply(
        self, directive: Directive, content: str, calls: tuple[Call, ...], usage: Usage, parents: tuple[int, ...]
    ) -> Node:
        """Commit a reply; where it had to open with a plan, that goes before it as a node of its own."""
        if directive.compute.plan != "renew":
            return self._replied(directive, content, self._answer(content), calls, usage, parents)
        plan, content = plan_in(content, calls)
        answer = self._answer(content)  # which may fail: then nothing is committed
        return self._replied(directive, content, answer, calls, usage, self._plan(directive, plan, parents))

    def failure(self, directive: Directive, came: Failed, parents: tuple[int, ...] | None = None) -> None:
        """Commit a request that came to nothing. parents: the newest node, if left out."""
        parents = (len(self._nodes) - 1,) if parents is None else parents
        self._record.add(self._node("failure", directive, came.error.message, None, came.calls, came.usage, parents))

    def cut_off(self) -> None:
        """Commit requests that were stopped in the middle, with what they had done and what that cost."""
        stopped, self._requests.cut = self._requests.cut, []
        for directive, cut in stopped:
            self.failure(directive, cut)

    def heard(self, directive: Directive, content: str) -> None:
        """A reply is there, for those to be shown who may be; whether it was there before is counted."""
        agent = directive.agent
        self._leases.heard(self.topology.viewers(agent), len(content) + len(agent) + 4)
        key = agent, directive.objective, directive.instruction, content
        self._said[key] = often = self._said.get(key, 0) + 1
        if often > self._budget.limits.repeats:
            self.loop_of = agent

    def planned(self, node: Node) -> None:
        """A plan is there, for those to be shown who may be."""
        self._requests.plans.append(node)
        self._leases.planned(self.topology.viewers(node.author), len(node.content))

    def _reduce(self, directive: Directive, drawn: list[Answered], parents: tuple[int, ...]) -> Node:
        """One reply from a directive's samples; where there are several, they stay in the record as candidates."""
        if len(drawn) == 1:
            return self.reply(directive, *drawn[0], parents)
        plans: dict[int, str | None] = {}
        candidates: list[Node] = []
        for content, calls, usage in drawn:
            plan = None
            if directive.compute.plan == "renew":
                plan, content = plan_in(content, calls)
            made = self._node("candidate", directive, content, self._answer(content), calls, usage, parents)
            candidates.append(self._record.add(made))
            plans[made.id] = plan
        best = plurality(candidates) if directive.compute.reduce == "vote" else candidates[0]
        self._plan(directive, plans[best.id], (best.id,))
        return self._replied(directive, best.content, best.answer, (), NO_USAGE, tuple(node.id for node in candidates))

    def _replied(
        self,
        directive: Directive,
        content: str,
        answer: str | None,
        calls: tuple[Call, ...],
        usage: Usage,
        parents: tuple[int, ...],
    ) -> Node:
        node = self._node("reply", directive, content, answer, calls, usage, parents)
        self.heard(directive, content)
        return self._record.add(node)

    def _plan(self, directive: Directive, plan: str | None, parents: tuple[int, ...]) -> tuple[int, ...]:
        """A plan is committed, if there is one; what follows from it. Its reply has the calls and what they used."""
        if not plan:
            return parents
        node = self._record.add(self._node("plan", directive, plan, None, (), NO_USAGE, parents))
        self.planned(node)
        return (node.id,)

    def _answer(self, content: str) -> str | None:
        """The part of a reply that votes compare, as the task tells it apart."""
        try:
            return self._task.answer(content)
        except Exception as error:
            what = f"the answer function of task {self._task.id} failed with {type(error).__name__}: {error}"
            raise RunError(what, run=self._run) from error

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
        clock = time.monotonic() - self._budget.started
        return Node(
            len(self._nodes), parents, kind, directive.agent, content, answer, calls, usage, clock, directive.id
        )
