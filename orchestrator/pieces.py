"""The pieces of a task: what it asks for, cut so that each can be named, asked for and checked by itself.

A task's list items are its pieces, else its lines, else its sentences. Whether a reply supplies one is not for readers
of words to know: only a task can say it, by the parts of its verdict on the reply, each named as the piece is written;
only training and reports ask it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from podium.protocols.record import Decision, Finish

__all__ = ["LONGEST", "SENTENCE", "WORD", "asked_for", "pieces", "supplied"]

LONGEST = 240
"""Characters of a piece that are kept: it is put into the words of a directive."""
SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
"""Between two sentences or lines."""
WORD = re.compile(r"[^\W\d_]+|\d+")
"""A word or a numeral."""
_ITEM = re.compile(r"^\s*(?:[-*•–]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s+(\S.*)$", re.M)


def pieces(text: str, most: int) -> tuple[str, ...]:
    """The pieces of a task's text, at most so many, in its order and each once; none where it is one piece only."""
    items = _different(_ITEM.findall(text))
    if len(items) < 2:
        items = _different(text.split("\n"))
    if len(items) < 2:
        items = _different(SENTENCE.split(text))
    return items[:most] if len(items) > 1 and most > 1 else ()


def _different(parts: Sequence[str]) -> tuple[str, ...]:
    """Parts with a word in them, without the space around them, each once."""
    stripped = (" ".join(part.split())[:LONGEST].rstrip() for part in parts)
    return tuple(dict.fromkeys(part for part in stripped if WORD.search(part)))


def supplied(piece: str, parts: Mapping[str, float]) -> float | None:
    """How far a reply supplies a piece, 0 to 1, by the parts of its verdict; None where the task does not say."""
    return parts.get(piece)


def asked_for(decision: Decision, task: str) -> tuple[str, ...]:
    """The piece that each directive of a decision is about, empty for all of the task. task: its text.

    Empty throughout for coordinators that name no pieces, and nothing for a decision to finish.
    """
    if isinstance(decision.action, Finish):
        return ()
    out, pick = [""] * len(decision.action), -1
    for factor in decision.factors:
        pick += factor.head == "pick"
        if factor.head == "about":
            found = pieces(task, len(factor.mask) - 1)
            out[pick] = found[factor.choice] if factor.choice < len(found) else ""
    return tuple(out)
