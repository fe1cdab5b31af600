"""Tools whose processes die, do not end, or talk too much."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from podium.agents.tools import LONGEST_OUTPUT
from podium.protocols.record import ToolResult
from tests.faults.desk import SEED, TASK, answers, desk
from tests.faults.matrix import COLUMNS, TOOL, Cell

pytestmark = pytest.mark.timeout(60)

MEGABYTES = 20

PROGRAMS = {
    "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "hang": "import time; time.sleep(3)",
    "huge output": f"print('x' * {MEGABYTES * 2**20})",
}
TOLD = {
    "crash": ("look failed: CalledProcessError", True),
    "hang": ("look gave no result within 1 seconds", True),
    "huge output": (f"[cut: the first {LONGEST_OUTPUT} of {MEGABYTES * 2**20 + 1} characters]", False),
}
ENDED = {
    "crash": "answered, the model knows",
    "hang": "answered, the model knows",
    "huge output": f"answered, cut to {LONGEST_OUTPUT} characters",
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", TOOL)
def test_a_tool_that_fails_is_told_to_its_model(
    fault: str, column: str, tmp_path: Path, tell: Callable[[Cell], None]
) -> None:
    async def main() -> Cell:
        async with desk(column, tmp_path, tool=1.0 if fault == "hang" else 20.0) as small, small.team() as team:
            expected = await small.reference(team)
            whole, _ = small.uses()
            (tmp_path / "program.py").write_text(PROGRAMS[fault])
            result = await team.arun(TASK, seed=SEED)
            assert (result.stop, answers(result)) == ("answered", answers(expected))
            calls = [call for node in result.nodes for call in node.calls if isinstance(call.result, ToolResult)]
            said, failed = TOLD[fault]
            assert calls
            assert all(said in call.result.text for call in calls)
            assert all(isinstance(call.result, ToolResult) and call.result.failed is failed for call in calls)
            assert small.endpoint.longest < LONGEST_OUTPUT + 20_000
            began, ended = small.uses()
            assert len(began) == len(calls) == len(whole)
            assert sum(ended.values()) == (0 if failed else len(calls))
            lost, repeated, again = small.account(result.run)
            repeated += sum(began.values()) - len(began)
            return Cell(f"tool: {fault}", column, ENDED[fault], len(calls), lost, repeated, again)

    tell(asyncio.run(main()))
