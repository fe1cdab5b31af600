"""A coordinator by a name with settings, such as `vote?agents=a,b&samples=3` or `pipeline?steps=a+b*3,c`.

What is named is what a team file may say, so names and values are checked as there, and errors have the same words.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast, get_args
from urllib.parse import unquote

from pydantic import ValidationError

from podium.orchestrator.coordinator_spec import CoordinatorSpec
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import references
from podium.orchestrator.yaml_file import StrictModel
from podium.orchestrator.yaml_problems import Problem, nearest, say, translate
from podium.protocols.errors import InputError

__all__ = ["LISTS", "SHAPES", "spec_of"]

LISTS = ("agents", "order", "steps", "objectives")
"""Settings that name several things, with commas between."""
STEPS = "write steps=a+b*3,c: + between agents asked at the same moment, *3 for three samples, a comma before the next"

_REQUEST = re.compile(r"([^*]+)(?:\*(\d{1,9}))?", re.ASCII)
SHAPES: dict[str, type[StrictModel]] = {
    get_args(shape.model_fields["kind"].annotation)[0]: shape for shape in get_args(get_args(CoordinatorSpec)[0])
}
"""Coordinators of the team file, by their kind."""


def spec_of(name: str, word: str, folder: str, settings: str, team: Team) -> CoordinatorSpec:
    """What a name stands for: a kind of the team file with its settings. folder: of a learned coordinator's policy.

    Raises InputError in the words that the team file's own errors have.
    """
    shape = SHAPES[word]
    data: dict[str, Any] = {"kind": word, **({"policy": folder} if folder else {}), **_given(name, shape, settings)}
    for key, setting in shape.model_fields.items():
        if setting.is_required() and key not in data:
            raise InputError(f"coordinator {name}: it needs {key}: write {_form(word, key, team)}")
    spec, problems = None, list[Problem]()
    try:
        spec = cast(CoordinatorSpec, shape.model_validate(data))
    except ValidationError as error:
        problems += translate(error, shape, data)
    models = {each: {"provider": model.provider} for each, model in team.spec.models.items()}
    whole = {"agents": dict.fromkeys(team.agents), "models": models, "coordinator": data}
    problems += [replace(each, where=each.where[1:]) for each in references(whole) if each.where[0] == "coordinator"]
    if spec is None or problems:
        first = problems[0]
        form = f"; {STEPS}" if first.where[:1] == ("steps",) and first.where[-1] == "samples" else ""
        raise InputError(f"coordinator {name}: {say(first, data)}{form}")
    return spec


def _given(name: str, shape: type[StrictModel], settings: str) -> dict[str, Any]:
    """`key=value&key=value` as a team file would have it."""
    own = {"kind", "policy"} if name.startswith("learned:") else {"kind"}
    known = [key for key in shape.model_fields if key not in own]
    data: dict[str, Any] = {}
    for pair in filter(None, settings.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or not value:
            raise InputError(f"coordinator {name}: {pair!r} is not key=value")
        if key not in known:
            problem = Problem((), f'unknown key "{key}"', ", ".join(known), nearest(key, known), show=False)
            raise InputError(f"coordinator {name}: {say(problem, data)}")
        if key in data:
            listed = ", with commas between" if key in LISTS else ""
            raise InputError(f"coordinator {name}: {key} is given twice; give it once{listed}")
        text = unquote(value)
        if key == "steps":
            data[key] = [_step(name, step) for step in text.split(",")]
        elif key in LISTS:
            data[key] = [each.strip() for each in text.split(",")]
        else:
            data[key] = _number(text) if _is_number(shape, key) else text
    return data


def _is_number(shape: type[StrictModel], key: str) -> bool:
    schema = shape.model_json_schema()["properties"][key]
    return any(each.get("type") in ("integer", "number") for each in (schema, *schema.get("anyOf", ())))


def _number(text: str) -> float | str:
    """The number that a text is, or the text, of which the schema says what it should be."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _step(name: str, text: str) -> dict[str, Any]:
    """A step of a pipeline, `a*3+b`, as a team file has it."""
    requests: list[dict[str, Any]] = []
    for each in text.split("+"):
        found = _REQUEST.fullmatch(each.strip())
        if not found:
            raise InputError(f"coordinator {name}: steps: {each!r} is not AGENT or AGENT*SAMPLES; {STEPS}")
        requests.append({"agent": found[1], "samples": int(found[2] or 1)})
    return {**requests[0], "beside": requests[1:]}


def _form(word: str, key: str, team: Team) -> str:
    """How a setting that is missing is written."""
    if key == "policy":
        return "learned:FOLDER"
    if key == "steps":
        return f"{word}?steps=a+b*3,c"
    return f"{word}?{key}=NAME; there are: {', '.join(team.models if key == 'model' else team.agents)}"
