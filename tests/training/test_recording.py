"""Recording a pool: what it holds, what it costs, what it says it will cost, and how it goes on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from podium.agents.model import Price
from podium.agents.recorded import load_pool
from podium.orchestrator.coordinators.fixed import Single
from podium.protocols.errors import BudgetExceeded, InputError, ModelError
from podium.protocols.pool import read_pool
from podium.training.evaluate import evaluate
from podium.training.learn import train
from podium.training.recording import arecord
from tests.orchestrator.teams import team as team_of
from tests.training.school import models, question, task, training


def recorded(folder: Path, count: int = 12, **more: Any) -> Any:
    price: dict[str, Price] = more.pop("price", {})
    made = models(say=more.pop("say", None))
    for agent, each in price.items():
        made[agent].price = each
    desk = team_of(made)
    with desk:
        return desk.wait(arecord(desk, [task(number) for number in range(count)], folder / "made.jsonl.gz", **more))


def test_a_recorded_pool_is_trained_and_evaluated_on(tmp_path: Path) -> None:
    told: list[tuple[int, float, float | None]] = []

    def tell(done: int, spent: float, forecast: float | None) -> None:
        told.append((done, spent, forecast))

    found = recorded(tmp_path, samples=2, done=tell)
    assert found.complete
    assert [row[0] for row in told] == [5, 12]
    assert told[-1][1] == pytest.approx(told[-1][2]) == pytest.approx(found.dollars)
    pool = read_pool(tmp_path / "made.jsonl.gz")
    assert len(pool.tasks) == 12
    assert [each.replies["adder"].score for each in pool.tasks] == [number % 2 for number in range(12)]
    assert len(pool.tasks[0].replies["timer"].samples) == 2
    assert pool.tasks[2].replies["timer"].text == question(2)[1]
    assert pool.agents["adder"].price.output == 2.0
    file = training(tmp_path, iterations=1, tasks={"train": "recorded:made.jsonl.gz"})
    (tmp_path / "team.yaml").write_text((tmp_path / "team.yaml").read_text().replace("pool.jsonl", "made.jsonl.gz"))
    assert train(file).finished
    rows = evaluate(tmp_path / "team.yaml", f"recorded:{tmp_path}/made.jsonl.gz", [f"learned:{tmp_path}/out"]).rows
    assert rows[0].n == 12
    assert load_pool(tmp_path / "made.jsonl.gz").name == "desk"


def test_recording_keeps_to_its_cap(tmp_path: Path) -> None:
    for name in ("whole", "part", "all", "none"):
        (tmp_path / name).mkdir()
    whole = recorded(tmp_path / "whole", 60).dollars
    told: list[float | None] = []

    def tell(done: int, spent: float, forecast: float | None) -> None:
        told.append(forecast)

    part = recorded(tmp_path / "part", 60, dollars=whole * 0.6, done=tell)
    assert not part.complete
    assert told[0] == pytest.approx(whole, rel=0.1)
    count = len(part.pool.tasks)
    assert 20 <= count <= 0.6 * 60  # what fits is recorded, up to the worst case of one call
    assert f"held {count} of 60 tasks" in part.why
    rest = recorded(tmp_path / "part", 60)
    assert rest.complete
    assert part.dollars + rest.dollars == pytest.approx(whole)
    assert recorded(tmp_path / "all", 60, dollars=whole * 1.5).complete  # though not all fit at once at their worst
    with pytest.raises(BudgetExceeded, match=r"does not hold this call.*raise dollars.*no task has all its replies"):
        recorded(tmp_path / "none", dollars=1e-9)
    assert not (tmp_path / "none" / "made.jsonl.gz").exists()
    with pytest.raises(InputError, match="there is no folder"):
        recorded(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dollars": -1}, "^dollars: expected a finite number, more than 0, found -1$"),
        ({"dollars": math.nan}, "more than 0, found nan"),
        ({"dollars": math.inf}, "more than 0, found inf"),
        ({"dollars": "1"}, "more than 0, found '1'"),
        ({"samples": 0}, "^samples: expected a whole number, at least 1, found 0$"),
        ({"samples": 1.5}, "at least 1, found 1.5"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        recorded(tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_a_cap_is_told_in_words_of_python(tmp_path: Path) -> None:
    whole = recorded(tmp_path, 60).dollars
    for each in tmp_path.iterdir():
        each.unlink()
    part = recorded(tmp_path, 60, dollars=whole * 0.6)
    assert "begin again with new dollars" in part.why
    assert "--" not in part.why


def test_what_failed_is_told_and_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def moody(agent: str, prompt: Any) -> str:
        asked.append((agent, prompt.task))
        if agent == "timer" and prompt.task == question(3)[0]:
            raise ModelError("it is down")
        return "1"

    found = recorded(tmp_path, say=moody)
    assert not found.complete
    assert "1 of 12 tasks left out" in found.why
    assert "t3: agent timer: it is down" in found.why
    assert [each.id for each in read_pool(tmp_path / "made.jsonl.gz").tasks] == [f"t{n}" for n in range(12) if n != 3]
    asked.clear()
    runs: list[str] = []

    def single(agent: str) -> Single:
        runs.append(agent)
        return Single(agent)

    monkeypatch.setattr("podium.training.recording.Single", single)
    recorded(tmp_path, say=moody)
    assert asked == [("timer", question(3)[0])]
    assert len(runs) == 24 + 1  # all are looked up, and what was there is not run again
    assert recorded(tmp_path, 14).complete
    assert [each.id for each in read_pool(tmp_path / "made.jsonl.gz").tasks] == [f"t{n}" for n in range(14)]


def test_an_agent_that_always_fails_ends_the_recording(tmp_path: Path) -> None:
    def down(agent: str, prompt: Any) -> str:
        raise ModelError("it is down")

    with pytest.raises(ModelError, match=r"^agent adder: it is down .no task has all its replies"):
        recorded(tmp_path, say=down)


class Teller:
    """Keeps what a recording tells. forecasts: of dollars, None where there was none."""

    def __init__(self) -> None:
        self.forecasts: list[float | None] = []
        self.done: list[int] = []

    def __call__(self, done: int, spent: float, forecast: float | None) -> None:
        self.done.append(done)
        self.forecasts.append(forecast)


def test_a_forecast_is_of_replies_that_came(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = recorded(tmp_path / "whole", 60).dollars
    for place, cap in enumerate((0.0011, 0.0012, 0.0015, 0.003)):  # the worst case of a call is 0.00106
        folder, first, rest = tmp_path / str(place), Teller(), Teller()
        folder.mkdir()
        try:
            spent = recorded(folder, 60, dollars=cap, done=first).dollars
        except BudgetExceeded:
            assert first.forecasts == [None]  # one agent was refused from the start: nobody knows what it costs
            spent = whole - recorded(folder, 60).dollars
        else:
            assert None not in first.forecasts
            assert first.forecasts == pytest.approx([whole] * len(first.forecasts), rel=0.02)
        assert 0 < spent < cap
        assert first.done[-1] < 60
        recorded(folder, 75, dollars=1.0, done=rest)
        assert rest.forecasts == pytest.approx([rest.forecasts[-1]] * len(rest.forecasts), rel=0.02)


def test_there_is_no_forecast_before_every_agent_replied(tmp_path: Path) -> None:
    told = Teller()
    with pytest.raises(BudgetExceeded):
        recorded(tmp_path, 60, price={"adder": Price(1.0, 2.0), "timer": Price(100.0, 200.0)}, dollars=0.01, done=told)
    assert told.forecasts == [None]
    assert told.done == [0]


def test_what_failed_costs_nothing_more(tmp_path: Path) -> None:
    def moody(agent: str, prompt: Any) -> str:
        if agent == "timer" and prompt.task in {question(number)[0] for number in (1, 7, 8, 11)}:
            raise ModelError("it is down")
        return "1"

    told = Teller()
    found = recorded(tmp_path, 12, say=moody, done=told)
    assert told.done == [4, 8]
    assert told.forecasts[-1] == pytest.approx(found.dollars)


def test_what_is_kept_is_not_to_be_paid(tmp_path: Path) -> None:
    whole = recorded(tmp_path, 60).dollars
    again = Teller()
    assert recorded(tmp_path, 60, dollars=whole / 3, done=again).dollars == 0
    assert (again.done, again.forecasts) == ([60], [0])
    more = Teller()
    found = recorded(tmp_path, 90, dollars=whole, done=more)
    assert found.complete
    assert more.done[0] == 60
    assert more.forecasts == pytest.approx([found.dollars] * len(more.forecasts), rel=0.05)
    assert found.dollars == pytest.approx(whole / 2, rel=0.05)
