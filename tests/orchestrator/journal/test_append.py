"""A run is written as it happens: durable when awaited, in order, all or nothing, and in one place only."""

from __future__ import annotations

import asyncio
import json

import pytest

from podium.orchestrator.journal import Begun, Completed, Journal, masked
from podium.protocols.errors import InputError, JournalError
from podium.protocols.record import Call, Decision, Generation, Node, Sampling, ToolResult, Usage
from podium.protocols.task import Message
from tests.orchestrator.journal.runs import beginning, ending, step


async def work(journal: Journal, run: str, steps: int, **options: str) -> None:
    """A whole run, each step awaited."""
    await journal.append(run, beginning(run))
    for number in range(1, steps + 1):
        await journal.append(run, step(run, number, **options))
    await journal.append(run, ending(steps))


def test_a_run_is_read_as_it_was_written(journal: Journal) -> None:
    asyncio.run(work(journal, "r1", 2, text="with \x00, \u00e4 and \U0001f600 in it"))
    run = journal.load("r1")
    wanted = [*beginning("r1"), *step("r1", 1, text=run.answer), *step("r1", 2, text=run.answer)]
    assert run.nodes == tuple(entry for entry in wanted if isinstance(entry, Node))
    assert run.decisions == tuple(entry for entry in wanted if isinstance(entry, Decision))
    assert (run.stop, run.node, run.task, run.seed, run.refused) == ("answered", 2, "how much?", 7, 1)
    assert (run.answer, run.usage.tokens, run.seconds) == ("with \x00, \u00e4 and \U0001f600 in it", 76, 1.5)
    (line,) = journal.entries()
    assert (line.stop, line.tokens, line.dollars, line.task) == ("answered", 76, 0.0002, "how much?")


def test_a_run_without_an_end_is_read_as_far_as_it_got(journal: Journal) -> None:
    async def begin() -> None:
        await work(journal, "done", 1)
        await journal.append("r2", beginning("r2", started=2.0, task="a \x00 task"))
        await journal.append("r2", step("r2", 1))

    asyncio.run(begin())
    run = journal.load("r")
    assert (run.stop, run.answer, run.node, len(run.nodes)) == ("unfinished", "", 0, 2)
    assert (run.usage.tokens, run.seconds, run.task) == (38, 0.5, "a \x00 task")
    assert [line.run for line in journal.entries(unfinished=True)] == ["r2"]
    assert [(line.run, line.stop) for line in journal.entries()] == [("r2", "unfinished"), ("done", "answered")]


def test_a_run_that_was_cut_off_is_resumed_elsewhere(journal: Journal) -> None:
    generation = Generation("use the tool", Usage(9, 1, 1, 0.5), Sampling())
    asked, looked = Call("c0", "small", generation), Call("c1", "search", ToolResult("found"))
    old, new = Completed("r.0.0", asked), [Completed("r.1.0", asked), Completed("r.1.0", looked)]
    begun = [Begun("r.1.0", "c1", "search"), Begun("r.1.0", "c2", "pay", '{"dollars": 3}')]

    async def begin() -> None:
        journal.append("r", beginning("r"))
        journal.append("r", [Begun("r.0.0", "c0", "pay"), old])
        journal.append("r", step("r", 1))
        await journal.append("r", [begun[0], *new, begun[1]])

    asyncio.run(begin())
    with pytest.raises(InputError, match="run r is under way in this process"):
        journal.resume_state("r")
    journal.close()
    other = Journal(journal.url)
    assert other.load("r").usage.tokens == 38 + 10  # what no reply came of counts too
    state = other.resume_state("r")
    other.go_on(state)
    with pytest.raises(InputError, match="run r is under way in this process"):
        other.go_on(state)
    assert state.head == beginning("r")[0]
    assert state.head.messages[0] == Message("system", "be brief")
    assert (len(state.nodes), [each.step for each in state.decisions]) == (2, [0, 1])
    assert (state.completed, state.begun) == (tuple(new), (begun[1],))

    async def go_on() -> None:
        await other.append("r", step("r", 2))
        with pytest.raises(JournalError, match="another process has taken it over"):
            await journal.append("r", step("r", 2, text="written by who was thought to be dead"))
        await other.append("r", ending(2))

    asyncio.run(go_on())
    assert (journal.load("r").stop, journal.load("r").answer) == ("answered", "it is 42")
    with pytest.raises(InputError, match=r"run r has ended \(answered\)"):
        other.resume_state("r")
    other.close()


def test_nobody_writes_to_a_run_that_is_not_open(journal: Journal) -> None:
    async def late() -> None:
        await work(journal, "r", 1)
        with pytest.raises(JournalError, match="did not begin here, or it has ended"):
            journal.append("r", step("r", 2))
        with pytest.raises(JournalError, match="its id was used before"):
            await journal.append("r", beginning("r"))

    asyncio.run(late())
    assert len(journal.load("r").nodes) == 2


def test_what_nobody_awaits_is_written_too_and_in_order(journal: Journal) -> None:
    async def hurry() -> None:
        journal.append("r", beginning("r"))
        for number in range(1, 50):
            journal.append("r", step("r", number))
        journal.append("r", ending(49))

    asyncio.run(hurry())
    journal.close()
    assert [node.id for node in journal.load("r").nodes] == list(range(50))
    asyncio.run(work(journal, "after closing", 1))
    assert journal.load("after").stop == "answered"


def test_two_writers_of_one_place_wait_for_each_other(journal: Journal) -> None:
    other = Journal(journal.url)

    async def both() -> None:
        await asyncio.gather(
            *(work(writer, f"{writer is other}{run}", 20) for writer in (journal, other) for run in "ab")
        )

    asyncio.run(both())
    assert {len(journal.load(line.run).nodes) for line in other.entries()} == {21}
    assert len(other.entries()) == 4
    other.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:sesame@host/x?timeout=3", "postgresql://me:***@host/x?timeout=3"),
        ("postgresql://host/x?user=me&password=sesame&sslmode=require", "x?password=***&sslmode=require&user=me"),
        ("postgresql//me:sesame@host/x", "postgresql//me:***@host/x"),
    ],
)
def test_a_password_is_shown_nowhere(url: str, shown: str) -> None:
    assert shown in masked(url)
    assert "sesame" not in masked(url)


def test_a_journal_in_memory_is_refused() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(InputError, match="a database in memory keeps nothing"):
            Journal(url)


def test_nothing_is_written_after_what_came_before(journal: Journal) -> None:
    async def flush() -> None:
        for entries in (beginning("r"), step("r", 1)):
            journal.append("r", entries)
        await journal.append("r", [])
        assert len(journal.load("r").nodes) == 2

    asyncio.run(flush())


def test_an_entry_is_written_though_its_awaiter_was_cancelled(journal: Journal) -> None:
    async def leave() -> None:
        waiting = asyncio.ensure_future(journal.append("r", beginning("r")))
        waiting.cancel()
        await journal.append("r", step("r", 1))

    asyncio.run(leave())
    assert len(journal.load("r").nodes) == 2


def test_concurrent_runs_share_their_commits_but_not_their_mistakes(journal: Journal) -> None:
    async def crowd() -> list[BaseException | None]:
        await work(journal, "r7", 1)
        return await asyncio.gather(*(work(journal, f"r{run}", 3) for run in range(40)), return_exceptions=True)

    failed = [run for run, error in enumerate(asyncio.run(crowd())) if error is not None]
    assert failed == [7]
    assert {len(journal.load(f"r{run}").nodes) for run in range(40) if run != 7} == {4}
    assert len(journal.load("r7").nodes) == 2
    assert journal.statistics["transactions"] < journal.statistics["works"] / 2


def test_what_cannot_be_written_is_told_at_the_next_append(journal: Journal) -> None:
    async def fail() -> None:
        await work(journal, "well", 1)
        await journal.append("r", beginning("r"))
        journal.append("r", step("r", 1, text="half a character: \ud800"))
        with pytest.raises(JournalError, match=r"run r: journal .*: the run was not written: .*surrogates"):
            journal.append("r", step("r", 2))
        await work(journal, "after", 1)

    asyncio.run(fail())
    assert len(journal.load("r").nodes) == 1
    assert journal.load("after").stop == "answered"


def test_an_export_has_every_entry(journal: Journal) -> None:
    asyncio.run(work(journal, 'r"1"', 2))
    lines = [json.loads(line) for line in journal.export("r").splitlines()]
    assert [line["kind"] for line in lines] == [
        "head",
        "node",
        "decision",
        "node",
        "decision",
        "node",
        "decision",
        "end",
    ]
    assert [(line["run"], line["place"], line["form"]) for line in lines] == [('r"1"', place, 1) for place in range(8)]
    assert lines[3]["entry"]["content"] == "it is 42"


def test_a_step_costs_the_same_however_long_the_run_is(journal: Journal) -> None:
    asyncio.run(work(journal, "r", 300))
    sizes = [len(line) for line in journal.export("r").splitlines() if json.loads(line)["kind"] in {"node", "decision"}]
    first, last = sum(sizes[8:16]), sum(sizes[-8:])
    assert first < last < first * 1.05  # numbers get longer: 12 becomes 299


def test_wanting_a_run_twice_or_badly_says_so(journal: Journal) -> None:
    with pytest.raises(InputError, match=r"no run 'r' in .*; the newest are: none"):
        journal.resume_state("r")
    with pytest.raises(InputError, match="no run 'r'"):
        journal.export("r")
