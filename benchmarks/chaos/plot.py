"""One picture: memory over the runs, with the line through it and what that says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from audit import WARM, Slope
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

INK, LINE, FAINT = "#0072B2", "#D55E00", "#9a9a9a"
DOTS_PER_INCH = 160
MEBI = 2**20


def draw(samples: Sequence[tuple[int, int]], growth: Slope, runs: int, file: Path) -> None:
    """Write the picture. samples: (runs done, bytes)."""
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    done, size = np.array(samples, dtype=float).T
    late = done >= WARM * done[-1]
    axes.axvspan(0, WARM * done[-1], color=FAINT, alpha=0.15, lw=0)
    axes.plot(done, size / MEBI, color=INK, lw=1.4)
    fitted = growth.value * (done[late] - done[late].mean()) + size[late].mean()
    axes.plot(done[late], fitted / MEBI, color=LINE, lw=1.4, ls="--")
    told = f"{growth.value:+.0f} bytes per run\n(95 % interval {growth.low:+.0f} to {growth.high:+.0f})"
    top = 1.25 * float(size.max()) / MEBI
    axes.annotate(told, (0.6 * done[-1], 1.04 * float(size.max()) / MEBI), color=LINE, ha="center", va="bottom")
    axes.text(0.5 * WARM * done[-1], 0.03 * top, "warming up,\nnot judged", color="#555555", ha="center", fontsize=8)
    axes.set_xlim(0, done[-1])
    axes.set_ylim(0, top)
    axes.set_xlabel("runs that have ended")
    axes.set_ylabel("resident memory, MiB")
    axes.set_title(f"Memory of one process over {runs:,} runs, one call of twenty failing", loc="left", fontsize=11)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure)
    figure.savefig(file, dpi=DOTS_PER_INCH)
