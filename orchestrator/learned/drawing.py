"""Factors of decisions, drawn for all waiting runs at once: each as if its run were alone.

A factor is one choice under a mask: the likeliest one (greedy), or a sample by hashed Gumbel noise, whose argmax with
the logits is a sample of their softmax (Gumbel 1954; Maddison et al., arXiv 1411.0030). Noise is a hash of (run seed,
step, key, head, pick), so what is drawn depends neither on the order of the choices nor on who else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from math import exp, log
from operator import add

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.coordinator import RunState
from podium.protocols.noise import Noise
from podium.protocols.record import Factor

__all__ = ["TIE", "Draws"]

TIE = 1e-6
"""Logits this close are equal for a greedy choice, and the key decides: rounding depends on the order of agents."""


class Draws:
    """The factors of the decisions of some states as they are drawn, in their order.

    factors: of each state. likelier: of each state, for every factor that went against the odds, the likeliest choice
    and its probability, as `likelier(PICK HEAD WORD)`; the word is missing where that was to finish, or to ask nobody
    else.
    """

    def __init__(self, states: Sequence[RunState]) -> None:
        self.factors: list[list[Factor]] = [[] for _ in states]
        self.likelier: list[dict[str, float]] = [{} for _ in states]
        self._noise = [Noise(state.seed, state.step) if state.mode == "sample" else None for state in states]

    def factor(
        self,
        rows: Sequence[int],
        head: str,
        pick: int,
        logits: NDArray[np.float32],
        masks: Sequence[tuple[bool, ...]],
        keys: Sequence[tuple[str, ...]],
        words: Sequence[Sequence[str]] | None = None,
    ) -> tuple[list[int], list[list[float]]]:
        """Choose one of K for each of some states; and all probabilities, K for each.

        rows: which states; logits: (rows, K); masks: which choices are allowed, all where none is; keys: of the noise,
        one per choice; words: what the choices are called, where the keys do not say it. Plain Python: for the dozen
        numbers of one state it is faster than arrays, and for many states not much slower.
        """
        choices: list[int] = []
        chances: list[list[float]] = []
        for place, (row, numbers, mask, key) in enumerate(zip(rows, logits.tolist(), masks, keys, strict=True)):
            can = mask if True in mask else (True,) * len(mask)
            allowed = range(len(mask)) if all(can) else list(compress(range(len(mask)), can))
            open_logits: list[float] = [numbers[at] for at in allowed]
            top = max(open_logits)
            noise = self._noise[row]
            if noise is None:
                near = [at for at, logit in zip(allowed, open_logits, strict=True) if logit > top - TIE]
                choice = min(near, key=key.__getitem__)
            else:
                gumbels = noise.gumbels(compress(_ends(key, head, pick), can))
                score = list(map(add, open_logits, gumbels))
                choice = allowed[score.index(max(score))]
            powers = [exp(logit - top) for logit in open_logits]
            total = sum(powers)
            shares = iter(powers)
            probabilities = [next(shares) / total if may else 0.0 for may in can]
            below = numbers[choice] - top
            self.factors[row].append(Factor(head, choice, below - log(total), mask))
            if below < -TIE:
                likeliest = allowed[open_logits.index(top)]
                said = f"{pick} {head} {(words or keys)[place][likeliest]}".rstrip()
                self.likelier[row][f"likelier({said})"] = probabilities[likeliest]
            choices.append(choice)
            chances.append(probabilities)
        return choices, chances


@lru_cache(maxsize=1 << 14)
def _ends(keys: tuple[str, ...], head: str, pick: int) -> tuple[bytes, ...]:
    """What noise is hashed from behind seed and step, for each of some keys."""
    return tuple(f"{key}\x1f{head}\x1f{pick}".encode() for key in keys)
