"""Logs of runs: Python's own logging, with the run, the agent and the step of each record, and secrets masked.

A library does not set up logging, so a team only says what happens, to the logger podium.run; `told` makes log records
of a run's events. Applications show them as they like: with `JsonLines` as their formatter, each record is one JSON
object. The commands of podium set it up by `begin`.

Whatever is logged while a run goes on, by whomever, carries the run's id: it stands in a context variable, which tasks
and threads inherit.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal

from podium.orchestrator.membership import change_in, change_words
from podium.orchestrator.telemetry.secrets import Mask, looks_secret
from podium.orchestrator.yaml_problems import MASK
from podium.protocols.events import Added, Asked, Decided, Ended, Event, Started
from podium.protocols.frozen import frozen
from podium.protocols.record import Finish, Node

__all__ = ["PLACE", "JsonLines", "Place", "TextLines", "begin", "told"]

LOG = logging.getLogger("podium.run")

TALKATIVE = ("httpx", "httpx2", "openai")
"""Libraries that log each request."""

OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest is what was given with it."""


@frozen
class Place:
    """Where in which run something happens. trace: its id, where the run is traced."""

    run: str
    agent: str = ""
    step: int | None = None
    trace: str = ""


PLACE: ContextVar[Place | None] = ContextVar("podium.place", default=None)
"""The place of whatever runs now."""


def told(emit: Callable[[Event], None] | None, *, content: bool) -> Callable[[Event], None]:
    """Takes a run's events, logs them, and passes them on. content: with what was said."""
    step: int | None = None

    def tell(event: Event) -> None:
        nonlocal step
        match event:
            case Started():
                _log("run.started", "the run began", task=event.task if content else None)
            case Decided():
                step = event.decision.step
                action = event.decision.action
                agents = [] if isinstance(action, Finish) else [directive.agent for directive in action]
                what = f"decided: {', '.join(agents) or 'finish'}"
                _log("decided", what, step=step, policy=event.decision.policy, agents=agents)
            case Asked():
                asked, who = event.question, event.question.agent
                text = asked.text if content else None
                _log("asked", f"{who} waits for a person", agent=who, step=step, question=asked.id, content=text)
            case Added():
                _node(event.node, step, content=content)
            case Ended():
                _ended(event)
            case _:
                pass
        if emit is not None:
            emit(event)

    return tell


def _node(node: Node, step: int | None, *, content: bool) -> None:
    """What came of a request, and which attempts had failed before."""
    if node.kind == "task":
        return
    if node.kind == "team":
        _log("team", change_words(change_in(node)), step=step, node=node.id)
        return
    for call in node.calls:
        if call.error is not None:
            said = f"attempt {call.attempt} of {node.author} failed: {call.error}"
            _log("attempt.failed", said, logging.WARNING, agent=node.author, step=step, attempt=call.attempt)
    figures: dict[str, Any] = {"tokens": node.usage.tokens, "dollars": node.usage.dollars, "node": node.id}
    if node.kind == "failure":
        said = f"{node.author} failed: {node.content}"
        _log("failed", said, logging.WARNING, agent=node.author, step=step, **figures)
        return
    said = f"{node.author}: {node.kind}, {node.usage.tokens} tokens"
    _log(node.kind, said, agent=node.author, step=step, content=node.content if content else None, **figures)


def _ended(event: Ended) -> None:
    result, usage = event.result, event.result.usage
    said = (
        f"the run ended: {result.stop}, {result.steps} steps, {usage.tokens} tokens, ${usage.dollars:.6f}, "
        f"{result.seconds:.1f} s"
    )
    level = logging.WARNING if result.stop == "failed" else logging.INFO
    figures: dict[str, Any] = {
        "tokens": usage.tokens,
        "calls": usage.calls,
        "dollars": usage.dollars,
        "seconds": result.seconds,
    }
    _log("run.ended", said, level, stop=result.stop, steps=result.steps, refused=result.refused, **figures)


def _log(event: str, said: str, level: int = logging.INFO, **fields: Any) -> None:
    if LOG.isEnabledFor(level):
        given = {name: value for name, value in fields.items() if value is not None}
        LOG.log(level, "%s", said, extra={"event": event, **given})


class TextLines(logging.Formatter):
    """A line of text: time, the run where there is one, and what happened."""

    def __init__(self, mask: Mask) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")
        self._mask = mask

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, with the run's id where the message does not name it."""
        run = _field(record, "run")
        if run and run not in record.message:
            record.message = f"run {run}: {record.message}"
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one, without secrets."""
        return self._mask(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object: time, level, event, message, run, agent, step, trace_id, and whatever else was given."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        """The line, without secrets."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "event": _field(record, "event") or record.name,
            "message": record.getMessage(),
        }
        for name in ("run", "agent", "step", "trace"):
            value = _field(record, name)
            if value not in (None, ""):
                line["trace_id" if name == "trace" else name] = value
        line |= {name: value for name, value in vars(record).items() if name not in OWN and name not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(_clean(line, self._mask), ensure_ascii=False, default=str)


def _field(record: logging.LogRecord, name: str) -> Any:
    """What was given with a record, else what its place says."""
    given = getattr(record, name, None)
    return given if given is not None else getattr(PLACE.get(), name, None)


def _clean(value: Any, mask: Mask) -> Any:
    """The same without secrets: fields that are named as such, and texts that hold one."""
    if isinstance(value, dict):
        fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {name: MASK if looks_secret(str(name)) else _clean(each, mask) for name, each in fields.items()}
    if isinstance(value, list | tuple):
        return [_clean(each, mask) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask(str(value))  # pyright: ignore[reportUnknownArgumentType]


def begin(form: Literal["none", "text", "json"], mask: Mask) -> None:
    """Set up logging to standard error, as a program does once. Where it is set up already, nothing is changed."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(mask) if form == "json" else TextLines(mask))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for talkative in TALKATIVE:
        logging.getLogger(talkative).setLevel(logging.WARNING)
