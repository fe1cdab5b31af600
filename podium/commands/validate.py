"""`podium validate FILE`: whether a team file is right, and every problem of it at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from podium.orchestrator.team_file import TeamSpec

__all__ = ["missing_files", "register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(validate)


def validate(
    file: Annotated[Path, typer.Argument(help="The team file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a team file: every problem with its line, what is allowed, and the nearest name."""
    from podium.orchestrator.team_file import load_team
    from podium.protocols.errors import TeamFileError

    try:
        team = load_team(file)
    except TeamFileError as error:
        if as_json:
            typer.echo(json.dumps({"file": str(file), "ok": False, "problems": error.problems}, indent=2))
        raise
    missing = missing_files(team)
    if as_json:
        found = {
            "file": str(file),
            "ok": True,
            "name": team.name,
            "digest": team.digest,
            "models": list(team.models),
            "agents": list(team.agents),
            "coordinator": team.coordinator.kind,
            "missing_files": missing,
        }
        typer.echo(json.dumps(found, indent=2))
        return
    agents, models = _counted(len(team.agents), "agent"), _counted(len(team.models), "model")
    typer.echo(f"{file}: fine. Team {team.name}: {agents}, {models}, coordinator {team.coordinator.kind}.")
    for path in missing:
        typer.echo(f"  not there yet: {path}")


def missing_files(team: TeamSpec) -> list[str]:
    """Files and folders that the team names and that do not exist (a policy may still have to be trained)."""
    from podium.orchestrator.coordinator_spec import LearnedSpec, SkillTableSpec
    from podium.orchestrator.model_spec import RecordedModel

    named = [model.path for model in team.models.values() if isinstance(model, RecordedModel)]
    named += [path for agent in team.agents.values() for path in agent.documents]
    if isinstance(team.coordinator, LearnedSpec):
        named.append(team.coordinator.policy)
    if isinstance(team.coordinator, SkillTableSpec) and team.coordinator.table is not None:
        named.append(team.coordinator.table)
    return [str(path) for path in dict.fromkeys(named) if not path.exists()]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
