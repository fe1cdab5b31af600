"""Synchronous tools that are given up: their threads are told, counted, and not too many."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Generator
from contextlib import suppress

import pytest

from podium.agents.threads import MOST, MOST_OF_ONE, left_behind
from podium.agents.tools import Tool
from podium.protocols.record import ToolResult

pytestmark = pytest.mark.timeout(30)


class Gate:
    """A function that hangs until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began = self.ended = 0
        self.function = self.hang  # one object, as a tool has it

    def hang(self) -> str:
        self.began += 1
        self.open.wait(20)
        self.ended += 1
        return "done"


@pytest.fixture
def gate() -> Generator[Gate]:
    """One that is let go when the test is over, and leaves nothing behind."""
    made = Gate()
    yield made
    made.open.set()
    none_left()


def none_left() -> None:
    ends = time.monotonic() + 10
    while left_behind():
        assert time.monotonic() < ends
        time.sleep(0.01)


def hanging(gate: Gate, timeout: float = 0.05) -> Tool:
    return Tool.from_function(gate.function, name="hang", timeout=timeout)


async def given_up(tool: Tool) -> None:
    """A call whose run is cancelled."""
    call = asyncio.ensure_future(tool.call("{}"))
    await asyncio.sleep(0.01)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call


def test_a_call_that_takes_too_long_leaves_a_thread_and_says_so(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "podium.tools")
    result = asyncio.run(hanging(gate).call("{}"))
    assert result == ToolResult("hang gave no result within 0.05 seconds.", failed=True)
    assert (left_behind(gate.function), left_behind()) == (1, 1)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("hang goes on in a thread that nobody waits for any more")
    assert "1 of this tool, 1 in all" in record.getMessage()
    gate.open.set()
    none_left()
    assert gate.ended == 1
    assert "hang ended after 0 s" in caplog.records[-1].getMessage()


def test_so_does_a_call_of_a_run_that_is_cancelled(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(given_up(hanging(gate, 60.0)))
    assert left_behind(gate.function) == 1
    assert "hang goes on in a thread" in caplog.text


def test_a_call_that_ends_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    tool = Tool.from_function(lambda: "yes", name="quick")
    assert asyncio.run(tool.call("{}")).text == "yes"
    assert left_behind() == 0
    assert caplog.records == []


def test_one_with_many_left_behind_is_not_started_until_some_ended(gate: Gate) -> None:
    async def main() -> tuple[ToolResult, ToolResult]:
        tool, other = hanging(gate, 60.0), Tool.from_function(lambda: "yes", name="quick")
        for _ in range(MOST_OF_ONE):
            await given_up(tool)
        return await tool.call("{}"), await other.call("{}")

    refused, other = asyncio.run(main())
    assert refused.failed
    assert refused.text.startswith(f"hang is not run: {MOST_OF_ONE} of its calls were given up and still go on")
    assert other == ToolResult("yes"), "others are as they were"
    assert gate.began == MOST_OF_ONE
    gate.open.set()
    none_left()
    assert asyncio.run(hanging(gate, 60.0).call("{}")).text == "done"


def test_nor_is_any_where_all_of_them_left_many() -> None:
    gates = [Gate() for _ in range(MOST // MOST_OF_ONE)]

    async def main() -> ToolResult:
        for gate in gates:
            for _ in range(MOST_OF_ONE):
                await given_up(hanging(gate, 60.0))
        return await Tool.from_function(lambda: "yes", name="quick").call("{}")

    try:
        refused = asyncio.run(main())
    finally:
        for gate in gates:
            gate.open.set()
        none_left()
    assert refused.failed
    assert f"quick is not run: {MOST} calls of tools were given up" in refused.text


def test_asynchronous_tools_are_started_all_the_same(gate: Gate) -> None:
    async def fine() -> str:
        return "yes"

    async def main() -> ToolResult:
        for _ in range(MOST_OF_ONE):
            await given_up(hanging(gate, 60.0))
        return await Tool.from_function(fine).call("{}")

    assert asyncio.run(main()) == ToolResult("yes")
