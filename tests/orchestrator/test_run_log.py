"""A run's way into its journal, when the journal fails and when the caller loses patience."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.journal import Head, Journal
from podium.orchestrator.run_log import RunLog
from podium.protocols.errors import JournalError, ModelError
from podium.protocols.events import Result
from podium.protocols.record import Call, ToolResult
from podium.protocols.task import Message, Task
from tests.orchestrator.stage import Speaker, Stage

pytestmark = pytest.mark.timeout(30)


def test_a_call_that_cannot_be_written_does_not_hurt_its_request_and_the_first_reason_is_told_for_ever(
    tmp_path: Path,
) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")

    async def main() -> None:
        log = RunLog(journal, "r")
        log.add(Head("r", "desk", (Message("user", "?"),), 1.0))
        await log.commit()
        log.completed("d", 0, Call("d.0", "look", ToolResult("half a character: \ud800")))
        for number in range(2):
            log.completed("d", 0, Call(f"d.{number}", "look", ToolResult("fine")))
        reasons: list[JournalError] = []
        for _ in range(2):
            with pytest.raises(JournalError, match="surrogate") as caught:
                await log.commit()
            reasons.append(caught.value)
        assert reasons[0] is reasons[1]

    asyncio.run(main())
    journal.close()


class Unhurried(RunLog):
    """A log whose last entry takes for ever."""

    __slots__ = ("reached",)

    def end(self, result: Result) -> asyncio.Future[None]:
        self.reached.set()
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(("error", "stop"), [(None, "answered"), (ModelError("no"), "failed")])
def test_who_cancels_a_run_that_has_ended_gets_how_it_ended(error: Exception | None, stop: str, tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")

    async def main() -> None:
        log = Unhurried(journal, "r")
        log.reached = asyncio.Event()
        log.add(Head("r", "desk", (Message("user", "?"),), 1.0))
        team = Stage(Speaker("ann", error=error)).led_by(Single("ann"))
        work = asyncio.ensure_future(team.run(Task.of("?"), id="r", log=log))
        await log.reached.wait()
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await work
        (result,) = caught.value.args
        assert isinstance(result, Result)
        assert result.stop == stop

    asyncio.run(main())
    journal.close()
