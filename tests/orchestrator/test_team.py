"""A team from its file: loaded, run, awaited, streamed, cancelled."""

from __future__ import annotations

import asyncio
import math
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from podium.agents.model import Prompt
from podium.agents.scripted import Reply, ScriptedModel
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinators.fixed import Single
from podium.orchestrator.journal import Journal
from podium.orchestrator.narrate import tell
from podium.orchestrator.team import Team
from podium.protocols.errors import BudgetExceeded, InputError, ModelError, RunError, TeamFileError
from podium.protocols.events import Added, Decided, Ended, Event, Piece, Result, Started
from podium.protocols.task import Message, Task
from tests.orchestrator.teams import Gated, scripted, team

FILE = """
name: desk
models:
  small: {provider: scripted, replies: ["a plan", "42"]}
agents:
  ann: {role: planner, model: small}
  bob: {role: solver, model: small}
coordinator: {kind: sequential}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "team.yaml"
    path.write_text(FILE)
    return path


def test_a_team_is_loaded_and_run(file: Path) -> None:
    with Team.load(file) as desk:
        assert desk.name == "desk"
        result = desk.run("how much?")
        assert (result.answer, result.stop, result.steps) == ("42", "answered", 2)
        assert [node.author for node in result.nodes] == ["user", "ann", "bob"]
        assert desk.run(Task.of("again?")).answer == "42"
        assert (
            desk.run([Message("user", "hi"), Message("assistant", "yes?"), Message("user", "why?")]).task.text == "why?"
        )


def test_it_can_be_awaited_many_times_at_once() -> None:
    desk = team({"ann": scripted("yes", delay=0.02)}, "single", agent="ann")

    async def many() -> list[str]:
        async with desk:
            return [result.answer for result in await asyncio.gather(*(desk.arun(f"task {n}") for n in range(20)))]

    assert asyncio.run(many()) == ["yes"] * 20


def test_a_plain_call_in_a_running_loop_says_what_to_await() -> None:
    desk = team({"ann": scripted("yes")})

    async def wrong() -> None:
        with pytest.raises(RuntimeError, match="await"):
            desk.run("task")

    asyncio.run(wrong())
    assert desk.run("task").answer == "yes"
    desk.close()


def test_ctrl_c_cancels_what_is_waited_for() -> None:
    desk, seen = team({"ann": scripted("yes")}), list[str]()

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(3)))

    async def one() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with desk, pytest.raises(KeyboardInterrupt):
            desk.wait(many())
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen


def test_a_stream_begins_with_started_and_ends_with_ended() -> None:
    desk = team({"ann": scripted("a plan"), "bob": scripted("forty two", pace=1000)})

    async def events() -> list[Event]:
        return [event async for event in desk.astream("task")]

    seen = asyncio.run(events())
    assert isinstance(seen[0], Started)
    assert isinstance(seen[-1], Ended)
    assert seen[-1].result.answer == "forty two"
    assert [event.text for event in seen if isinstance(event, Piece) and event.answer] == ["forty ", "two"]
    assert sum(isinstance(event, Decided) for event in seen) == seen[-1].result.steps
    assert [event.node for event in seen if isinstance(event, Added)] == list(seen[-1].result.nodes)


def test_leaving_a_stream_early_cancels_the_run_and_keeps_it(tmp_path: Path) -> None:
    model = Gated("forty two")
    kept = Journal(f"sqlite:///{tmp_path}/runs.db")
    desk = team({"ann": scripted("a plan"), "bob": model}, journal=kept)

    async def leave() -> None:
        stream = desk.astream("task")
        async for event in stream:
            if isinstance(event, Piece) and event.answer:
                break
        await stream.aclose()

    asyncio.run(leave())
    assert (model.started, model.finished, model.closed) == (1, 0, 1)
    kept.close()  # what a cancelled run leaves is written without it
    (entry,) = kept.entries()
    assert entry.stop == "cancelled"
    nodes = kept.load(entry.run).nodes
    assert [(node.kind, node.content) for node in nodes[:2]] == [("task", "task"), ("reply", "a plan")]
    assert [(node.kind, node.usage.calls) for node in nodes[2:]] == [("failure", 1)]  # what had come was paid for
    kept.close()


def test_a_plain_stream_has_the_same_events() -> None:
    with team({"ann": scripted("a plan"), "bob": scripted("forty two", pace=1000)}) as desk:
        heard: list[Event] = []
        seen = list(desk.stream("task", seed=3))
        desk.run("task", seed=3, emit=heard.append)
    assert isinstance(seen[-1], Ended)
    assert seen[-1].result.answer == "forty two"
    assert [type(event) for event in heard] == [type(event) for event in seen]


def test_leaving_a_plain_stream_early_cancels_the_run() -> None:
    model = Gated("forty two")
    with team({"ann": scripted("a plan"), "bob": model}) as desk:
        for event in desk.stream("task"):
            if isinstance(event, Piece) and event.answer:
                break
        assert (model.started, model.finished, model.closed) == (1, 0, 1)


def test_a_plain_stream_that_fails_raises_what_the_run_raises() -> None:
    with team({"ann": scripted(ModelError("out of order"))}) as desk, pytest.raises(ModelError, match="out of order"):
        list(desk.stream("task"))


def test_a_plain_stream_in_an_event_loop_names_the_other_form() -> None:
    desk = team({"ann": scripted("a plan")})

    async def events() -> None:
        list(desk.stream("task"))

    with pytest.raises(RuntimeError, match="astream"):
        asyncio.run(events())


def test_a_stream_of_a_run_that_fails_raises_what_the_run_raises() -> None:
    desk = team({"ann": scripted(ModelError("out of order"))})

    async def events() -> None:
        async for _ in desk.astream("task"):
            pass

    with pytest.raises(ModelError, match="out of order"):
        asyncio.run(events())


def test_a_seed_makes_a_run_repeatable() -> None:
    desk = team({"ann": scripted("a"), "bob": scripted("b")}, "random")
    first, again = desk.run("task", seed=5), desk.run("task", seed=5)
    assert [node.author for node in first.nodes] == [node.author for node in again.nodes]
    assert len({tuple(node.author for node in desk.run("task", seed=seed).nodes) for seed in range(20)}) > 1
    desk.close()


def test_limits_replace_the_files_budget() -> None:
    with team({"ann": scripted("a"), "bob": scripted("b")}, budget={"tokens": 1}) as desk:
        with pytest.raises(BudgetExceeded):
            desk.run("task")
        assert desk.run("task", limits=Limits()).answer == "b"


def test_another_coordinator_leads_the_same_models() -> None:
    with team({"ann": scripted("a"), "bob": scripted("b")}) as desk:
        assert desk.led_by(Single("ann")).orchestrator.bus.cards() == desk.orchestrator.bus.cards()
        other = desk.led_by(Single("ann"))
        assert asyncio.run(other.arun("task")).answer == "a"


@pytest.mark.parametrize("ask", ["", " \n", [], [Message("assistant", "hi")], [Message("user", " ")]])
def test_an_empty_task_is_refused(ask: str | list[Message]) -> None:
    with team({"ann": scripted("a")}) as desk, pytest.raises(InputError, match=r"empty|must end with"):
        desk.run(ask)


@pytest.mark.parametrize("ask", ["half \ud800", [Message("system", "\udfff"), Message("user", "hi")]])
def test_a_task_with_half_a_character_is_refused(ask: str | list[Message]) -> None:
    with team({"ann": scripted("a")}) as desk, pytest.raises(InputError, match="half a character"):
        desk.run(ask)


@pytest.mark.parametrize(
    ("ask", "settings", "words"),
    [
        ([{"role": "user", "content": "hi"}], {}, "list of messages"),
        (5, {}, "expected a text, a Task"),
        ("hi", {"seed": "5"}, "seed: expected a whole number, found '5'"),
        ("hi", {"mode": "greddy"}, "mode: expected sample or greedy, found 'greddy'"),
        ("hi", {"preference": "much"}, "preference: expected a number"),
        ("hi", {"preference": 0}, "preference: expected a finite number of dollars, more than 0, found 0"),
        ("hi", {"preference": -1}, "more than 0, found -1"),
        ("hi", {"preference": math.nan}, "more than 0, found nan"),
        ("hi", {"preference": math.inf}, "more than 0, found inf"),
        ("hi", {"limits": {"tokens": 5}}, "limits: expected numbers, as in Limits"),
        ("hi", {"limits": Limits(tokens="5")}, "limits: expected numbers, as in Limits"),  # pyright: ignore[reportArgumentType]
        ("hi", {"limits": Limits(calls=0)}, "limits: calls: expected a whole number, at least 1, found 0"),
        ("hi", {"limits": Limits(calls=-2)}, "limits: calls: expected a whole number, at least 1, found -2"),
        ("hi", {"limits": Limits(tokens=10.5)}, "limits: tokens: expected a whole number, at least 1, found 10.5"),
        ("hi", {"limits": Limits(repeats=math.nan)}, "limits: repeats: expected a whole number, at least 1, found nan"),
        ("hi", {"limits": Limits(seconds=0)}, "limits: seconds: expected more than 0, found 0"),
        ("hi", {"limits": Limits(dollars=math.nan)}, "limits: dollars: expected more than 0, found nan"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(ask: Any, settings: dict[str, Any], words: str) -> None:
    async def streamed() -> None:
        async for _ in desk.astream(ask, **settings):
            pass

    desk = team({"ann": scripted("yes")})
    with desk:
        for begin in (
            lambda: desk.run(ask, **settings),
            lambda: desk.wait(desk.arun(ask, **settings)),
            lambda: list(desk.stream(ask, **settings)),
            lambda: desk.wait(streamed()),
        ):
            with pytest.raises(InputError, match=words):
                begin()


def test_what_is_just_allowed_is_not_refused() -> None:
    limits = Limits(tokens=5000.0, calls=1, seconds=5, dollars=0.5, repeats=math.inf)
    with team({"ann": scripted("yes")}, "single", agent="ann") as desk:
        assert desk.run("hi", preference=1, limits=limits).answer == "yes"


def test_a_name_is_no_coordinator(file: Path) -> None:
    name: Any = "vote"
    with pytest.raises(InputError, match="coordinator: expected one that decides, found 'vote'"):
        Team.load(file, coordinator=name)


def test_a_run_that_fails_keeps_what_it_had(tmp_path: Path) -> None:
    kept = Journal(f"sqlite:///{tmp_path}/runs.db")
    with (
        team({"ann": scripted("a plan"), "bob": scripted(ModelError("out of order"))}, journal=kept) as desk,
        pytest.raises(ModelError, match="agent bob: out of order") as caught,
    ):
        desk.run("task")
    run = Journal(kept.url).load(caught.value.run)
    assert (run.stop, [node.content for node in run.nodes]) == ("failed", ["task", "a plan", "out of order"])
    assert "1 reply kept" in str(caught.value)
    assert run.why == "bob: out of order"
    assert tell(run).ending == "it failed: bob: out of order; what had arrived is kept"


def locking(kept: Path, reply: Reply) -> tuple[ScriptedModel, list[sqlite3.Connection]]:
    """A model that locks the journal while it answers; the list holds who locks it."""
    locks: list[sqlite3.Connection] = []

    def locked(prompt: Prompt) -> Reply:
        locks.append(sqlite3.connect(kept, isolation_level=None))
        locks[0].execute("BEGIN IMMEDIATE")
        return reply

    return ScriptedModel(locked), locks


def test_an_answer_that_cannot_be_kept_is_on_the_error(tmp_path: Path) -> None:
    model, locks = locking(tmp_path / "runs.db", "the answer")
    kept = Journal(f"sqlite:///{tmp_path}/runs.db?timeout=0.2")
    with (
        team({"ann": model}, journal=kept) as desk,
        pytest.raises(RunError, match="not written") as caught,
    ):
        desk.run("task")
    assert isinstance(caught.value.partial, Result)
    assert caught.value.partial.answer == "the answer"
    locks[0].close()
    assert Journal(kept.url).load(caught.value.run).stop == "unfinished"


def test_nothing_is_paid_for_where_nothing_can_be_kept(tmp_path: Path) -> None:
    kept = Journal(f"sqlite:///{tmp_path}/runs.db")
    (tmp_path / "runs.db").write_bytes(b"this is no database" * 100)
    model = scripted("the answer")
    with team({"ann": model}, journal=kept) as desk, pytest.raises(RunError, match="not written"):
        desk.run("task")
    assert model.calls == 0


def test_a_journal_that_breaks_does_not_hide_why_the_run_failed(tmp_path: Path) -> None:
    model, locks = locking(tmp_path / "runs.db", ModelError("out of order"))
    kept = Journal(f"sqlite:///{tmp_path}/runs.db?timeout=0.2")
    with team({"ann": model}, journal=kept) as desk, pytest.raises(ModelError) as caught:
        desk.run("task")
    locks[0].close()
    assert "out of order" in str(caught.value)
    assert "was not written" in str(caught.value)


class Closing(ScriptedModel):
    """A model that is closed in its own way. closed: whether that came to its end."""

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        super().__init__("yes")
        self.seconds, self.error, self.closed = seconds, error, False

    async def close(self) -> None:
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error
        self.closed = True


def test_what_cannot_be_closed_does_not_keep_the_rest_open(tmp_path: Path) -> None:
    models = {"ann": Closing(error=OSError("no")), "bob": Closing(), "cyd": Closing(error=ValueError("nor this"))}
    desk = team(models, journal=Journal(f"sqlite:///{tmp_path}/runs.db"))
    desk.run("?")
    with pytest.raises(OSError, match="no"):
        desk.close()
    assert models["bob"].closed
    assert not (tmp_path / "runs.db-wal").exists()


def test_what_takes_long_to_close_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("podium.orchestrator.team.CLOSING", 0.1)
    models = {"ann": Closing(60), "bob": Closing(0.01)}
    began = time.monotonic()
    with team(models) as desk:
        desk.run("?")
    assert time.monotonic() - began < 5
    assert (models["ann"].closed, models["bob"].closed) == (False, True)
    assert "team desk: not all of it could be closed within 0.1 seconds" in caplog.text


def test_a_broken_file_names_its_line(file: Path) -> None:
    file.write_text(FILE.replace("model: small}\n  bob", "model: smal}\n  bob"))
    with pytest.raises(TeamFileError, match=r"team\.yaml:6: .*smal"):
        Team.load(file)


def test_running_and_serving_import_neither_torch_nor_a_database(file: Path) -> None:
    code = (
        "import sys; from podium import Team; from podium.orchestrator.server import make_app\n"
        f"team = Team.load({str(file)!r}); make_app({{'desk': team}}); print(team.run('x').answer)\n"
        "sys.exit(', '.join({'torch', 'transformers', 'sqlalchemy'} & sys.modules.keys()) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
