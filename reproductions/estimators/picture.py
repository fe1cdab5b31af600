"""The study's picture: learning curves, and how noisy each estimator's gradient is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from podium.training.drawing import COLOURS, FAINT, INK, MARKERS, canvas, plain_frame, save, titles

Styles = Mapping[str, tuple[str, str]]


def draw(figures: dict[str, Any], path: Path) -> None:
    """Write the picture. figures: as they are written to JSON."""
    arms = figures["arms"]
    seeds = len(next(iter(figures["curves"].values())))
    figure = canvas(11.0, 8.4)
    titles(
        figure,
        "One network, as many episodes: only the estimate of the advantage differs",
        "Simulated pool of five workers. Gain: share of held-out tasks passed, less what passed answers cost. Above: "
        f"means and, as bands, lowest and highest of {seeds} seed{'s' * (seeds > 1)}. Below: each seed's gradients at "
        "two fixed policies (small dots) and their median; filled: the first policy, hollow: half-way.",
    )
    grid = figure.subplots(2, 2, squeeze=False, height_ratios=(1.25, 1.0))
    styles: Styles = {name: (COLOURS[place % 6], MARKERS[(place + place // 6) % 6]) for place, name in enumerate(arms)}
    curves, finals, noise, agreement = grid.ravel()
    _curves(curves, figures, styles)
    _finals(finals, figures, styles)
    _gradients(noise, figures, "noise", styles)
    noise.set_xscale("log")
    noise.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    noise.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    noise.xaxis.set_minor_formatter(NullFormatter())
    _words(noise, "Noise of one batch's gradient", "trace of its covariance / squared norm of its mean")
    _gradients(agreement, figures, "agreement", styles)
    _words(agreement, "Does it point the same way?", "cosine of its mean with leave-one-out's, of other batches")
    for axes in grid.ravel():
        axes.grid(color="#e6e6e6", linewidth=0.8)
        plain_frame(axes)
    save(figure, path)


def _words(axes: Any, heading: str, label: str) -> None:
    axes.set_title(heading, fontsize=10.5, loc="left", color=INK, fontweight="bold")
    axes.set_xlabel(label, fontsize=8.5)


def _curves(axes: Any, figures: dict[str, Any], styles: Styles) -> None:
    """The gain on held-out tasks over episodes, and what simple policies are worth, as lines."""
    for name, found in figures["curves"].items():
        values = np.array(found)  # (seeds, looks, 3)
        colour, marker = styles[name]
        dashed = "--" if list(styles).index(name) >= len(COLOURS) else "-"
        xs, gains = values[0, :, 0] * figures["form"]["episodes"] / 1000, values[:, :, 2]
        axes.plot(xs, gains.mean(0), color=colour, marker=marker, markersize=5.5, linestyle=dashed)
        axes.fill_between(xs, gains.min(0), gains.max(0), color=colour, alpha=0.1, linewidth=0)
    gains = {name: score * (1 - dollars / figures["knob"]) for name, (score, dollars) in figures["alone"].items()}
    score, dollars = figures["told"]
    best = max(gains, key=lambda name: gains[name])
    levels = {f"always {best}": gains[best], "told kinds and skills, asks one": score * (1 - dollars / figures["knob"])}
    for words, value in levels.items():
        axes.axhline(value, color=FAINT, linewidth=1.0, linestyle=":")
        place = (0.99, value)
        axes.annotate(
            words, place, xycoords=("axes fraction", "data"), fontsize=7.5, color="#555555", va="bottom", ha="right"
        )
    _words(axes, "Gain on held-out tasks (marks as on the right)", "thousand episodes")
    axes.set_ylabel("passed answers per task", fontsize=8.5)


def _finals(axes: Any, figures: dict[str, Any], styles: Styles) -> None:
    """The gain at the end of the trainings, the best on top."""
    order = sorted(figures["final"], key=lambda name: figures["final"][name]["gain"][0])
    for place, name in enumerate(order):
        mean, low, high = figures["final"][name]["gain"]
        colour, marker = styles[name]
        axes.errorbar(
            mean, place, xerr=[[mean - low], [high - mean]], fmt=marker, color=colour, capsize=3, markersize=7
        )
    axes.set_yticks(range(len(order)), [figures["arms"][name] for name in order], fontsize=8.5)
    _words(axes, "Gain at the end, with 95 % interval", "passed answers per task")


def _gradients(axes: Any, figures: dict[str, Any], what: str, styles: Styles) -> None:
    """A figure of the gradients at two policies. What has no signal among its noise stands at the edge, in words."""
    policies = list(figures["noise"][0])
    names = list(figures["noise"][0][policies[0]])[::-1]
    for shift, policy in zip((0.16, -0.16), policies, strict=True):
        for place, name in enumerate(names):
            given = [each[policy][name][what] for each in figures["noise"]]
            colour, face = styles[name][0], styles[name][0] if policy == policies[0] else "white"
            values = [value for value in given if value is not None]
            height = place + shift
            axes.plot(values, [height] * len(values), "o", color=colour, markersize=4, alpha=0.6, markerfacecolor=face)
            middle = float(np.median([math.inf if value is None else value for value in given]))
            if math.isfinite(middle):
                axes.plot(middle, height, "D", color=colour, markersize=7, markerfacecolor=face)
            else:
                axes.annotate(
                    "no signal",
                    (0.99, height),
                    xycoords=("axes fraction", "data"),
                    color=colour,
                    fontsize=7.5,
                    ha="right",
                )
    axes.set_yticks(range(len(names)), [figures["arms"][name] for name in names], fontsize=8.5)
