"""Runs are kept whole, and read back equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from podium.orchestrator.journal import Journal
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy
from podium.protocols.errors import InputError, RunError
from podium.protocols.record import Decision, Finish, Node, Usage
from podium.protocols.saved import SavedRun, from_json, saved, to_data, to_json
from tests.orchestrator.teams import scripted, team


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(f"sqlite:///{tmp_path}/deep/er/runs.db")


def kept(run: str, *, task: str = "task", started: float = 1.0) -> SavedRun:
    nodes = (Node(0, (), "task", "user", task), Node(1, (0,), "reply", "ann", "42", "42", usage=Usage(3, 4, 1, 0.5)))
    decision = Decision(f"{run}.0", 0, Finish(1), "test", reasons={"p(ann)": 0.25})
    return SavedRun(run, "desk", task, "42", 1, "answered", nodes[1].usage, nodes, (decision,), 0.5, started)


@pytest.mark.parametrize("kind", ["sequential", "random", "vote", "skill_table", "learned"])
def test_what_is_saved_is_read_back_equal(kind: str, journal: Journal) -> None:
    models = {"ann": scripted("an answer\nwith \u00e4\U0001f600\x00 in it"), "bob": scripted("b")}
    learned = LearnedCoordinator(Policy.fresh(Options(), ("ann", "bob"), seed=3)) if kind == "learned" else None
    with team(models, "sequential" if learned else kind, coordinator=learned) as desk:
        result = desk.run("task", seed=1)
    run = saved(result, 12.5)
    journal.save(run)
    again = journal.load(run.run)
    assert again == run
    assert again.seed == 1
    assert again.nodes == result.nodes
    assert again.decisions == result.decisions
    assert from_json(to_json(again)) == run
    assert to_data(run)["run"] == run.run


def test_a_team_keeps_its_runs_by_itself(journal: Journal) -> None:
    with team({"ann": scripted("42")}, journal=journal) as desk:
        first, second = desk.run("one"), desk.run("two")
    again = Journal(journal.url)
    assert [entry.run for entry in again.entries()] == [second.run, first.run]
    assert again.load(first.run).nodes == first.nodes
    again.close()


def test_who_might_be_shown_whose_messages_is_kept_where_not_all_might(journal: Journal) -> None:
    edges = ("ann", "ann"), ("ann", "bob"), ("bob", "bob")
    for kind, expected in (("star", None), ("full", None), ("chain", edges)):
        with team({"ann": scripted("a"), "bob": scripted("b")}, journal=journal, topology={"kind": kind}) as desk:
            result = desk.run("task")
            again = Journal(journal.url)
            assert again.load(result.run).edges == expected
            run = saved(result, 1.0, desk.orchestrator.topology.edges)
            again.save(run)
            assert again.load(result.run) == run == from_json(to_json(run))
            again.close()


def test_the_newest_come_first_and_are_counted(journal: Journal) -> None:
    for number in range(5):
        journal.save(kept(f"r{number}", started=float(number)))
    assert [entry.run for entry in journal.entries(3)] == ["r4", "r3", "r2"]
    assert (journal.entries(1)[0].tokens, journal.entries(1)[0].dollars) == (7, 0.5)


def test_the_beginning_of_an_id_is_enough(journal: Journal) -> None:
    for run in ("abc1", "abd2", "a%"):
        journal.save(kept(run))
    assert journal.load("abc").run == "abc1"
    assert journal.load("a%").run == "a%"
    with pytest.raises(InputError, match="several runs begin with 'ab'"):
        journal.load("ab")
    with pytest.raises(InputError, match="no run 'zz'"):
        journal.load("zz")


def test_saving_again_replaces(journal: Journal) -> None:
    journal.save(kept("r"))
    journal.save(kept("r", task="another"))
    assert [entry.task for entry in journal.entries()] == ["another"]


def test_reasons_that_json_has_no_number_for_are_left_out() -> None:
    with team({"ann": scripted("x")}) as desk:
        result = desk.run("task")
    odd = Decision("d", 0, Finish(1), "odd", reasons={"good": 1.0, "bad": float("nan"), "worse": float("-inf")})
    assert from_json(to_json(saved(replace(result, decisions=(odd,)), 0.0))).decisions[0].reasons == {"good": 1.0}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "cannot be opened"),
        ("sqlite:////proc/nowhere/runs.db", "cannot be opened"),
        ("oracle+nothing://user:secret@host/db", "cannot be opened"),
    ],
)
def test_a_journal_that_cannot_be_opened_says_so_without_its_password(url: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Journal(url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_journal_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(InputError, match=r"x\.db: cannot be opened"):
        Journal(f"sqlite:///{tmp_path}/x.db")


def test_what_cannot_be_written_is_a_run_error(journal: Journal) -> None:
    with pytest.raises(RunError, match="the run was not written") as caught:
        journal.save(kept("r", task="half a character: \ud800"))
    assert caught.value.run == "r"
    assert not journal.entries()


def test_a_run_of_before_seeds_and_topologies_were_kept_is_read() -> None:
    now = to_json(kept("r"))
    before = now.replace(b'"seed":null,', b"").replace(b'"edges":null,', b"")
    assert len(before) == len(now) - 25
    assert (from_json(before).seed, from_json(before).edges) == (None, None)


def test_another_form_is_refused() -> None:
    text = to_json(kept("r")).replace(b'"version":1}', b'"version":9}')
    with pytest.raises(InputError, match="saved in form 9"):
        from_json(text)
    with pytest.raises(InputError, match="not a saved run: nodes"):
        from_json(to_json(kept("r")).replace(b'"nodes":[', b'"nodes":[3,'))
