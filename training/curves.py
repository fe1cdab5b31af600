"""Pictures of a training: one panel per measure over its steps, and whether the policy still looks at its tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from podium.protocols.errors import InputError, MissingExtra
from podium.training.drawing import COLOURS, INK, as_dollars, canvas, plain_frame, save, titles

try:
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
except ModuleNotFoundError as error:
    raise MissingExtra("drawing plots", "train", error.name or "matplotlib") from None

Rows = Sequence[Mapping[str, float]]

SMOOTHING = 21
"""Steps under the thick line of a training curve: a centred mean, which unlike an exponential one does not lag."""
MAX_PANELS = 12
MAX_LINES = 8
"""Lines of one panel: the largest at the end."""
STYLES = ("-", "--")
"""Of lines beyond the number of colours."""

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
DIAGNOSIS = {
    "information": "task and first decision",
    "information_later": "task and second decision",
    "information_needed": "task and who is believed best",
}
"""Lines of the diagnosis that have one unit: nats."""
GAIN, SHARES, GRADIENTS = "routing_gain", "share/", "gradient/"
EVALUATION = ("eval_", "eval/", "test_", "test/")
NOT_PANELS = frozenset({"step", "time", "seconds", "epoch", "seed", "update", "share_entropy", GAIN, *DIAGNOSIS})
OFTEN_ZERO = frozenset({"failed"})
"""Measures that are drawn only where there is something to see."""


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


def training_curves(metrics: Path | str | Rows, path: Path | str, *, title: str = "") -> Path:
    """One panel per measure over training steps, written to `path` as PNG. Returns the path.

    metrics: a JSON-lines file (see `read_metrics`) or its rows. Thin: as measured; thick: centred mean; diamonds:
    values of `eval_NAME`, drawn in the panel of NAME. At most 12 panels, the best known measures first; what
    `diagnosis_curves` draws is left to it. Raises InputError when there is nothing to draw.
    """
    rows = read_metrics(metrics) if isinstance(metrics, Path | str) else list(metrics)
    names = {_measure(name) for row in rows for name, value in row.items() if value or _measure(name) not in OFTEN_ZERO}
    names = {name for name in names - NOT_PANELS if not name.startswith((SHARES, GRADIENTS))}
    order = [*(name for name in PANELS if name in names), *sorted(names - PANELS.keys())][:MAX_PANELS]
    if not order:
        raise InputError("the metrics hold no measure to draw")
    across = min(3, len(order))
    down = math.ceil(len(order) / across)
    figure = canvas(3.4 * across, 2.35 * down + 0.75)
    legend = "thin: each step, thick: smoothed" + (", diamonds: held-out tasks" if _evaluated(rows) else "")
    titles(figure, title or "Training", legend)
    grid = figure.subplots(down, across, squeeze=False)
    for place, name in enumerate(order):
        _panel(grid[place // across][place % across], rows, name, COLOURS[place % len(COLOURS)])
    for place in range(len(order), down * across):
        grid[place // across][place % across].set_visible(False)
    return save(figure, path)


def diagnosis_curves(metrics: Path | str | Rows, path: Path | str, *, title: str = "") -> Path:
    """Whether a policy still looks at its tasks, over training steps, written to `path` as PNG. Returns the path.

    Four panels: information between task and decision beside what the best choice would need, what deciding by task
    would gain, each agent's share of the directives, and the gradient's norm in each head. metrics: as for
    `training_curves`. Raises InputError when no step was diagnosed.
    """
    rows = read_metrics(metrics) if isinstance(metrics, Path | str) else list(metrics)
    if not any("information" in row for row in rows):
        raise InputError("no step of the metrics was diagnosed")
    figure = canvas(10.2, 6.6)
    note = "centred means; a collapse: the solid lines of the first panel fall to 0, and there is something to gain"
    titles(figure, title or "Does the policy look at its tasks?", note)
    grid = figure.subplots(2, 2, squeeze=False)
    _lines(grid[0][0], rows, DIAGNOSIS, "Information", "nats")
    grid[0][0].lines[-1].set_linestyle(":")
    _lines(grid[0][1], rows, {GAIN: ""}, "To gain by deciding by task, as believed", "passed answers per task")
    _lines(grid[1][0], rows, _named(rows, SHARES), "Directives by agent", "share")
    grid[1][0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _lines(grid[1][1], rows, _named(rows, GRADIENTS), "Gradient norm by head", "before clipping")
    grid[1][1].set_yscale("log", nonpositive="mask")
    return save(figure, path)


def _panel(axes: Axes, rows: Rows, name: str, colour: str) -> None:
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
    _framed(axes, heading, unit)
    if name == "score":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif name == "dollars":
        axes.yaxis.set_major_formatter(FuncFormatter(as_dollars))


def _lines(axes: Axes, rows: Rows, names: Mapping[str, str], heading: str, unit: str) -> None:
    """Several measures in one panel, smoothed. names: of the measures, and what they are called."""
    for place, (name, label) in enumerate(names.items()):
        steps = _series(rows, name)
        if steps:
            xs, ys = zip(*steps, strict=True)
            values = _smooth(ys) if len(ys) > SMOOTHING else np.array(ys)
            colour, style = COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS) % len(STYLES)]
            marker = "o" if len(ys) < 3 else None
            axes.plot(xs, values, color=colour, linestyle=style, linewidth=1.8, label=label, marker=marker)
    _framed(axes, heading, unit)
    if any(names.values()):
        for text in axes.legend(fontsize=8, frameon=False, loc="best", ncols=1 + (len(names) > 4)).get_texts():
            text.set_parse_math(False)


def _framed(axes: Axes, heading: str, unit: str) -> None:
    axes.set_title(heading, fontsize=10.5, loc="left", color=INK, fontweight="bold")
    axes.set_ylabel(unit, fontsize=8.5)
    axes.set_xlabel("training step", fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid(color="#e6e6e6", linewidth=0.8)
    plain_frame(axes)


def _named(rows: Rows, prefix: str) -> dict[str, str]:
    """The measures of a family and their names in it; where there are too many, those that are largest at the end."""
    last: dict[str, float] = {}
    for row in rows:
        last |= {name: value for name, value in row.items() if name.startswith(prefix)}
    largest = sorted(last, key=lambda name: -last[name])[:MAX_LINES]
    return {name: name.removeprefix(prefix) for name in last if name in largest}


def _series(rows: Rows, name: str) -> list[tuple[float, float]]:
    """(step, value) of the rows that have this measure."""
    return [
        (row.get("step", place), row[name]) for place, row in enumerate(rows) if math.isfinite(row.get(name, math.nan))
    ]


def _smooth(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Centred mean, over fewer values at the ends. values: (T,), T at least SMOOTHING. Returns (T,)."""
    window = np.ones(SMOOTHING)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _measure(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in EVALUATION if name.startswith(prefix)), name)


def _evaluated(rows: Rows) -> bool:
    return any(name.startswith(EVALUATION) for row in rows for name in row)
