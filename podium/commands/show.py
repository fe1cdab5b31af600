"""`podium show RUN`: a kept run as a person wants to read it; without RUN, the newest ones."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.protocols.words import counted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from podium.orchestrator.decision_words import Belief
    from podium.orchestrator.journal import Journal, Listed
    from podium.orchestrator.narrate import Said, Step, Story

__all__ = ["Full", "Most", "Url", "listing", "opened", "register", "telling"]

SAID = {"candidate": "candidate", "failure": "failed", "plan": "planned"}
"""How what came of a directive is headed, where it is not a plain reply."""

LINES = 12
"""Lines of a reply that are shown, unless all is asked for."""


Url = Annotated[str | None, typer.Option("--journal", metavar="URL", help="Where the runs are, as in the team file.")]
Full = Annotated[bool, typer.Option("--full", help="Show long replies to their end.")]
Most = Annotated[int, typer.Option("--last", min=1, help="How many runs to list.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(show)


def show(
    run: Annotated[str | None, typer.Argument(help="The run's id, or the beginning of it; left out: a list.")] = None,
    journal: Url = None,
    full: Full = False,
    most: Most = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole record as JSON.")] = False,
) -> None:
    """Tell a run: each decision and why it was taken, who was told and said what, and what it cost."""
    if run is None:
        listing(journal, most, as_json=as_json)
    else:
        telling(run, journal, full=full, as_json=as_json)


def telling(run: str, url: str | None, *, full: bool, as_json: bool) -> None:
    """Print one run."""
    from podium.orchestrator.narrate import tell
    from podium.protocols.saved import to_data

    with opened(url) as journal:
        found = journal.load(run)
    if as_json:
        typer.echo(json.dumps(to_data(found), indent=2))
    else:
        _tell(tell(found), full)


def listing(url: str | None, most: int, *, as_json: bool, unfinished: bool = False) -> None:
    """Print a list of runs, the newest first."""
    from dataclasses import asdict

    with opened(url) as journal:
        runs = journal.entries(most, unfinished)
    if as_json:
        typer.echo(json.dumps([asdict(run) for run in runs], indent=2))
    elif runs:
        _list(runs)
    elif unfinished:
        typer.echo("every run has ended")
    else:
        typer.echo('no runs yet; podium run TEAM.yaml "task" makes one')


@contextmanager
def opened(url: str | None) -> Generator[Journal]:
    """The journal, which has to be there: looking at runs creates nothing."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from podium.orchestrator.journal import DEFAULT, Journal, masked
    from podium.protocols.errors import InputError

    try:
        parsed = make_url(url or DEFAULT)
    except ArgumentError:
        given = masked(url or DEFAULT)
        raise InputError(f"--journal {given}: not a URL; write sqlite:///FILE or postgresql://...") from None
    if parsed.get_backend_name() == "sqlite":
        file = Path(parsed.database or "")
        try:
            file.open("rb").close()
        except (FileNotFoundError, IsADirectoryError):
            keeps = 'podium run TEAM.yaml "task" keeps its runs, see also --journal'
            raise InputError(f"no runs are kept in {file}; {keeps}") from None
        except OSError as error:
            raise InputError(f"journal {file}: cannot be read: {error.strerror}") from None
    journal = Journal(url or DEFAULT)
    try:
        yield journal
    finally:
        journal.close()


def _list(runs: list[Listed]) -> None:
    from podium.commands.terminal import dollars, harmless

    table = _table("run", "when", "team", "stop", tokens=True, dollars=True)
    table.add_column("task", no_wrap=True, overflow="ellipsis", ratio=1)
    table.expand = True  # so that a long task is cut, and not the other columns
    for run in runs:
        asked = " ".join(harmless(run.task).split())
        spent = (f"{run.tokens:,}", dollars(run.dollars)) if run.stop != "unfinished" else ("", "")
        stop = "running" if run.under_way else run.stop
        table.add_row(run.run, _when(run.started), run.team, stop, *spent, _plain(asked))
    _console().print(table)


def _tell(story: Story, full: bool) -> None:
    from rich.markup import escape
    from rich.panel import Panel

    from podium.commands.terminal import amounts, seconds

    console = _console()
    console.print(
        f"[bold]run {story.run}[/] of team [bold]{story.team}[/], {_when(story.started)}, "
        f"coordinator {escape(story.coordinator) or 'none'}" + ("" if story.seed is None else f", seed {story.seed}")
    )
    console.print(Panel(_plain(story.task), title="task", title_align="left", border_style="dim"))
    for step in story.steps:
        _step(console, step, full)
    if story.answer:
        title = f"answer, by {story.by}"
        console.print(Panel(_plain(story.answer), title=title, title_align="left", border_style="green"))
    spent = f"{counted(len(story.steps), 'step')}, {amounts(story.usage)}, {seconds(story.seconds)}"
    console.print(f"[bold]ended[/]: {story.ending}; {spent}\n")
    console.print(_shares(story))
    for note in story.notes:
        console.print(_plain(note))


def _step(console: Console, step: Step, full: bool) -> None:
    """One decision: its headline, the why, what was told and what was said."""
    from podium.commands.terminal import amounts

    console.print(f"\n[bold cyan]step {step.number}[/]  [bold]{step.action}[/]")
    for place, sentence in enumerate(step.why):
        _line(console, "why" if not place else "", _plain(sentence))
    if step.beliefs:
        _line(console, "", _beliefs(step.beliefs))
    if step.deciding.calls:
        _line(console, "deciding", _plain(f"took {amounts(step.deciding)}"))
    if step.left:
        _line(console, "left", _plain(f"of the budget: {step.left}"))
    for told in step.told:
        if told.refused:
            _line(console, "refused", _plain(f"{told.agent} {told.asked}: the budget did not hold it", "yellow"))
            continue
        marked = "; this reply is the answer" if told.answer else ""
        _line(console, "told", _plain(f"{told.agent} {told.asked}; shown {told.shown}{marked}"))
        if told.instruction:
            _line(console, "", _plain(f'"{told.instruction}"'))
    for said in step.said:
        for failed in said.trouble:
            _line(console, "retried", _plain(failed, "yellow"))
        _line(console, SAID.get(said.kind, "said"), _head(said))
        _line(console, "", _plain(_shortened(said.text, full), "default"))


def _head(said: Said) -> RenderableType:
    from podium.commands.terminal import amounts, seconds

    parts = [f"node {said.node}, {said.agent}"]
    if said.usage.calls:
        parts.append(amounts(said.usage))
    if said.usage.seconds:
        parts.append(seconds(said.usage.seconds))
    if said.tools:
        parts.append(f"used {', '.join(said.tools)}")
    return _plain(": ".join((parts[0], ", ".join(parts[1:]))) if parts[1:] else parts[0], "dim")


def _beliefs(beliefs: tuple[Belief, ...]) -> Table:
    """What the policy thought of each agent; the ones it picked are marked."""
    table = _table("", "agent")
    for heading in ("picked", "would be right", "gain", "tokens", "gap"):
        table.add_column(heading, justify="right")
    for each in beliefs:
        table.add_row(
            ">" if each.picked else "",
            each.agent,
            *(
                f"{100 * each.probability:.0f} %",
                f"{100 * each.success:.0f} %",
                f"{100 * each.gain:+.0f} %",
                f"{each.tokens:.0f}",
                f"{each.gap:.2f}",
            ),
            style="bold" if each.picked else None,
        )
    return table


def _shares(story: Story) -> Table:
    from podium.commands.terminal import dollars, seconds

    table = _table("agent")
    for heading in ("replies", "calls", "in", "out", "dollars", "seconds"):
        table.add_column(heading, justify="right")
    rows = [(share.agent, f"{share.replies}", share.usage) for share in story.shares]
    total = ("all", f"{sum(share.replies for share in story.shares)}", story.usage)
    for name, replies, usage in (*rows, total):
        if name == "all":
            table.add_section()
        figures = (f"{usage.calls:,}", f"{usage.input_tokens:,}", f"{usage.output_tokens:,}", dollars(usage.dollars))
        table.add_row(name, replies, *figures, seconds(usage.seconds))
    return table


def _table(*headings: str, tokens: bool = False, dollars: bool = False) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for heading, wanted in (("tokens", tokens), ("dollars", dollars)):
        if wanted:
            table.add_column(heading, justify="right", no_wrap=True)
    return table


def _line(console: Console, label: str, content: RenderableType) -> None:
    """A labelled line; what follows of it stays under its first word."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=9, style="dim", justify="right")
    grid.add_column()
    grid.add_row(label, content)
    console.print(grid)


def _plain(text: str, style: str = "") -> RenderableType:
    """A text that is no markup and holds no control codes."""
    from rich.text import Text

    from podium.commands.terminal import harmless

    return Text(harmless(text).rstrip(), style=style)


def _shortened(text: str, full: bool) -> str:
    lines = text.strip().splitlines() or ["(nothing)"]
    if full or len(lines) <= LINES:
        return "\n".join(lines)
    return "\n".join([*lines[: LINES - 1], f"... {len(lines) - LINES + 1} more lines (--full)"])


def _when(started: float) -> str:
    return datetime.fromtimestamp(started).astimezone().strftime("%Y-%m-%d %H:%M")


def _console() -> Console:
    from rich.console import Console

    from podium.commands.terminal import WIDTH

    console = Console(highlight=False, soft_wrap=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console
