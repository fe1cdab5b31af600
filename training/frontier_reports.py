"""What a frontier and Pass@(k, T) say, as tables for a terminal and as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from podium.training.frontier import Frontier, Overall, Point, Worth
from podium.training.pass_at import PassAt
from podium.training.reports import NARROW_NAME
from podium.training.statistics import Interval

__all__ = ["frontier_lines", "gain_table", "pass_table"]


def frontier_lines(found: Frontier) -> Iterator[str]:
    """The front, the cheapest first; then who is beaten, and by whom; then who leads at each knob."""
    front = found.front
    if not front:
        return
    yield "The front, cheapest first (how often it is on the front when tasks are drawn again):"
    for point in front:
        yield f"  {point.row}: {_share(point.score)} at {_dollars(point.dollars)} ({point.on_front:.0%})"
    beaten = [point for point in found.points if point.beaten is not None]
    if beaten:
        yield "Not on it, with what is at least as good and as cheap (how often it still is):"
        yield from map(_beaten, beaten)
    for knob in found.knobs:
        leads = [each for each in found.worths if each.knob == knob and not each.reference]
        if len(leads) > 1:
            yield _lead(found.best(knob))


def _beaten(point: Point) -> str:
    assert point.beaten is not None
    score, dollars = point.beaten.score, point.beaten.dollars
    return (
        f"  {point.row}: {point.beaten.by} has {_points(score)} points [{_points_of(score)}] and "
        f"{_signed(dollars.mean)} [{_signed(dollars.low)}, {_signed(dollars.high)}] ({point.beaten.sure:.0%})"
    )


def _lead(best: Worth) -> str:
    said = f"Where an answer is worth ${best.knob:g}, {best.row} gains most"
    if best.lead is None:
        return said
    lead = best.lead
    if lead.low == lead.high == 0:
        return f"{said}, and {best.ahead_of} as much"
    doubt = "" if lead.low > 0 else ", which may be chance"
    return f"{said}: {_points(lead)} points [{_points_of(lead)}] more than {best.ahead_of}{doubt}"


def gain_table(found: Frontier, *, styled: bool = True) -> Table:
    """What each coordinator gains at each knob, in points, with intervals; the best of a column bold.

    And over all knobs, where each was measured, with the regret to the oracle where that was measured too.
    """
    table = Table(
        title="Gain: score less what right answers cost, in points, where one is worth",
        title_justify="left",
        caption=_caption(found),
        caption_justify="left",
    )
    table.add_column("coordinator", min_width=NARROW_NAME, overflow="fold")
    regrets = found.oracle is not None
    for heading in (*(f"${knob:g}" for knob in found.knobs), "mean", *(("regret",) if regrets else ())):
        table.add_column(heading, justify="right", width=len("[-99.9, -99.9]"))
    best = {knob: found.best(knob).row for knob in found.knobs if _any(found.worths, knob)} if styled else {}
    means = {each.coordinator: each for each in found.overall}
    for name in dict.fromkeys(worth.coordinator for worth in found.worths):
        own = {worth.knob: worth for worth in found.worths if worth.coordinator == name}
        cells = [_cell(own.get(knob), best.get(knob)) for knob in found.knobs]
        cells += _overall(means.get(name), regrets)
        table.add_row(Text(name), *cells, style="dim" if any(each.reference for each in own.values()) else "")
    return table


def _caption(found: Frontier) -> str:
    regret = "; regret: what the oracle gains more" if found.oracle else ""
    return f"Brackets: 95 % bootstrap intervals over tasks; mean: over the knobs{regret}."


def _cell(worth: Worth | None, best: str | None) -> Text:
    if worth is None:
        return Text("-")
    return Text(_gain(worth.gain), style="bold green" if worth.row == best else "")


def _overall(mean: Overall | None, regrets: bool) -> list[Text]:
    cells = [Text("-" if mean is None else _gain(mean.gain))]
    if regrets:
        cells.append(Text("" if mean is None or mean.regret is None else _gain(mean.regret)))
    return cells


def pass_table(found: Sequence[PassAt]) -> Table:
    """Pass@(k, T): a row for each coordinator and T, a column for each k."""
    ks = list(dict.fromkeys(each.k for each in found))
    table = Table(
        title="How often one of k runs passes",
        title_justify="left",
        caption="Brackets: 95 % bootstrap intervals over tasks. A turn is a step that asks agents.",
        caption_justify="left",
    )
    table.add_column("coordinator", min_width=NARROW_NAME, overflow="fold")
    for k in ks:
        table.add_column(f"k = {k}", justify="right", width=len("100.0 % [100.0, 100.0]"))
    for row in dict.fromkeys(each.row for each in found):
        table.add_row(Text(row), *(_share(each.passes) for each in found if each.row == row))
    return table


def _any(worths: Sequence[Worth], knob: float) -> bool:
    return any(each.knob == knob and not each.reference for each in worths)


def _share(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _gain(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f}\n[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f}"


def _points_of(interval: Interval) -> str:
    return f"{100 * interval.low:+.1f}, {100 * interval.high:+.1f}"


def _dollars(interval: Interval) -> str:
    return f"${_plain(interval.mean, 3)} [{_plain(interval.low, 3)}, {_plain(interval.high, 3)}]"


def _signed(dollars: float) -> str:
    return f"{'-' if dollars < 0 else '+'}${_plain(abs(dollars), 2)}"


def _plain(number: float, digits: int) -> str:
    """So many digits, and no exponent: amounts are read beside each other."""
    return np.format_float_positional(float(f"{number:.{digits}g}"), trim="-")
