"""`podium init`: write a team file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)


def init(
    file: Annotated[Path, typer.Argument(help="The team file to write.")] = Path("team.yaml"),
    from_pool: Annotated[
        Path | None, typer.Option("--from-pool", help="A recorded pool whose agents become the team.")
    ] = None,
    provider: Annotated[
        str,
        typer.Option(
            metavar="[scripted|openai]", help="scripted runs at once, without a key; openai talks to an endpoint."
        ),
    ] = "scripted",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a commented team file to start from."""
    from podium.orchestrator.starter import init as write

    write(file, from_pool=from_pool, provider=cast(Any, provider), force=force)  # it says which there are
    typer.echo(f"wrote {file}; next: podium plan {file}")
