"""The report in docs/ tells of the cells that exist, and the tests of all that it should."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import matrix
from tests.faults.matrix import COLUMNS, ROWS, Cell, ending
from tests.faults.report import cells_of, page, rows_of

HERE = Path(__file__).parent
REPORT = HERE.parents[1] / "docs" / "fault-matrix.md"


EXPECTED = [(row, [ending(row, column) for column in COLUMNS]) for row in ROWS]


def test_the_report_has_every_row_and_no_other_and_ends_as_the_tests_ask() -> None:
    assert list(rows_of(REPORT.read_text())) == EXPECTED, "run make fault-matrix"


def test_every_group_of_rows_has_a_test_in_every_column() -> None:
    groups = {name for name in vars(matrix) if name.isupper() and not name.startswith("_")}
    groups -= {"AGENTS", "ASKING", "COLUMNS", "LEAD", "ROWS", "LONGEST_OUTPUT"}
    tried: set[str] = set()
    for file in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                over = set(parametrized(node))
                assert "COLUMNS" in over or not over & groups, node.name
                tried |= over
    assert groups <= tried


def parametrized(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """What a test is parametrized over."""
    for each in function.decorator_list:
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.parametrize":
            yield ast.unparse(each.args[1])


def test_a_report_is_made_of_what_the_tests_left(tmp_path: Path) -> None:
    cells = [
        Cell(row, column, ending(row, column), 1, 0, 0, place) for row in ROWS for place, column in enumerate(COLUMNS)
    ]
    assert list(rows_of(page(cells))) == EXPECTED
    assert "unwritten 2" in page(cells)
    ((_, ended), *_) = rows_of(page([replace(cells[0], lost=1), *cells[1:]]))
    assert ended[0] == f"{cells[0].ended}<br>struck 1, lost 1, repeated 0"
    with pytest.raises(KeyError):
        page(cells[1:])
    values = "".join(f'<property name="{name}" value="{value}"/>' for name, value in cells[0].properties().items())
    xml = f"<testsuites><testcase/><testcase><properties>{values}</properties></testcase></testsuites>"
    (tmp_path / "junit.xml").write_text(xml)
    assert cells_of(tmp_path / "junit.xml") == cells[:1]
