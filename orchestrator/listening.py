"""What an agent sends while it works: calls that it completed, pieces of its reply, tools that are about to run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from podium.agents.plans import PlanHeld
from podium.orchestrator.run_log import RunLog
from podium.protocols.bus import Delta, Envelope, Send
from podium.protocols.events import Event, Piece
from podium.protocols.frozen import slotted
from podium.protocols.record import Begun, Call, Directive

__all__ = ["listener"]


def listener(
    run: str,
    envelope: Envelope,
    calls: list[Call],
    emit: Callable[[Event], None] | None,
    log: RunLog | None,
    at_once: bool,
) -> Send:
    """Takes what an agent sends. calls: those that it completed are added to them.

    at_once: something may still happen before its reply is written, so a call is written by itself: one of a tool user,
    or of one of several requests. Otherwise it is written with its reply.
    """
    if log is None and emit is None:
        return partial(_kept, calls)
    plan = PlanHeld() if emit is not None and envelope.directive.compute.plan == "renew" else None
    return _Listener(run, envelope.directive, envelope.sample, calls, emit, log, at_once, plan)


@slotted
class _Listener:
    """Keeps calls, writes them down, and hands pieces of the reply to whoever watches the run.

    plan: keeps a plan back that the agent was told to open its reply with.
    """

    run: str
    directive: Directive
    sample: int
    calls: list[Call]
    emit: Callable[[Event], None] | None
    log: RunLog | None
    at_once: bool
    plan: PlanHeld | None

    def __call__(self, item: Delta | Call | Begun) -> Awaitable[None] | None:
        if isinstance(item, Call):
            self.calls.append(item)
            if self.plan is not None:
                self.plan = PlanHeld()
            if self.at_once and self.log is not None:
                self.log.completed(self.directive.id, self.sample, item)
        elif isinstance(item, Delta):
            text = item.text if self.plan is None else self.plan.feed(item.text)
            if self.emit and text:
                self.emit(Piece(self.run, self.directive.agent, text, self.directive.answer))
        elif self.log is not None:
            return self.log.begun(item)
        return None


def _kept(calls: list[Call], item: Delta | Call | Begun) -> None:
    """What is sent by an agent that nobody watches and whose run nobody writes down."""
    if isinstance(item, Call):
        calls.append(item)
