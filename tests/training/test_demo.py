"""The demonstration on the school: what goes on, what begins anew, and what is said then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

from podium.orchestrator.learned.saved import FORMAT
from podium.orchestrator.team_file import load_team
from podium.protocols.errors import PolicyError
from podium.training.checkpoint import read_checkpoint
from podium.training.demo import FOLDER, ITERATIONS, demonstrate
from podium.training.learn import Progress
from podium.training.train_file import load_training
from tests.training.school import training

PLAIN, LEARNED = "coordinator: {kind: round_robin}", "coordinator: {kind: learned, policy: ./policy}"


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda data: data.update(format=1), "of another version of Podium, or damaged"),
    (lambda data: data.pop("settings"), "of another version of Podium, or damaged"),
    (lambda data: data["settings"].update(evaluate_every=7), "was begun with other settings"),
    (lambda data: data["settings"].update(gone=1), "was begun with other settings"),
    (lambda data: data["settings"].pop("epochs"), "was begun with other settings"),
    (lambda data: data["settings"].update(iterations=5, evaluate_every=7), "is one of 5 iterations, not of 4"),
]
"""What another version may have left, and what is said of it."""


def _nothing(*_: object, **__: object) -> None: ...


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds."""
    for where in ("demo.training_curves", "demo.cost_quality", "curves.training_curves"):
        monkeypatch.setattr(f"podium.training.{where}", _nothing)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demonstration's own folder, with the school in it."""
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir()
    training(FOLDER, iterations=6, evaluate_every=3)
    return FOLDER


def test_the_demonstration_trains_as_its_training_file_says() -> None:
    with as_file(files("podium.agents") / "embedded") as folder:
        assert load_training(folder / "train.yaml").iterations == ITERATIONS


def show(folder: Path, iterations: int = 6, *, upto: int = 99, fresh: bool = False) -> tuple[Any, list[str]]:
    """What a demonstration left, and what it said; upto: iterations after which it is stopped."""
    told: list[str] = []

    def stop(step: Progress) -> None:
        steps.append(step.iteration)
        if step.iteration >= upto:
            raise KeyboardInterrupt

    steps: list[int] = []
    work = demonstrate(
        folder, iterations=iterations, test_tasks=4, fit_tasks=4, fresh=fresh, watch=stop, tell=told.append
    )
    return (asyncio.run(work), steps), told


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change what the folder's checkpoint says."""
    state = folder / "policy" / "checkpoint" / "state.json"
    data = json.loads(state.read_text())
    how(data)
    state.write_text(json.dumps(data))


def led_by(folder: Path) -> str:
    return (folder / "team.yaml").read_text().splitlines()[-1]


def test_what_was_interrupted_goes_on(own: Path) -> None:
    assert show(own, 4, upto=3) == ((None, [1, 2, 3]), [])
    (shown, steps), told = show(own, 4)
    assert (steps, told) == ([4], [])
    assert shown.folder == own
    assert led_by(own) == LEARNED
    assert show(own, 4)[0][1] == []  # it is trained
    assert show(own, 4, fresh=True, upto=1) == ((None, [1]), [])
    assert led_by(own) == PLAIN


def test_another_length_begins_anew_in_its_own_folder(own: Path) -> None:
    show(own, 2)
    assert led_by(own) == LEARNED
    for length, before in ((4, "2 iterations, not of 4"), (6, "4 iterations, not of 6"), (3, "6 iterations, not")):
        (_, steps), (line,) = show(own, length, upto=1)
        assert steps == [1]
        assert before in line
        assert line.endswith(": a new one begins in its place")
        assert led_by(own) == PLAIN
    (_, steps), told = show(own.resolve(), 2, upto=1)
    assert (steps, len(told)) == ([1], 1)


@pytest.mark.parametrize(("how", "words"), CHANGES)
def test_what_another_version_left_is_no_obstacle(
    tmp_path: Path, own: Path, how: Callable[[dict[str, Any]], object], words: str
) -> None:
    training(tmp_path, iterations=6)
    for folder in (own, tmp_path):
        show(folder, 4, upto=1)
        change(folder, how)
    (_, steps), (line,) = show(own, 4, upto=1)
    assert steps == [1]
    assert words in line
    with pytest.raises(PolicyError) as refused:
        show(tmp_path, 4)
    assert str(refused.value).endswith(f"{words}: start anew with --fresh, or choose another --folder")


def test_a_policy_of_another_version_is_no_obstacle(own: Path) -> None:
    show(own, 2)
    card = own / "policy" / "policy.json"
    card.write_text(card.read_text().replace(f'"format": {FORMAT}', '"format": 2'))
    (_, steps), (line,) = show(own, 2, upto=1)
    assert steps == [1]
    assert "of another version of Podium" in line


def test_elsewhere_a_training_is_not_thrown_away_unasked(tmp_path: Path) -> None:
    training(tmp_path, iterations=6, evaluate_every=3)
    show(tmp_path, 2, upto=1)
    with pytest.raises(PolicyError) as refused:
        show(tmp_path, 4)
    assert str(refused.value) == (
        f"the training in {tmp_path} is one of 2 iterations, not of 4: go on with it by --iterations 2, start anew "
        "with --fresh, or choose another --folder"
    )
    (shown, steps), told = show(tmp_path, 2)
    assert (steps, told) == ([2], [])
    assert shown
    assert show(tmp_path, 4, upto=1, fresh=True) == ((None, [1]), [])
    found = read_checkpoint(tmp_path / "policy")
    assert found
    assert (found.iteration, found.settings["iterations"]) == (1, 4)
    assert load_team(tmp_path / "team.yaml").coordinator.kind == "round_robin"
