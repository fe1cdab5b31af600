"""What cells need: a way to tell what came of them, a PostgreSQL server to kill, and a disk that is soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.faults.matrix import Cell
from tests.orchestrator.journal.conftest import Server, lacking, running, server

__all__ = ["doomed_server", "server", "small_disk", "tell"]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[Cell], None]:
    """Keep a cell in the test's report, and hold it to what is promised."""

    def told(cell: Cell) -> None:
        for name, value in cell.properties().items():
            record_property(name, value)
        print(cell)
        assert cell.fired > 0, "the fault did not strike"
        assert (cell.lost, cell.repeated) == (0, 0)

    return told


@pytest.fixture(scope="session")
def doomed_server(server: Server) -> Generator[Server]:
    """A server to kill."""
    with running(server.bin) as own:
        yield own


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "podium-test", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        lacking(request, "the right to mount a small file system (root has it)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=10)
