"""Batched deciding: runs that wait for a decision in the same turn of the event loop share one call of the policy.

The first run to ask schedules the batch for the loop's next turn; whoever asks until then joins it. Nobody waits for
a timer, and a run that is alone waits for nobody.
"""

from __future__ import annotations

import asyncio

from podium.orchestrator.coordinator import Coordinator, RunState
from podium.protocols.record import Decision


class Decider:
    """The way from a waiting run to the decision of a coordinator that is `batched`."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self._waiting: dict[asyncio.AbstractEventLoop, list[tuple[RunState, asyncio.Future[Decision]]]] = {}

    async def decide(self, state: RunState) -> Decision:
        """The decision for one state. Raises what the coordinator raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Decision] = loop.create_future()
        if loop not in self._waiting:
            self._waiting[loop] = []
            loop.call_soon(self._flush, loop)
        self._waiting[loop].append((state, future))
        return await future

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = [(state, future) for state, future in self._waiting.pop(loop) if not future.done()]
        if not batch:
            return
        try:
            made = self.coordinator.decide([state for state, _ in batch])
            if not isinstance(made, list):
                raise TypeError(f"coordinator {self.coordinator.name} is batched and must decide without awaiting")
            for (_, future), decision in zip(batch, made, strict=True):
                future.set_result(decision)
        except Exception as error:  # every waiting run has to hear of it, whatever it is
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
