"""What is wrong with a file, in words of the file.

A validator knows its own types ("Input should be a valid tuple"); the person who wrote the file knows lines, keys and
values. This module translates: every validation error becomes one line with file, line, dotted field, what was found,
what is allowed, and the nearest name. What is allowed is read from the model's own JSON Schema, so it cannot drift.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from podium.orchestrator.yaml_source import Document, Text, Value, Where

__all__ = ["Problem", "explain", "nearest", "place", "say", "translate", "value_at"]

SECRET_KEYS = ("api_key", "key", "token", "password", "secret")
"""Keys whose values are never shown, whoever wrote them."""
MASK = "***"
LONGEST_SHOWN = 60
"""Characters of a found value that a message repeats."""
SHORTEST_SECRET = 4
"""Shorter values from the environment are not searched for in texts: they would hide ordinary words."""

Schema = Mapping[str, Any]

_SHAPES = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "path_type": "a path",
    "is_instance_of": "a path",
    "none_required": "nothing",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. where: path of the value; what: never repeats a value; allowed: what would be right."""

    where: Where
    what: str
    allowed: str = ""
    nearest: str = ""
    show: bool = True
    """Tell the value that was found."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like the given one; empty when none does."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), "")


def value_at(data: object, where: Where) -> object:
    """The value at a path. Raises LookupError where the path leads nowhere."""
    for part in where:
        if isinstance(data, dict) and isinstance(part, str):
            data = cast(dict[str, object], data)[part]
        elif isinstance(data, list | tuple) and isinstance(part, int):
            data = cast(Sequence[object], data)[part]
        else:
            raise LookupError(part)
    return data


def say(problem: Problem, data: object) -> str:
    """A problem as one line without its position."""
    parts = [problem.what]
    if problem.show:
        try:
            parts.append(f"found {_shown(value_at(data, problem.where), problem.where)}")
        except LookupError:
            pass
    if problem.allowed:
        parts.append(f"allowed: {problem.allowed}")
    if problem.nearest:
        parts.append(f'did you mean "{problem.nearest}"?')
    field = ".".join(str(part) for part in problem.where)
    return (f"{field}: " if field else "") + "; ".join(parts)


def explain(document: Document, problems: Iterable[Problem]) -> list[str]:
    """All problems of a document as lines `file:line: field: ...`, in the order of the file, without secrets."""
    broken = {mark for mark, _ in document.problems}
    lines = {(mark.file != document.root.file, mark.file, mark.line, f"{mark}: {what}") for mark, what in document.problems}
    for problem in problems:
        mark = document.mark(problem.where)
        if document.marks.get(problem.where) not in broken:
            line = f"{mark}: {say(problem, document.data)}"
            lines.add((mark.file != document.root.file, mark.file, mark.line, line))
    secrets = sorted(_secrets(document.data), key=len, reverse=True)
    return [_masked(line, secrets) for *_, line in sorted(lines)]


def place(location: tuple[str | int, ...], data: object) -> Where:
    """The path in the file that a validator's location means: without the names of union branches."""
    where: list[str | int] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(data, dict):
            mapping = cast(dict[str, object], data)
            if part in mapping:
                data = mapping[cast(str, part)]
            elif part == "[key]" or not last:
                continue
        elif isinstance(data, list) and isinstance(part, int) and part < len(cast(list[object], data)):
            data = cast(list[object], data)[part]
        elif not (isinstance(data, list) and isinstance(part, int)):
            continue
        where.append(part)
    return tuple(where)


def translate(error: ValidationError, model: type[BaseModel], data: dict[str, Value]) -> list[Problem]:
    """Every error of a validation, in plain words. Errors of the type `references` are left to their own check."""
    schema = model.model_json_schema()
    shapes: dict[Where, list[str]] = {}
    problems: list[Problem] = []
    for detail in error.errors(include_url=False):
        if detail["type"] == "references":
            continue
        where = place(detail["loc"], data)
        shape = _SHAPES.get(detail["type"])
        if shape is not None:
            shapes.setdefault(where, []).append(shape)
        else:
            problems.append(_translated(detail, where, schema, data))
    deeper = [*(problem.where for problem in problems), *shapes]
    for where, expected in shapes.items():
        # A union tries every branch: the one that fits the shape reports from inside, the others report the shape.
        if not any(len(other) > len(where) and other[: len(where)] == where for other in deeper):
            problems.append(Problem(where, "expected " + " or ".join(dict.fromkeys(expected))))
    return problems


def _translated(detail: ErrorDetails, where: Where, schema: Schema, data: dict[str, Value]) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    parent, last = where[:-1], str(where[-1]) if where else ""
    if kind == "extra_forbidden":
        keys = list(_keys(_at(schema, parent, data)))
        return Problem(where, f'unknown key "{last}"', ", ".join(keys), nearest(last, keys), show=False)
    if kind == "missing":
        if isinstance(where[-1] if where else None, int):
            return Problem(parent, "this list is too short", _description(_at(schema, parent, data)))
        return Problem(parent, f'the key "{last}" is missing', show=False)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = str(context["discriminator"]).strip("'")
        branches = _at(schema, where, data, choose=False).get("discriminator", {}).get("mapping", {})
        if kind == "union_tag_not_found":
            return Problem(where, f'the key "{tag}" is missing', ", ".join(branches), show=False)
        found = str(context["tag"])
        return Problem((*where, tag), f"unknown {tag}", ", ".join(branches), nearest(found, branches))
    if kind == "literal_error":
        choices = [str(choice) for choice in _choices(_at(schema, where, data))]
        found = value_at(data, where)
        return Problem(where, "not one of the choices", ", ".join(choices), nearest(str(found), choices))
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return Problem(where, f"expected {words} {context[key]:g}")
    if kind == "string_pattern_mismatch":
        if detail["loc"][-1] == "[key]":
            allowed = "letters, digits, dot, dash and underscore, at most 64, starting with a letter or a digit"
            return Problem(where, f'"{last}" is not a usable name', allowed, show=False)
        return Problem(where, "not in the form that is expected", _description(_at(schema, where, data)))
    if kind == "string_too_short":
        return Problem(where, "must not be empty", _description(_at(schema, where, data)))
    if kind == "too_short":
        return Problem(where, f"expected at least {context['min_length']}", show=False)
    if kind == "too_long":
        return Problem(where, f"expected at most {context['max_length']}")
    if kind in ("value_error", "assertion_error"):
        return Problem(where, str(context.get("error", detail["msg"])), show=False)
    return Problem(where, detail["msg"].replace("Input should be ", "expected "))


def _at(schema: Schema, where: Where, data: object, choose: bool = True) -> Schema:
    """The part of a JSON Schema that describes the value at a path. choose: step into the fitting branch of a union."""
    definitions = schema.get("$defs", {})
    node = schema
    for index in range(len(where) + 1):
        here = value_at(data, where[:index]) if index < len(where) or choose else None
        if index < len(where) or choose:
            node = _branch(node, here, definitions)
        if index == len(where):
            return node
        part = where[index]
        if isinstance(part, int):
            prefix = node.get("prefixItems", [])
            node = prefix[part] if part < len(prefix) else node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        if not isinstance(node, Mapping):
            return {}
    return node


def _branch(node: Schema, value: object, definitions: Mapping[str, Schema]) -> Schema:
    """Follow references, and pick the branch of a union that a value belongs to."""
    while True:
        described = {key: node[key] for key in ("description",) if key in node}
        if "$ref" in node:
            node = {**definitions[node["$ref"].rsplit("/", 1)[-1]], **described}
            continue
        branches = node.get("oneOf") or node.get("anyOf")
        if not branches:
            return node
        tag = node.get("discriminator", {})
        if tag and isinstance(value, dict):
            chosen = tag["mapping"].get(cast(dict[str, object], value).get(tag["propertyName"]))
            if chosen is None:
                return node
            node = {"$ref": chosen}
            continue
        wanted = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else ""
        fitting = [b for b in branches if (b.get("type") == wanted if wanted else b.get("type") not in ("object", "array", "null"))]
        refs = [b for b in branches if "$ref" in b] if wanted == "object" else []
        candidates = refs or fitting
        if not candidates:
            return node
        node = {**candidates[0], **described}


def _keys(node: Schema) -> Iterable[str]:
    return node.get("properties", {})


def _choices(node: Schema) -> Sequence[object]:
    if "const" in node:
        return [node["const"]]
    return node.get("enum", [])


def _description(node: Schema) -> str:
    return str(node.get("description", "")).replace("\n", " ").rstrip(".")


def _shown(value: object, where: Where) -> str:
    if any(str(part).lower() in SECRET_KEYS for part in where) or (isinstance(value, Text) and value.secret):
        return MASK
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if len(value) <= LONGEST_SHOWN else value[:LONGEST_SHOWN] + "..."
        return '"' + text.encode("unicode_escape").decode("ascii").replace("\\\\", "\\") + '"' if not text.isprintable() else f'"{text}"'
    return str(value)


def _secrets(value: Value) -> Iterable[str]:
    """Every text that came from the environment and is long enough to be searched for."""
    if isinstance(value, Text):
        if value.secret and len(value) >= SHORTEST_SECRET:
            yield str(value)
    elif isinstance(value, dict):
        for child in value.values():
            yield from _secrets(child)
    elif isinstance(value, list):
        for child in value:
            yield from _secrets(child)


def _masked(line: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, MASK)
    return line
