"""Journals of earlier versions are brought along, and nothing of them is lost; those of later ones are refused."""

from __future__ import annotations

import math
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.orchestrator.budget import Limits
from podium.orchestrator.journal import Begun, Completed, End, Head, Journal
from podium.orchestrator.journal.entries import Entry, decode, encode
from podium.orchestrator.journal.reading import entries_of, saved_run
from podium.protocols.errors import InputError
from podium.protocols.record import (
    DETAILS,
    OBJECTIVES,
    Call,
    Compute,
    Decision,
    Directive,
    Factor,
    Finish,
    Generation,
    Node,
    Sampling,
    ToolCall,
    ToolResult,
    Usage,
    View,
)
from podium.protocols.saved import SavedRun, from_json
from podium.protocols.task import Message

OLD = Path(__file__).parents[1] / "data" / "journal"
RUNS = [from_json(line) for line in (OLD / "runs-1.jsonl").read_bytes().splitlines()]
"""What `rows-1.sql` holds, except that its first row is of before seeds were kept."""


def old_journal(folder: Path, form: int = 1) -> str:
    with sqlite3.connect(folder / "old.db") as made:
        made.executescript((OLD / f"rows-{form}.sql").read_text())
    made.close()
    return f"sqlite:///{folder}/old.db"


def asked(made: Decision) -> tuple[Directive, ...]:
    assert not isinstance(made.action, Finish)
    return made.action


def table_names(folder: Path) -> set[str]:
    opened = sqlite3.connect(folder / "old.db")
    names = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    opened.close()
    return names


def test_runs_kept_as_one_row_each_are_all_there(tmp_path: Path) -> None:
    url = old_journal(tmp_path)
    for journal in (Journal(url), Journal(url)):
        assert [journal.load(run.run) for run in RUNS] == [replace(RUNS[0], seed=None), *RUNS[1:]]
        assert [(line.run, line.tokens, line.stop) for line in journal.entries()] == [
            (run.run, run.usage.tokens, run.stop) for run in reversed(RUNS)
        ]
    assert table_names(tmp_path) == {"podium_entries", "podium_journal", "podium_questions", "podium_runs"}


@pytest.mark.parametrize("form", [2, 3, 4])
def test_runs_that_each_later_form_wrote_are_read_and_go_on(form: int, tmp_path: Path) -> None:
    """A chain, a vote, a debate, a random run, and the chain again, cut off before its first reply."""
    journal = Journal(old_journal(tmp_path, form))
    kept = {line.run: journal.load(line.run) for line in journal.entries()}
    policies = {run.decisions[0].policy: run for run in kept.values() if run.stop == "answered"}
    assert set(policies) == {"sequential", "vote", "debate", "random"}
    for run in policies.values():
        assert run.answer == run.nodes[run.node].content
        assert run.usage == Usage.total(node.usage for node in run.nodes)
    assert kept["cut"].stop == "unfinished"
    before = journal.resume_state("cut")
    assert (before.head.seed, before.decisions, before.nodes) == (3, kept["cut"].decisions, kept["cut"].nodes)
    assert [directive.agent for directive in asked(before.decisions[0])] == ["ann"]
    assert not any(line.under_way for line in journal.entries())
    journal.go_on(before)
    assert [line.run for line in journal.entries() if line.under_way] == ["cut"]
    assert journal.questions() == []
    journal.close()


def test_a_journal_without_questions_takes_them_when_it_is_opened(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/old.db")
    journal.save(RUNS[0])
    with sqlite3.connect(tmp_path / "old.db") as opened:
        opened.execute("DROP TABLE podium_questions")
        opened.execute("UPDATE podium_journal SET form = 2")
    opened.close()
    again = Journal(journal.url)
    assert again.questions() == []
    assert again.load(RUNS[0].run).run == RUNS[0].run


def test_an_old_row_that_cannot_be_read_stays_where_it_was(tmp_path: Path) -> None:
    url = old_journal(tmp_path)
    with sqlite3.connect(tmp_path / "old.db") as opened:
        opened.execute("UPDATE runs SET record = '{' WHERE run = ?", (RUNS[1].run,))
    opened.close()
    assert [line.run for line in Journal(url).entries()] == [run.run for run in RUNS[::-1] if run is not RUNS[1]]
    with sqlite3.connect(tmp_path / "old.db") as opened:
        assert opened.execute("SELECT run, record FROM runs").fetchall() == [(RUNS[1].run, "{")]
    opened.close()


def test_an_old_journal_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    url = old_journal(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        journals = list(pool.map(Journal, [url] * 8))
    assert [len(journal.entries()) for journal in journals] == [len(RUNS)] * 8


def test_an_old_journal_that_another_program_writes_is_waited_for(tmp_path: Path) -> None:
    url = old_journal(tmp_path)
    other = sqlite3.connect(tmp_path / "old.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(InputError, match=r"old\.db\?timeout=0\.1: cannot be opened: database is locked"):
        Journal(f"{url}?timeout=0.1")
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(Journal, url)
        time.sleep(0.1)
        other.execute("COMMIT")
        assert len(opening.result().entries()) == len(RUNS)
    other.close()


def test_a_journal_of_a_later_version_is_refused(journal: Journal, tmp_path: Path) -> None:
    if journal.url.startswith("postgresql"):
        pytest.skip("the same code, and this test edits the file")
    journal.save(RUNS[0])
    with sqlite3.connect(tmp_path / "runs.db") as opened:
        opened.execute("UPDATE podium_entries SET form = 9 WHERE kind = 'node'")
    with pytest.raises(InputError, match="a node in form 9; this version of Podium reads form 1"):
        journal.load(RUNS[0].run)
    with opened:
        opened.execute("UPDATE podium_journal SET form = 9")
    opened.close()
    with pytest.raises(InputError, match=r"runs\.db: it is in form 9; this version of Podium reads form 4"):
        Journal(journal.url)


@pytest.mark.parametrize("run", RUNS, ids=[run.stop + run.run for run in RUNS])
def test_saving_and_loading_an_old_run_changes_nothing(run: SavedRun, journal: Journal) -> None:
    journal.save(run)
    assert journal.load(run.run) == run
    assert saved_run(entries_of(run)) == run


def test_what_is_no_entry_says_so() -> None:
    with pytest.raises(InputError, match="not a node: parents: Field required"):
        decode("node", 1, '{"id": 1, "kind": "reply", "author": "ann", "content": ""}')
    with pytest.raises(InputError, match="a thought in form 1"):
        decode("thought", 1, "{}")
    with pytest.raises(InputError, match="does not begin with a head"):
        saved_run([Node(0, (), "task", "user", "x")])


@pytest.mark.parametrize("reason", [math.inf, -math.inf, np.float64(0.5), 1e300], ids=repr)
def test_numbers_that_json_or_msgspec_does_not_know_are_kept(reason: float) -> None:
    given = Decision("r.1", 1, Finish(0), "it is null", reasons=MappingProxyType({"value": reason}), log_prob=-math.inf)
    again = decode("decision", 1, encode(given)[1])
    assert again == replace(given, reasons={"value": float(reason)})


def test_a_head_of_before_the_topology_was_kept_is_read() -> None:
    before = Head("r", "desk", (Message("user", "?"),), 1.0)
    kind, written = encode(before)
    assert "edges" not in written
    assert decode(kind, 1, written) == before
    assert saved_run([before]).edges is None
    now = replace(before, edges=(("ann", "ann"), ("ann", "bob"), ("bob", "bob")))
    assert entries_of(saved_run([now]))[0] == now


def test_a_seed_may_have_more_than_64_bits() -> None:
    given = Head("r", "desk", (Message("user", "?"),), 1.0, seed=2**70)
    assert decode("head", 1, encode(given)[1]) == given


@pytest.mark.parametrize("text", ["\ud800", "null \udfff"])
def test_half_a_character_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encode(Node(0, (), "task", "user", text))


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.integers(0, 2**40)
number = st.floats(allow_nan=False)
log_prob = st.floats(max_value=0.0, allow_nan=False)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


def some(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


usages = st.builds(Usage, ids, ids, ids, number, number)
samplings = st.builds(Sampling, number, number, ids, maybe(ids), some(text))
generations = st.builds(
    Generation,
    text,
    usages,
    samplings,
    st.sampled_from(["stop", "length", "tool", "cancelled"]),
    maybe(some(ids)),
    maybe(some(ids)),
    maybe(some(log_prob)),
    st.sampled_from(["raw", "processed"]),
    some(st.tuples(ids, ids)),
    some(st.builds(ToolCall, text, text, text)),
)
calls = st.builds(
    Call, text, text, generations | st.builds(ToolResult, text, st.booleans()), st.integers(1, 9), maybe(text)
)
kinds = st.sampled_from(["task", "decision", "plan", "candidate", "reply", "tool", "human", "summary"])
nodes = st.builds(Node, ids, some(ids), kinds, text, text, maybe(text), some(calls), usages, number, maybe(text))
views = st.builds(View, st.sampled_from(["all", "last", "only", "none"]), ids, some(ids), maybe(ids))
computes = st.builds(Compute, ids, st.sampled_from(["none", "vote"]), maybe(ids), maybe(number))
directives = st.builds(
    Directive, text, text, st.sampled_from(OBJECTIVES), text, views, st.sampled_from(DETAILS), computes, st.booleans()
)
decisions = st.builds(
    Decision,
    text,
    ids,
    some(directives) | st.builds(Finish, ids),
    text,
    ids,
    st.sampled_from(["sample", "greedy"]),
    some(st.builds(Factor, text, ids, log_prob, some(st.booleans()))),
    log_prob,
    maybe(number),
    st.dictionaries(text, number, max_size=3),
    ids,
    st.tuples(number, number, number, number),
    some(calls),
)
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), text, maybe(text), maybe(text))
heads = st.builds(
    Head,
    text,
    text,
    some(messages),
    number,
    maybe(st.integers()),
    maybe(ids),
    maybe(st.sampled_from(["sample", "greedy"])),
    maybe(number),
    maybe(st.builds(Limits, number, number, number, number)),
    text,
    maybe(some(st.tuples(text, text))),
)
ends = st.builds(End, st.sampled_from(["answered", "budget", "deadline", "cancelled", "failed"]), ids, usages, number)
others = st.builds(Completed, text, calls, ids) | st.builds(Begun, text, text, text, text, ids)


@settings(deadline=None, max_examples=300)
@given(heads | nodes | decisions | others | ends)
def test_every_entry_is_read_back_equal(entry: Entry) -> None:
    kind, written = encode(entry)
    again = decode(kind, 1, written)
    assert again == entry
    assert type(again) is type(entry)
    assert decode(kind, 1, encode(again)[1]) == entry
