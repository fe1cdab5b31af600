"""The study as a picture: what one policy and those of a single knob gain, and by how much they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from podium.training.drawing import COLOURS, FAINT, INK, MARKERS, canvas, plain_frame

__all__ = ["draw"]


def draw(figures: dict[str, Any], path: Path, *, what: str, margin: float) -> None:
    """Write the plot as PNG. margin: points that count as as good."""
    figure = canvas(11.5, 4.4)
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.25})
    _curves(left, figures["knobs"])
    _gaps(right, figures["knobs"], margin)
    many = (
        f"{figures['splits']} split{'s' if figures['splits'] > 1 else ''}, {figures['tasks']:,} held-out tasks in all"
    )
    figure.suptitle(f"One policy, every budget: {what}, {many}", x=0.12, ha="left", fontsize=12, fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")


def _curves(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Score over dollars of both kinds of policies, each dot named by its knob."""
    for number, (which, label) in enumerate(
        (("single", "trained for that knob"), ("one", "one policy, its knob turned"))
    ):
        dollars = [row[which]["units"]["mean"] for row in rows]
        scores = [100 * row[which]["score"]["mean"] for row in rows]
        style = "--" if which == "single" else "-"
        axes.plot(dollars, scores, style, color=COLOURS[number], marker=MARKERS[number], label=label, markersize=6)
        for row, x, y in zip(rows, dollars, scores, strict=True):
            below = which == "single"
            axes.annotate(
                f"{row['knob']:g}",
                (x, y),
                (0, -13 if below else 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=COLOURS[number],
            )
    axes.margins(0.1, 0.15)
    axes.set_xlabel("dollars of a task, in replies of the dearest agent")
    axes.set_ylabel("score, of a hundred")
    axes.set_title("Score over dollars; numbers are knobs", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    plain_frame(axes)


def _gaps(axes: Axes, rows: list[dict[str, Any]], margin: float) -> None:
    """By how much one policy gains more, with its interval and every split."""
    for place, row in enumerate(rows):
        found = row["gain"]
        splits = row["by split"]
        axes.plot([place + 0.16] * len(splits), splits, "o", color=FAINT, markersize=3.5, alpha=0.8)
        axes.plot((place, place), (100 * found["low"], 100 * found["high"]), color=COLOURS[1], linewidth=2.2)
        axes.plot(place, 100 * found["mean"], MARKERS[1], color=COLOURS[1], markersize=7)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.axhline(-margin, color=INK, linewidth=1, linestyle="--")
    axes.annotate(
        f"-{margin:g}", (len(rows) - 0.5, -margin), (2, -3), textcoords="offset points", fontsize=8.5, color=INK
    )
    axes.set_xticks(range(len(rows)), [f"{row['knob']:g}" for row in rows])
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_xlabel("knob: what a passed answer is worth, in replies of the dearest agent")
    axes.set_ylabel("points")
    axes.set_title("One policy's gain over that for the knob (95 % over tasks; grey: splits)", loc="left", fontsize=10)
    plain_frame(axes)
