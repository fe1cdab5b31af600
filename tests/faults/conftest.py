"""What cells need: a way to tell what came of them, a PostgreSQL server to kill, and a disk that is soon full."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.matrix import Cell, ending
from tests.orchestrator.journal.conftest import doomed_server, postgres_bin, small_disk, victim

__all__ = ["doomed_server", "postgres_bin", "small_disk", "tell", "victim"]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[Cell], None]:
    """Keep a cell in the test's report, and hold it to what is promised."""

    def told(cell: Cell) -> None:
        for name, value in cell.properties().items():
            record_property(name, value)
        print(cell)
        assert cell.fired > 0, "the fault did not strike"
        assert (cell.lost, cell.repeated) == (0, 0)
        assert cell.ended == ending(cell.row, cell.column)

    return told
