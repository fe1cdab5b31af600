"""`podium record TEAM.yaml`: record every agent's answers once, and train on them for nothing afterwards."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.commands.terminal import dollars
from podium.protocols.words import counted

if TYPE_CHECKING:
    from podium.protocols.task import Task
    from podium.training.judges import TeamJudges
    from podium.training.recording import Recorded

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
        float | None, typer.Option("--dollars", help="Most that this command may spend; what fits is recorded.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many tasks.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Start anew: forget the output and its kept replies.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Ask every agent every task and keep the answers with their scores, as a pool to train and evaluate on.

    The same command again goes on where it ended: replies are kept beside the pool, in OUTPUT.replies.
    """
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_checks import located
    from podium.orchestrator.team_file import load_team
    from podium.protocols.errors import InputError, RunCancelled
    from podium.training.judges import TeamJudges
    from podium.training.recording import arecord, replies_beside
    from podium.training.tasks.scored import tasks_of

    if cap is not None and not 0 < cap < math.inf:
        raise InputError(f"--dollars {cap:g}: must be a finite number, more than 0")
    spec = load_team(file).model_copy(update={"journal": None})
    judges = TeamJudges(spec)
    asked = tasks_of(tasks, limit, judges)
    kept = replies_beside(output)
    if force:
        kept.unlink(missing_ok=True)
    elif output.exists():
        _goes_on(output, kept, asked)
    live = sys.stderr.isatty()
    warned = False

    def show(done: int, spent: float, forecast: float | None) -> None:
        nonlocal warned
        all_of_them = counted(len(asked), "task")
        if cap is not None and forecast is not None and forecast > cap and not warned:
            warned = True
            typer.echo(
                f"{all_of_them} would cost about {dollars(forecast)}: what {dollars(cap)} hold is recorded", err=True
            )
        about = "" if forecast is None else f" of about {dollars(forecast)}"
        line = f"{done:,} of {all_of_them}, spent {dollars(spent)}{about}"
        typer.echo(f"\r{line}   " if live else line, err=True, nl=not live)

    with located(file):
        team = Team.of(spec)
    with team:
        try:
            work = arecord(team, asked, output, samples=samples, dollars=cap, judges=judges, done=show)
            found = team.wait(work)
        except KeyboardInterrupt:
            kept_so_far = "replies that came are kept, so the same command goes on from here"
            raise RunCancelled(f"stopped by Ctrl-C; {kept_so_far}") from None
    if live:
        typer.echo("", err=True)
    if as_json:
        told = {
            "output": str(output),
            "replies": str(kept),
            "agents": list(found.pool.agents),
            "tasks": len(found.pool.tasks),
            "asked": len(asked),
            "complete": found.complete,
            "why": found.why,
            "dollars": found.dollars,
            "judged": judges.details,
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        _tell(found, output, kept, judges)
    if not found.complete:
        typer.echo(found.why, err=True)
        raise typer.Exit(1)


def _tell(found: Recorded, output: Path, kept: Path, judges: TeamJudges) -> None:
    """What was recorded, in words."""
    typer.echo(f"{output}: {counted(len(found.pool.tasks), 'task')}, {counted(len(found.pool.agents), 'agent')}")
    for name, detail in judges.details.items():
        typer.echo(f"{name}: {detail}")
    typer.echo(f"{kept}: all replies; with it, more tasks or samples pay only for what is new")
    if found.pool.tasks:
        typer.echo(f"next: podium init --from-pool {output} pool-team.yaml")


def _goes_on(output: Path, kept: Path, asked: Sequence[Task]) -> None:
    """Raise InputError when writing the output again would lose something."""
    from podium.protocols.errors import InputError
    from podium.protocols.pool import read_pool

    if not kept.exists():
        raise InputError(
            f"{output} exists, without {kept} to go on from; choose another name, or replace it with --force"
        )
    prompts = {task.text.strip() for task in asked}
    lost = [task.id for task in read_pool(output).tasks if task.prompt.strip() not in prompts]
    if lost:
        raise InputError(
            f"{output} holds {counted(len(lost), 'task')} that would be lost, such as {lost[0]}: --tasks must name "
            "them too; or choose another name, or start anew with --force"
        )
