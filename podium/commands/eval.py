"""`podium eval TEAM.yaml --tasks SPEC`: coordinators side by side on the same tasks, with intervals.

With `--frontier` at several prices of an answer, with `--pass-at` several runs of each task.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from podium.commands.terminal import console
from podium.commands.terminal import dollars as amount
from podium.protocols.words import counted

if TYPE_CHECKING:
    from podium.training.evaluation import Evaluation

__all__ = ["register"]

Number = TypeVar("Number", int, float)


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
    seeds: Annotated[int | None, typer.Option(min=1, show_default="1", help="How many times each task is run.")] = None,
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
    frontier: Annotated[
        bool,
        typer.Option("--frontier", help="Score over dollars; who hears the price of an answer is run at each."),
    ] = False,
    knobs: Annotated[
        str | None,
        typer.Option(
            "--knobs",
            metavar="DOLLARS",
            show_default="of the policies, or by the team's prices",
            help="The prices: dollars that one passed answer is worth, such as 0.002,0.005,0.01.",
        ),
    ] = None,
    pass_at: Annotated[
        str | None,
        typer.Option("--pass-at", metavar="K", help="How often one of k runs passes, such as 1,2,4,8; runs are drawn."),
    ] = None,
    turns: Annotated[
        str | None,
        typer.Option("--turns", metavar="T", help="With --pass-at: runs of at most so many turns, such as 1,2,4."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of score over cost to this file.")] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="FILE", help="Write all figures of each run as JSON to this file."),
    ] = None,
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
    for file_to, what in ((cache, "--cache"), (figures, "--figures")):
        if file_to is not None:
            folder_for(file_to, what)
    prices = _numbers("--knobs", knobs, float)
    ks, most = _numbers("--pass-at", pass_at, int), _numbers("--turns", turns, int)
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
                frontier=frontier,
                knobs=prices,
                pass_at=ks,
                turns=most,
                expects=counting.expect,
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
    if figures is not None:
        _write(figures, found)
    if as_json:
        typer.echo(found.to_json())
    else:
        out = console()
        if found.rows:
            table = comparison_table(found.rows, styled=out.is_terminal)
            out.width = max(out.width, least_width(table))  # a line that is too long can be read, a figure cut cannot
            out.print(table)
            _tell_more(found)
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
        from podium.training.pictures import draw

        try:
            draw(found, plot, note=f"{tasks}, {counted(found.tasks, 'task')}")
        except OSError as error:
            raise InputError(f"--plot {plot}: the picture cannot be written: {error.strerror or error}") from None
    if failure is not None:
        raise failure


def _tell_more(found: Evaluation) -> None:
    """The frontier and Pass@(k, T), where they were asked for."""
    from podium.training.frontier_reports import frontier_lines, gain_table, pass_table
    from podium.training.reports import least_width

    out = console()
    tables = [gain_table(found.frontier(), styled=out.is_terminal)] if found.knobs else []
    tables += [pass_table(found.pass_at())] if found.ks else []
    for table in tables:
        out.width = max(out.width, least_width(table))
        out.print()
        out.print(table)
    if found.knobs:
        for line in frontier_lines(found.frontier()):
            out.print(line, markup=False, soft_wrap=True)


def _write(file: Path, found: Evaluation) -> None:
    """All figures. Raises InputError where the file cannot be written."""
    from podium.protocols.errors import InputError

    try:
        file.write_text(found.to_json(per_task=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--figures {file}: it cannot be written: {error.strerror or error}") from None


def _numbers(option: str, text: str | None, kind: Callable[[str], Number]) -> list[Number] | None:
    """Numbers with commas between. Raises InputError for what is none."""
    from podium.protocols.errors import InputError

    if text is None:
        return None
    out: list[Number] = []
    for each in filter(None, map(str.strip, text.split(","))):
        try:
            out.append(kind(each))
        except ValueError:
            what, form = ("whole number", "1,2,4") if kind is int else ("number", "0.002,0.01")
            raise InputError(f"{option} {text}: {each!r} is no {what}; write {option} {form}") from None
    return out


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
