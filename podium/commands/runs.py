"""`podium runs list | show | resume | export`: what a journal holds; `podium show` is short for the first two.

`podium runs questions | answer`: what runs ask people, and the way to answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from podium.commands import run as running
from podium.commands import runs_resume
from podium.commands.folders import folder_for
from podium.commands.show import Full, Most, Url, listing, opened, telling
from podium.commands.terminal import WIDTH, for_terminal, harmless
from podium.protocols.errors import InputError

__all__ = ["register"]

Run = Annotated[str, typer.Argument(help="The run's id, or the beginning of it.")]

runs = typer.Typer(no_args_is_help=True, help="List, tell, resume and export kept runs; answer what they ask.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(runs, name="runs")


@runs.command("list")
def newest(
    journal: Url = None,
    most: Most = 20,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only runs that have no end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List runs, the newest first. One that is running is under way; one that is unfinished can be resumed."""
    listing(journal, most, as_json=as_json, unfinished=unfinished)


@runs.command()
def show(
    run: Run,
    journal: Url = None,
    full: Full = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole record as JSON.")] = False,
) -> None:
    """Tell a run: each decision and why it was taken, who was told and said what, and what it cost."""
    telling(run, journal, full=full, as_json=as_json)


@runs.command()
def resume(
    file: Annotated[Path, typer.Argument(help="The team file, as it was when the run began.")],
    run: Annotated[str | None, typer.Argument(help="The run's id, or the beginning of it.")] = None,
    all_of_them: Annotated[
        bool,
        typer.Option(
            "--all",
            help="All unfinished runs of this team and file, one after another, the oldest first; "
            "but not those that another process has under way.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print answer, usage, steps and run id as JSON.")] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer while it is being written.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer and nothing else.")] = False,
) -> None:
    """Go on with a run whose process died. No completed call is made again; the time between does not count."""
    if (run is None) != all_of_them:
        raise InputError("say which run: its id, or --all for all unfinished ones")
    if run is not None:
        running.resume(file, run, as_json=as_json, stream=stream, quiet=quiet)
    elif stream:
        raise InputError("--all prints a line for each run; leave out --stream")
    elif not runs_resume.resume_all(file, as_json=as_json, quiet=quiet):
        raise typer.Exit(1)


@runs.command()
def questions(
    journal: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List what runs ask people, the oldest question first."""
    from dataclasses import asdict

    from podium.commands.questions import in_words

    with opened(journal) as kept:
        waiting = kept.questions()
    if as_json:
        typer.echo(json.dumps([asdict(question) for question in waiting], indent=2))
    for question in waiting if not as_json else ():
        typer.echo(for_terminal(in_words(question)) + "\n")
    if not waiting and not as_json:
        typer.echo("nobody is asked anything")


@runs.command()
def answer(
    run: Run,
    text: Annotated[str, typer.Argument(help="The answer; of a refusal, the reason.")] = "",
    question: Annotated[str | None, typer.Option(help="Which question, where the run has several.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve the tool call that is asked about.")] = False,
    no: Annotated[bool, typer.Option("--no", help="Refuse it.")] = False,
    journal: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was answered as JSON.")] = False,
) -> None:
    """Answer what a run asks. One that is under way goes on within seconds, another one when it is resumed."""
    from dataclasses import asdict

    from podium.orchestrator.people import People

    with opened(journal) as kept:
        answered = People(kept).answer(run, text, yes=yes, no=no, id=question)
    if as_json:
        said = {"answer": text, "approved": yes if answered.approval else None}
        typer.echo(json.dumps(asdict(answered) | said, indent=2))
        return
    done = f"said {'yes' if yes else 'no'} to" if answered.approval else f"answered {answered.agent}, who asked"
    typer.echo(harmless(f"run {answered.run}: {done}: {_short(answered.text)}"), err=True)


def _short(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


@runs.command()
def export(
    run: Run,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Instead of standard output.")] = None,
    journal: Url = None,
) -> None:
    """Print a run's entries as they were written: JSON lines, one per entry."""
    if output is not None:
        folder_for(output, "--output")
    with opened(journal) as kept:
        lines = kept.export(run)
    if output is None:
        typer.echo(lines, nl=False)
        return
    try:
        output.write_bytes(lines)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written: {error.strerror}") from None
