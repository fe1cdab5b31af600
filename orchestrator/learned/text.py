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
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import log1p, sqrt
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

WIDTH = 2048
"""Length of a text's vector: half for words, half for trigrams."""

SHAPE = 8
"""Length of the vector of plain figures beside it."""

LONGEST = 4000
"""Characters of a text that are read: its head and its tail, half each."""

ENDS = ".!?\n"
"""Of sentences and lines."""

_HALF = WIDTH // 2
_NOTHING = np.zeros(WIDTH, np.float32)
_NOTHING.flags.writeable = False
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_LATIN = re.compile(r"[a-z]+|[0-9]+|[^a-z0-9_\s]")
"""The same for ASCII in small letters, faster."""
_THIRD, _SECOND, _SPREAD, _LEFT = np.uint32(65537), np.uint32(257), np.uint32(2654435761), np.uint32(22)
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


def encode(text: str, words: frozenset[str] | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A text's n-gram vector (WIDTH,) and figures (SHAPE,), both float32 and read-only.

    words: those that are told apart, all when left out. The figures: log length, log words, share of digits, of
    capitals, of punctuation, whether it is empty, log numbers, and log ends of sentences and lines.
    """
    return _encode(_cut(text), words)


@lru_cache(maxsize=REMEMBERED)
def _encode(text: str, words: frozenset[str] | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    lower = text.lower()
    found = _found(lower)
    vector = np.zeros(WIDTH, np.float32)
    if found:
        known = found if words is None else [word if word in words else _length(word) for word in found]
        _unit(np.bincount(list(map(_hash, known)), minlength=_HALF), vector[:_HALF])
    data = np.frombuffer(lower.encode("utf-8", "replace"), np.uint8).astype(np.uint32)
    if len(data) >= 3:
        # Modulo 2 ** 32, which is what these integers hold; ten bits are left, as many as half a vector has places.
        trigrams = ((data[:-2] * _THIRD + data[1:-1] * _SECOND + data[2:]) * _SPREAD) >> _LEFT
        _unit(np.bincount(trigrams, minlength=_HALF), vector[_HALF:])
        vector[_HALF:] *= 0.25
    vector.flags.writeable = False
    return vector, _figures(text, found)


def outline(text: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As `encode`, of a text whose words are not read: zeros, and its figures."""
    return _NOTHING, _outline(_cut(text))


@lru_cache(maxsize=REMEMBERED)
def _outline(text: str) -> NDArray[np.float32]:
    return _figures(text, _found(text.lower() if text.isascii() else text))


def _cut(text: str) -> str:
    """What is read of a text, and all that is remembered of it."""
    return text if len(text) <= LONGEST else text[: LONGEST // 2] + text[-LONGEST // 2 :]


def _figures(text: str, found: Sequence[str]) -> NDArray[np.float32]:
    """Plain figures of a text, (SHAPE,), as `encode` says. found: its words and marks."""
    size = max(1, len(text))
    _, digits, capitals, marks = _kinds(text).tolist()
    numbers = map(str.isdigit, found) if text.isascii() else (word[0].isdigit() for word in found)
    figures = np.array(
        [
            log1p(len(text)) / 6,
            log1p(len(found)) / 5,
            digits / size,
            capitals / size,
            marks / size,
            float(not text.strip()),
            log1p(sum(numbers)) / 3,
            log1p(sum(map(text.count, ENDS))) / 3,
        ],
        np.float32,
    )
    figures.flags.writeable = False
    return figures


def _found(text: str) -> list[str]:
    """Words, runs of digits and marks; of ASCII in small letters."""
    return (_LATIN if text.isascii() else _WORD).findall(text)


def _unit(counts: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """Damped counts at unit length."""
    out[:] = np.sqrt(counts)
    out /= max(1e-6, sqrt(out @ out))


def _length(word: str) -> str:
    """What is left of a word that is not told apart: its length, up to six."""
    return "?" * min(len(word), 6) if word[0].isalpha() else word


@lru_cache(maxsize=1 << 16)
def _hash(word: str) -> int:
    """A word's place; a run of digits has one by its length, up to six."""
    return crc32(("#" * min(len(word), 6) if word[0].isdigit() else word).encode("utf-8", "replace")) % _HALF


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
