"""`podium train TRAIN.yaml`: train a coordinator, with progress, time left, and Ctrl-C that keeps the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.commands.terminal import console

if TYPE_CHECKING:
    from podium.training.learn import Trained

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    file: Annotated[Path, typer.Argument(help="The training file.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew instead of from the last checkpoint.")] = False,
    extend: Annotated[bool, typer.Option("--extend", help="Go on also where iterations grew in the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train a team's coordinator. Ctrl-C keeps what was learned; the same command goes on from there."""
    from podium.commands.training_progress import TrainingProgress
    from podium.training.learn import train as learn
    from podium.training.train_file import load_training

    spec = load_training(file)
    with TrainingProgress(spec.iterations) as progress:
        trained = learn(spec, fresh=fresh, extend=extend, watch=progress.show)
    if as_json:
        typer.echo(json.dumps(_data(trained), indent=2))
    else:
        _tell(trained, file)
    if trained.evaluation is not None:
        for name, failed in trained.evaluation.failures.items():
            typer.echo(f"{name}: {failed}", err=True)
    unmeasured = trained.finished and trained.evaluation is None and spec.tasks.test is not None
    if unmeasured:
        typer.echo(f"The test tasks were not measured to their end; do it with: podium train {file}", err=True)
    if unmeasured or not trained.finished:
        raise typer.Exit(1)


def _data(trained: Trained) -> dict[str, object]:
    return {
        "policy": str(trained.folder),
        "finished": trained.finished,
        "iterations": trained.iterations,
        "parameters": trained.policy.parameters,
        "preference": trained.policy.card.preference,
        "measured": trained.policy.card.measured,
        "judged": dict(trained.judged),
    }


def _tell(trained: Trained, file: Path) -> None:
    out = console()
    if not trained.finished:
        out.print(f"Stopped after iteration {trained.iterations}; nothing is lost.", markup=False)
        out.print(f"Go on with:     podium train {file}", markup=False, soft_wrap=True)
    if trained.evaluation is not None:
        from podium.training.reports import comparison_table

        out.print(comparison_table(trained.evaluation.rows, title="On the test tasks", styled=out.is_terminal))
        for name, detail in trained.evaluation.details.items():
            out.print(f"{name}: {detail}", markup=False, soft_wrap=True)
    for name, detail in trained.judged.items():
        out.print(f"{name}: {detail}", markup=False, soft_wrap=True)
    out.print(f"Policy:         {trained.folder} ({trained.policy.parameters:,} parameters)", soft_wrap=True)
    out.print(f"Curves:         {trained.folder / 'curves.png'}", soft_wrap=True)
    out.print(f"Use it:         coordinator: {{kind: learned, policy: {trained.folder}}}", markup=False, soft_wrap=True)
