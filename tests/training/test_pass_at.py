"""Pass@(k, T): the estimator, how it is measured, and what makes no sense."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from podium.protocols.errors import InputError
from podium.protocols.pool import write_pool
from podium.training.evaluate import evaluate
from podium.training.measured import Measured, Place
from podium.training.pass_at import chances, pass_at
from podium.training.pictures import draw
from tests.training.school import pool, school

ALL = "recorded:{}/pool.jsonl"


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_the_estimator_is_the_share_of_all_draws_with_a_right_one(k: int) -> None:
    passes_NT = np.random.default_rng(0).random((5, 7)) < 0.3
    every = [passes_NT[list(drawn)].any(axis=0) for drawn in combinations(range(5), k)]
    assert chances(passes_NT, k) == pytest.approx(np.mean(every, axis=0))


def test_the_estimator_has_no_bias() -> None:
    generator = np.random.default_rng(1)
    passes_NT = generator.random((6, 40_000)) < 0.3
    assert chances(passes_NT, 3).mean() == pytest.approx(1 - 0.7**3, abs=0.01)


def test_more_runs_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="between 1 and the number of runs, 2; got 3"):
        chances(np.ones((2, 3)), 3)


def test_coordinators_are_compared_with_the_first() -> None:
    def of(passes: list[list[int]]) -> Measured:
        table = np.array(passes, float)
        return Measured(table, table, table, table, table, table)

    given = {"a": of([[1, 0], [0, 0]]), "b": of([[1, 1], [1, 0]])}
    found = pass_at(given, {name: Place(name) for name in given}, (1, 2))
    assert [(each.row, each.k, each.passes.mean) for each in found] == [
        ("a", 1, 0.25), ("a", 2, 0.5), ("b", 1, 0.75), ("b", 2, 1.0),
    ]  # fmt: skip
    assert found[0].over is None
    assert found[2].over is not None
    assert found[2].over.mean == 0.5


def test_pass_at_k_and_t_are_measured(tmp_path: Path) -> None:
    file, counted, expected = school(tmp_path), list[str](), list[int]()
    write_pool(pool(10, samples=3), tmp_path / "pool.jsonl")
    names = ["random", "pipeline?steps=adder,timer"]
    found = evaluate(
        file, ALL.format(tmp_path), names, pass_at=[4, 1, 2], turns=[2, 1], expects=expected.append, done=counted.append
    )
    rows = [f"{name}, {turns}" for name in names for turns in ("1 turn", "2 turns")]
    assert [row.name for row in found.rows] == rows
    assert (found.seeds, found.ks) == (4, (1, 2, 4))
    assert expected == [len(counted)] == [4 * 10 * 4]
    table = {(each.row, each.k): each for each in found.pass_at()}
    assert table[rows[0], 1].passes.mean < table[rows[0], 2].passes.mean < table[rows[0], 4].passes.mean
    assert table[rows[2], 1].passes.mean == table[rows[2], 4].passes.mean == 0.5  # the adder alone, always
    assert [row.calls for row in found.rows[2:]] == [1, 2]
    over = table[rows[2], 1].over
    assert over is not None
    assert over.mean == pytest.approx(0.5 - table[rows[0], 1].passes.mean)
    data = json.loads(found.to_json())
    assert [each["k"] for each in data["pass_at"][:3]] == [1, 2, 4]
    assert draw(found, tmp_path / "p.png").stat().st_size > 10_000
    whole = evaluate(file, ALL.format(tmp_path), ["random", "own"], pass_at=[1, 2], seeds=3)
    assert [row.name for row in whole.rows] == ["random", "own"]
    assert draw(whole, tmp_path / "q.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"turns": [1]}, "turns: there are none without pass_at"),
        ({"pass_at": []}, "pass_at: there are none; leave pass_at out"),
        ({"pass_at": [0]}, "pass_at: expected whole numbers from 1 on, found 0"),
        ({"pass_at": [1.5]}, "found 1.5"),
        ({"pass_at": [2, 2]}, "pass_at: 2 is named twice"),
        ({"pass_at": [8], "seeds": 4}, "pass_at 8: needs as many runs of each task; seeds: 4"),
        ({"pass_at": [1], "turns": [-1]}, "turns: expected whole numbers from 1 on, found -1"),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, given: dict[str, object], words: str) -> None:
    file = school(tmp_path)
    with pytest.raises(InputError) as caught:
        evaluate(file, ALL.format(tmp_path), ["random"], **given)  # pyright: ignore[reportArgumentType]
    assert words in str(caught.value)
