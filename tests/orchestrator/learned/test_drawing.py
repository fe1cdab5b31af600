"""Factors drawn for many runs at once: by the noise of each, under its mask, and as if it were alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from podium.orchestrator.coordinator import RunState
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.drawing import Draws
from podium.protocols.noise import gumbel
from tests.orchestrator.learned.parts import loud, state_of, task

KEYS = ("cy", "ann", "bob", "")
LOGITS = np.array([[0.5, 1.5, -0.5, 0.1], [3.0, -1.0, 2.9, 0.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
MASKS = [(True, True, True, False), (False, True, True, True), (True, True, False, True)]


@pytest.fixture(params=["arrays", "plain"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors are drawn with arrays where there are many, and in plain Python where there are few."""
    monkeypatch.setattr("podium.orchestrator.learned.drawing.FEW", 0 if request.param == "arrays" else 9)


def states(mode: Literal["sample", "greedy"]) -> list[RunState]:
    coordinator = LearnedCoordinator(loud())
    one = state_of(coordinator, task(1), mode=mode)
    return [replace(one, seed=seed, step=seed % 3) for seed in (4, 5, 9)]


def test_a_sample_is_the_argmax_of_logits_and_noise() -> None:
    them = states("sample")
    draws = Draws(them)
    choices, found = draws.factor(range(3), ["pick"] * 3, 1, LOGITS, MASKS, [KEYS] * 3)
    chances: list[list[float]] = np.asarray(found).tolist()
    for row, state in enumerate(them):
        scores = {
            place: LOGITS[row, place] + gumbel(state.seed, state.step, KEYS[place], "pick", 1)
            for place in range(4)
            if MASKS[row][place]
        }
        assert choices[row] == max(scores, key=scores.__getitem__)
        powers = [math.exp(LOGITS[row, place]) * MASKS[row][place] for place in range(4)]
        assert chances[row] == pytest.approx([power / sum(powers) for power in powers])
        factor = draws.factors[row][0]
        assert (factor.head, factor.choice, factor.mask) == ("pick", choices[row], MASKS[row])
        assert factor.log_prob == pytest.approx(math.log(chances[row][choices[row]]))
        top = max(chances[row])
        said = {f"likelier(1 pick {KEYS[chances[row].index(top)]})".replace(" )", ")"): top}
        assert draws.likelier[row] == (said if chances[row][choices[row]] < top else {})


@pytest.mark.parametrize("mode", ["sample", "greedy"])
def test_the_order_of_runs_and_choices_changes_nothing(mode: Literal["sample", "greedy"]) -> None:
    them = states(mode)
    together = Draws(them).factor(range(3), ["pick"] * 3, 0, LOGITS, MASKS, [KEYS] * 3)[0]
    draws = Draws(them)
    one_by_one = [draws.factor([row], ["pick"], 0, LOGITS[[row]], [MASKS[row]], [KEYS])[0][0] for row in (2, 0, 1)]
    assert [one_by_one[1], one_by_one[2], one_by_one[0]] == together
    assert [len(each) for each in draws.factors] == [1, 1, 1]
    order = [3, 1, 0, 2]
    turned = [tuple(mask[place] for place in order) for mask in MASKS]
    keys = tuple(KEYS[place] for place in order)
    moved = Draws(them).factor(range(3), ["pick"] * 3, 0, LOGITS[:, order], turned, [keys] * 3)[0]
    assert [order[choice] for choice in moved] == together


def test_greedy_takes_the_likeliest_and_of_equals_the_first_by_name() -> None:
    draws = Draws(states("greedy"))
    choices, _ = draws.factor(range(3), ["pick"] * 3, 0, LOGITS, MASKS, [("cy", "bob", "ann", "dan")] * 3)
    assert choices == [1, 2, 1]
    assert not any(draws.likelier)


def test_where_nothing_is_allowed_everything_is() -> None:
    draws = Draws(states("greedy")[:1])
    choices, chances = draws.factor([0], ["pick"], 0, LOGITS[:1], [(False,) * 4], [KEYS])
    assert choices == [1]
    assert sum(chances[0]) == pytest.approx(1)
    assert draws.factors[0][0].mask == (False,) * 4


def test_several_heads_of_one_state_at_once() -> None:
    """Each as if it were drawn by itself, however many choices the others have."""
    them = states("sample")[:1]
    heads, masks = ["context", "objective"], [(True, True, True), (True, True)]
    keys, words = [("ann/0", "ann/1", "ann/2"), ("ann/0", "ann/1")], [("none", "last", "all"), ("propose", "verify")]
    logits = np.array([[0.5, 1.5, -0.5], [0.2, 0.1, 99.0]], np.float32)
    draws, one_by_one = Draws(them), Draws(them)
    choices, _ = draws.factor([0, 0], heads, 1, logits, masks, keys, words)
    for at, (head, mask) in enumerate(zip(heads, masks, strict=True)):
        part = logits[at : at + 1, : len(mask)]
        alone, _ = one_by_one.factor([0], [head], 1, part, [mask], [keys[at]], [words[at]])
        assert alone == [choices[at]]
        made, same = draws.factors[0][at], one_by_one.factors[0][at]
        assert (made.head, made.choice, made.mask) == (head, choices[at], mask)
        assert made.log_prob == pytest.approx(same.log_prob)
    assert draws.likelier[0] == pytest.approx(one_by_one.likelier[0])
