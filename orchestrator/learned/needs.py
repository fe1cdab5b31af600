"""What was said about each piece of a task, as numbers: gaps that can be named.

The pieces are cut by `orchestrator.pieces`. What a reply says about one is read off the line or sentence that has most
words in common with it; words that many pieces share count less. Whether it is right is not known here. Pieces enter
as a set, as agents do: their order is no feature.

Source: arXiv 2509.04876 (OSC), whose gap is a latent; a piece of the task is one that can be checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.learned.facts import MOST, Reads, Said
from podium.orchestrator.learned.text import SHAPE, WIDTH, encode, outline
from podium.orchestrator.pieces import SENTENCE, WORD, pieces
from podium.protocols.bus import Card

__all__ = ["COVER", "PAIR", "PIECE", "TOUCHES", "Needs", "Statement", "figures", "needs_of", "statements"]

Array = NDArray[np.float32]

PIECE = 10
"""Figures of one piece in a state: see `figures`."""
PAIR = 6
"""Figures of one agent and one piece in a state: see `figures`."""
COVER = 2
"""Figures of one candidate answer beside the pieces: see `figures`."""
TOUCHES = 0.5
"""Share of a piece's words, each by its weight, that a line has to have for being about the piece."""
REMEMBERED = 1 << 13
"""Tasks, and replies to a task, that are kept read."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a reply says about a piece. share: of the piece's words; new: the words it adds to the task's.

    number: whether one of them is a numeral.
    """

    share: float
    new: frozenset[str]
    number: bool


NOTHING = Statement(0.0, frozenset(), False)


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """The pieces of one task, ready for the network.

    texts: (most, WIDTH) and shapes: (most, SHAPE), zeros where there is no piece; there: (most,), 1 where there is.
    words: of each piece with their weights, which sum to 1; known: all words of the task.
    """

    pieces: tuple[str, ...]
    texts: Array
    shapes: Array
    there: Array
    words: tuple[Mapping[str, float], ...]
    known: frozenset[str]

    def mask(self) -> tuple[bool, ...]:
        """Which choices of the head `about` mean something: each piece that is there, and, last, all of the task."""
        return (*(bool(each) for each in self.there), True)


@lru_cache(maxsize=REMEMBERED)
def needs_of(text: str, most: int, reads: Reads = True, told_apart: frozenset[str] | None = None) -> Needs:
    """The pieces of a task's text. reads, told_apart: what of the words is read, as of the task itself."""
    found = pieces(text, most)
    texts, shapes, there = np.zeros((most, WIDTH), np.float32), np.zeros((most, SHAPE), np.float32), np.zeros(most)
    for place, piece in enumerate(found):
        read = outline(piece) if reads == "figures" else encode(piece if reads else "", told_apart)
        texts[place], shapes[place] = read
        there[place] = 1.0
    words = [frozenset(_words(piece)) for piece in found]
    often = Counter(word for each in words for word in each)
    weights: list[dict[str, float]] = []
    for each in words:
        rare = {word: 1.0 / often[word] ** 2 for word in each}
        total = sum(rare.values())
        weights.append({word: weight / total for word, weight in rare.items()})
    return Needs(found, texts, shapes, there.astype(np.float32), tuple(weights), frozenset(_words(text)))


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


@lru_cache(maxsize=REMEMBERED)
def statements(content: str, needs: Needs) -> tuple[Statement, ...]:
    """What a reply says about each piece: its line or sentence with most of the piece's words, the first of equals."""
    lines = [frozenset(_words(line)) for line in SENTENCE.split(content)]
    out: list[Statement] = []
    for weights in needs.words:
        best, share = frozenset[str](), 0.0
        for line in lines:
            common = sum(weight for word, weight in weights.items() if word in line)
            if common > share + 1e-9:
                best, share = line, common
        new = best - needs.known
        out.append(Statement(share, new, any(word[0].isdigit() for word in new)) if share else NOTHING)
    return tuple(out)


def figures(needs: Needs, said: Sequence[Said], cards: Sequence[Card]) -> tuple[Array, Array, Array]:
    """Figures of pieces (most, PIECE), of agents and pieces (agents, most, PAIR), of the newest replies (MOST, COVER).

    0 where there is no piece, agent or reply.

    Of a piece: it is there; its words said by any reply; replies and agents that were about it; how many different
    things they said and the share of the most frequent; of the newest: new words, a numeral, it is the newest reply;
    and the piece's length. Of an agent and a piece: how many of its words the agent said; of what it said last about
    it: new words, a numeral, others said the same, others said something else; and words the card has in common. Of a
    reply: the share of pieces that it is about, and the share of which it says what most agents said last.
    """
    most, agents = len(needs.there), range(len(cards))
    read = [(each.author, statements(each.content, needs)) for each in said]
    of_pieces = [[0.0] * PIECE for _ in range(most)]
    of_pairs = [[[0.0] * PAIR for _ in range(most)] for _ in agents]
    of_replies = [[0.0] * COVER for _ in range(MOST)]
    for place, piece in enumerate(needs.pieces):
        told = [(author, its[place]) for author, its in read]
        about = [(author, each) for author, each in told if each.share >= TOUCHES]
        last = dict(about)
        versions = Counter(each.new for each in last.values())
        most_said = max(versions.values(), default=0)
        row = of_pieces[place]
        row[0], row[9] = 1.0, log1p(len(piece)) / 6
        if told:
            row[1] = max(each.share for _, each in told)
        if about:
            new = about[-1][1]
            row[2:9] = (
                log1p(len(about)) / 2,
                len(last) / 4,
                len(versions) / 4,
                most_said / len(last),
                log1p(len(new.new)) / 3,
                float(new.number),
                float(told[-1][1].share >= TOUCHES),
            )
        for author, each in told:
            of_pairs[author][place][0] = max(of_pairs[author][place][0], each.share)
        for author, each in last.items():
            same = versions[each.new] - 1
            of_pairs[author][place][1:5] = (
                log1p(len(each.new)) / 3,
                float(each.number),
                same / 4,
                (len(last) - 1 - same) / 4,
            )
        for agent, card in zip(agents, cards, strict=True):
            of_pairs[agent][place][5] = _common(card.description, needs, place)
        for reply, (_, each) in zip(of_replies, told[-MOST:], strict=False):
            if each.share >= TOUCHES:
                reply[0] += 1 / len(needs.pieces)
                reply[1] += (versions[each.new] == most_said) / len(needs.pieces)
    return np.array(of_pieces, np.float32), np.array(of_pairs, np.float32), np.array(of_replies, np.float32)


@lru_cache(maxsize=REMEMBERED)
def _common(description: str, needs: Needs, place: int) -> float:
    """The share of a piece's words that stand in a card's description, its root: one word of many counts."""
    words = frozenset(_words(description))
    return sqrt(sum(weight for word, weight in needs.words[place].items() if word in words))
