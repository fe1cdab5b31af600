"""What the fault matrix consists of: its rows (faults), its columns (coordinators), and what a cell tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

AGENTS = ("ann", "bob", "cyd")
"""The team of every cell. It is bob whom the faults hit."""

COLUMNS: dict[str, dict[str, Any]] = {
    "sequential": {"kind": "sequential"},
    "parallel": {"kind": "vote"},
    "debate": {"kind": "debate", "rounds": 2},
    "learned": {"kind": "learned", "policy": "policy", "mode": "sample"},
}
"""Coordinators, as team files name them."""

ENDPOINT = ("HTTP 429", "HTTP 500", "hang in mid-stream", "reset in mid-stream", "garbage in mid-stream")
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


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of one fault under one coordinator.

    ended: how, in words. fired: how often the fault struck, by the counter of what caused it. lost: completed calls
    that are not in the journal. repeated: calls made again although they were completed and written. again: calls made
    again because their reply could not be written.
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
