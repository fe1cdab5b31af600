"""Words, runs of digits, marks and character trigrams of many texts at once, each with one of `PLACES` places.

A word's number is a polynomial of its letters modulo 2 ** 32 (Karp and Rabin 1987). One running sum over all texts
gives it for all their words together: what two points of the sum differ by is what stands between them. Finding words
by a regular expression and hashing each takes about five times as long. A table says what each character of an ASCII
text is; other texts are cut by a regular expression, and their words get the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.protocols.frozen import frozen

PLACES = 1024
"""How many places there are for words, and as many for trigrams."""

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint32]

WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
"""A word, a run of digits, or a mark."""

_SPACE, _NAME, _NUMBER, _MARK, _JOINT, _END, _LINE, _CAPITAL = range(8)
"""What a character is part of: space, a word, a number, or by itself: a mark, an underscore (which parts words, and is
none), the end of a sentence or of a line. A capital is part of a word."""
_PARTS = _LINE + 1
_ROOM = 8
"""For the parts of one text, when those of several are counted."""
_APART = "\xff"
"""Stands between two texts, so that nothing reaches from one into the next; no ASCII text has it."""
_LENGTHS = 6
"""Up to so many characters counts the length of a run of digits, and of a word that is not told apart."""
_LOT = 1 << 15
"""Characters that are worked on together: about what fits into a processor's own memory."""
_THIRD, _SECOND, _SPREAD, _LEFT, _FOLD = (np.uint32(each) for each in (65537, 257, 2654435761, 22, 15))
_WIDTH = np.uint32(2 * PLACES)
_TIMES = np.uint32(2 * PLACES // _ROOM)


def _part(letter: str) -> int:
    """What a character is part of."""
    if letter.isdigit():
        return _NUMBER
    if letter.isalnum():
        return _CAPITAL if letter.isupper() else _NAME
    if letter.isspace():
        return _LINE if letter == "\n" else _SPACE
    return _END if letter in ".!?" else _JOINT if letter == "_" else _MARK


_TABLE = bytes([_part(chr(code)) for code in range(128)] + [_SPACE] * 128)
_HAS_PLACE = np.isin(np.arange(_PARTS), (_NAME, _NUMBER, _MARK, _END))


def _powers(base: int) -> Hashes:
    """Powers of an odd number modulo 2 ** 32, as many as a lot has bytes at most."""
    factors = np.full(5 * _LOT, base, np.uint32)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint32)


_BASE = 16777619
_POWERS, _INVERSE = _powers(_BASE), _powers(pow(_BASE, -1, 1 << 32))


@frozen
class Tally:
    """What was counted in a text: characters; words, numbers and marks; digits, capitals; marks (underscores too);
    what is not space; numbers; ends of sentences and lines; and trigrams.
    """

    size: int
    words: int
    digits: int
    capitals: int
    marks: int
    filled: int
    numbers: int
    ends: int
    trigrams: int


@dataclass(slots=True)
class Found:
    """What was found in T texts.

    places: of all words, numbers and marks, then of all trigrams: 2 * PLACES * text + place, PLACES more for a trigram;
    what belongs to no text follows the last one. tallies: one for each text.
    """

    places: Hashes
    tallies: list[Tally]


def lots(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts, those together that are worked on together: a lot of characters, or one text."""
    first, size = 0, 0
    for at, text in enumerate(texts):
        size += len(text) + 1
        if size > _LOT and at > first:
            yield texts[first:at]
            first, size = at, len(text) + 1
    yield texts[first:]


def found_in_ascii(texts: Sequence[str], told: Hashes | None = None, *, read: bool = True) -> Found:
    """What is in a lot of ASCII texts.

    told: `hashes` of the words that are told apart, None: all of them. read: whether places are wanted.
    """
    raw = _APART.join((*texts, "", "", "")).encode("latin-1")  # as many behind the last one as a trigram is long
    small, count, lengths = raw.lower(), len(texts), [*map(len, texts)]
    part = np.frombuffer(small.translate(_TABLE), np.uint8)
    new = part > _NUMBER  # of words and numbers only where another part begins
    new[1:] |= part[1:] != part[:-1]
    new[0] = True
    edges = new.nonzero()[0]
    starts, stops = edges[:-1], edges[1:]  # the last part is what stands behind the last text
    first = np.arange(0, (count + 1) * _ROOM, _ROOM, dtype=np.uint32)
    what, of = part[starts], first.repeat([*[length + 1 for length in lengths], 2])[starts]
    parts = np.bincount(of + what, minlength=count * _ROOM).reshape(count, _ROOM).tolist()
    kinds, at = raw.translate(_TABLE), 0
    tallies: list[Tally] = []
    for length, counts in zip(lengths, parts, strict=True):
        digits, capitals = kinds.count(_NUMBER, at, at + length), kinds.count(_CAPITAL, at, at + length)
        tallies.append(_tally(length, counts, digits, capitals, max(0, length - 2)))
        at += length + 1
    if not read:
        return Found(np.zeros(0, np.uint32), tallies)
    letters = np.frombuffer(small, np.uint8).astype(np.uint32)
    words = _places(_numbers(letters, starts, stops), what, stops - starts, told)
    words = np.where(_HAS_PLACE[what], words + of * _TIMES, count * _WIDTH)
    # Of a text with n characters n - 2 trigrams; those that reach over its end belong to none.
    inside = [max(0, length - 2) for length in lengths]
    spans = [size for length, its in zip(lengths, inside, strict=True) for size in (its, length + 1 - its)]
    offsets = [place for at in range(count) for place in (at * 2 * PLACES + PLACES, count * 2 * PLACES)]
    trigrams = np.array(offsets, np.uint32).repeat(spans)
    trigrams += _trigrams(letters)
    return Found(np.concatenate((words, trigrams)), tallies)


def found_in(text: str, told: Hashes | None = None) -> Found:
    """What is in one text of any script; as `found_in_ascii`."""
    lower = text.lower()
    pieces = WORD.findall(lower)
    what = np.array([_part(each[0]) for each in pieces], np.int64)
    sizes = np.array([len(each) for each in pieces], np.int64)
    words = _places(_numbers(*_side_by_side(pieces)), what, sizes, told)
    trigrams = PLACES + _trigrams(np.frombuffer(lower.encode("utf-8", "replace"), np.uint8).astype(np.uint32))
    counts: list[int] = np.bincount(what, minlength=_CAPITAL + 1).tolist()
    counts[_NAME] += counts[_CAPITAL]  # of a letter that has no small one
    counts[_JOINT], counts[_LINE] = text.count("_"), text.count("\n")
    digits, capitals = sum(map(str.isdigit, text)), sum(map(str.isupper, text))
    tally = _tally(len(text), counts, digits, capitals, len(trigrams))
    return Found(np.concatenate((words, trigrams)), [tally])


def _tally(size: int, parts: Sequence[int], digits: int, capitals: int, trigrams: int) -> Tally:
    """A tally. parts: how many there are of each kind."""
    marks = parts[_MARK] + parts[_END]
    words = parts[_NAME] + parts[_NUMBER] + marks
    joints, ends = parts[_JOINT], parts[_END] + parts[_LINE]
    return Tally(size, words, digits, capitals, marks + joints, words + joints, parts[_NUMBER], ends, trigrams)


def hashes(words: Iterable[str]) -> Hashes:
    """The numbers of some words, in order."""
    read = sorted(word for word in words if len(word) <= _LOT)
    return np.unique(np.concatenate([_numbers(*_side_by_side(lot)) for lot in lots(read)]))


def _side_by_side(words: Sequence[str]) -> tuple[Hashes, Ints, Ints]:
    """The bytes of words one after the other, and where each starts and stops."""
    pieces = [word.encode("utf-8", "replace") for word in words]
    stops = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), stops))[:-1]
    return np.frombuffer(b"".join(pieces), np.uint8).astype(np.uint32), starts, stops


def _numbers(letters: Hashes, starts: Ints, stops: Ints) -> Hashes:
    """The numbers of the words that start and stop there: each the sum of its letters times powers of _BASE."""
    sums = np.zeros(len(letters) + 1, np.uint32)
    np.add.accumulate(letters * _POWERS[: len(letters)], out=sums[1:])
    return (sums[stops] - sums[starts]) * _INVERSE[starts]


_OF_LENGTH = {mark: _numbers(*_side_by_side([mark * size for size in range(_LENGTHS + 1)])) for mark in "?#"}
"""Numbers that stand for a word that is not told apart, and for a run of digits, by length."""


def _places(numbers: Hashes, what: NDArray[np.integer], lengths: Ints, told: Hashes | None) -> Hashes:
    """The places of words with these numbers. A run of digits has one by its length, a word not told apart as well."""
    lengths = np.minimum(lengths, _LENGTHS)
    if told is not None:
        other = (what == _NAME) | (what == _CAPITAL)
        if len(told):
            other &= told[np.minimum(np.searchsorted(told, numbers), len(told) - 1)] != numbers
        numbers = np.where(other, _OF_LENGTH["?"][lengths], numbers)
    numbers = np.where(what == _NUMBER, _OF_LENGTH["#"][lengths], numbers)
    return ((numbers ^ (numbers >> _FOLD)) * _SPREAD) >> _LEFT


def _trigrams(letters: Hashes) -> Hashes:
    """The places of all three bytes in a row; ten bits are left of their number, as many as there are places."""
    return ((letters[:-2] * _THIRD + letters[1:-1] * _SECOND + letters[2:]) * _SPREAD) >> _LEFT
