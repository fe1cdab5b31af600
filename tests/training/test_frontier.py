"""The frontier: who is beaten and how surely, gains at a knob, regret to the oracle, and its tables."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from podium.orchestrator.learned import Policy, save_policy
from podium.orchestrator.learned.options import Options
from podium.protocols.errors import InputError
from podium.training.evaluate import evaluate
from podium.training.evaluation import Evaluation
from podium.training.frontier import frontier
from podium.training.frontier_reports import frontier_lines, gain_table
from podium.training.measured import Measured, Place
from podium.training.pictures import draw
from podium.training.statistics import paired_difference
from tests.orchestrator.teams import team as team_of
from tests.training.school import models, school, task

ALL = "recorded:{}/pool.jsonl"
TASKS = 60


def measured(passes: np.ndarray, dollars: float | np.ndarray, *, reference: bool = False) -> Measured:
    """One seed. passes: (tasks,)."""
    scores = passes.astype(float)[None]
    cost = np.broadcast_to(np.asarray(dollars, float), scores.shape).copy()
    return Measured(scores, cost, cost, cost, cost, scores, reference)


def rows(**given: Measured) -> tuple[dict[str, Measured], dict[str, Place]]:
    return given, {name: Place(name) for name in given}


@pytest.fixture
def half() -> np.ndarray:
    return np.arange(TASKS) % 2 == 0


def test_what_is_dearer_and_no_better_is_beaten(half: np.ndarray) -> None:
    everything = np.ones(TASKS, bool)
    found = frontier(
        *rows(cheap=measured(half, 0.001), dear=measured(half, 0.002), best=measured(everything, 0.004)), knobs=(0.01,)
    )
    cheap, dear, best = found.points
    assert [point.row for point in found.front] == ["cheap", "best"]
    assert (cheap.beaten, best.beaten) == (None, None)
    assert dear.beaten is not None
    assert (dear.beaten.by, dear.beaten.sure, dear.on_front) == ("cheap", 1.0, 0.0)
    assert dear.beaten.score.mean == 0
    assert dear.beaten.dollars.mean == pytest.approx(-0.001)
    assert cheap.dollars.low == pytest.approx(0.001)
    assert cheap.score.low < 0.5 < cheap.score.high


def test_equal_points_do_not_beat_each_other(half: np.ndarray) -> None:
    found = frontier(*rows(one=measured(half, 0.001), other=measured(half, 0.001)), knobs=(0.01,))
    assert [point.beaten for point in found.points] == [None, None]
    assert [point.on_front for point in found.points] == [1.0, 1.0]


def test_what_may_be_chance_is_told(half: np.ndarray) -> None:
    one_more = half.copy()
    one_more[1] = True
    found = frontier(*rows(one=measured(half, 0.001), other=measured(one_more, 0.001)), knobs=(0.01,))
    beaten = found.points[0].beaten
    assert beaten is not None
    # The one task is drawn at least once in 63 % of the resamples.
    assert beaten.sure == pytest.approx(1 - (1 - 1 / TASKS) ** TASKS, abs=0.02)
    assert found.points[0].on_front == pytest.approx(1 - beaten.sure)


def test_references_do_not_compete(half: np.ndarray) -> None:
    both = rows(one=measured(half, 0.002), oracle=measured(np.ones(TASKS, bool), 0.001, reference=True))
    found = frontier(*both, knobs=(0.01,))
    assert [point.row for point in found.front] == ["one"]
    assert found.points[1].on_front == 0
    assert found.worths[0].lead is None


def test_gain_counts_what_right_answers_cost(half: np.ndarray) -> None:
    dollars = np.where(half, 0.002, 0.5)  # wrong ones cost much, and that does not count
    found = frontier(*rows(one=measured(half, dollars)), knobs=(0.004, 0.008))
    assert [worth.gain.mean for worth in found.worths] == pytest.approx([0.25, 0.375])
    assert found.overall[0].gain.mean == pytest.approx(0.3125)
    assert found.oracle is None
    assert found.worths[0].regret is None


def test_the_oracle_would_rather_not_answer_than_lose() -> None:
    every = np.ones(4, bool)
    oracle = measured(every, np.array([0.001, 0.001, 0.001, 0.01]), reference=True)
    found = frontier(*rows(one=measured(every, 0.003), oracle=oracle), knobs=(0.004,))
    one, best = found.worths
    assert best.gain.mean == pytest.approx(0.75 * 0.75)  # the dear answer is not worth it
    assert one.gain.mean == pytest.approx(0.25)
    assert one.regret is not None
    assert one.regret.mean == pytest.approx(best.gain.mean - 0.25)
    assert best.regret is None


def test_who_hears_a_knob_is_taken_at_it(half: np.ndarray) -> None:
    given = {"p, $1": measured(half, 0.1), "p, $2": measured(half, 0.2), "fixed": measured(half, 0.3)}
    places = {"p, $1": Place("p", 1.0), "p, $2": Place("p", 2.0), "fixed": Place("fixed")}
    found = frontier(given, places, (1.0, 2.0))
    assert [(worth.row, worth.knob) for worth in found.worths] == [
        ("p, $1", 1.0), ("p, $2", 2.0), ("fixed", 1.0), ("fixed", 2.0),
    ]  # fmt: skip
    assert [worth.gain.mean for worth in found.worths] == pytest.approx([0.45, 0.45, 0.35, 0.425])
    best = found.best(1.0)
    assert (best.row, best.ahead_of) == ("p, $1", "fixed")
    assert best.lead is not None
    assert best.lead.mean == pytest.approx(0.1)
    del given["p, $2"]  # it ended early
    early = frontier(given, places, (1.0, 2.0))
    assert [each.coordinator for each in early.overall] == ["fixed"]
    assert [(worth.row, worth.knob) for worth in early.worths][:2] == [("p, $1", 1.0), ("fixed", 1.0)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    policy = Policy.fresh(Options(context=("task",), max_steps=2), ("adder", "timer"))
    policy.card.trained_on["preference"] = {"low": 0.001, "high": 0.1}
    save_policy(policy, tmp_path / "policy")
    return school(tmp_path)


def test_a_frontier_is_measured(tmp_path: Path, file: Path) -> None:
    learned, counted, expected = f"learned:{tmp_path}/policy", list[str](), list[int]()
    spec, names = ALL.format(tmp_path), [learned, f"{learned}?preference=1", "single?agent=adder", "skill_table"]
    found = evaluate(
        file, f"{spec}?split=test", names, fit=f"{spec}?split=train", frontier=True, knobs=[0.01, 0.001],
        expects=expected.append, done=counted.append,
    )  # fmt: skip
    knobs = [f"{learned}, $0.001", f"{learned}, $0.01"]
    tables = ["skill_table, $0.001", "skill_table, $0.01"]
    assert [row.name for row in found.rows] == [*knobs, *names[1:3], *tables, "oracle"]
    assert expected == [len(counted)] == [7 * found.tasks]
    frontier = found.frontier()
    assert frontier.knobs == (0.001, 0.01)
    assert frontier.oracle == "oracle"
    assert [each.coordinator for each in frontier.overall] == [*names, "oracle"]
    assert all(each.regret is None or each.regret.mean >= 0 for each in frontier.overall)
    data = json.loads(found.to_json(per_task=True))
    assert data["frontier"]["front"] == [point.row for point in frontier.front]
    assert len(data["task_ids"]) == found.tasks
    assert np.shape(data["per_task"]["oracle"]["dollars"]) == (1, found.tasks)
    assert draw(found, tmp_path / "f.png").stat().st_size > 10_000


def test_knobs_come_from_policies_or_prices(tmp_path: Path, file: Path) -> None:
    spec, learned = ALL.format(tmp_path), f"learned:{tmp_path}/policy"
    found = evaluate(file, spec, [learned], frontier=True, limit=3)
    assert found.knobs == (0.001, 0.0032, 0.01, 0.032, 0.1)
    assert found.details["knobs"].endswith(f"$0.1 (the range of {learned})")
    found = evaluate(file, spec, ["single?agent=adder"], frontier=True, limit=3)
    assert (found.knobs[0], found.knobs[-1]) == pytest.approx((0.0006, 0.012))
    assert "a reply of the dearest agent" in found.details["knobs"]


def test_a_team_without_prices_has_no_frontier() -> None:
    from podium.agents.model import Price

    with team_of(models(Price(0.0, 0.0))) as free, pytest.raises(InputError, match="no model of the team has a price"):
        evaluate(free, [task(1)], ["single?agent=adder"], frontier=True)


def test_only_recorded_models_are_searched_unasked() -> None:
    with team_of(models()) as desk:
        found = evaluate(desk, [task(1), task(2)], ["single?agent=adder"], frontier=True)
        assert [row.name for row in found.rows] == ["single?agent=adder"]
        assert found.frontier().oracle is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"knobs": [1.0]}, "knobs: there are none without frontier"),
        ({"frontier": True, "knobs": []}, "knobs: there are none; leave knobs out"),
        ({"frontier": True, "knobs": [0.0]}, "more than 0, found 0.0"),
        ({"frontier": True, "knobs": [float("inf")]}, "found inf"),
        ({"frontier": True, "knobs": ["x"]}, "found 'x'"),
        ({"frontier": True, "knobs": [1, 1.0]}, "knobs: 1 is named twice"),
        ({"frontier": True, "pass_at": [1]}, "ask one by one"),
    ],
)
def test_what_makes_no_sense(file: Path, tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(file, ALL.format(tmp_path), ["single?agent=adder"], **given)  # pyright: ignore[reportArgumentType]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_tables_say_it(half: np.ndarray) -> None:
    everything = np.ones(TASKS, bool)
    found = Evaluation(TASKS, 1, knobs=(0.002, 0.01))
    found.measured, found.places = rows(
        cheap=measured(half, 0.0001),
        dear=measured(half, 0.002),
        best=measured(everything, 0.004),
        oracle=measured(everything, 0.0001, reference=True),
    )
    lines = list(frontier_lines(found.frontier()))
    assert lines[1].startswith("  cheap: 50.0 % [")
    assert lines[1].endswith("at $0.0001 [0.0001, 0.0001] (100%)")
    assert "  dear: cheap has +0.0 points [+0.0, +0.0] and -$0.0019 [-$0.0019, -$0.0019] (100%)" in lines
    assert lines[-2].startswith("Where an answer is worth $0.002, cheap gains most: +")
    out = io.StringIO()
    Console(file=out, width=120).print(gain_table(found.frontier(), styled=False))
    text = out.getvalue()
    assert "$0.002" in text
    assert "regret" in text
    assert "-100.0" in text  # an answer for 0.004 where it is worth 0.002
    difference = paired_difference(found.measured["oracle"].gains(0.01), found.measured["best"].gains(0.01))
    assert found.frontier().worths[5].regret == difference
