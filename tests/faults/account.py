"""What a run came to, what its journal knows of it, and what the other side says was done."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from podium.orchestrator.journal import Journal
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy, save_policy
from podium.protocols.events import Result
from tests.faults.matrix import AGENTS

SAID = "it is "
"""What an answer begins with; what follows is the key of what was asked."""


def words(result: Result) -> list[tuple[str, str, str]]:
    """What a run came to, node by node, without what depends on the clock."""
    return [(node.kind, node.author, node.content) for node in result.nodes]


def same(result: Result, expected: Result) -> bool:
    """Whether two runs came to the same, whatever happened on the way."""
    return result.stop == "answered" and (result.answer, words(result)) == (expected.answer, words(expected))


def answers(result: Result) -> set[str]:
    """Who replied."""
    return {node.author for node in result.nodes if node.kind == "reply"}


def kept(journal: Journal, run: str) -> set[str]:
    """Completed calls of a run that its journal knows, those of requests under way included."""
    entries = [json.loads(line)["entry"] for line in journal.export(run).splitlines()]
    calls: list[dict[str, Any]] = [call for entry in entries for call in entry.get("calls", ())]
    calls += [entry["call"] for entry in entries if isinstance(entry.get("call"), dict)]
    return {_asked(call["result"]) for call in calls if "error" not in call and "usage" in call["result"]}


def _asked(generation: dict[str, Any]) -> str:
    """What was asked, as the answer repeats it: `generation` as the journal keeps it."""
    tools = generation.get("tool_calls") or ()
    return str(tools[0]["id"]) if tools else repeated(str(generation.get("text", "")))


def repeated(text: str) -> str:
    """What was asked, as an answer in words repeats it, or as one that says who is next."""
    return str(json.loads(text)["key"]) if text.startswith("{") else text.removeprefix(SAID)


def chosen(shown: str, key: str) -> str:
    """Who is next, as the coordinator's model says it: whoever said nothing of what it is shown; then it is over."""
    silent = (agent for agent in AGENTS if f"{SAID}{agent}" not in shown)
    return json.dumps({"next": next(silent, "finish"), "key": key})


def counted(file: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each thing began and ended, by a file with one line for either."""
    lines = [line.split(maxsplit=1) for line in file.read_text().splitlines()]
    began, ended = (Counter(what for word, what in lines if word == which) for which in ("began", "ended"))
    return began, ended


def write_policy(folder: Path) -> None:
    """The policy of the learned column, where its team file expects it."""
    save_policy(Policy.fresh(Options(samples=(1, 3), width=2), AGENTS, seed=5), folder / "policy")
