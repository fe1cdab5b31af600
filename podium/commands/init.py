"""`podium init`: write a team file to start from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Provider", "register"]


class Provider(StrEnum):
    """Which model the starter team talks to."""

    scripted = "scripted"
    openai = "openai"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)


def init(
    file: Annotated[Path, typer.Argument(help="The team file to write.")] = Path("team.yaml"),
    from_pool: Annotated[
        Path | None, typer.Option("--from-pool", help="A recorded pool whose agents become the team.")
    ] = None,
    provider: Annotated[
        Provider, typer.Option(help="scripted runs at once, without a key; openai talks to an endpoint.")
    ] = Provider.scripted,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a commented team file to start from."""
    from podium.orchestrator.starter import init as write

    write(file, from_pool=from_pool, provider=provider.value, force=force)
    typer.echo(f"wrote {file}; next: podium plan {file}")
