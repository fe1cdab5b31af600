"""The study as a picture: who passes how much on each team, and what the beliefs are worth."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from podium.training.drawing import plain_frame
from podium.training.plots import reliability_axes

GROUPS = {
    "the whole team": ("whole: table", None, "whole: fixed", "whole: random"),
    "names unknown": (None, None, "strangers: fixed", "strangers: random"),
    "names exchanged": (None, None, "exchanged: fixed", "exchanged: random"),
    "without the encoder": ("removed: table", "removed: retrained", "removed: fixed", "removed: random"),
    "the encoder is new": ("whole: table", "whole: fixed", "added: fixed", "added: random"),
    "other prices, list 1": (None, None, "prices 0: fixed", "prices 0: random"),
    "other prices, list 2": (None, None, "prices 1: fixed", "prices 1: random"),
    "other prices, list 3": (None, None, "prices 2: fixed", "prices 2: random"),
}
"""What is measured -> the cells of table, retrained, fixed and random."""
WHO = (
    ("skill table, fitted for that team", "#9a9a9a"),
    ("policy trained for that very team", "#2b2b2b"),
    ("trained on one fixed team", "#d1793b"),
    ("trained on random teams", "#2f6fb0"),
)


def drawn(figures: dict[str, Any], path: Path, *, seeds: int, tasks: int) -> None:
    """Write the plot as PNG."""
    figure = Figure(figsize=(12.6, 8.2), dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, height_ratios=(1.25, 1), hspace=0.5, wspace=0.28)
    _bars(figure.add_subplot(grid[0, :]), figures["cells"])
    _shares(figure.add_subplot(grid[1, 0]), figures["share of a retrained policy's gain"])
    for place, name in enumerate(("fixed", "random")):
        _reliability(figure.add_subplot(grid[1, 1 + place]), name, figures["beliefs"][name]["success"])
    many = f"{seeds} seed{'s' if seeds > 1 else ''}, each trained anew"
    figure.suptitle(
        f"Teams that a policy was not trained on: the embedded team, {tasks} held-out tasks, {many}",
        x=0.012,
        ha="left",
        fontsize=12.5,
        fontweight="bold",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")


def _bars(axes: Axes, cells: dict[str, Any]) -> None:
    width = 0.2
    for who, (label, colour) in enumerate(WHO):
        places: list[float] = []
        means: list[float] = []
        spread: list[list[float]] = [[], []]
        for place, names in enumerate(GROUPS.values()):
            name = names[who]
            if name is not None:
                found = cells[name]["passed"]
                places.append(place + (who - 1.5) * width)
                means.append(found["mean"])
                spread[0].append(found["mean"] - found["low"])
                spread[1].append(found["high"] - found["mean"])
        axes.bar(places, means, width * 0.94, yerr=spread, color=colour, label=label, error_kw={"lw": 1.0})
    axes.set_xticks(range(len(GROUPS)), [textwrap.fill(name, 13) for name in GROUPS], fontsize=8.5)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("tasks that pass (bars: 95 % over tasks)", fontsize=8.5)
    axes.legend(ncols=4, fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, 1.13), frameon=False)
    plain_frame(axes)


def _shares(axes: Axes, shares: dict[str, Any]) -> None:
    colours = {"fixed": WHO[2][1], "random": WHO[3][1]}
    for place, (name, share) in enumerate(reversed(shares.items())):
        colour = colours[name.rpartition(" ")[2]]
        axes.plot((share["low"], share["high"]), (place, place), color=colour, linewidth=2)
        axes.plot(share["mean"], place, marker="o", color=colour, markersize=7)
        axes.text(share["mean"], place + 0.17, f"{share['mean']:.0%}", fontsize=8.5, ha="center", color=colour)
    axes.axvline(0.9, color="#888888", linestyle="--", linewidth=1)
    axes.text(0.9, len(shares) - 0.45, "asked: 90 %", fontsize=8, ha="right", color="#666666")
    words = {"removed": "encoder removed", "added": "encoder added"}
    axes.set_yticks(range(len(shares)), [_worded(name, words) for name in reversed(shares)], fontsize=8.5)
    axes.set_ylim(-0.5, len(shares) - 0.2)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_title("Share of a retrained policy's gain\nover the skill table", fontsize=9.5, loc="left")
    plain_frame(axes)


def _worded(name: str, words: dict[str, str]) -> str:
    claim, _, how = name.partition(": ")
    return f"{words[claim]},\ntrained {'fixed' if how == 'fixed' else 'on random teams'}"


def _reliability(axes: Axes, name: str, found: dict[str, Any]) -> None:
    errors, skills = (", ".join(f"{each:.{n}f}" for each in found[key]) for key, n in (("error", 3), ("skill", 2)))
    said = (
        f"of each seed:\nerror {errors}\nskill {skills}\n{found['n per seed'] * len(found['error']):,} beliefs in all"
    )
    how = "one fixed team" if name == "fixed" else "random teams"
    title = f"Beliefs that an agent's reply passes:\ntrained on {how}"
    reliability_axes(axes, found["believed"], found["happened"], WHO[2 if name == "fixed" else 3][1], title, said)
