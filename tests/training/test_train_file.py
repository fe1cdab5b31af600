"""The training file: numbers that no training can be run with are refused when it is read, with their line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from podium.protocols.errors import TeamFileError
from podium.training.rewards import CHANNELS
from podium.training.train_file import LossSpec, load_training
from tests.training.school import training


def written(folder: Path, **settings: Any) -> Path:
    """A training file with these settings, one a line."""
    file = training(folder)
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings))
    return file


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"weight_decay": math.inf}, "weight_decay"),
        ({"gradient_norm": math.inf}, "gradient_norm"),
        ({"dollars": math.inf}, "dollars"),
        ({"loss": {"entropy": math.inf}}, "loss.entropy"),
        ({"loss": {"clip_high": math.inf}}, "loss.clip_high"),
        ({"preference": {"low": 1e-6, "high": math.inf}}, "preference.high"),
        ({"credit": {"streams": [{"channel": "outcome", "weight": math.inf}]}}, "credit.streams.0.weight"),
        ({"credit": {"streams": [{"weight": {"first": 0.0, "last": -math.inf}}]}}, "credit.streams.0.weight.last"),
    ],
)
def test_an_infinite_number_is_refused_with_its_line(tmp_path: Path, settings: dict[str, Any], field: str) -> None:
    file = written(tmp_path, **settings)
    key = field.rpartition(".")[2]
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if f"{key}:" in text and ".inf" in text)
    with pytest.raises(TeamFileError) as caught:
        load_training(file)
    sign = "-" if "last" in field else ""
    assert caught.value.problems == [f"{file}:{line}: {field}: expected a finite number; found {sign}inf"]


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TeamFileError, match="learning_rate: expected a finite number; found nan"):
        load_training(written(tmp_path, learning_rate=math.nan))


def test_words_for_no_number_are_refused_in_the_credit(tmp_path: Path) -> None:
    for word in ("nan", "-inf", "Infinity"):
        with pytest.raises(TeamFileError, match=rf'streams\.0\.weight: expected a finite number; found "{word}"'):
            load_training(written(tmp_path, credit={"streams": [{"weight": word}]}))


def test_the_same_holds_in_python() -> None:
    with pytest.raises(ValueError, match="finite"):
        LossSpec(entropy=math.inf)


def test_an_unknown_reward_channel_is_refused_with_what_there_is(tmp_path: Path) -> None:
    file = written(tmp_path, credit={"streams": [{"channel": "outcome"}, {"channel": "tokns"}]})
    with pytest.raises(TeamFileError) as caught:
        load_training(file)
    (problem,) = caught.value.problems
    assert "credit.streams.1.channel" in problem
    assert all(name in problem for name in CHANNELS)
    assert 'did you mean "tokens"' in problem


@pytest.mark.parametrize("channel", ["cost", "price"])
@pytest.mark.parametrize("preference", [{"low": 1e-4, "high": 1e-2}, 0.01, None])
def test_a_scaled_cost_and_a_range_of_prices_do_not_go_together(tmp_path: Path, preference: Any, channel: str) -> None:
    cost = {"channel": channel, "where": "passed", "scale": "std", "weight": -0.3}
    given = {"credit": {"streams": [{"channel": "outcome"}, cost]}}
    file = written(tmp_path, **given, **({"preference": preference} if preference else {}))
    if isinstance(preference, dict):
        with pytest.raises(TeamFileError, match=r"credit: .*cancels the price knob.*make preference one number"):
            load_training(file)
    else:
        assert load_training(file).credit.streams[1].scale == "std"


@pytest.mark.parametrize(
    ("streams", "refused"),
    [
        ([{"estimator": "mean"}], True),
        ([{"estimator": "none"}, {"channel": "cost", "where": "passed", "key": ["task", "turn"]}], True),
        ([{"key": ["batch"]}], False),
        ([{"estimator": "ema"}], False),
        ([{"estimator": "critic", "fold": "gae"}], False),
    ],
)
def test_a_run_alone_of_its_task_needs_another_baseline(tmp_path: Path, streams: list[Any], refused: bool) -> None:
    file = written(tmp_path, group=1, credit={"streams": streams})
    if refused:
        with pytest.raises(TeamFileError, match="with group: 1 a run has no other of its task"):
            load_training(file)
    else:
        assert load_training(file).group == 1
    assert load_training(written(tmp_path, group=2, credit={"streams": streams})).group == 2


def test_a_run_alone_of_its_task_is_refused_where_the_credit_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(TeamFileError, match="with group: 1 a run has no other of its task"):
        load_training(written(tmp_path, group=1))


def test_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TeamFileError, match=r"options\.needs: one piece is all of the task: write 0, or at least 2"):
        load_training(written(tmp_path, options={"needs": 1}))
    with pytest.raises(TeamFileError, match=r'options\.reads: .*allowed: true, false, figures; did you mean "figures"'):
        load_training(written(tmp_path, options={"reads": "figure"}))
