"""The fault matrix: its rows (faults), its columns (coordinators), how each cell has to end, and what it tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from podium.agents.tools import LONGEST_OUTPUT

AGENTS = ("ann", "bob", "cyd")
"""The team of every cell. Faults of tools hit bob; those of endpoints hit his model, those of journals happen at his
request, where the coordinator has no model of its own."""

LEAD = "lead"
"""The model that the coordinator asks who is next, where it asks one; faults of endpoints and journals are its, too."""

ASKING = "asks a model"
"""The column whose coordinator does."""

COLUMNS: dict[str, dict[str, Any]] = {
    "sequential": {"kind": "sequential"},
    "parallel": {"kind": "vote"},
    "debate": {"kind": "debate", "rounds": 2},
    "learned": {"kind": "learned", "policy": "policy", "mode": "sample"},
    ASKING: {"kind": "llm_selector", "model": LEAD},
}
"""Coordinators, as team files name them."""

ENDPOINT = (
    "HTTP 429",
    "HTTP 500",
    "hang before the answer",
    "hang in mid-stream",
    "reset in mid-stream",
    "garbage in mid-stream",
    "body cut off",
)
TOOL = ("crash", "hang", "huge output")
DISK = ("disk full",)
LOCK = ("SQLite locked for a moment", "SQLite locked for longer than the timeout")
SERVER = ("PostgreSQL killed, back at once", "PostgreSQL killed, back after the run")
KILL = {"after": "SIGKILL after every step", "inside": "SIGKILL inside of every step"}

ROWS: tuple[str, ...] = (
    *(f"endpoint: {fault}, once" for fault in ENDPOINT),
    *(f"endpoint: {fault}, always" for fault in ENDPOINT),
    *(f"tool: {fault}" for fault in TOOL),
    *(f"journal: {fault}" for fault in (*DISK, *LOCK, *SERVER)),
    *(f"process: {fault}" for fault in KILL.values()),
)
"""Faults, in the order of the report."""


_UNHARMED = "answered as without it"
_GIVEN_UP = {
    "HTTP 429": "ModelError",
    "HTTP 500": "ModelError",
    "hang before the answer": "ModelUnreachable",
    "hang in mid-stream": "ModelUnreachable",
}
_TOLD = {"huge output": f"answered, cut to {LONGEST_OUTPUT} characters"}
_UNNOTICED = (LOCK[0], SERVER[0])


def models(column: str) -> tuple[str, ...]:
    """The models of a column's team, each agent's under its name."""
    return (*AGENTS, LEAD) if column == ASKING else AGENTS


def ending(row: str, column: str) -> str:
    """How a cell has to end."""
    group, _, fault = row.partition(": ")
    if group == "endpoint" and fault.endswith(", always"):
        if column == "learned":  # asks bob alone after he failed beside another
            return "ModelError, breaker open"
        alone = _GIVEN_UP.get(fault.removesuffix(", always"), "ModelGarbage")
        return alone if column in ("sequential", ASKING) else "answered by the others"
    if group == "tool":
        return _TOLD.get(fault, "answered, the model knows")
    if group == "journal" and fault not in _UNNOTICED:
        return f"JournalError; resumed: {_UNHARMED}"
    return f"resumed: {_UNHARMED}" if group == "process" else _UNHARMED


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of one fault under one coordinator.

    ended: how, in words. fired: how often the fault struck, by the counter of what caused it. lost: completed calls
    that are not in the journal: when the run broke off, but for a reply on its way there, or in the end. repeated:
    calls made again although they were completed and written. again: replies that were on their way to the journal when
    it failed or the process died, so that their calls were made again.
    """

    row: str
    column: str
    ended: str
    fired: int
    lost: int
    repeated: int
    again: int = 0

    def properties(self) -> dict[str, Any]:
        """The cell as a test report keeps it."""
        return asdict(self)
