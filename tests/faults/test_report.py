"""The report in docs/ tells of the cells that exist, and the tests of all that it should."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.faults import matrix
from tests.faults.matrix import COLUMNS, ROWS, Cell
from tests.faults.report import cells_of, page, rows_of

HERE = Path(__file__).parent
REPORT = HERE.parents[1] / "docs" / "fault-matrix.md"


def test_the_report_has_every_row_and_no_other() -> None:
    assert list(rows_of(REPORT.read_text())) == [(row, len(COLUMNS)) for row in ROWS], "run make fault-matrix"


def test_every_group_of_rows_has_a_test() -> None:
    groups = {name for name in vars(matrix) if name.isupper()} - {"AGENTS", "COLUMNS", "ROWS"}
    tried: set[str] = set()
    for file in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.parametrize":
                tried.add(ast.unparse(node.args[1]))
    assert groups <= tried
    assert "COLUMNS" in tried


def test_a_report_is_made_of_what_the_tests_left(tmp_path: Path) -> None:
    cells = [Cell(row, column, "answered", 1, 0, 0, place) for row in ROWS for place, column in enumerate(COLUMNS)]
    assert list(rows_of(page(cells))) == [(row, len(COLUMNS)) for row in ROWS]
    assert "unwritten 2" in page(cells)
    with pytest.raises(KeyError):
        page(cells[1:])
    values = "".join(f'<property name="{name}" value="{value}"/>' for name, value in cells[0].properties().items())
    xml = f"<testsuites><testcase/><testcase><properties>{values}</properties></testcase></testsuites>"
    (tmp_path / "junit.xml").write_text(xml)
    assert cells_of(tmp_path / "junit.xml") == cells[:1]
