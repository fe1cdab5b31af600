"""The study of new teams runs, and what holds whatever was learned holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reproductions.small import run


def test_new_teams(tmp_path: Path) -> None:
    figures = run("new_teams", tmp_path)
    cells, tasks = figures["cells"], figures["tasks"]
    assert figures["permuted runs that are the same"] == {"fixed": [[tasks, tasks]], "random": [[tasks, tasks]]}
    shares = figures["share of a retrained policy's gain"]
    assert set(shares) == {f"{claim}: {name}" for claim in ("removed", "added") for name in ("fixed", "random")}
    for name, claim in (("whole: fixed", "added"), ("removed: retrained", "removed")):
        table = cells["whole: table" if claim == "added" else "removed: table"]
        gain = cells[name]["passed"]["mean"] - table["passed"]["mean"]
        assert shares[f"{claim}: fixed"]["retrained gain"] == pytest.approx(gain)
    dear = [cells[f"prices {number}: fixed"] for number in range(3)]
    assert len({cell["dollars per 1,000 tasks"] for cell in dear}) == 3  # the price lists are paid
    for kind in ("success", "right", "after"):
        assert figures["beliefs"]["fixed"][kind]["n per seed"] == 5 * tasks
    assert len(figures["verdicts"]) == 13
