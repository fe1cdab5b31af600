"""What is wrong with a file, in words of the file.

A validator knows its own types ("Input should be a valid tuple"); the person who wrote the file knows lines, keys and
values. This module translates: every validation error becomes one line with file, line, dotted field, what was found,
what is allowed, and the nearest name. What is allowed is read from the model's own JSON Schema, so it cannot drift.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from podium.orchestrator.yaml_source import Document, Value, Where

__all__ = ["Problem", "explain", "mapping", "nearest", "place", "say", "translate", "value_at"]

SECRET_KEYS = ("api_key", "key", "token", "password", "secret")
"""Keys whose values are never shown, whoever wrote them; but for those that hold nothing but words of a list."""
MASK = "***"
PASSWORD = re.compile(r"//[^/@\s\"']+@")
"""What stands before the host in a URL."""
LONGEST_SHOWN = 60
"""Characters of a found value that a message repeats."""
SHORTEST_SECRET = 6
"""Shorter values from the environment are not searched for in texts: they would hide ordinary words."""

Schema = Mapping[str, Any]
NO_SCHEMA: Schema = {}

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
_WORDS = {"string": "TEXT", "integer": "NUMBER", "number": "NUMBER", "boolean": "true | false"}
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
    listed: bool = False
    """The value is one of a list of words, so no secret, whatever its key is called."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like the given one, or begins with it; empty when none does."""
    names = list(known)
    longer = [each for each in names if len(name) > 2 and each.startswith(name)]
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.6) or longer), "")


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


def mapping(value: object) -> Mapping[str, Any]:
    """A value of a file that may be broken, as the mapping that it should be; empty where it is something else."""
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def say(problem: Problem, data: object, hidden: Collection[Where] = ()) -> str:
    """A problem as one line without its position. hidden: paths whose values are not shown."""
    parts = [problem.what]
    if problem.show:
        with suppress(LookupError):
            value = value_at(data, problem.where)
            named = not problem.listed and any(_is_secret(part) for part in problem.where)
            secret = problem.where in hidden or named
            parts.append(f"found {MASK if secret else _shown(value)}")
    if problem.allowed:
        parts.append(f"allowed: {problem.allowed}")
    if problem.nearest:
        parts.append(f'did you mean "{problem.nearest}"?')
    field = ".".join(str(part) for part in problem.where)
    return (f"{field}: " if field else "") + "; ".join(parts)


def explain(document: Document, problems: Iterable[Problem]) -> list[str]:
    """All problems of a document as lines `file:line: field: ...`, in the order of the file, without secrets."""
    broken = {mark for mark, _ in document.problems}
    found = list(document.problems)
    found += [
        (document.mark(problem.where), say(problem, document.data, document.hidden))
        for problem in problems
        if document.marks.get(problem.where) not in broken
    ]
    found.sort(key=lambda item: (item[0].file != document.root.file, item[0].file, item[0].line, item[0].column))
    secrets = sorted((text for text in document.secrets if len(text) >= SHORTEST_SECRET), key=len, reverse=True)
    return list(dict.fromkeys(_one_line(_masked(f"{mark}: {what}", secrets)) for mark, what in found))


def place(location: tuple[str | int, ...], data: object, absent: bool = False) -> Where:
    """The path in the file that a validator's location means: without the names of union branches.

    absent: the last part is a key that the file does not have.
    """
    where: list[str | int] = []
    for index, part in enumerate(location):
        last = absent and index == len(location) - 1
        if isinstance(data, dict):
            mapping = cast(dict[str, object], data)
            if part in mapping:
                data = mapping[part]
            elif not last:
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
    for name, field in model.model_fields.items():
        if field.exclude:  # Podium sets it, the file does not
            schema["properties"].pop(name, None)
    shapes: dict[Where, list[str]] = {}
    short: list[Problem] = []
    problems: list[Problem] = []
    inside: set[Where] = set()
    for detail in error.errors(include_url=False):
        if detail["type"] == "references":
            continue
        where = place(detail["loc"], data, absent=detail["type"] == "missing")
        shape = _SHAPES.get(detail["type"])
        if shape is not None:
            shapes.setdefault(where, []).append(shape)
        elif detail["type"] == "too_short":
            short.append(_translated(detail, where, schema, data))
        else:
            inside.add(where)
            problems.append(_translated(detail, where, schema, data))
    # A list is short of an entry that is broken, and a union tries every branch, of which the one that fits the shape
    # reports what is wrong with it: that says it all.
    outer = inside | {where[:length] for where in (*inside, *shapes) for length in range(len(where))}
    problems += [problem for problem in short if problem.where not in outer]
    for where, expected in shapes.items():
        if where not in outer:
            what = "expected " + " or ".join(dict.fromkeys(expected))
            nested = {"a mapping", "a list"} & set(expected)
            problems.append(Problem(where, what + (f": {_form_at(schema, where, data)}" if nested else "")))
    return [replace(problem, listed=_is_listed(schema, problem.where, data)) for problem in problems]


def _is_secret(key: str | int) -> bool:
    return str(key).lower() in SECRET_KEYS


def _is_listed(schema: Schema, where: Where, data: object) -> bool:
    """Whether every key on the way to a value that could name a secret holds nothing but words of a list."""
    names = [index for index, part in enumerate(where) if _is_secret(part)]
    definitions = schema.get("$defs", {})
    return bool(names) and all(
        _has_choices(_at(schema, where[: index + 1], data, choose=False), definitions) for index in names
    )


def _has_choices(node: Schema, definitions: Mapping[str, Schema]) -> bool:
    """Whether a value is one of some words, or a list of such."""
    if "$ref" in node:
        node = _branch(node, None, definitions)
    branches: Sequence[Schema] = node.get("anyOf", [])
    if branches:
        return all(_has_choices(branch, definitions) for branch in branches)
    return bool(_choices(node)) or (node.get("type") == "array" and _has_choices(node.get("items", {}), definitions))


def _translated(detail: ErrorDetails, where: Where, schema: Schema, data: dict[str, Value]) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    parent, last = where[:-1], str(where[-1]) if where else ""
    if kind == "extra_forbidden":
        keys = list(_keys(_at(schema, parent, data)))
        return Problem(where, f'unknown key "{last}"', ", ".join(keys), nearest(last, keys), show=False)
    if kind == "missing":
        if isinstance(where[-1] if where else None, int):
            return Problem(parent, "this list is too short", _description(_at(schema, parent, data)), show=False)
        means = _description(_at(schema, where, data, choose=False))
        told = f" ({means[:1].lower()}{means[1:]})" if means else ""
        form = _form_at(schema, where, data)
        return Problem(parent, f'the key "{last}" is missing; write {last}: {form}{told}', show=False)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = str(context["discriminator"]).strip("'")
        branches = _at(schema, where, data, choose=False).get("discriminator", {}).get("mapping", {})
        if kind == "union_tag_not_found":
            shapes = (schema["$defs"][shape.rsplit("/", 1)[-1]] for shape in branches.values())
            known = {key for shape in shapes for key in _keys(shape)}
            given = cast(dict[str, Value], value_at(data, where))
            if meant := nearest(tag, (key for key in given if key not in known)):
                return Problem((*where, meant), f'unknown key "{meant}"', nearest=tag, show=False)
            return Problem(where, f'the key "{tag}" is missing', ", ".join(branches), show=False)
        found = str(context["tag"])
        return Problem((*where, tag), f"unknown {tag}", ", ".join(branches), nearest(found, branches))
    if kind == "literal_error":
        described = _choices(_at(schema, where, data)) or _choices(_at(schema, where, data, choose=False))
        choices = [str(choice) for choice in described]
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
        form = _form_at(schema, where, data)
        return Problem(where, f"needs at least {_entries(context['min_length'])}: {form}", show=False)
    if kind == "too_long":
        return Problem(where, f"holds at most {_entries(context['max_length'])}", show=False)
    if kind in ("value_error", "assertion_error"):
        return Problem(where, str(context.get("error", detail["msg"])), show=False)
    return Problem(where, detail["msg"].replace("Input should be ", "expected "))


def _at(schema: Schema, where: Where, data: object, choose: bool = True) -> Schema:
    """The part of a JSON Schema that describes the value at a path. choose: step into the fitting branch of a union."""
    definitions = schema.get("$defs", {})
    node = schema
    for index, part in enumerate(where):
        node = _branch(node, value_at(data, where[:index]), definitions)
        found: Schema | bool
        if isinstance(part, int):
            prefix: Sequence[Schema] = node.get("prefixItems", [])
            found = prefix[part] if part < len(prefix) else node.get("items", {})
        else:
            found = node.get("properties", {}).get(part) or _of_any_key(node)
        node = NO_SCHEMA if isinstance(found, bool) else found
    return _branch(node, value_at(data, where), definitions) if choose else node


def _of_any_key(node: Schema) -> Schema | bool:
    """The schema of the values of a mapping whose keys are free."""
    by_pattern: Mapping[str, Schema] = node.get("patternProperties", {})
    return next(iter(by_pattern.values()), node.get("additionalProperties", {}))


def _branch(node: Schema, value: Any, definitions: Mapping[str, Schema]) -> Schema:
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
            chosen = tag["mapping"].get(cast(dict[str, Any], value).get(tag["propertyName"]))
            if chosen is None:
                return node
            node = {"$ref": chosen}
            continue
        fitting = [branch for branch in branches if _fits(branch, value)]
        if not fitting:
            return node
        node = {**fitting[0], **described}


def _fits(branch: Schema, value: Any) -> bool:
    """Whether a branch of a union describes values of this shape."""
    shape = "object" if "$ref" in branch else branch.get("type")
    if isinstance(value, dict):
        return shape == "object"
    if isinstance(value, list):
        return shape == "array"
    return shape not in ("object", "array", "null")


def _entries(number: int) -> str:
    return f"{number} {'entry' if number == 1 else 'entries'}"


def _keys(node: Schema) -> Iterable[str]:
    return node.get("properties", {})


def _choices(node: Schema) -> Sequence[object]:
    if "const" in node:
        return [node["const"]]
    branches: Sequence[Schema] = node.get("anyOf", [])
    each = [("true", "false") if branch.get("type") == "boolean" else _choices(branch) for branch in branches]
    return node.get("enum", [choice for some in each for choice in some])


def _description(node: Schema) -> str:
    return str(node.get("description", "")).replace("\n", " ").rstrip(".")


def _form_at(schema: Schema, where: Where, data: object) -> str:
    """What the value at a path looks like in YAML."""
    return _form(_at(schema, where, data, choose=False), schema.get("$defs", {}))


def _form(node: Schema, definitions: Mapping[str, Schema]) -> str:
    """What a value looks like in YAML, such as `{role: TEXT, model: TEXT}`."""
    node = _branch(node, None, definitions) if "$ref" in node else node
    if choices := _choices(node):
        return " | ".join(map(str, choices))
    if tag := node.get("discriminator"):
        return f"{{{tag['propertyName']}: {' | '.join(tag['mapping'])}, ...}}"
    if branches := [branch for branch in node.get("anyOf", []) if branch.get("type") != "null"]:
        return " or ".join(dict.fromkeys(_form(branch, definitions) for branch in branches))
    if node.get("type") == "array":
        return f"[{_form(node.get('items', NO_SCHEMA), definitions)}, ...]"
    if keys := node.get("properties"):
        needed = node.get("required", list(keys))
        return "{" + ", ".join(f"{key}: {_form(keys[key], definitions)}" for key in needed) + "}"
    if isinstance(free := _of_any_key(node), Mapping) and free:
        return f"{{NAME: {_form(free, definitions)}}}"
    return _WORDS.get(node.get("type", ""), "...")


def _shown(value: object) -> str:
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
        return f'"{text}"' if text.isprintable() else ascii(text)
    return str(value)


def _masked(line: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, MASK)
    return PASSWORD.sub(f"//{MASK}@", line)


def _one_line(line: str) -> str:
    """The line with line breaks and other characters that are not seen written as escapes: names may hold any."""
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
