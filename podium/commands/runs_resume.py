"""`podium runs resume TEAM.yaml --all`: what a machine that went down has left, a line each.

Nobody is waited for: a run that asks a person keeps its question, and stays unfinished.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from podium.commands.run import keeping_team
from podium.commands.telling import begin_logs
from podium.commands.terminal import WIDTH, amounts, harmless
from podium.protocols.errors import PodiumError, RunCancelled, RunPaused
from podium.protocols.words import counted

if TYPE_CHECKING:
    from asyncio import Runner

    from podium.orchestrator.server_resume import LeftOver
    from podium.orchestrator.team import Team
    from podium.protocols.events import Result

__all__ = ["resume_all"]


def resume_all(file: Path, *, as_json: bool, quiet: bool) -> bool:
    """Go on with all unfinished runs of a team, one after another; whether none of them failed.

    quiet: without the lines on standard error, about what is not resumed.
    """
    import asyncio

    from podium.orchestrator.server_resume import left_over

    team, _ = keeping_team(file)
    if team.spec.telemetry.logs != "none":
        begin_logs([team.spec])
    told: list[dict[str, Any]] = []
    with asyncio.Runner() as runner:
        try:
            found = left_over(team)
            if not quiet:
                _tell_what_is_left(team, file, found)
            team.people.leave()  # from now on a run that asks somebody ends with RunPaused, and its question is kept
            for place, run in enumerate(found.runs):
                told.append(_resumed(runner, team, file, run, len(found.runs) - place - 1))
                if not as_json:
                    typer.echo(told[-1].pop("line"))
        finally:
            runner.run(team.aclose())
    if as_json:
        typer.echo(json.dumps([{name: each[name] for name in each if name != "line"} for each in told], indent=2))
    return not any("error" in each for each in told)


def _tell_what_is_left(team: Team, file: Path, found: LeftOver) -> None:
    for run in found.changed:
        typer.echo(f"run {run} is left: {file} was changed since it began; resume it with the file as it was", err=True)
    for run in found.elsewhere:
        typer.echo(f"run {run} is left: it is under way in another process", err=True)
    if not found.runs:
        typer.echo(f"no run of team {team.name} is to be resumed", err=True)


def _resumed(runner: Runner, team: Team, file: Path, run: str, further: int) -> dict[str, Any]:
    """What came of one run, with a line for people. further: how many come after it.

    Raises RunCancelled on Ctrl-C, which leaves it as it is.
    """
    from podium.orchestrator.server_resume import gone_on

    try:
        result = runner.run(gone_on(team, run))
    except RunPaused:
        then = f"podium runs answer {run} ..., and then podium runs resume {shlex.quote(str(file))} {run}"
        return {"run": run, "stop": "unfinished", "line": f"run {run}: waits for a person: {then}"}
    except KeyboardInterrupt:
        others = f", and so can {counted(further, 'further one')}" if further else ""
        raise RunCancelled("stopped by Ctrl-C", run=run, kept=f"it can be resumed{others}") from None
    except PodiumError as error:
        line = harmless(" ".join(str(error).split()))
        line = line if run in line else f"run {run}: {line}"
        return {"run": run, "stop": "failed", "error": str(error), "kind": type(error).__name__, "line": line}
    return {"run": run, "stop": result.stop, "answer": result.answer, "line": _line(result)}


def _line(result: Result) -> str:
    by = result.nodes[result.node].author
    spent = f"{counted(result.steps, 'step')}, {amounts(result.usage)}"
    told = harmless(" ".join(result.answer.split()))
    short = told if len(told) <= WIDTH else f"{told[: WIDTH - 4]} ..."
    return f"run {result.run}: {result.stop} by {by}, {spent}: {short}"
