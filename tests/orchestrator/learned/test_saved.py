"""Policies on disk: what is written comes back, and whatever else is found there is refused by name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors

from podium.orchestrator.learned import LearnedCoordinator, Policy, load_policy, save_policy
from podium.orchestrator.learned.options import Options
from podium.protocols.bus import Card
from podium.protocols.errors import PolicyError
from tests.orchestrator.learned.parts import NAMES, WIDE, loud, state_of, task

CARD, WEIGHTS = "policy.json", "policy.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    policy = loud()
    policy.card.preference = 0.25
    policy.card.version = 7
    policy.card.trained_on = {"tasks": "jsonl:x"}
    return save_policy(policy, tmp_path / "deep" / "desk")


def test_round_trip(folder: Path) -> None:
    found, made = load_policy(folder), loud()
    assert (
        found.card.model_dump()
        == made.card.model_copy(
            update={"preference": 0.25, "version": 7, "trained_on": {"tasks": "jsonl:x"}}
        ).model_dump()
    )
    assert found.card.options == WIDE
    assert found.identities == NAMES
    assert found.weights.keys() == made.weights.keys()
    assert all((found.weights[name] == made.weights[name]).all() for name in made.weights)
    one, two = LearnedCoordinator(made), LearnedCoordinator(found)
    knob = 0.25
    assert (
        one.decide([state_of(one, task(1), preference=knob)])[0].factors
        == two.decide([state_of(two, task(1))])[0].factors
    )
    assert sorted(file.name for file in folder.iterdir()) == [CARD, WEIGHTS]


def test_saving_again_replaces_both_files(folder: Path) -> None:
    save_policy(Policy.fresh(Options(), ("solo",)), folder)
    assert load_policy(folder).identities == ("solo",)


def test_an_agent_is_known_again_by_what_it_is_for_or_else_by_name() -> None:
    told = ("Spells.", "Sorts.", "", "Adds.", "Adds.")
    known = Policy.fresh(Options(), ("ann", "bob", "cyd", "dee", "eve"), descriptions=told).card.known
    assert known([Card("zoe", "solver", "Sorts."), Card("bob", "solver", "Spells.")]) == [2, 1]  # names do not matter
    assert known([Card("bob", "solver", "Counts."), Card("bob", "solver")]) == [2, 2]  # a new description
    assert known([Card("zoe", "solver", "Counts."), Card("cyd", "solver", "")]) == [0, 3]
    assert known([Card("dee", "solver", "Adds."), Card("zoe", "solver", "Adds.")]) == [4, 0]  # two said the same


def edited(**changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps(card | changes))

    return apply


def weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        found = safetensors.load_file(folder / WEIGHTS)
        change(found)
        safetensors.save_file(found, folder / WEIGHTS)

    return apply


def text(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def cut(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / CARD).unlink(), "policy.json is missing.*podium train"),
    (lambda folder: (folder / WEIGHTS).unlink(), "policy.safetensors is missing"),
    (text(CARD, b"{"), "not a policy card"),
    (text(CARD, b"\xff\xfe\x00"), "not a policy card"),
    (text(CARD, b"[1, 2]"), "not a policy card"),
    (text(CARD, b"[" * 100_000), "not a policy card"),
    (edited(format=99), "format 99 was written by another version"),
    (edited(kind="something-else"), "not a policy card: kind"),
    (edited(secret=1), "not a policy card: secret"),
    (edited(scale=0), "not a policy card: scale"),
    (edited(scale=float("inf")), "not a policy card: scale"),
    (edited(preference=-1), "not a policy card: preference"),
    (edited(options={"samples": [0]}), "not a policy card: options.samples"),
    (edited(options={"samples": list(range(1, 13))}), "another architecture.*options"),
    (edited(identities=["a"]), "another architecture.*identity"),
    (edited(descriptions=["spells"]), "not a policy card: descriptions: 1 descriptions for .* one each, or none"),
    (text(WEIGHTS, b"not weights"), "cannot be read"),
    (text(WEIGHTS, pickle.dumps({"a": 1})), "cannot be read"),
    (text(WEIGHTS, b""), "cannot be read"),
    (cut, "cannot be read"),
    (weights(lambda w: w.pop("gap.w")), "no weight 'gap.w'"),
    (weights(lambda w: w.update(extra=np.zeros(2, np.float32))), "unknown weight 'extra'"),
    (weights(lambda w: w.update({"gap.w": np.zeros((3, 3), np.float32)})), r"'gap.w' is \(3, 3\)"),
    (weights(lambda w: w.update({"trust": np.zeros(3, np.float64)})), "'trust' is float64"),
    (weights(lambda w: w.update({"trust": np.array([np.nan, 0, 0], np.float32)})), "'trust' is not finite"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES, ids=[words[:30] for _, words in DAMAGES])
def test_damage_is_named(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    with pytest.raises(PolicyError, match=words) as caught:
        load_policy(folder)
    assert str(folder) in str(caught.value)


def test_nothing_is_unpickled(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trap,)

    data = pickle.dumps(Trap())
    for name in (CARD, WEIGHTS):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(data)
        with pytest.raises(PolicyError):
            load_policy(folder)
        (folder / name).write_bytes(kept)
    assert not trap.exists()
    pickle.loads(data)
    assert trap.exists()
