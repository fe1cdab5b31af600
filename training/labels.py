"""Names beside the points of a scatter plot, without covering each other.

For each name, places around its point are tried from near to far, and the cheapest is taken: covering points, error
bars, curves or other names costs, leaving the frame costs, distance costs a little, and so does a place that is as near
to another point, because the name could be taken for that point's. A name that ended up far away, or near another
point, gets a thin line to its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

RADII = (15.0, 24.0, 40.0, 60.0, 85.0, 115.0, 150.0)
"""Pixels between a point and the places that are tried, 16 around it at each distance."""
TURNS = 16
POINT_PIXELS = 11.0
"""Half the side of the square that a point occupies."""
NEAR_PIXELS = 26.0
"""Up to here a name needs no line to its point, if no other point is as near."""

# Prices of a place; they are compared with each other only.
PER_PIXEL = 2.0
PER_COVERED_PIXEL = 4.0
PER_CROSSING = 20.0
PER_DOUBT = 200.0


def place_labels(
    axes: Axes,
    labels: Sequence[tuple[float, float, str, str]],
    points: Sequence[tuple[float, float, float, float]] = (),
    lines: Sequence[Sequence[tuple[float, float]]] = (),
) -> Floats:
    """Write the names. Returns their boxes in pixels, (labels, 4): left, bottom, right, top, the highest point first.

    labels: (x, y, name, colour). points: (x, y, low, high), with the ends of the error bar. lines: corners of curves.
    All in data units; the axes must have been drawn once, on an Agg canvas.
    """
    figure = axes.figure
    if not isinstance(figure, Figure) or not isinstance(figure.canvas, FigureCanvasAgg):
        raise TypeError("labels can be placed on a figure with an Agg canvas only")
    renderer = figure.canvas.get_renderer()
    frame = np.array(axes.get_window_extent(renderer).extents, dtype=np.float64)
    others = _pixels(axes, [(x, y) for x, y, _, _ in points])
    taken = np.concatenate([_obstacles(axes, points), *(_trail(*ends) for ends in _segments(axes, lines))])
    placed: list[Floats] = []
    for x, y, name, colour in sorted(labels, key=lambda label: (-label[1], label[0])):
        at = _pixels(axes, [(x, y)])[0]
        text = axes.text(x, y, name, fontsize=9.5, color=colour, va="bottom", zorder=6, parse_math=False)
        size = text.get_window_extent(renderer)
        places = _places(at, size.width, size.height)
        rivals = others[np.hypot(*(others - at).T) > 1.0]
        place = int(np.argmin(_price(places, at, rivals, taken, frame)))
        box = places[place]
        text.set_position(_data(axes, box[:2]))
        taken = np.concatenate([taken, box[None]])
        if _needs_line(places, at, rivals)[place]:
            near = _nearest(at, places)[place]
            start, end = _data(axes, at), _data(axes, near)
            xs, ys = zip(start, end, strict=True)
            axes.plot(xs, ys, color="#9a9a9a", linewidth=0.8, zorder=1.5, scalex=False, scaley=False)
            taken = np.concatenate([taken, _trail(at, near)])
        placed.append(box)
    return np.array(placed).reshape(-1, 4)


def _places(at: Floats, width: float, height: float) -> Floats:
    """Boxes of one size around a point. Returns (P, 4)."""
    angles = np.arange(TURNS) * (2.0 * math.pi / TURNS)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    size = np.array([width, height])
    corners = [at + radius * directions - size * (1.0 - directions) / 2.0 for radius in RADII]
    low = np.concatenate(corners)
    return np.concatenate([low, low + size], axis=1)


def _price(places: Floats, at: Floats, rivals: Floats, taken: Floats, frame: Floats) -> Floats:
    """What each place costs. Returns (P,)."""
    near = _nearest(at, places)
    covered = _shared(places, taken).sum(axis=1)
    area = np.prod(places[:, 2:] - places[:, :2], axis=1)
    outside = area - _shared(places, frame[None])[:, 0]
    way = np.linspace(0.0, 1.0, 16)[None, :, None]
    steps = at + (near - at)[:, None, :] * way  # (P, 16, 2)
    free = np.hypot(*(steps - at).T).T > POINT_PIXELS
    inside = ((steps[:, :, None, :] >= taken[:, :2]) & (steps[:, :, None, :] <= taken[:, 2:])).all(axis=3)
    crossings = (inside & free[:, :, None]).any(axis=1).sum(axis=1) * _needs_line(places, at, rivals)
    return (
        PER_PIXEL * np.hypot(*(near - at).T)
        + PER_COVERED_PIXEL * (covered + outside)
        + PER_CROSSING * crossings
        + PER_DOUBT * _doubts(places, at, rivals)
    )


def _doubts(places: Floats, at: Floats, rivals: Floats) -> npt.NDArray[np.int64]:
    """How many other points a name in each place could be taken to belong to. Returns (P,)."""
    own = np.hypot(*(_nearest(at, places) - at).T)
    counts = np.zeros(len(places), dtype=np.int64)
    for rival in rivals:
        counts += np.hypot(*(_nearest(rival, places) - rival).T) < own + POINT_PIXELS
    return counts


def _needs_line(places: Floats, at: Floats, rivals: Floats) -> npt.NDArray[np.bool_]:
    far = np.hypot(*(_nearest(at, places) - at).T) > NEAR_PIXELS
    return far | (_doubts(places, at, rivals) > 0)


def _nearest(point: Floats, boxes: Floats) -> Floats:
    """The place of each box that is nearest to a point. Returns (P, 2)."""
    return np.clip(point, boxes[:, :2], boxes[:, 2:])


def _shared(boxes: Floats, others: Floats) -> Floats:
    """Square pixels that boxes share. Returns (boxes, others)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.prod(np.maximum(high - low, 0.0), axis=2)


def _obstacles(axes: Axes, points: Sequence[tuple[float, float, float, float]]) -> Floats:
    """The squares of points and the boxes of their error bars. Returns (2 x points, 4)."""
    middle = _pixels(axes, [(x, y) for x, y, _, _ in points])
    low = _pixels(axes, [(x, low) for x, _, low, _ in points])
    high = _pixels(axes, [(x, high) for x, _, _, high in points])
    squares = np.concatenate([middle - POINT_PIXELS, middle + POINT_PIXELS], axis=1)
    around = np.array([6.0, 2.0])
    bars = np.concatenate([low - around, high + around], axis=1)
    return np.concatenate([squares, bars])


def _segments(axes: Axes, lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[Floats, Floats]]:
    return [ends for line in lines for ends in pairwise(_pixels(axes, line))]


def _trail(start: Floats, end: Floats) -> Floats:
    """A line as small boxes. Returns (boxes, 4)."""
    steps = max(2, int(math.dist(start, end) / 4.0))
    along = start + (end - start) * np.linspace(0.0, 1.0, steps)[:, None]
    return np.concatenate([along - 2.0, along + 2.0], axis=1)


def _pixels(axes: Axes, points: Sequence[tuple[float, float]]) -> Floats:
    """Data units to pixels. Returns (points, 2)."""
    return np.asarray(axes.transData.transform(np.array(points, dtype=np.float64).reshape(-1, 2)), dtype=np.float64)


def _data(axes: Axes, point: Floats) -> tuple[float, float]:
    x, y = axes.transData.inverted().transform(point)
    return float(x), float(y)
