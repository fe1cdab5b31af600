"""A value that obeys a JSON Schema, at random: what a server that decodes under a schema may write."""

from __future__ import annotations

from random import Random
from typing import Any


def instance(schema: Any, random: Random) -> Any:
    """One value. Knows what Podium's own schemas use; texts are as long as they may be, or short."""
    if "anyOf" in schema:
        return instance(random.choice(schema["anyOf"]), random)
    if "enum" in schema:
        return random.choice(schema["enum"])
    match schema["type"]:
        case "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
            return {name: instance(each, random) for name, each in schema["properties"].items()}
        case "array":
            many = random.randint(schema.get("minItems", 0), schema["maxItems"])
            return [instance(schema["items"], random) for _ in range(many)]
        case "boolean":
            return random.random() < 0.2
        case "string":
            length = random.choice((0, random.randint(0, 9), schema["maxLength"]))
            return "".join(random.choice('ab "\\{}<>/\u00e9\u2028\n\x07') for _ in range(length))
        case other:
            raise AssertionError(other)
