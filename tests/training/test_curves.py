"""Training curves: every measure has its place, and a broken file says where."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from podium.protocols.errors import InputError
from podium.training.curves import diagnosis_curves, read_metrics, training_curves


def test_metrics_of_a_run_that_was_killed_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "score": 0.1}\n{"step": 2, "score": 0.2, "who": "x"}\n{"step": 2, "score": 0.3}\n{"step": 3, "sc'
    )
    assert read_metrics(path) == [{"step": 1.0, "score": 0.1}, {"step": 2.0, "score": 0.3}]
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:2"):
        read_metrics(path)
    path.write_text("")
    with pytest.raises(InputError, match="no training step"):
        read_metrics(path)


def test_training_curves_write_a_panel_per_measure(tmp_path: Path) -> None:
    rows = [
        {"step": step, "score": step / 40, "tokens": 900.0 - step, "own_measure": 1.0, "seconds": 2.0}
        for step in range(40)
    ]
    rows[10]["eval_score"] = 0.3
    rows[12]["tokens"] = math.nan
    wide = imread(training_curves(rows, tmp_path / "three.png", title="T"))
    narrow = imread(training_curves([{"step": 0, "score": 0.5}], tmp_path / "one.png"))
    assert wide.shape[1] == 3 * narrow.shape[1]
    failing = imread(training_curves([{"step": 0, "score": 0.5, "failed": 0.1}], tmp_path / "two.png"))
    sound = imread(training_curves([{"step": 0, "score": 0.5, "failed": 0.0}], tmp_path / "one.png"))
    assert failing.shape[1] == 2 * sound.shape[1] == 2 * narrow.shape[1]
    with pytest.raises(InputError, match="no measure"):
        training_curves([{"step": 1.0}], tmp_path / "none.png")


def test_the_diagnosis_has_a_picture_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []

    def keep(figure: Figure, path: Path | str) -> Path:
        drawn.append(figure)
        return Path(path)

    rows = [
        {"step": step, "score": 0.5, "information": 0.4, "information_later": 0.2, "information_needed": 1.1}
        | {"routing_gain": 0.3, "share_entropy": 1.0, "gradient/body": 2.0, "gradient/pick": 0.0 if step < 3 else 0.1}
        | {f"share/agent {place}": place / 45 for place in range(10)}
        for step in range(30)
    ]
    assert imread(diagnosis_curves(rows, tmp_path / "whole.png")).shape[:2] == (1056, 1632)
    monkeypatch.setattr("podium.training.curves.save", keep)
    diagnosis_curves(rows, tmp_path / "x.png")
    training_curves(rows, tmp_path / "x.png")
    diagnosis, curves = drawn
    assert [axes.get_title(loc="left").split(" ")[0] for axes in curves.axes] == ["Score"]
    information, gain, shares, gradients = diagnosis.axes
    assert [len(axes.lines) for axes in (information, gain, shares, gradients)] == [3, 1, 8, 2]  # the largest eight
    assert "agent 0" not in [line.get_label() for line in shares.lines]
    assert {line.get_label() for line in gradients.lines} == {"body", "pick"}
    with pytest.raises(InputError, match="no step of the metrics was diagnosed"):
        diagnosis_curves([{"step": 1.0, "score": 0.5}], tmp_path / "none.png")
