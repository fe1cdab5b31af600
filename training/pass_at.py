"""Pass@(k, T): how often at least one of k runs of at most T turns passes.

Each task is run n times, with decisions and replies drawn anew; c of these runs pass. Then 1 - C(n-c, k) / C(n, k) is
an estimate without bias of the chance that one of k passes (Chen et al., arXiv 2107.03374, eq. 1). T is the number of
rounds of interaction that a run may have (arXiv 2604.14877): many runs that each look a little, or few that look far.
Intervals are over tasks; coordinators are compared on the same tasks and seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from podium.training.measured import Measured, Place
from podium.training.statistics import Difference, Interval, mean_interval, paired_difference

__all__ = ["PassAt", "chances", "pass_at"]


@dataclass(frozen=True, slots=True)
class PassAt:
    """How often one of k runs passes. over: more than the coordinator named first, with the same k and T; None for it.

    row: of the evaluation; turns: T, None where runs were not cut off.
    """

    row: str
    coordinator: str
    turns: int | None
    k: int
    passes: Interval
    over: Difference | None

    @property
    def data(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


def chances(passes: npt.ArrayLike, k: int) -> npt.NDArray[np.float64]:
    """For each task the chance that one of k runs passes. passes: (n, tasks), 1 or 0. Returns (tasks,).

    Raises ValueError when k is not between 1 and n.
    """
    passes_NT = np.asarray(passes, np.float64)
    runs = passes_NT.shape[0]
    if not 1 <= k <= runs:
        raise ValueError(f"k must be between 1 and the number of runs, {runs}; got {k}")
    ways = comb(runs, k)
    wrong_T = runs - np.rint(passes_NT.sum(axis=0)).astype(np.int64)
    return np.array([1.0 - comb(int(wrong), k) / ways for wrong in wrong_T])


def pass_at(measured: Mapping[str, Measured], places: Mapping[str, Place], ks: Sequence[int]) -> list[PassAt]:
    """For each row and each k, in this order."""
    out: list[PassAt] = []
    first: dict[tuple[int | None, int], npt.NDArray[np.float64]] = {}
    for row, each in measured.items():
        place = places[row]
        for k in ks:
            found = chances(each.passes, k)
            known = first.setdefault((place.turns, k), found)
            over = None if known is found else paired_difference(found, known)
            out.append(PassAt(row, place.coordinator, place.turns, k, mean_interval(found), over))
    return out
