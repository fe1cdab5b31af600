"""What a policy may know of a run, as numbers: the one place where a record becomes arrays.

Serving and training read the same facts. Serving folds each new reply in as it comes and feeds the arrays to the
network; training replays a finished record and gets the same arrays, so nothing about a state has to be stored with
a trajectory. Neither references, scores, tags nor ids are in here, and agents enter as a set: an agent's name is
never a feature by itself, only the key of an identity that a policy may have learned.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log1p, log2, log10
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.learned.text import encode, outline
from podium.protocols.bus import Card
from podium.protocols.record import Node
from podium.protocols.task import Message

Array = NDArray[np.float32]

Reads = bool | Literal["figures"]
"""What is read of the texts of tasks and replies: words and figures, figures alone, or (False) nothing."""

CARD = 5
"""Figures of a card: log input and output price, price rank, log token cap, has tools."""
EVENT = 9
"""Figures of a reply: see `Facts.after`."""
VIEW = 6
"""Figures that one agent has on a reply: author, same answer, other answer, none; spoke before; same author before."""
STATE = 12
"""Figures of a state: see `state_figures`."""
AGENT = 9
"""Figures of one agent in a state: see `agent_figures`."""
GENEROUS = 40.0
"""Where nobody says what a passed answer is worth: so many typical replies."""
TYPICAL_REPLY = 50
"""Tokens of a reply, where only its price is known: the cost that a policy is shown is an order of magnitude."""
NODE = 9
"""Figures of one candidate answer: see `node_figures`."""
MOST = 12
"""How many replies the finish head looks at: the newest ones."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply as facts. share: of the directive's samples that agree with it; drawn: how many there were."""

    node: int
    author: int
    answer: str | None
    content: str
    share: float
    drawn: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Event:
    """One reply, ready for the network: text vector and figures, figures for all and per agent (agents, VIEW)."""

    text: tuple[Array, Array]
    figures: Array
    author: int
    views: Array


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a policy knows of a run besides its own beliefs. Immutable.

    reads: what of the texts of task and replies; words: those that it tells apart, None: all.
    """

    task: tuple[Array, Array]
    cards: tuple[Card, ...]
    index: dict[str, int]
    said: tuple[Said, ...] = ()
    open: tuple[Node, ...] = ()
    dollars: float = 0.0
    chars: int = 0
    reads: Reads = True
    words: frozenset[str] | None = None

    @staticmethod
    def of(
        task: tuple[Message, ...],
        cards: tuple[Card, ...],
        *,
        reads: Reads = True,
        words: frozenset[str] | None = None,
    ) -> Facts:
        """The facts of a run that has not started."""
        return Facts(
            _read("\n".join(message.content for message in task), reads, words),
            cards,
            {card.name: place for place, card in enumerate(cards)},
            chars=sum(len(message.content) for message in task),
            reads=reads,
            words=words,
        )

    def after(self, node: Node) -> tuple[Facts, Event | None]:
        """The facts after one more node, and what it tells the network (None: nothing yet)."""
        if node.kind == "candidate":
            return replace(self, open=(*self.open, node), dollars=self.dollars + node.usage.dollars), None
        if node.kind != "reply" or node.author not in self.index:
            return self, None
        drawn = max(1, len(self.open))
        agree = sum(each.answer == node.answer for each in self.open) if self.open else 1
        tokens = node.usage.output_tokens + sum(each.usage.output_tokens for each in self.open)
        author = self.index[node.author]
        said = Said(node.id, author, node.answer, node.content, agree / drawn, drawn, tokens)
        event = self._event(said)
        dollars, heard = self.dollars + node.usage.dollars, (*self.said, said)
        # Not `replace`, which takes as long as all of the rest.
        return Facts(self.task, self.cards, self.index, heard, (), dollars, self.chars, self.reads, self.words), event

    def _event(self, new: Said) -> Event:
        before = self.said
        same = sum(each.answer == new.answer for each in before) if new.answer is not None else 0
        others = {each.author for each in before if each.answer == new.answer and each.author != new.author}
        known = len({each.answer for each in before if each.answer is not None})
        figures = np.array(
            [
                log1p(new.tokens) / 6,
                new.share,
                log2(new.drawn) / 3,
                float(new.answer is None),
                same / max(1, len(before)),
                float(bool(before) and same == 0),
                len(others) / 4,
                known / 4,
                float(not before),
            ],
            np.float32,
        )
        last: dict[int, str | None] = {each.author: each.answer for each in before}
        answer, again = new.answer, new.author in last
        views: list[list[bool]] = []
        for agent in range(len(self.cards)):
            spoke = agent in last
            other = last[agent] if spoke else None
            known = other is not None and answer is not None
            same_here = known and other == answer
            views.append([agent == new.author, same_here, known and not same_here, not known, spoke, again])
        text = _read(new.content, self.reads, self.words)
        return Event(text, figures, new.author, np.array(views, np.float32))


def _read(text: str, reads: Reads, words: frozenset[str] | None) -> tuple[Array, Array]:
    """What is read of a text."""
    return outline(text) if reads == "figures" else encode(text if reads else "", words)


def card_figures(cards: Sequence[Card]) -> Array:
    """(agents, CARD): what is known of the agents besides their descriptions."""
    prices = sorted(card.price[1] for card in cards)
    return np.array(
        [
            [
                log1p(card.price[0] * 100) / 8,
                log1p(card.price[1] * 100) / 8,
                bisect_left(prices, card.price[1]) / max(1, len(cards) - 1),  # how many are cheaper
                log1p(card.max_tokens) / 8,
                float(bool(card.tools)),
            ]
            for card in cards
        ],
        np.float32,
    )


def card_text(card: Card) -> tuple[Array, Array]:
    """What a card says in words: its role and description."""
    return encode(f"{card.role}: {card.description}")


def state_figures(facts: Facts, step: int, left: Sequence[float], preference: float | None, scale: float) -> Array:
    """(STATE,): budget left, step, knob, and how far the replies agree.

    left: fractions of (tokens, calls, seconds, dollars); seconds are left out, since a clock would make decisions
    unrepeatable. preference: dollars one passed answer is worth; scale: dollars of a typical reply of this policy's
    training, so that the knob has no unit inside the network.
    """
    said = facts.said
    votes: dict[str, int] = {}
    for each in said:
        if each.answer is not None:
            votes[each.answer] = votes.get(each.answer, 0) + 1
    most = max(votes.values(), default=0)
    knob = 0.0 if preference is None else log10(max(preference, 1e-12) / scale) / 3
    return np.array(
        [
            left[0],
            left[1],
            left[3],
            step / 6,
            float(step == 0),
            float(preference is not None),
            knob,
            min(facts.dollars / scale, 20.0) / 10,
            most / max(1, len(said)),
            most / 4,
            len(votes) / 4,
            said[-1].share if said else 0.0,
        ],
        np.float32,
    )


def agent_figures(facts: Facts, affordable: Sequence[bool], preference: float | None, scale: float) -> Array:
    """(agents, AGENT): what can be said of each agent now.

    Affordable, times asked, spoke last, has an answer, it is the plurality's, share, another answer; and what asking
    it costs in passed answers (the knob's unit), on a log scale and as it is. Only the order of magnitude is known
    beforehand: the price of the task's text and of a typical reply.
    """
    # Lists, made an array at the end: numbers are put into an array one by one at five times the cost.
    out = [[float(may), *(0.0,) * (AGENT - 1)] for may in affordable]
    unit = 1e-6 / (GENEROUS * scale if preference is None else preference)
    for row, card in zip(out, facts.cards, strict=True):
        cost = (facts.chars / card.chars_per_token * card.price[0] + TYPICAL_REPLY * card.price[1]) * unit
        cost = max(cost, 1e-4)
        row[7:] = log10(cost) / 3, min(cost, 3.0)
    votes: dict[str, int] = {}
    for each in facts.said:
        if each.answer is not None:
            votes[each.answer] = votes.get(each.answer, 0) + 1
    most = max(votes.values(), default=0)
    for each in facts.said:
        row = out[each.author]
        row[1] += 0.5
        row[3] = each.answer is not None
        row[4] = each.answer is not None and votes[each.answer] == most
        row[5] = each.share
        row[6] = each.answer is not None and votes[each.answer] < most
    if facts.said:
        out[facts.said[-1].author][2] = 1.0
    return np.array(out, np.float32)


def node_figures(facts: Facts) -> tuple[Array, NDArray[np.int64], Array]:
    """Figures (MOST, NODE), authors (MOST,) and backers (MOST, agents) of the newest replies.

    Newest, share of replies and number of agents with this answer, has an answer, samples' share and number, age,
    length, and whether an earlier reply had it already. backers: 1 for each agent whose newest answer is this one; the
    author is always one. Unused rows are 0, their author is -1.
    """
    everything, agents = facts.said, len(facts.cards)
    said = everything[-MOST:]
    figures = np.zeros((MOST, NODE), np.float32)
    authors = np.full(MOST, -1, np.int64)
    backers = np.zeros((MOST, agents), np.float32)
    if not said:
        return figures, authors, backers
    last = {each.author: each.answer for each in everything}
    alike: dict[str | None, list[Said]] = {None: []}
    for each in everything:
        if each.answer is not None:
            alike.setdefault(each.answer, []).append(each)
    rows: list[tuple[float, ...]] = []
    backing: list[list[bool]] = []
    for place, each in enumerate(said):
        same = alike[each.answer]
        rows.append(
            (
                float(place == len(said) - 1),
                len(same) / len(everything),
                len({other.author for other in same}) / 4,
                float(each.answer is not None),
                each.share,
                log2(each.drawn) / 3,
                (len(said) - 1 - place) / 4,
                log1p(len(each.content)) / 6,
                float(bool(same) and same[0].node < each.node),
            )
        )
        backed = each.answer is not None
        backing.append([agent == each.author or (backed and last.get(agent) == each.answer) for agent in range(agents)])
    figures[: len(said)] = rows
    authors[: len(said)] = [each.author for each in said]
    backers[: len(said)] = backing
    return figures, authors, backers
