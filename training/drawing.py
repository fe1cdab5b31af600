"""What all pictures share: a frame, a title that explains itself, and colours.

Colours are Okabe and Ito's, which people with any colour vision can tell apart, and never carry meaning alone.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from podium.protocols.errors import MissingExtra

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise MissingExtra("drawing plots", "train", error.name or "matplotlib") from None

INK = "#222222"
FAINT = "#9a9a9a"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "D", "^", "s", "v", "P")
DOTS_PER_INCH = 160


def as_dollars(value: float, _: int | None = None) -> str:
    """Dollars as the labels of an axis."""
    return f"${value:.6f}".rstrip("0").rstrip(".")


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel, in inches."""
    figure = canvas(width, height)
    axes = figure.add_subplot()
    plain_frame(axes)
    return figure, axes


def titles(figure: Figure, title: str, note: str) -> None:
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


def plain_frame(axes: Axes) -> None:
    """Two thin lines in place of a box."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors="#555555", labelsize=8.5)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path | str) -> Path:
    """Write a figure as PNG. Returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", facecolor="white")
    return path
