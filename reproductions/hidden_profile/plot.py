"""The picture of the study: the ladder, team sizes, and how honest the beliefs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

RUNGS: Mapping[str, str] = {
    "silent": "no talk",
    "rule": "rule: all tell all",
    "unnamed": "talk + cost,\nno named pieces",
    "task": "talk,\ntask reward",
    "cost": "talk + cost",
    "gap": "talk + cost\n+ gap shaping",
    "blind": "the same,\nno beliefs",
}
"""What each rung is called, in the order of the picture."""
COLOURS = ("#9aa0a6", "#c58f00", "#7b6fb0", "#4c8eda", "#2a9d8f", "#1b6b50", "#c0504d")
INK = "#222222"


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Write the picture as PNG. figures: as the study writes them."""
    rows: Sequence[Mapping[str, Any]] = figures["summary"]
    runs: Sequence[Mapping[str, Any]] = figures["runs"]
    usual = figures["agents"]
    ladder = {row["rung"]: row for row in rows if row["agents"] == usual}
    figure = Figure(figsize=(13.5, 8.4), dpi=110)
    FigureCanvasAgg(figure)
    seeds = max(row["seeds"] for row in rows)
    figure.suptitle("Talk on simulated hidden profiles", x=0.01, ha="left", fontsize=14, fontweight="bold", color=INK)
    note = (
        f"{usual} simulated agents, {figures['facts']} facts a task, held-out tasks, {seeds} seeds; "
        "bars: 95 % intervals over seeds and tasks; points: seeds"
    )
    figure.text(0.01, 0.935, note, fontsize=9.5, color=INK)
    grid = figure.subplots(2, 3)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.87, bottom=0.1, wspace=0.26, hspace=0.62)
    _bars(grid[0, 0], ladder, runs, usual, "passed", "share of tasks", "Accuracy: every fact right")
    _bars(grid[0, 1], ladder, runs, usual, "messages", "messages a run", "Messages before the answer")
    _bars(grid[0, 2], ladder, runs, usual, "redundant", "share of stated facts", "Redundancy: facts said before")
    _teams(grid[1, 0], rows, usual)
    _curves(grid[1, 1], runs, usual)
    _honest(grid[1, 2], runs, usual)
    figure.savefig(path)


def _bars(
    axes: Any,
    ladder: Mapping[str, Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    agents: int,
    name: str,
    unit: str,
    title: str,
) -> None:
    """One figure of all rungs."""
    names = [rung for rung in RUNGS if rung in ladder]
    for place, rung in enumerate(names):
        row, colour = ladder[rung], COLOURS[list(RUNGS).index(rung)]
        axes.bar(place, row[name], color=colour, width=0.68, zorder=2)
        low, high = row.get(f"{name}_interval", (row[name], row[name]))
        if high > low:
            below, above = max(0.0, row[name] - low), max(0.0, high - row[name])
            axes.errorbar(place, row[name], [[below], [above]], color=INK, capsize=3, linewidth=1.1, zorder=3)
        each: list[Any] = [np.mean(run[name]) for run in runs if run["rung"] == rung and run["agents"] == agents]
        axes.plot([place + 0.2] * len(each), each, linestyle="", marker=".", markersize=5, color=INK, zorder=4)
    axes.set_xticks(range(len(names)), [RUNGS[rung] for rung in names], rotation=38, ha="right", fontsize=8)
    _frame(axes, title, unit)


def _teams(axes: Any, rows: Sequence[Mapping[str, Any]], usual: int) -> None:
    """Accuracy over the size of the team."""
    for rung, label in (("gap", f"learned, trained with {usual}"), ("rule", "rule: all tell all")):
        mine = sorted((row for row in rows if row["rung"] == rung), key=lambda row: row["agents"])
        colour = COLOURS[list(RUNGS).index(rung)]
        sizes, values = [row["agents"] for row in mine], [row["passed"] for row in mine]
        axes.plot(sizes, values, color=colour, marker="o", markersize=5, label=label)
        spans = [row.get("passed_interval", (row["passed"],) * 2) for row in mine]
        axes.fill_between(sizes, [low for low, _ in spans], [high for _, high in spans], color=colour, alpha=0.18)
        axes.set_xticks(sizes)
    axes.set_xlabel("agents in the team", fontsize=8.5)
    axes.legend(fontsize=8, frameon=False)
    _frame(axes, "Accuracy over team size (band: interval)", "share of tasks")


def _curves(axes: Any, runs: Sequence[Mapping[str, Any]], agents: int) -> None:
    """How the trainings went."""
    for rung, label in RUNGS.items():
        curves = [run["curve"] for run in runs if run["rung"] == rung and run["agents"] == agents and "curve" in run]
        if curves:
            mean = np.mean(curves, axis=0)
            width = min(5, len(mean))
            smooth = np.convolve(mean, np.ones(width) / width, mode="valid")
            axes.plot(
                np.arange(width - 1, len(mean)) + 1,
                smooth,
                color=COLOURS[list(RUNGS).index(rung)],
                linewidth=1.6,
                label=label.replace("\n", " "),
            )
    axes.set_xlabel("iteration (the first ones train beliefs only)", fontsize=8.5)
    axes.legend(fontsize=7.5, frameon=False)
    _frame(axes, "Training runs passed (sampled; mean of 5 iterations)", "share of runs")


def _honest(axes: Any, runs: Sequence[Mapping[str, Any]], agents: int) -> None:
    """Reliability of what is believed, over the seeds of the full rung."""
    axes.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=0.9, linestyle="--")
    labels = {"knows first": "j supplies k, at first", "knows last": "j supplies k, at the end", "there": "k is there"}
    for (name, label), colour in zip(labels.items(), ("#8fc7bd", "#1b6b50", "#c58f00"), strict=True):
        mine = [run[name] for run in runs if run["rung"] == "gap" and run["agents"] == agents]
        if not mine:
            continue
        error, skill = (np.mean([each[figure] for each in mine]) for figure in ("error", "skill"))
        predicted = np.mean([each["predicted"] for each in mine], axis=0)
        happened = np.mean([each["happened"] for each in mine], axis=0)
        said = f"{label}: error {error:.2f}, skill {skill:.2f}"
        axes.plot(predicted, happened, color=colour, marker="o", markersize=4.5, linewidth=1.4, label=said)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("believed", fontsize=8.5)
    axes.legend(fontsize=7.5, frameon=False, loc="upper left")
    _frame(axes, "Are beliefs honest? (all agents, all pieces)", "happened")


def _frame(axes: Any, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=INK, fontweight="bold")
    axes.set_ylabel(unit, fontsize=8.5)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#eeeeee", zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
