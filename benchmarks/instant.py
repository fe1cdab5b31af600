"""The team that shows what Podium itself costs: three agents with a model that answers at once, from a team file."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["AGENTS", "TASK", "instant"]

AGENTS = ("first", "second", "third")
TASK = "What is six times seven?"

REPLIES = json.dumps([f"the answer is {number}" for number in range(600)])
"""In turn: an agent that says the same again and again would be stopped."""

FILE = """
name: loop
models: {{instant: {{provider: scripted, replies: {replies}, max_tokens: 16}}}}
agents:
  first: {{role: solver, model: instant}}
  second: {{role: critic, model: instant}}
  third: {{role: verifier, model: instant}}
coordinator: {coordinator}
budget: {{tokens: 100000000, calls: 10000}}
"""


def instant(coordinator: dict[str, Any]) -> str:
    """The team's file, under this coordinator."""
    return FILE.format(replies=REPLIES, coordinator=json.dumps(coordinator))
