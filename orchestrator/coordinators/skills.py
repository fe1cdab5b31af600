"""Which skill a task asks for, told from its text alone.

The nearest of K centroids over hashed n-grams, in which a run of digits, and a word that does not keep coming back in
the training tasks, count only by their length: tasks that are worded alike share a skill whatever they are about. The
centroids are fitted on training tasks (`podium.training.baselines`); a key is only a row of a table, it carries no name
and no reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.learned.text import WIDTH, encode

__all__ = ["Skills"]

KEPT = 96
"""Largest features of a centroid that are kept: the rest is noise, and would make the saved table large."""


class Skills:
    """A fixed map from texts to keys 0 to K - 1.

    centroids: one row per skill, feature -> weight, features in 0 to WIDTH - 1. No row: every text has key 0.
    words: those that are told apart, all when left out.
    """

    def __init__(self, centroids: Sequence[Mapping[int, float]] = (), words: frozenset[str] | None = None) -> None:
        self.centroids = tuple(dict(row) for row in centroids)
        self.words = words
        self._dense = np.zeros((len(self.centroids), WIDTH), np.float32)
        for place, row in enumerate(self.centroids):
            self._dense[place, list(row)] = list(row.values())
        self._dense /= np.maximum(1e-6, np.linalg.norm(self._dense, axis=1, keepdims=True))

    @staticmethod
    def from_centres(centres: NDArray[np.floating], words: frozenset[str] | None = None) -> Skills:
        """From dense centres (K, WIDTH), as a clustering gives them."""
        rows: list[dict[int, float]] = []
        for centre in centres:
            top = np.argsort(-np.abs(centre), kind="stable")[:KEPT]
            rows.append({int(feature): round(float(centre[feature]), 5) for feature in sorted(top) if centre[feature]})
        return Skills(rows, words)

    def __len__(self) -> int:
        return max(1, len(self.centroids))

    def of(self, text: str) -> int:
        """A text's key."""
        if len(self.centroids) < 2:
            return 0
        return int(np.argmax(self._dense @ encode(text, self.words)[0]))
