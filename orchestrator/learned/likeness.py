"""How much a task is like what each agent says that it is for: a figure that means the same for agents never met.

An agent's card has a description and, if its maker gave some, examples: tasks that it is for, in the words in which
they come. A task is compared with each of these texts, and the nearest one counts. Words that stand in many of the
team's texts count less, by the logarithm of the inverse of their share (tf-idf, Sparck Jones 1972). An embedding of the
same card has to be learned agent by agent; this is worth something for a newcomer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from podium.orchestrator.learned.text import Array, encode_all
from podium.orchestrator.learned.words import PLACES
from podium.protocols.bus import Card

__all__ = ["likeness"]


def likeness(task: str, cards: Sequence[Card]) -> tuple[float, ...]:
    """Of each agent, the cosine of the task and the nearest of its texts, in 0..1; 0 where its card says nothing.

    Words that stand in no agent's texts are left out: what a task is about would drown what is asked.
    """
    return _likeness(task, tuple((card.description, *card.examples) for card in cards))


@lru_cache(maxsize=1 << 12)
def _likeness(task: str, offers: tuple[tuple[str, ...], ...]) -> tuple[float, ...]:
    texts, weights, owner = _offered(offers)
    if not len(texts):
        return (0.0,) * len(offers)
    asked = encode_all([task])[0][0, :PLACES] * weights
    near = texts @ asked / max(float(np.linalg.norm(asked)), 1e-9)
    return tuple(float(near[owner == agent].max(initial=0.0)) for agent in range(len(offers)))


@lru_cache(maxsize=64)
def _offered(offers: tuple[tuple[str, ...], ...]) -> tuple[Array, Array, Array]:
    """Texts of all agents, of unit length (T, PLACES); what each word weighs (PLACES,); whose text it is (T,)."""
    told = [(agent, text) for agent, texts in enumerate(offers) for text in texts if text]
    if not told:
        return np.zeros((0, PLACES), np.float32), np.zeros(PLACES, np.float32), np.zeros(0, np.float32)
    counts = encode_all([text for _, text in told])[0][:, :PLACES]
    often = (counts > 0).sum(0)
    weights = np.where(often, np.log((1 + len(told)) / np.maximum(often, 1)), 0.0).astype(np.float32)
    texts = counts * weights
    texts /= np.maximum(np.linalg.norm(texts, axis=-1, keepdims=True), 1e-9)
    return texts, weights, np.array([agent for agent, _ in told], np.float32)
