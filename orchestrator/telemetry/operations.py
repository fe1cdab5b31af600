"""One operation that is watched: a span, how it ended, and the metric of its duration, which is the span's own.

Whatever begins is ended once, however it ends. A run keeps account of its open operations and closes what is left, so
that a cancelled run leaves no span behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from podium.orchestrator.telemetry.instruments import ERROR, OPERATION, WORKFLOW, Instruments, Labels
from podium.protocols.errors import RunError

if TYPE_CHECKING:
    from podium.orchestrator.telemetry.invocations import Invocation

__all__ = ["LIVE", "Live", "Operation", "Watcher", "reason"]

Attributes = Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class Watcher:
    """What all that is watched of a team shares. content: what was said is told, too; mask: takes secrets out."""

    team: str
    tracer: Tracer
    instruments: Instruments
    content: bool
    mask: Callable[[str], str]

    def begin(
        self,
        live: Live,
        operation: str,
        name: str,
        attributes: Attributes,
        labels: Labels,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        context: Context | None = None,
    ) -> Operation:
        """Begin an operation of a run. labels: of its metric; context: whose child it is, None for the current one."""
        began = time.time_ns()
        known = {OPERATION: operation, WORKFLOW: self.team, "gen_ai.conversation.id": live.id, **labels, **attributes}
        span = self.tracer.start_span(f"{operation} {name}", context, kind, known, start_time=began)
        made = Operation(self, live, operation, span, labels, began)
        live.open.add(made)
        return made


class Live:
    """A run under way.

    step: of its newest decision. trace: its id, "" where no span is recorded. open: operations that have not ended.
    invocations: directives that have not ended, by their ids.
    """

    __slots__ = ("context", "id", "invocations", "open", "step", "trace")

    def __init__(self, id: str) -> None:
        self.id = id
        self.step: int | None = None
        self.context: Context | None = None
        self.trace = ""
        self.open: set[Operation] = set()
        self.invocations: dict[str, Invocation] = {}

    def settle(self) -> None:
        """Nobody asks for anything again that was asked for so far."""
        for invocation in tuple(self.invocations.values()):
            invocation.settle()

    def close(self) -> None:
        """The run is over, and with it whatever is still open."""
        self.settle()
        for operation in tuple(self.open):
            operation.end("cancelled")


LIVE: ContextVar[Live | None] = ContextVar("podium.live", default=None)
"""The run that whatever runs now belongs to; None: it belongs to none that is watched, such as a training's."""


class Operation:
    """A span and its duration, until `end`."""

    __slots__ = ("_began", "_labels", "_live", "_operation", "_watcher", "span")

    def __init__(self, watcher: Watcher, live: Live, operation: str, span: Span, labels: Labels, began: int) -> None:
        self.span = span
        self._watcher = watcher
        self._live = live
        self._operation = operation
        self._labels = labels
        self._began = began

    def current(self) -> AbstractContextManager[Span]:
        """Makes it the parent of what begins inside."""
        return trace.use_span(self.span, record_exception=False, set_status_on_exception=False)

    def end(self, error: str = "", what: str = "", *, at: int | None = None) -> None:
        """It ended; only the first word counts. error: its kind, if it failed; what: in words; at: nanoseconds."""
        if self not in self._live.open:
            return
        self._live.open.remove(self)
        ended = time.time_ns() if at is None else at
        labels: Labels = {WORKFLOW: self._watcher.team, **self._labels}
        if error:
            labels[ERROR] = error
            self.span.set_attribute(ERROR, error)
            self.span.set_status(StatusCode.ERROR, self._watcher.mask(what) or error)
        duration = self._watcher.instruments.durations.get(self._operation)
        if duration is not None:
            duration.record((ended - self._began) / 1e9, labels)
        self.span.end(ended)


def reason(error: BaseException, deadline: float | None = None) -> tuple[str, str]:
    """The kind of an error, and its words. deadline: of what was cancelled, in seconds of `time.monotonic()`."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        late = deadline is not None and time.monotonic() >= deadline
        return ("timeout", "its time was up") if late else ("cancelled", "")
    return type(error).__name__, error.message if isinstance(error, RunError) else str(error)
