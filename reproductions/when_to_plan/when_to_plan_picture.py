"""The study in one picture: what a fixed period returns, and what the learned plan bit does at each price of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INKS = ("#1b6ca8", "#3a9679", "#e08e45", "#b5495b", "#6b4c9a")
LOWEST = -0.1
"""Return at which the picture of the periods ends; a dear plan before every move goes far below."""
GREY = "#777777"


def draw(prices: Sequence[Mapping[str, Any]], path: Path, *, seeds: int, graphs: int) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    _periods(left, prices)
    _returns(middle, prices)
    _plans(right, prices)
    trainings = "1 training" if seeds == 1 else f"{seeds} trainings"
    figure.suptitle(
        f"When to plan: a simulated graph search, {graphs} held-out graphs, {trainings}; bars: 95 % intervals "
        f"over graphs{', of the policy over trainings too' if seeds > 1 else ''}",
        fontsize=10,
    )
    figure.savefig(path, dpi=130)


def _periods(axes: Axes, prices: Sequence[Mapping[str, Any]]) -> None:
    """Return over the period, a line for each price."""
    names = list(prices[0]["periods"])
    for each, ink in zip(prices, INKS, strict=False):
        points = [each["periods"][name]["return"] for name in names]
        _line(axes, range(len(names)), points, ink, f"a plan costs {each['price']:g}")
    success = [prices[0]["periods"][name]["success"]["mean"] for name in names]
    axes.plot(range(len(names)), success, ":", color=GREY, label="success (plans for nothing)")
    axes.set_xticks(range(len(names)), [name.removeprefix("every ") for name in names])
    axes.set_ylim(bottom=LOWEST)
    axes.set(title="Fixed periods", xlabel="moves between two plans", ylabel="return, passed answers a search")
    axes.legend(fontsize=8, frameon=False)


def _returns(axes: Axes, prices: Sequence[Mapping[str, Any]]) -> None:
    """Return over the price: the policy, the best period, the rule."""
    x = [each["price"] for each in prices]
    _line(axes, x, [each["learned"]["return"] for each in prices], INKS[0], "learned plan bit")
    best = [each["periods"][each["best_period"]]["return"] for each in prices]
    _line(axes, [price * 1.06 for price in x], best, INKS[2], "best fixed period (chosen on training graphs)")
    axes.plot(x, [each["rule"]["return"]["mean"] for each in prices], ":", color=GREY, label="hand-written rule")
    for each, point in zip(prices, best, strict=True):
        place = (each["price"] * 1.06, point["low"])
        axes.annotate(each["best_period"], place, (0, -11), textcoords="offset points", ha="center", fontsize=8)
    _by_price(axes, x)
    axes.margins(y=0.12)
    axes.set(title="What it returns", ylabel="return, passed answers a search")
    axes.legend(fontsize=8, frameon=False, loc="lower left")


def _plans(axes: Axes, prices: Sequence[Mapping[str, Any]]) -> None:
    """Plans over the price."""
    x = [each["price"] for each in prices]
    _line(axes, x, [each["learned"]["plans"] for each in prices], INKS[0], "learned plan bit")
    best = [each["periods"][each["best_period"]]["plans"] for each in prices]
    _line(axes, [price * 1.06 for price in x], best, INKS[2], "best fixed period")
    axes.plot(x, [each["rule"]["plans"]["mean"] for each in prices], ":", color=GREY, label="hand-written rule")
    _by_price(axes, x)
    axes.set_ylim(bottom=0)
    axes.set(title="How often it plans", ylabel="plans a search")
    axes.legend(fontsize=8, frameon=False)


def _line(axes: Axes, x: Sequence[float], points: Sequence[Mapping[str, float]], ink: str, label: str) -> None:
    means = [point["mean"] for point in points]
    low = [max(0.0, point["mean"] - point["low"]) for point in points]
    high = [max(0.0, point["high"] - point["mean"]) for point in points]
    axes.errorbar(x, means, yerr=[low, high], color=ink, marker="o", markersize=4, capsize=3, label=label)


def _by_price(axes: Axes, x: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{price:g}" for price in x])
    axes.minorticks_off()
    axes.set_xlabel("price of a plan, passed answers (by the knob)")
