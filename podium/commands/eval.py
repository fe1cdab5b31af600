"""`podium eval TEAM.yaml --tasks SPEC`: coordinators side by side on the same tasks, with intervals."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated

import typer

from podium.commands.terminal import console
from podium.commands.terminal import dollars as amount
from podium.protocols.words import counted

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval")(evaluate)


def evaluate(
    file: Annotated[Path, typer.Argument(help="The team file.")],
    tasks: Annotated[
        str,
        typer.Option("--tasks", metavar="SPEC", help="Tasks: SOURCE:NAME?key=value, such as jsonl:FILE?split=test."),
    ],
    coordinators: Annotated[
        list[str] | None,
        typer.Option(
            "--coordinators",
            metavar="NAMES",
            show_default="own",
            help="Names with commas between, or the option again: own, best_pipeline, "
            "vote?samples=3&agents=a,b, pipeline?steps=a+b*3,c, learned:FOLDER?preference=1.",
        ),
    ] = None,
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="SPEC", help="Tasks that fitted and chosen coordinators learn from.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many times each task is run.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many tasks.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FOLDER", help="Write what was fitted here, with the line that serves it."),
    ] = None,
    dollars: Annotated[
        float | None, typer.Option("--dollars", help="Most that endpoints may cost, fitting and judges included.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="FILE", help="Keep replies here: none is paid for twice.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of score over cost to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Compare coordinators of a team: score with interval, tokens, calls, dollars and seconds for each."""
    from podium.commands.counting import Counting
    from podium.commands.folders import folder_for
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_checks import located
    from podium.protocols.errors import InputError, RunError
    from podium.training.evaluate import evaluate as measure
    from podium.training.evaluation import Evaluation
    from podium.training.reports import comparison_table, least_width

    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise InputError(f"--plot {plot}: a picture is a PNG; give it a name that ends in .png")
        folder_for(plot, "--plot")
    if dollars is not None and not 0 < dollars < math.inf:
        raise InputError(f"--dollars {dollars:g}: must be a finite number, more than 0")
    if cache is not None:
        folder_for(cache, "--cache")
    failure: RunError | KeyboardInterrupt | None = None
    with located(file):
        team = Team.load(file)
    names = _split(["own"] if coordinators is None else coordinators, team.agents)
    with team, Counting("running", live=sys.stderr.isatty()) as counting:
        try:
            found = measure(
                team,
                tasks,
                names,
                seeds=seeds,
                fit=fit,
                limit=limit,
                keep=keep,
                dollars=dollars,
                cache=cache,
                began=counting.begin,
                done=counting.one,
                fits=counting.fit,
            )
        except RunError as error:
            if not isinstance(error.partial, Evaluation):
                raise
            found, failure = error.partial, error  # what was measured before is paid for: it is shown
        except KeyboardInterrupt as error:
            left = error.args[0] if error.args else None
            if not isinstance(left, Evaluation) or not (left.measured or left.kept or left.spent):
                raise
            found, failure = left, error
    if as_json:
        typer.echo(found.to_json())
    else:
        out = console()
        if found.rows:
            table = comparison_table(found.rows, styled=out.is_terminal)
            out.width = max(out.width, least_width(table))  # a line that is too long can be read, a figure cut cannot
            out.print(table)
        for name, detail in found.details.items():
            out.print(f"{name}: {detail}", markup=False, soft_wrap=True)
        for name, kept in found.kept.items():
            line = f"{name}: to serve it, put the line of {kept.file} into {file}"
            out.print(line, markup=False, soft_wrap=True)
        if found.spent:
            out.print(f"spent {amount(found.spent)}", markup=False, soft_wrap=True)
    for name, failed in found.failures.items():
        typer.echo(f"{name}: {failed}", err=True)
    if plot is not None and found.rows:
        from podium.training.plots import cost_quality

        cost = "dollars" if any(row.dollars > 0 for row in found.rows) else "tokens"
        try:
            cost_quality(found.rows, plot, cost=cost, note=f"{tasks}, {counted(found.tasks, 'task')}")
        except OSError as error:
            raise InputError(f"--plot {plot}: the picture cannot be written: {error.strerror or error}") from None
    if failure is not None:
        raise failure


def _split(texts: Iterable[str], agents: Collection[str]) -> list[str]:
    """Names at commas; in a list of agents (`vote?agents=a,b`) a comma goes on with the list where an agent follows.

    A word that no coordinator has goes on as well, so that the list can say what is wrong with it. One that an agent
    and a coordinator have is taken for the agent, which is told on standard error.
    """
    from podium.training.candidate_names import LISTS
    from podium.training.candidates import ASKING, FITTED, KINDS, OTHERS

    out: list[str] = []
    for text in texts:
        listing = False
        for part in map(str.strip, text.split(",")):
            head = re.split(r"[*+&]", part)[0]
            known = part in (*OTHERS, *FITTED, *KINDS, *ASKING)
            if listing and not ("?" in head or ":" in head or (known and part not in agents)):
                out[-1] += f",{part}"
                if known:
                    told = f"{part} is taken for the agent; the coordinator of this name needs an option of its own"
                    typer.echo(f"{out[-1]}: {told}: --coordinators {part}", err=True)
            else:
                out.append(part)
            setting = out[-1].partition("?")[2].rpartition("&")[2]
            listing = setting.partition("=")[0] in LISTS
    return [name for name in out if name]
