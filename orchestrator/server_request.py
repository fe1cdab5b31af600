"""What the fields of a request may hold, in plain words and with OpenAI's ranges.

`podium.protocols.openai_api` decides what a field means. Here its form is checked before, so that a client hears "must
be a number from 0 to 2" whether or not the field has an effect on a team, and so that nothing is guessed: "yes" is not
true, and "12" is no number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from podium.protocols.openai_api import ChatRequest, RequestError, parse_request

__all__ = ["read_request"]

ROLES = ("system", "developer", "user", "assistant")
LONGEST_SHOWN = 60
"""Characters of a found value that a message repeats."""

Form = tuple[Callable[[Any], bool], str]
"""Whether a value has the form, and the form in words."""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _or_null(form: Form) -> Form:
    return lambda value: value is None or form[0](value), f"{form[1]}, or null"


def _between(low: float, high: float) -> Form:
    return lambda value: _number(value) and low <= value <= high, f"a number from {low:g} to {high:g}"


def _stops(value: Any) -> bool:
    texts = cast(list[object], value) if isinstance(value, list) else [value]
    return all(isinstance(text, str) and text for text in texts)


FLAG: Form = (lambda value: isinstance(value, bool), "true or false")
WHOLE: Form = (_whole, "a whole number")
COUNT: Form = (lambda value: _whole(value) and value >= 1, "a whole number of at least 1")
AMOUNT: Form = (lambda value: _number(value) and value > 0, "a number above 0")
NAME: Form = (lambda value: isinstance(value, str) and value != "", "a text that is not empty")
OBJECT: Form = (lambda value: isinstance(value, dict), "an object")

FIELDS: Mapping[str, Form] = {
    "model": NAME,
    "messages": (lambda value: isinstance(value, list) and value != [], "a list of at least 1 message"),
    "stream": _or_null(FLAG),
    "stream_options": _or_null(OBJECT),
    "seed": _or_null(WHOLE),
    "stop": _or_null((_stops, "a text or a list of texts, none of them empty")),
    "temperature": _or_null(_between(0, 2)),
    "top_p": _or_null(_between(0, 1)),
    "presence_penalty": _or_null(_between(-2, 2)),
    "frequency_penalty": _or_null(_between(-2, 2)),
    "max_tokens": _or_null(COUNT),
    "max_completion_tokens": _or_null(COUNT),
    "podium": OBJECT,
}
MESSAGE: Mapping[str, Form] = {
    "role": (lambda value: value in ROLES, f"one of {', '.join(ROLES)}"),
    "name": _or_null((lambda value: isinstance(value, str), "a text")),
}
STREAM_OPTIONS: Mapping[str, Form] = {"include_usage": FLAG}
PODIUM: Mapping[str, Form] = {"budget": OBJECT, "preference": _or_null(AMOUNT)}
BUDGET: Mapping[str, Form] = {name: _or_null(COUNT) for name in ("tokens", "calls")} | {
    name: _or_null(AMOUNT) for name in ("seconds", "dollars")
}


def read_request(body: bytes) -> ChatRequest:
    """Read the body of a request. Raises RequestError that names the field, and what it may hold."""
    try:
        fields: object = json.loads(body)
    except (ValueError, RecursionError):
        return parse_request(body)  # which says what is wrong
    if isinstance(fields, dict):
        for message, param in _problems(cast(dict[str, object], fields)):
            raise RequestError(message, param=param, code="invalid_value")
    return parse_request(body)


def _problems(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the forms of a request's fields, each with the field's path."""
    yield from _misformed(fields, FIELDS, "")
    for place, message in enumerate(cast(Sequence[object], fields.get("messages", ()))):
        at = f"messages[{place}]"
        if isinstance(message, dict):
            yield from _misformed(cast(dict[str, Any], message), MESSAGE, f"{at}.")
        else:
            yield f"{at} must be an object with role and content; found {_shown(message)}", at
    yield from _misformed(fields.get("stream_options") or {}, STREAM_OPTIONS, "stream_options.")
    podium: Mapping[str, Any] = fields.get("podium", {})
    yield from _misformed(podium, PODIUM, "podium.", exact=True)
    yield from _misformed(podium.get("budget", {}), BUDGET, "podium.budget.", exact=True)


def _misformed(
    fields: Mapping[str, Any], forms: Mapping[str, Form], prefix: str, *, exact: bool = False
) -> Iterator[tuple[str, str]]:
    """Fields that lack their form. exact: fields without a form are wrong too."""
    for name, value in fields.items():
        param = prefix + name
        if name in forms:
            fits, words = forms[name]
            if not fits(value):
                yield f"{param} must be {words}; found {_shown(value)}", param
        elif exact:
            yield f"unrecognized field: {param}; allowed: {', '.join(forms)}", param


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."
