"""What a team may be asked, and with which settings: checked, because both come from people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from podium.orchestrator.budget import Limits
from podium.protocols.errors import InputError
from podium.protocols.task import Message, Task

__all__ = ["Ask", "check_settings", "task_of"]

Ask = str | Task | Sequence[Message]
"""What a team may be asked: a text, a conversation, or a task with a scorer."""

COUNTS = ("tokens", "calls", "repeats")
"""Limits that are numbers of things. An infinite limit does not limit."""


def task_of(ask: object) -> Task:
    """The task that somebody asks. Raises InputError for anything else, and for nothing."""
    if isinstance(ask, Task):
        return ask
    if isinstance(ask, str):
        if not ask.strip():
            raise InputError("the task is empty: say what the team should do")
        return Task.of(_text(ask))
    messages = cast(Sequence[Message], ask)
    if not isinstance(ask, Sequence) or not all(isinstance(each, Message) for each in cast(Sequence[object], ask)):
        raise InputError('expected a text, a Task, or a list of messages, each as Message("user", "How much?")')
    if not messages or messages[-1].role != "user":
        raise InputError("a conversation must end with a message of the user")
    if not messages[-1].content.strip():
        raise InputError("the last message is empty: say what the team should do")
    for message in messages:
        _text(message.content)
    return Task("task", tuple(messages))


def _text(text: str) -> str:
    """The text itself. Raises InputError when it is none: half a character can be neither sent nor kept."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("the task contains half a character (a lone surrogate)") from None
    return text


def check_settings(seed: object, mode: object, preference: object, limits: object) -> None:
    """Raise InputError where a setting of a run is of another kind, or none that a run could keep to."""
    if seed is not None and not isinstance(seed, int):
        raise InputError(f"seed: expected a whole number, found {seed!r}")
    if mode not in (None, "sample", "greedy"):
        raise InputError(f"mode: expected sample or greedy, found {mode!r}")
    if preference is not None and not isinstance(preference, int | float):
        raise InputError(f"preference: expected a number of dollars, found {preference!r}")
    given = asdict(limits) if isinstance(limits, Limits) else {"": limits}
    if limits is not None and not all(isinstance(value, int | float) for value in given.values()):
        raise InputError(f"limits: expected numbers, as in Limits(tokens=5000, calls=8), found {limits!r}")
    if isinstance(preference, int | float) and not 0 < preference < math.inf:
        raise InputError(f"preference: expected a finite number of dollars, more than 0, found {preference!r}")
    for name, value in cast(dict[str, float], given if limits else {}).items():
        if name in COUNTS and not (value >= 1 and (value == math.inf or value == int(value))):
            raise InputError(f"limits: {name}: expected a whole number, at least 1, found {value!r}")
        if not value > 0:
            raise InputError(f"limits: {name}: expected more than 0, found {value!r}")
