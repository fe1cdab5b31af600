"""The picture of an evaluation: score over cost, with its frontier where one was measured, or Pass@(k, T)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from podium.training.evaluation import Evaluation
from podium.training.plots import cost_quality, pass_curves
from podium.training.reports import Row

__all__ = ["draw"]


def draw(found: Evaluation, path: Path, *, note: str = "") -> Path:
    """Write the picture as PNG. Raises ValueError when nothing was measured, OSError when it cannot be written."""
    if found.ks:
        return pass_curves(found.pass_at(), path, note=note)
    if found.knobs:
        return _frontier(found, path, note)
    cost = "dollars" if any(row.dollars > 0 for row in found.rows) else "tokens"
    return cost_quality(found.rows, path, cost=cost, note=note)


def _frontier(found: Evaluation, path: Path, note: str) -> Path:
    rows = {row.name: row for row in found.rows}
    curves: dict[str, list[Row]] = {}
    stops: dict[str, str] = {}
    for name, place in found.places.items():
        if place.knob is not None and name in rows:
            curves.setdefault(place.coordinator, []).append(rows.pop(name))
            stops[name] = f"${place.knob:g}"
    frontier = found.frontier()
    spreads = {point.row: (point.dollars.low, point.dollars.high) for point in frontier.points}
    front = [point.row for point in frontier.front]
    if curves:
        note += "; at the points of a line: dollars that one passed answer is worth"
    return cost_quality(
        list(rows.values()),
        path,
        cost="dollars",
        curves=curves,
        note=note,
        front=front,
        spreads=spreads,
        stops=_once(stops, curves),
    )


def _once(stops: Mapping[str, str], curves: Mapping[str, list[Row]]) -> dict[str, str]:
    """Points that lie on each other share one name: the knobs from the least to the largest."""
    out: dict[str, str] = {}
    for curve in curves.values():
        alike: dict[tuple[float, float], list[str]] = {}
        for row in curve:
            alike.setdefault((row.dollars, row.score), []).append(row.name)
        for names in alike.values():
            out[names[0]] = stops[names[0]] + (f" to {stops[names[-1]]}" if len(names) > 1 else "")
    return out
