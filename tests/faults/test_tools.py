"""Tools whose processes die, do not end, or talk too much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from podium.agents.tools import LONGEST_OUTPUT
from podium.protocols.record import ToolResult
from tests.faults.account import answers
from tests.faults.desk import SEED, TASK, Desk, desk
from tests.faults.matrix import COLUMNS, TOOL, Cell

pytestmark = pytest.mark.timeout(90)

MEGABYTES = 20
SHORT = 2.0
"""Seconds that the tool may take where it hangs."""
LONGEST = 30.0
"""Seconds after which what hangs, and what waits for its end, gives up."""

STRIKES = """
import os, signal, sys, time
def strike():
    with open(sys.argv[1] + "/struck", "a") as file:
        file.write(".")
"""
"""What every program begins with: each counts itself how often it did harm."""
PROGRAMS = {
    "crash": "strike(); os.kill(os.getpid(), signal.SIGSEGV)",
    "hang": f"""
strike()
ends = time.monotonic() + {LONGEST}
while time.monotonic() < ends and not os.path.exists(sys.argv[1] + "/over"):
    time.sleep(0.05)
""",
    "huge output": f"print('x' * {MEGABYTES * 2**20}, flush=True); strike()",
}
TOLD = {
    "crash": ("look failed: CalledProcessError", "died with <Signals.SIGSEGV: 11>", True),
    "hang": ("look gave no result", f"within {SHORT:g} seconds", True),
    "huge output": ("xxx", f"[cut: the first {LONGEST_OUTPUT} of {MEGABYTES * 2**20 + 1} characters]", False),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", TOOL)
def test_a_tool_that_fails_is_told_to_its_model(
    fault: str, column: str, tmp_path: Path, tell: Callable[[Cell], None]
) -> None:
    async def main() -> Cell:
        async with desk(column, tmp_path, tool=SHORT if fault == "hang" else 20.0) as small, small.team() as team:
            expected = await small.reference(team)
            whole, _ = small.uses()
            (tmp_path / "program.py").write_text(STRIKES + PROGRAMS[fault])
            try:
                result = await team.arun(TASK, seed=SEED)
                began, ended = small.uses()
            finally:
                (tmp_path / "over").touch()
            assert (result.stop, answers(result)) == ("answered", answers(expected))
            calls = [call for node in result.nodes for call in node.calls if isinstance(call.result, ToolResult)]
            first, last, failed = TOLD[fault]
            assert all(call.result.text.startswith(first) and last in call.result.text for call in calls)
            assert all(isinstance(call.result, ToolResult) and call.result.failed is failed for call in calls)
            assert small.endpoint.longest < LONGEST_OUTPUT + 20_000
            assert len(began) == len(calls) == len(whole)
            assert sum(ended.values()) == (0 if fault == "hang" else len(calls))
            if fault == "hang":
                await all_ended(small, began.total())
            struck = len((tmp_path / "struck").read_text())
            assert struck == len(calls)
            lost, repeated, again = small.account(result.run)
            repeated += began.total() - len(began)
            cut = max(call.result.text.count("x") for call in calls)
            came = "the model knows" if failed else f"cut to {cut} characters"
            return Cell(f"tool: {fault}", column, f"answered, {came}", struck, lost, repeated, again)

    tell(asyncio.run(main()))


async def all_ended(small: Desk, uses: int) -> None:
    """Wait for the processes of so many uses, which nobody waits for any more."""
    told, ends = small.file.parent / "tool", time.monotonic() + LONGEST
    while not told.exists() or told.read_text().count("ended ") < uses:
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)
