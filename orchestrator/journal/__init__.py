"""Where runs are kept, written as they happen: an append-only row per entry, in SQLite or PostgreSQL."""

from podium.orchestrator.journal.address import masked
from podium.orchestrator.journal.entries import Begun, Completed, End, Entry, Head
from podium.orchestrator.journal.store import DEFAULT, Journal, Listed, ResumeState

__all__ = ["DEFAULT", "Begun", "Completed", "End", "Entry", "Head", "Journal", "Listed", "ResumeState", "masked"]
