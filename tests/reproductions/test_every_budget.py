"""The study of one policy for every budget runs on both settings, and its figures hang together."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, write_pool
from tests.reproductions.small import run


def hangs_together(figures: dict[str, Any]) -> None:
    split: dict[str, Any]
    (split,) = figures["splits raw"]
    assert [row["knob"] for row in figures["knobs"]] == figures["setting"]["knobs"]
    assert len(split["seconds"]) == 1 + len(figures["knobs"]), "one policy, and one for each knob"
    assert figures["tasks"] == len(split["tasks"])
    for place, row in enumerate(figures["knobs"]):
        gains: dict[str, float] = {}
        for which in ("one", "single"):
            cell = split[which][place]
            assert cell["worth"] == pytest.approx(row["knob"] * split["unit"])
            assert len(cell["score"]) == len(cell["nanodollars"]) == figures["tasks"]
            gains[which] = fmean(cell["score"]) - fmean(cell["nanodollars"]) * 1e-9 / cell["worth"]
            assert row[which]["gain"]["mean"] == pytest.approx(gains[which], abs=1e-4)
        assert row["gain"]["low"] <= row["gain"]["mean"] <= row["gain"]["high"]
        assert row["gain"]["mean"] == pytest.approx(gains["one"] - gains["single"], abs=1e-4)
        assert row["by split"] == [pytest.approx(100 * row["gain"]["mean"])]
    middle = figures["knobs"][len(figures["knobs"]) // 2]
    assert middle["middle"] == {"mean": 0, "low": 0, "high": 0}, "at its own knob the middle one is itself"
    assert figures["said"][-2].startswith("Not inferior by more than 1.5 points")


def test_the_embedded_team(tmp_path: Path) -> None:
    hangs_together(run("every_budget", tmp_path))


def test_a_recorded_pool(tmp_path: Path) -> None:
    tasks = [
        PoolTask(
            id=f"t{number}",
            prompt=f"What is {number} + 1?",
            reference=str(number + 1),
            replies={
                name: PoolReply(
                    score=float(number % wrong > 0),
                    completion_tokens=length,
                    prompt_tokens=5,
                    text=f"It is {number + (number % wrong > 0)}",
                )
                for name, wrong, length in (("small", 2, 10), ("large", 7, 12))
            },
        )
        for number in range(24)
    ]
    agents = {"small": PoolAgent(price=PoolPrice(output=0.1)), "large": PoolAgent(price=PoolPrice(output=5.0))}
    file = tmp_path / "sums.jsonl"
    write_pool(Pool(agents=agents, tasks=tuple(tasks)), file)
    figures = run("every_budget", tmp_path / "out", "--pool", str(file), name="every_budget_sums")
    hangs_together(figures)
    unit = figures["splits raw"][0]["unit"]
    assert unit == pytest.approx(12 * 5e-6)
