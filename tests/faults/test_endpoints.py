"""Endpoints that refuse, fall silent, break off and send garbage: once, and always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from podium.orchestrator.team import Team
from podium.protocols.errors import RunError
from podium.protocols.events import Result
from podium.protocols.record import Generation, Usage
from tests.faults.account import answers, same
from tests.faults.desk import SEED, TASK, Desk, desk
from tests.faults.matrix import ASKING, COLUMNS, ENDPOINT, LEAD, Cell
from tests.faults.proxy import Harm

pytestmark = pytest.mark.timeout(60)

EVER = 1000
SHORT = 2.0
"""Seconds of the timeout of a model that hangs."""

REFUSES = {"HTTP 429": 429, "HTTP 500": 500}
HARMS: dict[str, Harm] = {
    "hang before the answer": "silence",
    "hang in mid-stream": "hang",
    "reset in mid-stream": "reset",
    "garbage in mid-stream": "garbage",
    "body cut off": "cut",
}


@dataclass(frozen=True, slots=True)
class Struck:
    """A team with models that fail. expected: the run without that; fired: how often each did."""

    small: Desk
    team: Team
    expected: Result
    fired: Callable[[], dict[str, int]]


def arm(small: Desk, fault: str, victims: Sequence[str], times: int, spared: int) -> Callable[[], dict[str, int]]:
    """Have models fail so often, after so many requests that are spared; how often each did."""
    for model in victims:
        if fault in REFUSES:
            small.endpoint.refuse[model], small.endpoint.spared[model] = (REFUSES[fault], times), spared
        else:
            proxy = small.proxies[model]
            proxy.harm, proxy.times, proxy.spared = HARMS[fault], times, spared
    if fault in REFUSES:
        return lambda: {model: small.endpoint.refused[model] for model in victims}
    return lambda: {model: small.proxies[model].fired for model in victims}


@asynccontextmanager
async def struck(
    column: str, folder: Path, fault: str, victims: Sequence[str], times: int, spared: int = 0
) -> AsyncGenerator[Struck]:
    """A team that has worked unharmed, and will not be."""
    async with desk(column, folder) as small:
        async with small.team() as team:
            expected = await small.reference(team)
        if "hang" in fault:
            for model in victims:
                small.hurry(model, SHORT)
        async with small.team() as team:
            yield Struck(small, team, expected, arm(small, fault, victims, times, spared))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", ENDPOINT)
def test_once(fault: str, column: str, tmp_path: Path, tell: Callable[[Cell], None]) -> None:
    victims = ("bob", LEAD) if column == ASKING else ("bob",)

    async def main() -> Cell:
        async with struck(column, tmp_path, fault, victims, 1) as it:
            result = await it.team.arun(TASK, seed=SEED)
            assert same(result, it.expected)
            failed = [call for node in result.nodes for call in node.calls if call.error]
            assert [call.attempt for call in failed] == [1] * len(victims)
            used = Usage.total(call.result.usage for call in failed if isinstance(call.result, Generation))
            assert used.calls == (0 if fault in REFUSES else len(victims)), (
                "what was refused is not billed; half an answer may be"
            )
            assert result.usage.tokens == it.expected.usage.tokens + used.tokens
            assert it.fired() == dict.fromkeys(victims, 1)
            account = it.small.account(result.run)
            return Cell(f"endpoint: {fault}, once", column, "answered as without it", len(victims), *account)

    tell(asyncio.run(main()))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", ENDPOINT)
def test_always(fault: str, column: str, tmp_path: Path, tell: Callable[[Cell], None]) -> None:
    victim, spared = (LEAD, 1) if column == ASKING else ("bob", 0)
    author = "llm_selector" if column == ASKING else "bob"

    async def main() -> Cell:
        async with struck(column, tmp_path, fault, (victim,), EVER, spared) as it:
            (came,) = await asyncio.gather(it.team.arun(TASK, seed=SEED), return_exceptions=True)
            if isinstance(came, RunError):
                refused = "is not asked for another" in came.message  # its breaker opened
                assert came.agent == author
                ended = f"{type(came).__name__}{', breaker open' if refused else ''}"
                result = came.partial
                assert isinstance(result, Result)
            else:
                assert isinstance(came, Result), came
                result, ended = came, "answered by the others"
                assert result.stop == "answered"
                assert answers(result) == answers(it.expected) - {"bob"}
            assert "bob" not in answers(result)
            assert any(node.kind == "failure" and node.author == author for node in result.nodes)
            assert it.team.journal is not None
            kept = it.team.journal.load(result.run)
            assert (kept.stop, len(kept.nodes)) == (result.stop, len(result.nodes))
            account = it.small.account(result.run)
            return Cell(f"endpoint: {fault}, always", column, ended, it.fired()[victim], *account)

    tell(asyncio.run(main()))
