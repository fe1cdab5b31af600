"""`podium run TEAM.yaml "task"`: one task worked by a team. The answer goes to standard output, the rest to stderr."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.commands.show import opened
from podium.commands.telling import Trace, begin_logs, told_to
from podium.protocols.errors import InputError, RunCancelled, RunError, RunPaused
from podium.protocols.events import Result
from podium.protocols.task import Task
from podium.protocols.words import counted

if TYPE_CHECKING:
    from asyncio import Runner

    from podium.commands.live import Progress
    from podium.orchestrator.budget import Limits
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_file import TeamSpec

__all__ = ["Mode", "keeping_team", "register", "resume"]

Begin = Callable[["Progress"], Coroutine[Any, Any, Result]]
"""Starts the run, with somebody who hears its events."""


class Mode(StrEnum):
    """How a coordinator that has a choice decides."""

    greedy = "greedy"
    sample = "sample"


Count = Annotated[int | None, typer.Option(min=1, help="Instead of the team file's limit.")]
Amount = Annotated[float | None, typer.Option(help="Instead of the team file's limit.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(
    file: Annotated[Path, typer.Argument(help="The team file.")],
    task: Annotated[str, typer.Argument(help="What the team should do; - reads it from standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print answer, usage, steps and run id as JSON.")] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer while it is being written.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer and nothing else.")] = False,
    seed: Annotated[int | None, typer.Option(help="Makes the run repeatable, as far as the models are.")] = None,
    mode: Annotated[Mode | None, typer.Option(help="Take the likeliest decisions, or draw them.")] = None,
    preference: Annotated[
        float | None, typer.Option(metavar="DOLLARS", help="What one right answer is worth, for a learned coordinator.")
    ] = None,
    tokens: Count = None,
    calls: Count = None,
    seconds: Amount = None,
    dollars: Amount = None,
    no_journal: Annotated[bool, typer.Option("--no-journal", help="Do not keep the run.")] = False,
    trace: Trace = None,
) -> None:
    """Have a team work a task. The run is kept in the team's journal, or in .podium/runs.db here."""
    from podium.commands.folders import journal_folder
    from podium.orchestrator.journal import DEFAULT
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_checks import located
    from podium.orchestrator.team_file import load_team

    _one_form(as_json=as_json, stream=stream)
    given = {"--seconds": seconds, "--dollars": dollars, "--preference": preference}
    for name, value in given.items():
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name} {value:g}: must be more than 0")
    asked = _asked(task)
    spec = told_to(load_team(file), {"traces": trace})
    if preference is not None and spec.coordinator.kind != "learned":
        raise InputError(f"--preference is for a learned coordinator; that of {file} is {spec.coordinator.kind}")
    url = None if no_journal else spec.journal or DEFAULT
    if url:
        journal_folder(url, quiet=quiet or url == DEFAULT)
    with located(file):
        team = Team.of(spec.model_copy(update={"journal": url}))
    limits = _limits(spec, tokens=tokens, calls=calls, seconds=seconds, dollars=dollars)
    options: dict[str, Any] = {"preference": preference, "limits": limits}
    options |= {"seed": seed, "mode": mode.value if mode else None}
    forms = {"as_json": as_json, "stream": stream, "quiet": quiet}
    last = spec.budget.wind_down
    if last and not quiet and not team.orchestrator.winds_down(Task.of(asked), limits):
        typer.echo(f"warning: no call of {last} is set aside: a quarter of each limit does not hold it", err=True)
    _work(team, file, lambda emit: team.arun(asked, emit=emit, **options), url, **forms)


def resume(file: Path, run: str, *, as_json: bool, stream: bool, quiet: bool) -> None:
    """Go on with a kept run of a team."""
    _one_form(as_json=as_json, stream=stream)
    team, url = keeping_team(file)
    _work(team, file, lambda emit: team.aresume(run, emit=emit), url, as_json=as_json, stream=stream, quiet=quiet)


def keeping_team(file: Path) -> tuple[Team, str]:
    """A team with the journal that its runs are kept in, and where that is. Raises InputError where there is none."""
    from podium.orchestrator.journal import DEFAULT
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_checks import located
    from podium.orchestrator.team_file import load_team

    spec = load_team(file)
    url = spec.journal or DEFAULT
    with opened(url):
        pass  # where there is none, nothing is made
    with located(file):
        return Team.of(spec.model_copy(update={"journal": url})), url


def _work(team: Team, file: Path, begin: Begin, url: str | None, *, as_json: bool, stream: bool, quiet: bool) -> None:
    """Await a run, print what came of it, and close the team."""
    import asyncio

    from podium.commands.live import Progress
    from podium.commands.questions import Console

    if team.spec.telemetry.logs != "none":
        begin_logs([team.spec])
    console = Console(team, where=None if url is None else _where(url))
    if url is None and not console.seated:
        team.people.absent = "the run keeps no journal, and no terminal is here"
    progress = Progress(live=not (quiet or stream) and sys.stderr.isatty(), stream=stream, ask=console)
    with asyncio.Runner() as runner:
        try:
            work = console.during(begin(progress))
            result = _worked(runner, work, progress, file, kept=url is not None, as_json=as_json)
            _print(result, progress, url, as_json=as_json, quiet=quiet)
        finally:
            runner.run(team.aclose())  # only now: what telemetry has yet to send does not hold back the answer


def _print(result: Result, progress: Progress, url: str | None, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_as_data(result), indent=2))
    else:
        progress.answer(result)
    if not quiet:
        typer.echo(_summary(result, url), err=True)


def _one_form(*, as_json: bool, stream: bool) -> None:
    if stream and as_json:
        raise InputError("--stream prints the answer as text, --json prints the result at the end: choose one")


def _asked(task: str) -> str:
    """The task's text. Raises InputError when there is none, or when it is not text."""
    try:
        text = sys.stdin.read() if task == "-" else task
        text.encode()
    except UnicodeError:
        raise InputError("the task is not text in UTF-8") from None
    if not text.strip():
        raise InputError("the task is empty: say what the team should do")
    return text


def _limits(spec: TeamSpec, **options: float | None) -> Limits | None:
    """The team file's limits with those of the options; None: there are no options."""
    from podium.orchestrator.members import limits

    given = {name: value for name, value in options.items() if value is not None}
    return limits(spec.budget.model_copy(update=given)) if given else None


def _worked(
    runner: Runner, work: Coroutine[Any, Any, Result], progress: Progress, file: Path, *, kept: bool, as_json: bool
) -> Result:
    """The result. Ctrl-C raises RunCancelled: the run is kept as far as it got, and can go on if it asked somebody.

    Of a run that fails, what came of it all the same is printed.
    """
    try:
        with progress:
            return runner.run(work)
    except RunPaused as paused:
        again = f"podium runs resume {shlex.quote(str(file))} {paused.run}"
        waits = f"its question waits; answer it, and go on with: {again}"
        error = RunCancelled("stopped by Ctrl-C", run=paused.run, kept=waits)
    except KeyboardInterrupt:
        look = f"look at it with: podium show {progress.run}" if kept and progress.run else ""
        error = RunCancelled("stopped by Ctrl-C", run=progress.run, kept=look)
    except RunError as raised:
        error = raised
    if as_json:
        typer.echo(json.dumps(_as_failure(error), indent=2))
    elif isinstance(error.partial, Result) and error.partial.node:
        progress.answer(error.partial)  # it was found, and could not be kept
    raise error


def _as_data(result: Result) -> dict[str, Any]:
    from dataclasses import asdict

    def figures(usage: Any) -> dict[str, Any]:
        return {**asdict(usage), "tokens": usage.tokens}

    return {
        "answer": result.answer,
        "run": result.run,
        "team": result.team,
        "stop": result.stop,
        "why": result.why,
        "seed": result.seed,
        "steps": result.steps,
        "seconds": result.seconds,
        "usage": figures(result.usage),
        "by_agent": {name: figures(usage) for name, usage in result.by_agent.items()},
        "answered_by": result.nodes[result.node].author if result.node else None,
        "refused": result.refused,
        "overshoot": result.overshoot,
        "overshoot_dollars": result.overshoot_dollars,
    }


def _as_failure(error: RunError) -> dict[str, Any]:
    """What a program is told of a run that failed: the result as far as it got, and the error."""
    partial = error.partial
    found = _as_data(partial) if isinstance(partial, Result) else {"run": error.run}
    return {**found, "error": str(error), "kind": type(error).__name__}


def _summary(result: Result, url: str | None) -> str:
    """One line under the answer: who, how much, and where to read on."""
    from podium.commands.terminal import amounts, seconds

    by = result.nodes[result.node].author
    how = "ended as a loop" if result.stop == "loop" else f"ended by its {result.stop}"
    how = f"ended since {result.why}" if result.why else how
    early = "" if result.stop == "answered" else f" {how},"
    spent = f"{counted(result.steps, 'step')}, {amounts(result.usage)}, {seconds(result.seconds)}"
    told = f"; why: podium show {result.run}{_where(url)}" if url else ""
    return f"run {result.run}:{early} answered by {by}, {spent}{told}"


def _where(url: str) -> str:
    """How other commands are told the journal."""
    from sqlalchemy.engine import make_url

    from podium.orchestrator.journal import DEFAULT

    return "" if url == DEFAULT else f" --journal {make_url(url).render_as_string(hide_password=True)}"
