"""The comparison table: one row per coordinator, as a terminal table, as Markdown and as JSON.

Score is a percentage with its interval; tokens, calls, dollars and seconds are means per task. The best value of each
column is marked. A row that nobody can serve, like an oracle that knows the scores, is a reference: it is shown, dim,
and never marked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table
from rich.text import Text

from podium.protocols.words import counted

LEVEL_PERCENT = 95
CHEAP_TASK = 0.1
"""Dollars. Below this, a column of dollars per task is mostly zeros."""
NARROW_NAME = 8
"""Characters of a name that stay on one line, however narrow the terminal is."""
AROUND = 3
"""Characters of a column's padding and border."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one coordinator did on a set of tasks.

    score: mean, 0 to 1, with its interval low to high. tokens, calls, dollars, seconds: means per task; NaN where they
    were not measured. n: tasks. reference: not a competitor (an oracle), so never the best. failed: runs that ended
    without an answer because something failed; they count as wrong.
    """

    name: str
    score: float
    low: float
    high: float
    tokens: float = math.nan
    calls: float = math.nan
    dollars: float = math.nan
    seconds: float = math.nan
    n: int = 0
    reference: bool = False
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, its number in a row, how that is shown, and whether more is better."""

    heading: str
    value: Callable[[Row], float]
    show: Callable[[Row], str]
    more_is_better: bool = False

    def best(self, rows: Sequence[Row]) -> str | None:
        """The best value as it is shown, without its interval; None where there is no competition."""
        values = [row for row in rows if not row.reference and not math.isnan(self.value(row))]
        if len(values) < 2:
            return None
        return _head(self.show((max if self.more_is_better else min)(values, key=self.value)))


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns worth showing for these rows: without measures that no row has, and without dollars when all is free.

    Dollars get three digits for the dearest row; where that is below ten cents, they are per thousand tasks.
    """
    shown = [Column("score", lambda row: row.score, _score, more_is_better=True)]
    if _any(rows, "tokens"):
        shown.append(Column("tokens", lambda row: row.tokens, lambda row: _count(row.tokens)))
    if _any(rows, "calls"):
        shown.append(Column("calls", lambda row: row.calls, lambda row: _fixed(row.calls, 2)))
    if any(row.dollars > 0 for row in rows):
        most = max(row.dollars for row in rows if not math.isnan(row.dollars))
        heading, factor = ("dollars", 1.0) if most >= CHEAP_TASK else ("dollars / 1k tasks", 1000.0)
        places = max(2, 2 - math.floor(math.log10(most * factor)))
        shown.append(Column(heading, lambda row: row.dollars, lambda row: _fixed(row.dollars * factor, places)))
    if _any(rows, "seconds"):
        shown.append(Column("seconds", lambda row: row.seconds, lambda row: _fixed(row.seconds, 2)))
    if len({row.n for row in rows}) > 1:
        shown.append(Column("tasks", lambda row: math.nan, lambda row: f"{row.n:,}"))
    return shown


def caption(rows: Sequence[Row], *, marked: bool = True) -> str:
    """What the numbers mean, in one sentence. marked: the best values are bold where this is read."""
    counts = {row.n for row in rows}
    over = f" over {counted(counts.pop(), 'task')}" if len(counts) == 1 and 0 not in counts else ""
    bold = "; bold: best of the column" if marked and sum(not row.reference for row in rows) > 1 else ""
    failed = ", ".join(f"{row.failed:,} of {row.name}" for row in rows if row.failed)
    failed = f" Failed runs, which count as wrong: {failed}." if failed else ""
    return f"Means per task{over}; brackets: {LEVEL_PERCENT} % bootstrap interval over tasks{bold}.{failed}"


def comparison_table(rows: Sequence[Row], *, title: str | None = None, styled: bool = True) -> Table:
    """The rows as a rich table, best values bold, reference rows dim. Print it with `rich.print`.

    styled: False for a pipe or a file, which show no bold. Long names fold where there is no room, figures never do:
    `least_width` says how wide they are.
    """
    shown = columns(rows)
    best = [column.best(rows) for column in shown]
    table = Table(title=title, title_justify="left", caption=caption(rows, marked=styled), caption_justify="left")
    table.add_column("coordinator", min_width=NARROW_NAME, overflow="fold")
    for column in shown:
        heading = column.heading.replace(" / ", "\n/ ")
        width = max(len(line) for line in (*heading.split("\n"), *(column.show(row) for row in rows)))
        table.add_column(heading, justify="right", width=width)
    for row in rows:
        cells = [column.show(row) for column in shown]
        marked = [
            Text(cell, style="bold green" if not row.reference and _head(cell) == good else "")
            for cell, good in zip(cells, best, strict=True)
        ]
        table.add_row(Text(row.name), *marked, style="dim" if row.reference else "")
    return table


def least_width(table: Table) -> int:
    """Characters of a terminal's line that the table takes at least: its figures whole, and its names folded."""
    return sum((column.width or column.min_width or 0) + AROUND for column in table.columns) + 1


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table with the columns aligned in the source as well, best values bold."""
    shown = columns(rows)
    best = [column.best(rows) for column in shown]
    lines = [["coordinator", *(column.heading for column in shown)]]
    for row in rows:
        cells = [column.show(row) for column in shown]
        marked = [
            f"**{cell}**" if not row.reference and _head(cell) == good else cell
            for cell, good in zip(cells, best, strict=True)
        ]
        name = row.name.replace("|", "\\|")
        lines.append([f"*{name}*" if row.reference else name, *marked])
    widths = [max(len(line[place]) for line in lines) for place in range(len(shown) + 1)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    body = [padded[0], rule, *padded[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in body) + f"\n\n{caption(rows)}\n"


def json_rows(rows: Sequence[Row]) -> str:
    """The rows as a JSON array of objects with the fields of `Row`; what was not measured is null."""
    plain = [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in each.items()}
        for each in map(asdict, rows)
    ]
    return json.dumps(plain, indent=2, ensure_ascii=False)


def _any(rows: Sequence[Row], name: str) -> bool:
    return any(not math.isnan(getattr(row, name)) for row in rows)


def _head(cell: str) -> str:
    """A cell without its interval: two scores that are shown as equal are equally good."""
    return cell.partition(" [")[0]


def _score(row: Row) -> str:
    if math.isnan(row.score):
        return "-"
    if math.isnan(row.low) or math.isnan(row.high):
        return f"{100 * row.score:.1f} %"
    return f"{100 * row.score:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"


def _count(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _fixed(value: float, places: int) -> str:
    return "-" if math.isnan(value) else f"{value:,.{places}f}"
