"""Pictures: what a score costs, how often one of several runs passes, and how honest beliefs are.

All are PNGs that can be read at the width of a README and say on their face what they show. Colours are Okabe and
Ito's, which people with any colour vision can tell apart, and never carry meaning alone: points have names and markers.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from podium.protocols.errors import MissingExtra
from podium.training.calibration import KINDS, Calibration, Kind
from podium.training.drawing import (
    COLOURS,
    FAINT,
    INK,
    MARKERS,
    as_dollars,
    canvas,
    one_panel,
    plain_frame,
    save,
    titles,
)
from podium.training.pass_at import PassAt
from podium.training.reports import LEVEL_PERCENT, Row

try:
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

    from podium.training.labels import place_labels
except ModuleNotFoundError as error:
    raise MissingExtra("drawing plots", "train", error.name or "matplotlib") from None

Cost = Literal["tokens", "calls", "dollars", "seconds"]

LOG_FROM = 20.0
"""Costs that span a larger factor are drawn on a logarithmic axis."""
COST_LABELS: Mapping[str, str] = {
    "tokens": "tokens per task",
    "calls": "model calls per task",
    "dollars": "dollars per task",
    "seconds": "seconds per task",
}


def cost_quality(
    rows: Sequence[Row],
    path: Path | str,
    *,
    cost: Cost = "dollars",
    curves: Mapping[str, Sequence[Row]] | None = None,
    highlight: str | None = None,
    title: str = "What an answer costs, and how often it is right",
    note: str = "",
    front: Sequence[str] = (),
    spreads: Mapping[str, tuple[float, float]] | None = None,
    stops: Mapping[str, str] | None = None,
) -> Path:
    """Scatter of score over cost with error bars, written to `path` as PNG. Returns the path.

    rows: one named point each; a reference row (an oracle) is hollow, and the line under the title says so. curves: the
    points of one coordinator at several prices, joined by a line. highlight: name of the row that the picture is about.
    note: a line under the title, like the data set and the number of tasks. front: names of rows that nothing beats,
    joined by a dashed line. spreads: interval of the cost by row. stops: what points of curves are called, by row.

    Raises ValueError when no row has this cost.
    """
    joined = dict(curves or {})
    points = [row for row in rows if math.isfinite(getattr(row, cost))]
    everything = [*points, *(row for curve in joined.values() for row in curve)]
    if not everything:
        raise ValueError(f"no row has {cost}, so there is nothing to draw")
    figure, axes = one_panel(8.0, 5.0)
    hollow = "hollow: for reference only, knows what a coordinator is not told"
    dashed = "dashed: the front, of what nothing else beats in score and cost"
    said = [note, hollow if any(row.reference for row in points) else "", dashed if front else ""]
    titles(figure, title, "; ".join(filter(None, said)))
    costs = [float(getattr(row, cost)) for row in everything]
    if min(costs) > 0 and max(costs) / min(costs) > LOG_FROM:
        axes.set_xscale("log")
        wide = max(costs) / min(costs) > 100  # then labels at every 2 and 5 would run into each other
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    lines: list[list[tuple[float, float]]] = []
    for place, curve in enumerate(joined.values()):
        colour, marker = COLOURS[1 + place % 5], MARKERS[1 + place % 5]
        line = sorted(curve, key=lambda row: float(getattr(row, cost)))
        lines.append([(float(getattr(row, cost)), row.score) for row in line])
        axes.plot(*zip(*lines[-1], strict=True), color=colour, linewidth=2.2, zorder=3)
        for row in line:
            _point(axes, float(getattr(row, cost)), row, colour, marker)
    for row in points:
        colour = FAINT if row.reference else COLOURS[row.name == highlight]
        _point(axes, float(getattr(row, cost)), row, colour, MARKERS[row.name == highlight])
    for row in everything:
        if spreads and row.name in spreads:
            axes.plot(spreads[row.name], (row.score, row.score), color=FAINT, linewidth=1.1, zorder=2.5)
    steps = sorted((float(getattr(row, cost)), row.score) for row in everything if row.name in front)
    if steps:
        corners = [corner for one, other in pairwise(steps) for corner in (one, (other[0], one[1]))]
        lines.append([*corners, steps[-1]])
        axes.plot(*zip(*lines[-1], strict=True), color=FAINT, linewidth=1.2, linestyle="--", zorder=2)
    axes.set_xlabel(f"{COST_LABELS[cost]} (left is cheaper)")
    axes.set_ylabel(f"tasks passed, with {LEVEL_PERCENT} % interval")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if cost == "tokens":
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    elif cost == "dollars":
        axes.xaxis.set_major_formatter(FuncFormatter(as_dollars))
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.margins(x=0.16, y=0.12)
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    figure.canvas.draw()
    labels = [(float(getattr(row, cost)), row.score, row.name, "#666666" if row.reference else INK) for row in points]
    for place, (name, curve) in enumerate(joined.items()):
        start = min(curve, key=lambda row: float(getattr(row, cost)))
        labels.append((float(getattr(start, cost)), start.score, name, COLOURS[1 + place % 5]))
        named = [row for row in curve if stops and row.name in stops]
        places = [(float(getattr(row, cost)), row.score, (stops or {})[row.name]) for row in named]
        labels += [(*each, COLOURS[1 + place % 5]) for each in places]
    bars = [(row.score, _or(row.low, row.score), _or(row.high, row.score)) for row in everything]
    place_labels(axes, labels, [(x, *bar) for x, bar in zip(costs, bars, strict=True)], lines)
    return save(figure, path)


def pass_curves(found: Sequence[PassAt], path: Path | str, *, note: str = "") -> Path:
    """How often one of k runs passes, over k, written to `path` as PNG. Returns the path.

    A line for each coordinator; where runs were cut off, a panel for each coordinator, and in it a line for each number
    of turns. Raises ValueError when there is nothing to draw.
    """
    if not found:
        raise ValueError("there is nothing to draw")
    names = list(dict.fromkeys(each.coordinator for each in found))
    cut = any(each.turns is not None for each in found)
    panels = [(name, [each for each in found if each.coordinator == name]) for name in names] if cut else [("", found)]
    across = min(2, len(panels))
    down = math.ceil(len(panels) / across)
    figure = canvas(8.0, 1.0 + (4.0 if down == across == 1 else 3.0 * down))
    said = "a turn is a step that asks agents" if cut else ""
    titles(figure, "How often at least one of k runs passes", "; ".join(filter(None, [note, said])))
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for place in range(down * across):
        axes = grid[place // across][place % across]
        axes.set_visible(place < len(panels))
        if place < len(panels):
            _pass_panel(axes, *panels[place], first=place % across == 0)
    return save(figure, path)


def _pass_panel(axes: Axes, name: str, found: Sequence[PassAt], *, first: bool) -> None:
    """The lines of one coordinator by turns, or of all coordinators. first: it stands where the scale is."""
    ks = sorted({each.k for each in found})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [f"{k:,}" for k in ks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    for place, row in enumerate(dict.fromkeys(each.row for each in found)):
        own = sorted((each for each in found if each.row == row), key=lambda each: each.k)
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        xs, ys = [each.k for each in own], [each.passes.mean for each in own]
        axes.fill_between(
            xs,
            [each.passes.low for each in own],
            [each.passes.high for each in own],
            color=colour,
            alpha=0.1,
            linewidth=0,
        )
        label = row if own[0].turns is None else f"{own[0].turns} turn{'s' * (own[0].turns > 1)}"
        axes.plot(xs, ys, color=colour, marker=marker, linewidth=2.0, label=label, clip_on=False)
    axes.set_title(textwrap.fill(name, 46), fontsize=9.5, loc="left", color=INK, fontweight="bold", parse_math=False)
    axes.set_xlabel("k, runs of each task")
    axes.set_ylabel(f"passed, with {LEVEL_PERCENT} % interval" if first else "")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_ylim(0.0, 1.0)
    for text in axes.legend(fontsize=8.5, frameon=False, loc="best").get_texts():
        text.set_parse_math(False)
    plain_frame(axes)


def reliability(found: Mapping[Kind, Calibration], path: Path | str, *, note: str = "") -> Path:
    """How honest beliefs are, one panel each, as PNG: what happened over what was believed. Returns the path.

    Each point holds as many beliefs as any other; on the diagonal they are honest.
    """
    figure = canvas(3.6 * len(found), 4.1)
    titles(figure, "What the policy believes, and what happens", note)
    grid = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, colour, (kind, each) in zip(grid, COLOURS, found.items(), strict=False):
        said = f"error {each.error:.3f}\nskill {each.skill:.2f}\n{each.n:,} beliefs"
        reliability_axes(axes, each.predicted, each.happened, colour, textwrap.fill(KINDS[kind], 34), said)
    return save(figure, path)


def reliability_axes(
    axes: Axes, predicted: Sequence[float], happened: Sequence[float], colour: str, title: str, said: str
) -> None:
    """One reliability diagram. predicted, happened: of each bin; said: figures in words, written into the corner."""
    axes.plot((0, 1), (0, 1), color=FAINT, linewidth=0.9, linestyle="--", zorder=1)
    axes.plot(predicted, happened, color=colour, linewidth=1.6, marker="o", markersize=5.5, zorder=3)
    axes.set_title(title, fontsize=9.5, loc="left", color=INK, fontweight="bold")
    axes.text(0.04, 0.96, said, transform=axes.transAxes, va="top", fontsize=8.5, color=INK)
    axes.set_xlabel("believed", fontsize=8.5)
    axes.set_ylabel("happened", fontsize=8.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    plain_frame(axes)


def _point(axes: Axes, x: float, row: Row, colour: str, marker: str) -> None:
    below, above = row.score - _or(row.low, row.score), _or(row.high, row.score) - row.score
    axes.errorbar(
        x,
        row.score,
        yerr=[[max(0.0, below)], [max(0.0, above)]],
        fmt=marker,
        color=colour,
        markerfacecolor="white" if row.reference else colour,
        markersize=8,
        elinewidth=1.3,
        capsize=3,
        zorder=4,
        clip_on=False,  # a point at 0 is whole
    )


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise
