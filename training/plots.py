"""Pictures: what a score costs, how often one of several runs passes, and how training went.

All are PNGs that can be read at the width of a README and say on their face what they show. Colours are Okabe and
Ito's, which people with any colour vision can tell apart, and never carry meaning alone: points have names and markers.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from podium.protocols.errors import InputError, MissingExtra
from podium.training.calibration import KINDS, Calibration, Kind
from podium.training.pass_at import PassAt
from podium.training.reports import LEVEL_PERCENT, Row

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import (
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        PercentFormatter,
        StrMethodFormatter,
    )

    from podium.training.labels import place_labels
except ModuleNotFoundError as error:
    raise MissingExtra("drawing plots", "train", error.name or "matplotlib") from None

Cost = Literal["tokens", "calls", "dollars", "seconds"]

INK = "#222222"
FAINT = "#9a9a9a"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "D", "^", "s", "v", "P")
DOTS_PER_INCH = 160
LOG_FROM = 20.0
"""Costs that span a larger factor are drawn on a logarithmic axis."""
SMOOTHING = 21
"""Steps under the thick line of a training curve: a centred mean, which unlike an exponential one does not lag."""
MAX_PANELS = 12

COST_LABELS: Mapping[str, str] = {
    "tokens": "tokens per task",
    "calls": "model calls per task",
    "dollars": "dollars per task",
    "seconds": "seconds per task",
}
PANELS: Mapping[str, tuple[str, str]] = {
    "score": ("Score", "share of tasks passed"),
    "reward": ("Reward", "mean per run"),
    "tokens": ("Tokens", "per task"),
    "calls": ("Model calls", "per task"),
    "dollars": ("Cost", "dollars per task"),
    "entropy": ("Policy entropy", "nats per decision"),
    "loss": ("Loss", "total"),
    "policy_loss": ("Policy loss", "per decision"),
    "value_loss": ("Value loss", "squared error"),
    "belief_loss": ("Belief loss", "nats per reply"),
    "kl": ("Step from the old policy", "KL, nats per decision"),
    "grad_norm": ("Gradient norm", "before clipping"),
    "clipped": ("Clipped", "share of decisions"),
    "gain": ("Gain", "score less priced cost"),
    "mixed_groups": ("Mixed groups", "share of groups"),
    "passed": ("Passed", "share of runs"),
    "failed": ("Failed", "share of runs"),
    "seconds_learning": ("Time to learn", "seconds per step"),
}
EVALUATION = ("eval_", "eval/", "test_", "test/")
NOT_PANELS = frozenset({"step", "time", "seconds", "epoch", "seed", "update"})
OFTEN_ZERO = frozenset({"failed"})
"""Measures that are drawn only where there is something to see."""


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
    figure, axes = _figure(8.0, 5.0)
    hollow = "hollow: for reference only, knows what a coordinator is not told"
    dashed = "dashed: the front, of what nothing else beats in score and cost"
    said = [note, hollow if any(row.reference for row in points) else "", dashed if front else ""]
    _titles(figure, title, "; ".join(filter(None, said)))
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
        axes.xaxis.set_major_formatter(FuncFormatter(_dollars))
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
    return _save(figure, path)


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
    figure = Figure(figsize=(8.0, 1.0 + (4.0 if down == across == 1 else 3.0 * down)), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    said = "a turn is a step that asks agents" if cut else ""
    _titles(figure, "How often at least one of k runs passes", "; ".join(filter(None, [note, said])))
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for place in range(down * across):
        axes = grid[place // across][place % across]
        axes.set_visible(place < len(panels))
        if place < len(panels):
            _pass_panel(axes, *panels[place], first=place % across == 0)
    return _save(figure, path)


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
    _plain_frame(axes)


def read_metrics(path: Path | str) -> list[dict[str, float]]:
    """The steps of a JSON-lines metrics file, each a flat object of numbers, in the order of their `step`.

    A step that is written twice (training was resumed) counts once, as written last; a broken last line (training was
    killed) is left out. Raises InputError with file and line for any other broken line, and when there is no step.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    steps: dict[float, dict[str, float]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record: Any = json.loads(line)
            numbers = {
                str(name): float(value)
                for name, value in record.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
        except (ValueError, AttributeError):
            if number == len(lines):
                break
            raise InputError(f"{path}:{number}: not a JSON object of numbers") from None
        step = numbers.get("step", float(len(steps)))
        steps[step] = {**steps.get(step, {}), **numbers, "step": step}
    if not steps:
        raise InputError(f"{path}: there is no training step in it")
    return [steps[step] for step in sorted(steps)]


def training_curves(metrics: Path | str | Sequence[Mapping[str, float]], path: Path | str, *, title: str = "") -> Path:
    """One panel per measure over training steps, written to `path` as PNG. Returns the path.

    metrics: a JSON-lines file (see `read_metrics`) or its rows. Thin: as measured; thick: centred mean; diamonds:
    values of `eval_NAME`, drawn in the panel of NAME. At most 12 panels, the best known measures first.
    """
    rows = read_metrics(metrics) if isinstance(metrics, Path | str) else list(metrics)
    names = {_measure(name) for row in rows for name, value in row.items() if value or _measure(name) not in OFTEN_ZERO}
    names -= NOT_PANELS
    order = [*(name for name in PANELS if name in names), *sorted(names - PANELS.keys())][:MAX_PANELS]
    if not order:
        raise InputError("the metrics hold no measure to draw")
    across = min(3, len(order))
    down = math.ceil(len(order) / across)
    figure = Figure(figsize=(3.4 * across, 2.35 * down + 0.75), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    legend = "thin: each step, thick: smoothed" + (", diamonds: held-out tasks" if _evaluated(rows) else "")
    _titles(figure, title or "Training", legend)
    grid = figure.subplots(down, across, squeeze=False)
    for place, name in enumerate(order):
        _panel(grid[place // across][place % across], rows, name, COLOURS[place % len(COLOURS)])
    for place in range(len(order), down * across):
        grid[place // across][place % across].set_visible(False)
    return _save(figure, path)


def reliability(found: Mapping[Kind, Calibration], path: Path | str, *, note: str = "") -> Path:
    """How honest beliefs are, one panel each, as PNG: what happened over what was believed. Returns the path.

    Each point holds as many beliefs as any other; on the diagonal they are honest.
    """
    figure = Figure(figsize=(3.6 * len(found), 4.1), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    _titles(figure, "What the policy believes, and what happens", note)
    grid = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, colour, (kind, each) in zip(grid, COLOURS, found.items(), strict=False):
        axes.plot((0, 1), (0, 1), color=FAINT, linewidth=0.9, linestyle="--", zorder=1)
        axes.plot(each.predicted, each.happened, color=colour, linewidth=1.6, marker="o", markersize=5.5, zorder=3)
        axes.set_title(textwrap.fill(KINDS[kind], 34), fontsize=9.5, loc="left", color=INK, fontweight="bold")
        said = f"error {each.error:.3f}\nskill {each.skill:.2f}\n{each.n:,} beliefs"
        axes.text(0.04, 0.96, said, transform=axes.transAxes, va="top", fontsize=8.5, color=INK)
        axes.set_xlabel("believed", fontsize=8.5)
        axes.set_ylabel("happened", fontsize=8.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        _plain_frame(axes)
    return _save(figure, path)


def _panel(axes: Axes, rows: Sequence[Mapping[str, float]], name: str, colour: str) -> None:
    heading, unit = PANELS.get(name, (name.replace("_", " ").replace("/", ": ").capitalize(), ""))
    steps = _series(rows, name)
    if steps:
        xs, ys = zip(*steps, strict=True)
        if len(ys) > SMOOTHING:
            axes.plot(xs, ys, color=colour, linewidth=0.8, alpha=0.35)
            axes.plot(xs, _smooth(ys), color=colour, linewidth=2.0)
        else:
            axes.plot(xs, ys, color=colour, linewidth=2.0, marker="o" if len(ys) < 3 else None)
    held_out = sorted(pair for prefix in EVALUATION for pair in _series(rows, prefix + name))
    if held_out:
        xs, ys = zip(*held_out, strict=True)
        axes.plot(xs, ys, color=INK, linewidth=0.9, marker="D", markersize=4.5, markerfacecolor="white", zorder=4)
    axes.set_title(heading, fontsize=10.5, loc="left", color=INK, fontweight="bold")
    axes.set_ylabel(unit, fontsize=8.5)
    axes.set_xlabel("training step", fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if name == "score":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif name == "dollars":
        axes.yaxis.set_major_formatter(FuncFormatter(_dollars))
    axes.grid(color="#e6e6e6", linewidth=0.8)
    _plain_frame(axes)


def _series(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """(step, value) of the rows that have this measure."""
    return [
        (row.get("step", place), row[name]) for place, row in enumerate(rows) if math.isfinite(row.get(name, math.nan))
    ]


def _smooth(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Centred mean, over fewer values at the ends. values: (T,), T at least SMOOTHING. Returns (T,)."""
    window = np.ones(SMOOTHING)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _dollars(value: float, _: int | None = None) -> str:
    return f"${value:.6f}".rstrip("0").rstrip(".")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _plain_frame(axes)
    return figure, axes


def _titles(figure: Figure, title: str, note: str) -> None:
    """A bold title, left, with lighter lines under it; the rest of the figure is left to the axes."""
    width, height = figure.get_size_inches()
    heads = textwrap.wrap(title, int(width * 9))
    notes = textwrap.wrap(note, int(width * 15))
    left, top = 0.10 / width, 1.0 - 0.10 / height
    figure.text(
        left, top, "\n".join(heads), ha="left", va="top", fontsize=13, fontweight="bold", color=INK, parse_math=False
    )
    top -= 0.24 * len(heads) / height
    figure.text(left, top, "\n".join(notes), ha="left", va="top", fontsize=9, color="#555555", parse_math=False)
    top -= (0.17 * len(notes) + 0.06) / height
    figure.set_layout_engine("constrained", rect=(0.0, 0.0, 1.0, top))


def _plain_frame(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors="#555555", labelsize=8.5)
    axes.set_axisbelow(True)


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


def _save(figure: Figure, path: Path | str) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", facecolor="white")
    return path


def _measure(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in EVALUATION if name.startswith(prefix)), name)


def _evaluated(rows: Sequence[Mapping[str, float]]) -> bool:
    return any(name.startswith(EVALUATION) for row in rows for name in row)


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise
