"""The JSON Schema of the team file, for editors and for whoever writes team files by program.

It is the schema of `TeamSpec` with what a YAML file may do beyond the model: any number, truth value or choice may be
written as `${NAME}` and filled from the environment, and models and agents may come from an included file.
"""

from __future__ import annotations

from typing import Any, cast

from podium.orchestrator.team_file import TeamSpec

__all__ = ["team_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = {
    "type": "string",
    "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
    "description": "From the environment.",
}


def team_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) that describes every field of a team file."""
    made = TeamSpec.model_json_schema()
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        **made,
        "title": "Podium team file",
        "required": ["name", "coordinator"],
        "anyOf": [{"required": ["models", "agents"]}, {"required": ["include"]}],
    }
    parts: list[dict[str, Any]] = [schema, *made["$defs"].values()]
    for part in parts:
        properties: dict[str, dict[str, Any]] = part.get("properties", {})
        for name, field in properties.items():
            properties[name] = _or_reference(field)
    return schema


def _or_reference(field: dict[str, Any]) -> dict[str, Any]:
    """The same field, also accepting a reference to the environment where its own type is not any text."""
    if "const" in field or "$ref" in field or "oneOf" in field:
        return field
    outer = {key: field[key] for key in ("description", "default", "title") if key in field}
    inner = {key: value for key, value in field.items() if key not in outer}
    branches = cast(list[dict[str, Any]], inner["anyOf"]) if set(inner) == {"anyOf"} else [inner]
    if any(_narrow(branch) for branch in branches):
        return {**outer, "anyOf": [*branches, REFERENCE]}
    return field


def _narrow(branch: dict[str, Any]) -> bool:
    """Whether a branch refuses the text `${NAME}`."""
    return branch.get("type") in ("integer", "number", "boolean") or "enum" in branch or "pattern" in branch
