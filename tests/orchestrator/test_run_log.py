"""A run's way into its journal, when the journal fails and when the caller loses patience."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from podium.agents.scripted import ScriptedModel
from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.journal import Head, Journal
from podium.orchestrator.run_log import RunLog
from podium.protocols.errors import InputError, JournalError, ModelError
from podium.protocols.events import Added, Decided, Ended, Event, Result, Started
from podium.protocols.record import Call, ToolResult
from podium.protocols.task import Message, Task
from tests.orchestrator.stage import Speaker, Stage
from tests.orchestrator.teams import scripted, team

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

    def end(self, result: Result, why: str = "") -> asyncio.Future[None]:
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


def breaking(kind: type[Event]) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        if isinstance(event, kind):
            raise ValueError("boom")

    return emit


@pytest.mark.parametrize("kind", [Started, Added, Decided, Ended])
@pytest.mark.parametrize("fails", [False, True])
def test_a_run_whose_watcher_breaks_has_an_end(kind: type[Event], fails: bool, tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    model = ScriptedModel(ModelError("no") if fails else "yes")
    with team({"ann": model}, "single", agent="ann", journal=journal) as desk:
        with pytest.raises(ModelError if fails and kind is Ended else ValueError):
            asyncio.run(desk.arun("?", emit=breaking(kind)))
        assert [run.stop for run in journal.entries()] == ["failed"]
        with pytest.raises(InputError, match="has ended"):
            desk.resume(journal.entries()[0].run)


def test_a_run_whose_watcher_breaks_when_it_is_cancelled_is_cancelled(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    with team({"ann": scripted("yes", delay=60)}, "single", agent="ann", journal=journal) as desk:

        async def main() -> None:
            work = asyncio.ensure_future(desk.arun("?", emit=breaking(Ended)))
            await asyncio.sleep(0.1)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

        asyncio.run(main())
        journal.close()
        assert [run.stop for run in journal.entries()] == ["cancelled"]


def test_a_model_whose_input_is_wrong_ends_the_run(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")
    events: list[Event] = []
    with team({"ann": scripted(InputError("no such folder"))}, "single", agent="ann", journal=journal) as desk:
        with pytest.raises(InputError, match="no such folder"):
            asyncio.run(desk.arun("?", emit=events.append))
        assert [run.stop for run in journal.entries()] == ["failed"]
    assert isinstance(events[-1], Ended)


def test_that_an_end_could_not_be_written_is_said_beside_what_went_wrong_first(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/runs.db")

    async def main() -> None:
        log, stage = RunLog(journal, "r"), Stage(Speaker("ann")).led_by(Single("ann"))  # no head: nothing is written
        with pytest.raises(ValueError, match="boom") as caught:
            await stage.run(Task.of("?"), id="r", log=log, emit=breaking(Started))
        assert "did not begin here" in caught.value.__notes__[0]

    asyncio.run(main())
    journal.close()
