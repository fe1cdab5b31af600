"""No framework at all: a loop that awaits the model. What is left is the price of asyncio and of the machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from case import TASK, Case, Gate, Words, Work


@asynccontextmanager
async def opened(case: Case, gate: Gate, folder: str) -> AsyncGenerator[Work]:
    """Nothing to set up; it has no journal to switch on."""
    assert not case.journal
    words = Words(case.delay, gate)

    async def work() -> int:
        messages = [TASK]
        for _ in range(case.turns):
            messages.append(await words(messages))
        return len(messages) - 1

    yield work
