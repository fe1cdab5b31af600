"""Two pictures of the figures: what a step costs beside the peers, and whether it stays so in long and many runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from report import Results, figures

INK, FAINT = "#222222", "#9a9a9a"
COLOURS = {"podium": "#0072B2", "langgraph": "#D55E00", "autogen": "#009E73"}
NAMES = {"podium": "Podium", "langgraph": "LangGraph", "autogen": "AutoGen core"}
MARKERS = {"podium": "o", "langgraph": "D", "autogen": "^"}
DOTS_PER_INCH = 160
IDEAL = 0.5
"""Seconds that ten turns with a model of 50 ms take at least."""
SIDES = tuple(COLOURS)

Bar = tuple[str, bool, float]
"""Side, journal, height."""


def draw(results: Results, folder: Path) -> None:
    """Write cost.png and growth.png."""
    cost = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = cost.subplots(1, 2, width_ratios=(3, 2))
    steps(left, results)
    crowd(right, results)
    _save(cost, folder / "cost.png")
    growth = Figure(figsize=(11, 4.2), layout="constrained")
    first, second = growth.subplots(1, 2, sharey=True)
    lines(first, results, "turns", (10, 50, 200), "turns of one run")
    lines(second, results, "concurrent", (1, 10, 100, 1000), "runs of ten turns at once")
    first.set_ylabel("CPU per step, microseconds, log scale")
    first.set_title("Cost of a step over the length of a run", loc="left", fontsize=11)
    second.set_title("Cost of a step over runs at once", loc="left", fontsize=11)
    first.legend(frameon=False, fontsize=8, ncols=3, loc="upper left")
    low, high = first.get_ylim()
    first.set_ylim(low * 0.8, high * 2.5)
    _save(growth, folder / "growth.png")


def steps(axes: Axes, results: Results) -> None:
    """Steps per second with a model that answers at once."""
    groups = [(journal, runs) for journal in (False, True) for runs in (1, 300)]
    bars = [
        [
            (side, journal, _middle(results, side, "steps_per_second", journal=journal, concurrent=runs))
            for side in SIDES
        ]
        for journal, runs in groups
    ]
    names = [
        f"{'journal on disk' if on else 'no journal'},\n{'one at a time' if n == 1 else '300 at once'}"
        for on, n in groups
    ]
    _bars(axes, bars, names, ",.0f")
    axes.set_yscale("log")
    axes.set_ylim(top=axes.get_ylim()[1] * 2)
    _plain_numbers(axes)
    axes.set_ylabel("steps per second, log scale (more is better)")
    axes.set_title("Three agents, ten turns, a model that answers at once", loc="left", fontsize=11)
    handles = [axes.bar(0, 0, color=COLOURS[side], label=NAMES[side]) for side in SIDES]
    axes.legend(handles=handles, frameon=False, fontsize=9, loc="upper right")


def crowd(axes: Axes, results: Results) -> None:
    """Seconds for 1,000 runs with a slow model."""
    many = {"concurrent": 1000, "delay": 0.05}
    bars = [[(side, on, _middle(results, side, "wall", journal=on, **many)) for side in SIDES] for on in (False, True)]
    _bars(axes, bars, ["no journal", "journal on disk"], ".2g")
    axes.set_yscale("log")
    axes.set_ylim(0.3, axes.get_ylim()[1] * 1.6)
    _plain_numbers(axes)
    axes.axhline(IDEAL, color=INK, linewidth=1, linestyle="--")
    axes.annotate(
        "ideal:\n0.5 s", (0.53, IDEAL), xycoords=("axes fraction", "data"), va="bottom", fontsize=8, color=INK
    )
    axes.set_ylabel("seconds, log scale (less is better)")
    axes.set_title("1,000 runs at once, a model of 50 ms", loc="left", fontsize=11)


def lines(axes: Axes, results: Results, name: str, values: Sequence[int], label: str) -> None:
    """CPU per step over one quantity."""
    for side in SIDES:
        for journal in (False, True):
            found = {each: _middle(results, side, "cpu", journal=journal, **{name: each}) for each in values}
            points = [(each, height) for each, height in found.items() if height]
            if len(points) > 1:
                axes.plot(
                    [each for each, _ in points],
                    [height for _, height in points],
                    color=COLOURS[side],
                    marker=MARKERS[side],
                    linestyle="--" if journal else "-",
                    markerfacecolor="white" if journal else COLOURS[side],
                    label=NAMES[side] + (", journal" if journal else ""),
                )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(values, [f"{each:,}" for each in values])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel(label)
    _plain_numbers(axes)


def _bars(axes: Axes, groups: Sequence[Sequence[Bar]], names: Sequence[str], shown: str) -> None:
    """Groups of bars, each with its height written on it; what was not measured takes no room."""
    for place, group in enumerate(groups):
        there = [bar for bar in group if bar[2]]
        for number, (side, _, height) in enumerate(there):
            x = place + 0.26 * (number - (len(there) - 1) / 2)
            axes.bar(x, height, 0.24, color=COLOURS[side])
            axes.annotate(
                f"{height:{shown}}", (x, height), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8
            )
    axes.set_xticks(range(len(names)), names)


def _middle(results: Results, side: str, name: str, **which: object) -> float:
    found = figures(results, side, name, **which)
    return statistics.median(found.values()) if found else 0.0


def _plain_numbers(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=FAINT, alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, file: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(file, dpi=DOTS_PER_INCH, metadata={"Software": None})
