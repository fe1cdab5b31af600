"""Tables say what is best, and pictures can be read."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.transforms import Bbox
from rich.console import Console

from podium.training.labels import place_labels
from podium.training.plots import cost_quality
from podium.training.reports import Row, comparison_table, json_rows, least_width, markdown_table

ROWS = [
    Row("random", 0.412, 0.383, 0.441, 1890, 4.2, 0.0019, 3.1, 1319),
    Row("single: a|b", 0.857, 0.838, 0.876, 390, 1.0, 0.0061, 2.0, 1319),
    Row("learned", 0.871, 0.853, 0.889, 560, 1.8, 0.0035, 2.0, 1319),
    Row("oracle", 0.950, 0.938, 0.961, 310, 1.0, 0.0011, 1.2, 1319, reference=True),
]


def rendered(rows: list[Row]) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(comparison_table(rows, title="Held-out tasks"))
    return console.export_text()


def test_markdown_marks_the_best_that_can_be_served() -> None:
    table = markdown_table(ROWS)
    lines = table.splitlines()
    assert len({len(line) for line in lines[:6]}) == 1
    assert "**87.1 % [85.3, 88.9]**" in table
    assert "**390**" in table
    assert "**1.90**" in table
    assert "**95.0" not in table
    assert "**310**" not in table
    assert "*oracle*" in table
    assert "dollars / 1k tasks" in lines[0]
    assert "a\\|b" in table
    assert "over 1,319 tasks" in table


def test_equal_values_are_equally_best() -> None:
    table = markdown_table([Row("a", 0.5, 0.4, 0.6, seconds=1.0), Row("b", 0.5, 0.3, 0.7, seconds=1.001)])
    assert table.count("**50.0 %") == 2
    assert table.count("**1.00**") == 2
    assert "**" not in markdown_table([Row("alone", 0.5, 0.4, 0.6)])


def test_columns_without_measures_are_left_out() -> None:
    table = markdown_table(
        [Row("a", 0.5, 0.4, 0.6, tokens=10, dollars=0.0, n=5), Row("b", 0.4, math.nan, math.nan, n=6)]
    )
    assert "dollars" not in table
    assert "calls" not in table
    assert "| tasks" in table
    assert "40.0 % |" in table
    assert "nan" not in table


def test_failed_runs_are_told_where_there_are_some() -> None:
    broken = [replace(ROWS[0], failed=1200), ROWS[1], replace(ROWS[2], failed=3)]
    words = "Failed runs, which count as wrong: 1,200 of random, 3 of learned."
    assert words in markdown_table(broken)
    assert words in str(comparison_table(broken, styled=False).caption)
    assert "ailed" not in markdown_table(ROWS)
    assert [row["failed"] for row in json.loads(json_rows(broken))] == [1200, 0, 3]


def test_rich_table_shows_every_row() -> None:
    text = rendered(ROWS)
    assert all(part in text for part in ("Held-out tasks", "random", "a|b", "87.1 % [85.3, 88.9]", "1,890", "10"))


@pytest.mark.parametrize("width", [40, 80, 100, 120])
def test_long_names_fold_and_figures_stay_whole(width: int) -> None:
    name = "pipeline?steps=gpt-4-1106+mixtral-8x7b*3,gpt-4-1106&finish=vote"
    rows = [replace(ROWS[0], name=name), Row("own", 1.0, 1.0, 1.0, 123456, 12.8, 0.0135, 1202.0, 1319)]
    table = comparison_table(rows, styled=False)
    console = Console(width=max(width, least_width(table)), record=True, file=io.StringIO())
    console.print(table)
    lines = console.export_text().splitlines()
    assert least_width(table) < 80
    assert max(map(len, lines)) <= console.width
    text = "\n".join(lines)
    figures = ("41.2 % [38.3, 44.1]", "100.0 % [100.0, 100.0]", "123,456", "12.80", "1.90", "13.50", "1,202.00")
    assert all(figure in text for figure in figures)
    assert "…" not in text
    cells = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert "".join(cells) == f"{name}own"


def test_bold_is_spoken_of_only_where_it_is_seen() -> None:
    def said(rows: list[Row], *, styled: bool) -> str:
        return str(comparison_table(rows, styled=styled).caption)

    assert "bold" in said(ROWS, styled=True)
    assert "per task over 1 task;" in said([replace(ROWS[0], n=1)], styled=False)
    assert said(ROWS, styled=False) == "Means per task over 1,319 tasks; brackets: 95 % bootstrap interval over tasks."
    assert "bold" not in said([ROWS[0], ROWS[3]], styled=True)  # the only one that competes


def test_json_has_no_nan() -> None:
    rows = json.loads(json_rows([*ROWS, Row("new", 0.5, math.nan, math.nan)]))
    assert rows[2]["name"] == "learned"
    assert rows[2]["tokens"] == 560
    assert rows[4]["low"] is None
    assert rows[4]["dollars"] is None


def test_cost_quality_writes_a_picture(tmp_path: Path) -> None:
    curve = [Row("", 0.79, 0.77, 0.81, dollars=0.0012), Row("", 0.879, 0.861, 0.896, dollars=0.0052)]
    path = cost_quality(
        ROWS, tmp_path / "new" / "cost.png", curves={"learned, by price": curve}, highlight="learned", note="n"
    )
    assert imread(path).shape[:2] == (800, 1280)
    with pytest.raises(ValueError, match="no row has calls"):
        cost_quality([Row("a", 0.5, 0.4, 0.6)], tmp_path / "x.png", cost="calls")


def test_the_picture_begins_at_zero_and_explains_hollow_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []

    def keep(figure: Figure, path: Path | str) -> Path:
        drawn.append(figure)
        return Path(path)

    monkeypatch.setattr("podium.training.plots.save", keep)
    low = Row("poor", 0.0, 0.0, 0.1, dollars=0.001)
    cost_quality([low, *ROWS], tmp_path / "x.png", note="sums")
    cost_quality(ROWS[:3], tmp_path / "x.png", note="sums")
    with_reference, without = ([text.get_text() for text in figure.texts] for figure in drawn)
    assert drawn[0].axes[0].get_ylim()[0] == 0
    assert drawn[1].axes[0].get_ylim()[0] > 0.2
    assert any(text.startswith("sums; hollow: for reference only") for text in with_reference)
    assert "sums" in without


def test_labels_of_a_crowd_do_not_overlap() -> None:
    figure = Figure(figsize=(8, 5), dpi=160)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = [(1.0 + 0.02 * place, Row(f"coordinator {place}", 0.8 + 0.004 * place, 0.78, 0.84)) for place in range(8)]
    axes.plot([x for x, _ in rows], [row.score for _, row in rows])
    axes.set_xlim(0.5, 2.0)
    axes.set_ylim(0.5, 1.0)
    figure.canvas.draw()
    points = [(x, row.score, row.low, row.high) for x, row in rows]
    boxes = [
        Bbox.from_extents(*box)
        for box in place_labels(axes, [(x, row.score, row.name, "k") for x, row in rows], points)
    ]
    assert len(boxes) == 8
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
