"""podium runs: lists that align, exports that are whole, and what a user gets wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from podium.cli import app
from podium.orchestrator.journal import Journal
from tests.orchestrator.journal.runs import beginning, ending, step

WORKED = "aaaa00000001"
CUT_OFF = "bbbb00000002"


@pytest.fixture(autouse=True)
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A journal with a run that ended and one that did not, where the command line looks for it."""
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///.podium/runs.db"
    journal = Journal(url)

    async def work() -> None:
        task = "a very long task " * 20
        await journal.append(WORKED, [*beginning(WORKED, task=task), *step(WORKED, 1), *ending(1)])
        await journal.append(CUT_OFF, [*beginning(CUT_OFF, started=2.0), *step(CUT_OFF, 1)])

    asyncio.run(work())
    journal.close()
    return url


def podium(*args: str) -> Any:
    return CliRunner().invoke(app, ["runs", *args])


def test_a_list_aligns_and_says_what_is_unfinished() -> None:
    heading, *lines = [line for line in podium("list").stdout.splitlines() if "run" in line or "0000" in line]
    assert [line[:12] for line in lines] == [CUT_OFF, WORKED]
    place = heading.index("stop")
    assert [line[place:].split()[0] for line in lines] == ["unfinished", "answered"]
    assert lines[1][:100].split()[5:7] == ["76", "$0.000200"]
    assert max(len(line) for line in lines) <= 100
    only = json.loads(podium("list", "--unfinished", "--json").stdout)
    assert [(run["run"], run["stop"]) for run in only] == [(CUT_OFF, "unfinished")]


def test_when_every_run_has_ended_the_list_says_so(url: str) -> None:
    journal = Journal(url)
    state = journal.resume_state(CUT_OFF)
    assert state.nodes[-1].id == 1
    asyncio.run(finish(journal))
    journal.close()
    assert podium("list", "--unfinished").stdout == "every run has ended\n"


async def finish(journal: Journal) -> None:
    await journal.append(CUT_OFF, ending(1))


def test_a_run_is_shown_though_it_has_no_end() -> None:
    told = podium("show", "bbbb")
    assert told.exit_code == 0
    assert "ended: no end was written: it is under way, or its process died; 2 steps" in told.stdout
    assert json.loads(podium("show", CUT_OFF, "--json").stdout)["stop"] == "unfinished"
    assert told.stdout == CliRunner().invoke(app, ["show", "bbbb"]).stdout


def test_an_export_is_what_was_written(url: str, tmp_path: Path) -> None:
    printed = podium("export", "aaaa")
    assert printed.stdout_bytes == Journal(url).export(WORKED)
    saved = podium("export", "aaaa", "-o", "run.jsonl")
    assert (saved.exit_code, saved.stdout) == (0, "")
    assert (tmp_path / "run.jsonl").read_bytes() == printed.stdout_bytes
    assert [json.loads(line)["kind"] for line in printed.stdout.splitlines()][-1] == "end"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("show", "zz"), "no run 'zz' in sqlite:///.podium/runs.db"),
        (("export", "zz"), "no run 'zz'"),
        (("export", "aaaa", "-o", "no/such/file"), "there is no folder no/such"),
        (("export", "aaaa", "-o", "."), "cannot be written: Is a directory"),
        (("list", "--journal", "sqlite:///no.db"), "no runs are kept in no.db"),
        (("list", "--journal", "nonsense"), "not a URL"),
        (("list", "--journal", "postgresql://me:secret@127.0.0.1:1/x?timeout=1"), "me:***@127.0.0.1:1/x"),
        (("list", "--journal", "sqlite:///.podium/runs.db?timeout=soon"), "timeout=soon: write seconds, more than 0"),
        (("list", "--journal", "sqlite:///.podium/runs.db?synchronous=off"), "write full or normal"),
        (("show",), "Missing argument"),
    ],
)
def test_what_a_user_gets_wrong(args: tuple[str, ...], words: str) -> None:
    done = podium(*args)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "secret" not in done.output
