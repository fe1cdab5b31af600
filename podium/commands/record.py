"""`podium record TEAM.yaml`: record every agent's answers once, and train on them for nothing afterwards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from podium.commands.terminal import counted, dollars

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(record)


def record(
    file: Annotated[Path, typer.Argument(help="The team file.")],
    tasks: Annotated[
        str, typer.Option("--tasks", metavar="SPEC", help="Tasks with a scorer, as podium eval takes them.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The pool to write, .jsonl or .jsonl.gz.")],
    samples: Annotated[int, typer.Option(min=1, help="Replies of each agent to each task.")] = 1,
    cap: Annotated[
        float | None, typer.Option("--dollars", help="Most that may be spent; no call starts that could exceed it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many tasks.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")] = False,
) -> None:
    """Ask every agent every task and keep the answers with their scores, as a pool to train and evaluate on."""
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_file import load_team
    from podium.protocols.errors import InputError
    from podium.training.evaluate import tasks_of
    from podium.training.recording import record as run

    if output.exists() and not force:
        raise InputError(f"{output} exists; choose another name, or replace it with --force")
    if cap is not None and cap <= 0:
        raise InputError(f"--dollars {cap:g}: must be more than 0")
    asked = tasks_of(tasks, limit)
    live = sys.stderr.isatty()

    def show(done: int, spent: float, forecast: float) -> None:
        line = f"{done:,} of {counted(len(asked), 'task')}, spent {dollars(spent)} of about {dollars(forecast)}"
        typer.echo(f"\r{line}   " if live else line, err=True, nl=not live)

    with Team.of(load_team(file).model_copy(update={"journal": None})) as team:
        found = team.wait(run(team, asked, output, samples=samples, dollars=cap, done=show))
    if live:
        typer.echo("", err=True)
    typer.echo(f"{output}: {counted(len(found.pool.tasks), 'task')}, {counted(len(found.pool.agents), 'agent')}")
    if found.pool.tasks:
        typer.echo(f"next: podium init --from-pool {output} pool-team.yaml")
    if not found.complete:
        typer.echo(found.why, err=True)
        raise typer.Exit(1)
