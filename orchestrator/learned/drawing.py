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
from podium.protocols.noise import TWO_64, Noise
from podium.protocols.record import Factor

__all__ = ["TIE", "Draws"]

TIE = 1e-6
"""Logits this close are equal for a greedy choice, and the key decides: rounding depends on the order of agents."""

FEW = 4
"""Up to so many factors are drawn without arrays."""

Floats = NDArray[np.float64]
Chances = Floats | list[list[float]]

Drawn = tuple[int, float, float, int]
"""The choice, how far its logit is below the highest, the log of all powers, and the likeliest choice."""

_NO_NOISE = b"\x00\x00\x00\x00\x00\x00\x00\x80"
"""Stands where none is needed."""


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
        heads: Sequence[str],
        pick: int,
        logits: NDArray[np.float32],
        masks: Sequence[tuple[bool, ...]],
        keys: Sequence[tuple[str, ...]],
        words: Sequence[Sequence[str]] | None = None,
    ) -> tuple[list[int], Chances]:
        """Draw some factors, each one of up to K choices; and all probabilities, (factors, K).

        rows: which state each is of; heads: what is chosen; logits: (factors, K), those behind a mask's end are not
        read; masks: which choices are allowed, all where none is, and none behind the K-th; keys: of the noise, one per
        choice; words: what the choices are called, where the keys do not say it.
        """
        most = logits.shape[-1]
        can = [_filled(mask, most) for mask in masks]
        ends = [_ends(key, head, pick)[:most] for key, head in zip(keys, heads, strict=True)]
        noises = [self._noise[row] for row in rows]
        draw = _one_by_one if len(rows) <= FEW else _together
        drawn, chances = draw(logits, can, noises, ends, keys)
        for at, (row, head, mask, (choice, below, log_total, likeliest)) in enumerate(
            zip(rows, heads, masks, drawn, strict=True)
        ):
            self.factors[row].append(Factor(head, choice, below - log_total, mask))
            if below < -TIE:
                said = f"{pick} {head} {(words or keys)[at][likeliest]}".rstrip()
                self.likelier[row][f"likelier({said})"] = float(chances[at][likeliest])
        return [choice for choice, *_ in drawn], chances


def _one_by_one(
    logits: NDArray[np.float32],
    masks: Sequence[tuple[bool, ...]],
    noises: Sequence[Noise | None],
    ends: Sequence[tuple[bytes, ...]],
    keys: Sequence[tuple[str, ...]],
) -> tuple[list[Drawn], Chances]:
    """Factors in plain Python, which for the dozen numbers of a few states is faster than arrays."""
    drawn: list[Drawn] = []
    chances: list[list[float]] = []
    for numbers, mask, noise, its_ends, key in zip(logits.tolist(), masks, noises, ends, keys, strict=True):
        places = range(len(mask)) if all(mask) else list(compress(range(len(mask)), mask))
        open_logits: list[float] = [numbers[at] for at in places]
        top = max(open_logits)
        if noise is None:
            near = [at for at, logit in zip(places, open_logits, strict=True) if logit > top - TIE]
            choice = min(near, key=key.__getitem__)
        else:
            score = list(map(add, open_logits, noise.gumbels(compress(its_ends, mask))))
            choice = places[score.index(max(score))]
        powers = [exp(logit - top) for logit in open_logits]
        total = sum(powers)
        shares = iter(powers)
        chances.append([next(shares) / total if may else 0.0 for may in mask])
        drawn.append((choice, numbers[choice] - top, log(total), places[open_logits.index(top)]))
    return drawn, chances


def _together(
    logits: NDArray[np.float32],
    masks: Sequence[tuple[bool, ...]],
    noises: Sequence[Noise | None],
    ends: Sequence[tuple[bytes, ...]],
    keys: Sequence[tuple[str, ...]],
) -> tuple[list[Drawn], Chances]:
    """The same with arrays, which for many states takes half the time."""
    open_logits = np.where(masks, logits.astype(np.float64), -np.inf)
    every = np.arange(len(logits))
    likeliest = open_logits.argmax(-1)
    below = open_logits - open_logits[every, likeliest][:, None]
    choices: list[int] = (below + _gumbels(noises, ends, logits.shape[-1])).argmax(-1).tolist()
    for at, noise in enumerate(noises):
        if noise is None:
            choices[at] = min(np.flatnonzero(below[at] > -TIE).tolist(), key=keys[at].__getitem__)
    powers = np.exp(below)
    totals = powers.sum(-1)
    each = zip(choices, below[every, choices].tolist(), np.log(totals).tolist(), likeliest.tolist(), strict=True)
    return list(each), powers / totals[:, None]


def _gumbels(noises: Sequence[Noise | None], ends: Sequence[tuple[bytes, ...]], most: int) -> Floats:
    """Noise (factors, most) of those that are sampled; the same for all choices where nothing is."""
    digests: list[bytes] = []
    for noise, its_ends in zip(noises, ends, strict=True):
        its = [] if noise is None else noise.digests(its_ends)
        digests += its
        digests += [_NO_NOISE] * (most - len(its))
    numbers = np.frombuffer(b"".join(digests), "<u8").reshape(-1, most)
    return -np.log(-np.log((numbers + 0.5) / TWO_64))


def _filled(mask: tuple[bool, ...], most: int) -> tuple[bool, ...]:
    """A mask of so many choices, of which those that are not there are not allowed. Where none is allowed, all are."""
    if True not in mask:
        mask = (True,) * len(mask)
    return mask if len(mask) == most else (*mask, *(False,) * (most - len(mask)))[:most]


@lru_cache(maxsize=1 << 14)
def _ends(keys: tuple[str, ...], head: str, pick: int) -> tuple[bytes, ...]:
    """What noise is hashed from behind seed and step, for each of some keys."""
    return tuple(f"{key}\x1f{head}\x1f{pick}".encode() for key in keys)
