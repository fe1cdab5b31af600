"""`podium schema`: the JSON Schema of the team file."""

from __future__ import annotations

import json

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(schema)


def schema() -> None:
    """Print the JSON Schema of the team file, for editors: podium schema > team.schema.json."""
    from podium.orchestrator.team_schema import team_schema

    typer.echo(json.dumps(team_schema(), indent=2))
