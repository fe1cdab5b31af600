"""`podium demo`: train the embedded team's coordinator, compare it with everything simpler, and say how to serve it."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.commands.terminal import console

if TYPE_CHECKING:
    from podium.training.demo import Shown

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where to put the team, its policy and the plots.")] = Path(
        "podium-demo"
    ),
    iterations: Annotated[
        int | None, typer.Option(min=1, help="66 if unsaid, as its training file; fewer are quicker and worse.")
    ] = None,
    tasks: Annotated[int | None, typer.Option(min=10, help="Held-out tasks of the comparison, 100 if unsaid.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew: throw an earlier training in the folder away.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison and what was made as JSON.")] = False,
) -> None:
    """Train and compare on a team of five tiny models that comes with Podium: no network, no GPU, no key."""

    from podium.commands.counting import Counting
    from podium.commands.training_progress import TrainingProgress
    from podium.training.demo import ITERATIONS, TEST_TASKS, demonstrate

    length = iterations or ITERATIONS
    out = console()
    if not as_json:
        out.print(
            "Five tiny language models; nobody is good at everything. A coordinator learns whom to ask, in which "
            "order, how often, and when to stop. It is never told what kind of task it is given.\n"
        )
    progress, counting = TrainingProgress(length), Counting("comparing:", live=sys.stderr.isatty())

    def begins(name: str) -> None:
        progress.__exit__(None, None, None)
        counting.__enter__()
        counting.begin(name)

    try:
        with progress:
            shown = asyncio.run(
                demonstrate(
                    folder,
                    iterations=length,
                    test_tasks=tasks or TEST_TASKS,
                    fresh=fresh,
                    watch=progress.show,
                    tell=lambda line: typer.echo(line, err=True),
                    began=begins,
                    done=counting.one,
                )
            )
    finally:
        counting.__exit__(None, None, None)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "finished": shown is not None} | _data(shown), indent=2))
    elif shown is None:
        out.print("Stopped; the same command goes on from where it was.")
    else:
        _tell(shown)
    if shown is None:
        raise typer.Exit(1)


def _data(shown: Shown | None) -> dict[str, Any]:
    """What a demonstration left, for a program; nothing where it was stopped."""
    if shown is None:
        return {}
    return {
        "team": str(shown.folder / "team.yaml"),
        "policy": str(shown.folder / "policy"),
        "plots": [str(shown.folder / "comparison.png"), str(shown.folder / "training.png")],
        "evaluation": json.loads(shown.evaluation.to_json()),
        "verdicts": shown.verdicts,
        "example": shown.example,
    }


def _tell(shown: Shown) -> None:
    """The same in words, and how to go on."""
    from podium.training.reports import comparison_table

    out = console()
    out.print(comparison_table(shown.evaluation.rows, title="Held-out tasks, one seed", styled=out.is_terminal))
    for name, detail in shown.evaluation.details.items():
        out.print(f"  {name}: {detail}", markup=False, soft_wrap=True)
    for line in shown.verdicts:
        out.print(line, markup=False, soft_wrap=True)
    team = shown.folder / "team.yaml"
    out.print(f"\nPlots:    {shown.folder / 'comparison.png'}, {shown.folder / 'training.png'}", soft_wrap=True)
    body = json.dumps({"model": "embedded", "messages": [{"role": "user", "content": shown.example}]})
    for line in (
        f"Try it:   podium run {team} {shlex.quote(shown.example)}",
        f"Serve it: podium serve {team}",
        "Ask it:   curl -s http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' "
        f"-d {shlex.quote(body)}",
    ):
        out.print(line, markup=False, soft_wrap=True)
