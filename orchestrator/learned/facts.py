"""What a policy may know of a run, as numbers: the one place where a record becomes arrays.

Serving and training read the same facts. Serving folds each new reply in as it comes and feeds the arrays to the
network; training replays a finished record and gets the same arrays, so nothing about a state has to be stored with
a trajectory. Neither references, scores, tags nor ids are in here, and agents enter as a set: an agent's name is
never a feature by itself, only the key of an identity that a policy may have learned.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import log1p, log2, log10
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.learned.text import encode, encode_all, outline_all
from podium.protocols.bus import Card
from podium.protocols.frozen import frozen
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
STATE = 16
"""Figures of a state: see `state_figures`."""
AGENT = 10
"""Figures of one agent in a state: see `agent_figures`."""
PRICE = 8
"""Which of them is what asking the agent costs, in passed answers."""
GENEROUS = 40.0
"""Where nobody says what a passed answer is worth: so many typical replies."""
TYPICAL_REPLY = 50
"""Tokens of a reply, where only its price is known: the cost that a policy is shown is an order of magnitude."""
NODE = 9
"""Figures of one candidate answer: see `node_figures`."""
MOST = 12
"""How many replies the finish head looks at: the newest ones."""


@frozen
class Said:
    """A reply as facts. share: of the directive's samples that agree with it; drawn: how many there were."""

    node: int
    author: int
    answer: str | None
    content: str
    share: float
    drawn: int
    tokens: int


@frozen
class Planned:
    """The newest plan. before: how many replies there were when it was made; length: of its text, in characters."""

    author: int
    before: int
    length: int


@frozen
class Event:
    """One reply for the network: its text, of which `read_all` makes vectors, and figures for all and per agent.

    figures: (EVENT,); views: (agents, VIEW).
    """

    text: str
    figures: Array
    author: int
    views: Array


@frozen
class Facts:
    """Everything a policy knows of a run besides its own beliefs. Immutable.

    task: its text; chars: of it; prices: of asking each agent, in millionths of a dollar. reads: what of the texts of
    task and replies; words: those that it tells apart, None: all.
    """

    task: str
    cards: tuple[Card, ...]
    index: dict[str, int]
    said: tuple[Said, ...] = ()
    open: tuple[Node, ...] = ()
    dollars: float = 0.0
    chars: int = 0
    reads: Reads = True
    words: frozenset[str] | None = None
    plan: Planned | None = None
    prices: tuple[float, ...] = ()

    @staticmethod
    def of(
        task: tuple[Message, ...],
        cards: tuple[Card, ...],
        *,
        reads: Reads = True,
        words: frozenset[str] | None = None,
    ) -> Facts:
        """The facts of a run that has not started."""
        chars = sum(len(message.content) for message in task)
        return Facts(
            "\n".join(message.content for message in task),
            cards,
            {card.name: place for place, card in enumerate(cards)},
            chars=chars,
            reads=reads,
            words=words,
            prices=tuple(
                chars / card.chars_per_token * card.price[0] + TYPICAL_REPLY * card.price[1] for card in cards
            ),
        )

    def after(self, node: Node) -> tuple[Facts, Event | None]:
        """The facts after one more node, and what it tells the network (None: nothing yet)."""
        if node.kind == "candidate":
            return replace(self, open=(*self.open, node), dollars=self.dollars + node.usage.dollars), None
        if node.kind == "plan" and node.author in self.index:
            return replace(self, plan=Planned(self.index[node.author], len(self.said), len(node.content))), None
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
        same = self.task, self.cards, self.index
        rest = self.chars, self.reads, self.words, self.plan, self.prices
        return Facts(*same, heard, (), dollars, *rest), event

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
        views = [(False, False, False, True, False, again)] * len(self.cards)  # of those who have not spoken
        for agent, other in last.items():
            known = other is not None and answer is not None
            same_here = known and other == answer
            views[agent] = (False, same_here, known and not same_here, not known, True, again)
        views[new.author] = (True, *views[new.author][1:])
        return Event(new.content, figures, new.author, np.array(views, np.float32))


def read_all(texts: Sequence[str], reads: Reads, words: frozenset[str] | None) -> tuple[Array, Array]:
    """What is read of T texts, all at once: vectors (T, text.WIDTH) and figures (T, text.SHAPE)."""
    return outline_all(texts) if reads == "figures" else encode_all(texts if reads else [""] * len(texts), words)


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
    """(STATE,): budget left, step, knob, how far the replies agree, and of the newest plan: it is there, replies since
    it was made (its own included) and one divided by them, and its length.

    left: fractions of (tokens, calls, seconds, dollars); seconds are left out, since a clock would make decisions
    unrepeatable. preference: dollars one passed answer is worth; scale: dollars of a typical reply of this policy's
    training, so that the knob has no unit inside the network; it is 0 at GENEROUS of them, and 1 at ten times as much.
    """
    said = facts.said
    votes: dict[str, int] = {}
    for each in said:
        if each.answer is not None:
            votes[each.answer] = votes.get(each.answer, 0) + 1
    most = max(votes.values(), default=0)
    knob = 0.0 if preference is None else log10(max(preference, 1e-12) / (GENEROUS * scale))
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
            *_planned(facts.plan, len(said)),
        ],
        np.float32,
    )


def _planned(plan: Planned | None, replies: int) -> tuple[float, float, float, float]:
    """Figures of the newest plan."""
    if plan is None:
        return 0.0, 0.0, 0.0, 0.0
    since = replies - plan.before
    return 1.0, min(since, 16) / 8, 1.0 / max(1, since), log1p(plan.length) / 6


def agent_figures(facts: Facts, affordable: Sequence[bool], preference: float | None, scale: float) -> Array:
    """(agents, AGENT): what can be said of each agent now.

    Affordable, times asked, spoke last, has an answer, it is the plurality's, share, another answer; what asking it
    costs in passed answers (the knob's unit), on a log scale and as it is; and whether the newest plan is its. Only the
    order of magnitude is known beforehand: the price of the task's text and of a typical reply.
    """
    # Lists, made an array at the end: numbers are put into an array one by one at five times the cost.
    costs = _costs(facts.prices, 1e-6 / (GENEROUS * scale if preference is None else preference))
    pairs = zip(affordable, costs, strict=True)
    out = [[may, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, order, cost, 0.0] for may, (order, cost) in pairs]
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
    if facts.plan is not None:
        out[facts.plan.author][9] = 1.0
    return np.array(out, np.float32)


@lru_cache(maxsize=1 << 12)
def _costs(prices: tuple[float, ...], unit: float) -> tuple[tuple[float, float], ...]:
    """Prices in a unit, on a log scale and as they are; both within bounds."""
    costs = [max(price * unit, 1e-4) for price in prices]
    return tuple((log10(cost) / 2 + 1, min(cost, 3.0)) for cost in costs)


def node_figures(facts: Facts, most: int = MOST) -> tuple[Array, NDArray[np.int64], Array]:
    """Figures (most, NODE), authors (most,) and backers (most, agents) of the newest replies, at most MOST.

    Newest, share of replies and number of agents with this answer, has an answer, samples' share and number, age,
    length, and whether an earlier reply had it already. backers: 1 for each agent whose newest answer is this one; the
    author is always one. Unused rows are 0, their author is -1.
    """
    everything, agents = facts.said, len(facts.cards)
    said = everything[-most:]
    last = {each.author: each.answer for each in everything}
    alike: dict[str | None, list[Said]] = {None: []}
    for each in everything:
        if each.answer is not None:
            alike.setdefault(each.answer, []).append(each)
    holders: dict[str | None, list[int]] = {}
    for agent, answer in last.items():
        if answer is not None:
            holders.setdefault(answer, []).append(agent)
    rows: list[tuple[float, ...]] = []
    backing: list[list[float]] = []
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
        backed = [0.0] * agents
        backed[each.author] = 1.0
        for agent in holders.get(each.answer, ()):
            backed[agent] = 1.0
        backing.append(backed)
    unused = most - len(said)
    rows += [(0.0,) * NODE] * unused
    backing += [[0.0] * agents] * unused
    authors = np.array([*(each.author for each in said), *(-1,) * unused])
    return np.array(rows, np.float32), authors, np.array(backing, np.float32)
