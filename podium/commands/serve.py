"""`podium serve TEAM.yaml ...`: teams behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.commands.telling import Form, Trace, begin_logs, told_to

if TYPE_CHECKING:
    from podium.orchestrator.team import Team

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    files: Annotated[list[Path], typer.Argument(help="The team files; each team is served as a model of its name.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    journal: Annotated[
        str | None, typer.Option("--journal", metavar="URL", help="Where runs are kept, for teams that name none.")
    ] = None,
    trace: Trace = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="Figures for Prometheus at /metrics.")] = False,
    logs: Annotated[Form | None, typer.Option(help="Log what happens in runs, in this form.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the teams' unfinished runs, at the start and when a question of one is answered; "
            "but not with those that another process has under way.",
        ),
    ] = False,
) -> None:
    """Serve teams to any OpenAI client, until Ctrl-C."""
    from podium.orchestrator.collecting import collect_seldom
    from podium.orchestrator.server import listen, make_app, serve_app

    asked = {"traces": trace, "metrics": "prometheus" if metrics else None, "logs": logs.value if logs else None}
    teams = _teams(files, journal, asked)
    app = make_app(teams, resume=resume)
    with listen(host, port) as listening:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        typer.echo(
            f"serving {', '.join(teams)} at {address}/v1 (Ctrl-C stops)\n\n{_curl(address, next(iter(teams)))}\n"
        )
        begin_logs([team.spec for team in teams.values()])
        collect_seldom()
        serve_app(app, on=listening)
    typer.echo("stopped")


def _teams(files: list[Path], journal: str | None, asked: Mapping[str, str | None]) -> dict[str, Team]:
    from podium.commands.folders import journal_folder
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_checks import located
    from podium.orchestrator.team_file import load_team
    from podium.protocols.errors import InputError

    teams: dict[str, Team] = {}
    origins: dict[str, Path] = {}
    for file in files:
        spec = told_to(load_team(file), asked)
        if url := spec.journal or journal:
            journal_folder(url)
        with located(file):
            team = Team.of(spec, journal=journal)
        if team.name in teams:
            raise InputError(f"{origins[team.name]} and {file} are both named {team.name!r}; give one another name")
        teams[team.name], origins[team.name] = team, file
    return teams


def _curl(address: str, model: str) -> str:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is 17 + 25?"}]})
    return f"curl {address}/v1/chat/completions -H 'content-type: application/json' \\\n  -d '{body}'"
