"""A training as it goes on: how far, how long still, what it costs, and whether it learns."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from podium.commands.terminal import dollars, remaining

if TYPE_CHECKING:
    from podium.training.learn import Progress as Step

__all__ = ["TrainingProgress"]

LINE_EVERY = 10
"""Iterations between two lines where there is no terminal to draw on."""

LINES_OF_A_STAGE = 4
"""Lines that each part of a supervised start has there."""


class TrainingProgress:
    """Shows a training on standard error: a bar on a terminal, lines elsewhere."""

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self._score = self._tokens = 0.0
        self._held_out = ""
        self._warned = self._doubted = False
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("[bold]training[/]"),
                BarColumn(24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[words]}"),
                console=Console(stderr=True, highlight=False),
            )
            self._line = self._bar.add_task("", total=iterations, left="", words="first runs ...")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: Step) -> None:
        """One iteration is done, or one more of what a supervised start counts."""
        if step.stage:
            self._begin(step)
            return
        if step.failed and not self._warned:
            self._warned = True
            self._warn(f"iteration {step.iteration}: {step.failed}")
        if step.warning and not self._doubted:
            self._doubted = True
            self._warn(f"iteration {step.iteration}: {step.warning}")
        blend = 0.3 if step.iteration > 1 else 1.0
        self._score += blend * (step.metrics["score"] - self._score)
        self._tokens += blend * (step.metrics["tokens"] - self._tokens)
        if "eval_score" in step.metrics:
            self._held_out = f"  held out {step.metrics['eval_score']:.0%}"
        words = f"score {self._score:.0%}  tokens {self._tokens:,.0f}{self._held_out}"
        if step.dollars_spent:
            words += f"  spent {dollars(step.dollars_spent)} of about {dollars(step.dollars_forecast)}"
        left = remaining(step.seconds_left)
        if self._bar is not None:
            self._bar.update(self._line, completed=step.iteration, total=step.iterations, left=left, words=words)
        elif step.iteration % LINE_EVERY == 0 or step.iteration in {1, self._iterations}:
            typer.echo(f"iteration {step.iteration:>4}/{self._iterations}  {left:>12}  {words}", err=True)

    def _begin(self, step: Step) -> None:
        """How far a supervised start is."""
        left = remaining(step.seconds_left) if step.iteration else ""
        if self._bar is not None:
            words = f"supervised start: {step.stage}"
            self._bar.update(self._line, completed=step.iteration, total=step.iterations, left=left, words=words)
        elif step.iteration * LINES_OF_A_STAGE % step.iterations < LINES_OF_A_STAGE:
            typer.echo(f"{step.stage:<23} {step.iteration:>5}/{step.iterations}  {left:>12}", err=True)

    def _warn(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, soft_wrap=True)
        else:
            typer.echo(line, err=True)
