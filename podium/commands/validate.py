"""`podium validate FILE`: whether a team file is right, and every problem of it at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from podium.protocols.words import counted

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(validate)


def validate(
    file: Annotated[Path, typer.Argument(help="The team file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a team file and what it names: every problem with its line, what is allowed, and the nearest name.

    Nothing is called; tools of your own are imported. Warnings do not change the exit code.
    """
    from podium.orchestrator.team_checks import validate as checked
    from podium.protocols.errors import TeamFileError

    try:
        found = checked(file)
    except TeamFileError as error:
        if as_json:
            typer.echo(json.dumps({"file": str(file), "ok": False, "problems": error.problems}, indent=2))
        raise
    team = found.team
    if as_json:
        told = {
            "file": str(file),
            "ok": True,
            "name": team.name,
            "digest": team.digest,
            "models": list(team.models),
            "agents": list(team.agents),
            "coordinator": team.coordinator.kind,
            "missing_files": found.missing,
            "warnings": found.warnings,
        }
        typer.echo(json.dumps(told, indent=2))
        return
    agents, models = counted(len(team.agents), "agent"), counted(len(team.models), "model")
    typer.echo(f"{file}: fine. Team {team.name}: {agents}, {models}, coordinator {team.coordinator.kind}.")
    for path in found.missing:
        typer.echo(f"  not there yet: {path}")
    for doubt in found.warnings:
        typer.echo(f"warning: {doubt}", err=True)
