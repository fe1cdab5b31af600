"""Texts as hashed n-gram counts: no download, about a tenth of a millisecond for 400 characters.

Two halves: words, of unit length, in which a run of digits counts only by its length (so "17 + 5" and "82 + 3" look
alike), and raw character trigrams of a quarter of that length (so names and numerals are not lost). A reader may be
given the words that it tells apart, those that keep coming back in its tasks: any other word counts only by its
length, so what a task is about does not drown what is asked. No pairs of words: they are what a policy learns a
wording by heart with. On wordings of the embedded tasks that it had not seen (two of six, eight draws), a classifier
of this form named the type of 64 %, of 59 % when it told all words apart, and of 56 % with pairs. Weights that turn
such a vector into an embedding are learned with the policy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

WIDTH = 2048
"""Length of a text's vector: half for words, half for trigrams."""

SHAPE = 6
"""Length of the vector of plain figures beside it."""

LONGEST = 4000
"""Characters of a text that are read: its head and its tail, half each."""

_HALF = WIDTH // 2
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_OFTEN = 0.01
"""Share of the texts, at least two of them, that a word has to stand in to be told apart."""
REMEMBERED = 1 << 14
"""Texts whose vectors are kept, about 8 kB each."""


def telling_words(texts: Iterable[str]) -> frozenset[str]:
    """The words that texts have in common: each stands in one of a hundred at least, and in two."""
    counts, size = Counter[str](), 0
    for text in texts:
        counts.update({word for word in _WORD.findall(text.lower()) if word[0].isalpha()})
        size += 1
    return frozenset(word for word, count in counts.items() if count >= max(2, _OFTEN * size))


@lru_cache(maxsize=REMEMBERED)
def encode(text: str, words: frozenset[str] | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A text's n-gram vector (WIDTH,) and figures (SHAPE,), both float32 and read-only.

    words: those that are told apart, all when left out. The figures: log length, log words, share of digits, of
    capitals, of punctuation, and whether it is empty.
    """
    if len(text) > LONGEST:
        text = text[: LONGEST // 2] + text[-LONGEST // 2 :]
    lower = text.lower()
    found = _WORD.findall(lower)
    vector = np.zeros(WIDTH, np.float32)
    if found:
        hashes = [_hash(word if words is None or word in words else _outline(word)) for word in found]
        vector[:_HALF] = _unit(np.bincount(np.array(hashes) % _HALF, minlength=_HALF))
    data = np.frombuffer(lower.encode("utf-8", "replace"), np.uint8).astype(np.uint64)
    if len(data) >= 3:
        trigrams = (data[:-2] * np.uint64(65537) + data[1:-1] * np.uint64(257) + data[2:]) * np.uint64(2654435761)
        trigrams = (trigrams % np.uint64(4294967296)) >> np.uint64(22)
        vector[_HALF:] = 0.25 * _unit(np.bincount(trigrams.astype(np.int64) % _HALF, minlength=_HALF))
    size = max(1, len(text))
    _, digits, capitals, marks = _kinds(text)
    shape = np.array(
        [
            np.log1p(len(text)) / 6,
            np.log1p(len(found)) / 5,
            digits / size,
            capitals / size,
            marks / size,
            float(not text.strip()),
        ],
        np.float32,
    )
    vector.flags.writeable = shape.flags.writeable = False
    return vector, shape


def _unit(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Damped counts at unit length."""
    damped = np.sqrt(counts).astype(np.float32)
    damped /= max(1e-6, float(np.sqrt(damped @ damped)))
    return damped


def _outline(word: str) -> str:
    """What is left of a word that is not told apart: its length, up to six."""
    return "?" * min(len(word), 6) if word[0].isalpha() else word


@lru_cache(maxsize=1 << 16)
def _hash(word: str) -> int:
    """A word's hash; a run of digits is hashed by its length, up to six."""
    return crc32(("#" * min(len(word), 6) if word[0].isdigit() else word).encode("utf-8", "replace"))


def _kind(letter: str) -> int:
    """1 for a digit, 2 for a capital, 3 for a mark (what is neither letter, digit nor space), else 0."""
    if letter.isdigit():
        return 1
    return 2 if letter.isupper() else 0 if letter.isalnum() or letter.isspace() else 3


_KINDS = np.array([_kind(chr(code)) for code in range(128)])


def _kinds(text: str) -> NDArray[np.int64]:
    """How many characters of each kind a text has, (4,)."""
    if text.isascii():
        return np.bincount(_KINDS[np.frombuffer(text.encode(), np.uint8)], minlength=4)
    return np.bincount([_kind(letter) for letter in text], minlength=4)
