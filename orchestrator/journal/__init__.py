"""Where runs are kept, written as they happen: an append-only row per entry, in SQLite or PostgreSQL.

What a run writes is loaded at once, the store when it is first asked for: SQLAlchemy takes as long to load as all else
that a team without a journal needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from podium.orchestrator.journal.entries import Begun, Completed, End, Entry, Head
from podium.orchestrator.journal.reading import ResumeState

if TYPE_CHECKING:
    from podium.orchestrator.journal.address import masked
    from podium.orchestrator.journal.store import DEFAULT, Journal, Listed

__all__ = ["DEFAULT", "Begun", "Completed", "End", "Entry", "Head", "Journal", "Listed", "ResumeState", "masked"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'address' if name == 'masked' else 'store'}"), name)
