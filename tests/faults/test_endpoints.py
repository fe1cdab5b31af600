"""Endpoints that refuse, fall silent, break off and send garbage: once, and always."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from podium.protocols.errors import ModelError, ModelGarbage, ModelUnreachable, RunError
from podium.protocols.events import Result
from tests.faults.desk import SEED, TASK, Desk, answers, desk, same
from tests.faults.matrix import COLUMNS, ENDPOINT, Cell
from tests.faults.proxy import Harm

pytestmark = pytest.mark.timeout(60)

EVER = 1000
SHORT = 2.0
"""Seconds of a model's timeout where it hangs."""

REFUSES = {"HTTP 429": 429, "HTTP 500": 500}
HARMS: dict[str, Harm] = {
    "hang in mid-stream": "hang",
    "reset in mid-stream": "reset",
    "garbage in mid-stream": "garbage",
}
ERRORS: dict[str, type[RunError]] = {
    "HTTP 429": ModelError,
    "HTTP 500": ModelError,
    "hang in mid-stream": ModelUnreachable,
    "reset in mid-stream": ModelGarbage,
    "garbage in mid-stream": ModelGarbage,
}


def arm(small: Desk, fault: str, times: int) -> Callable[[], int]:
    """Have bob's model fail so often; how often it did."""
    if fault in REFUSES:
        small.endpoint.refuse["bob"] = REFUSES[fault], times
        return lambda: small.endpoint.refused
    proxy = small.proxies["bob"]
    proxy.harm, proxy.times = HARMS[fault], times
    return lambda: proxy.fired


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", ENDPOINT)
def test_once(fault: str, column: str, tmp_path: Path, tell: Callable[[Cell], None]) -> None:
    async def main() -> Cell:
        async with desk(column, tmp_path, timeout=SHORT if "hang" in fault else 20.0) as small, small.team() as team:
            expected = await small.reference(team)
            fired = arm(small, fault, 1)
            result = await team.arun(TASK, seed=SEED)
            assert same(result, expected)
            failed = [call for node in result.nodes for call in node.calls if call.error]
            assert [call.attempt for call in failed] == [1]
            assert result.usage.tokens == expected.usage.tokens
            assert fired() == 1
            return Cell(f"endpoint: {fault}, once", column, "answered as without it", 1, *small.account(result.run))

    tell(asyncio.run(main()))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", ENDPOINT)
def test_always(fault: str, column: str, tmp_path: Path, tell: Callable[[Cell], None]) -> None:
    async def main() -> Cell:
        async with desk(column, tmp_path, timeout=SHORT if "hang" in fault else 20.0) as small, small.team() as team:
            expected = await small.reference(team)
            fired = arm(small, fault, EVER)
            (came,) = await asyncio.gather(team.arun(TASK, seed=SEED), return_exceptions=True)
            if isinstance(came, RunError):
                refused = "is not asked for another" in came.message  # its breaker opened
                assert type(came) is (ModelError if refused else ERRORS[fault])
                assert came.agent == "bob"
                ended = f"{type(came).__name__}{', breaker open' if refused else ''}"
                result = came.partial
                assert isinstance(result, Result)
            else:
                assert isinstance(came, Result), came
                result, ended = came, "answered by the others"
                assert result.stop == "answered"
                assert answers(result) < answers(expected)
            assert "bob" not in answers(result)
            assert any(node.kind == "failure" and node.author == "bob" for node in result.nodes)
            assert team.journal is not None
            kept = team.journal.load(result.run)
            assert (kept.stop, len(kept.nodes)) == (result.stop, len(result.nodes))
            account = small.account(result.run)
            return Cell(f"endpoint: {fault}, always", column, ended, fired(), *account)

    tell(asyncio.run(main()))
