"""What a policy may know of a run, as numbers: the one place where a record becomes arrays.

Serving and training read the same facts. Serving folds each new reply in as it comes and feeds the arrays to the
network; training replays a finished record and gets the same arrays, so nothing about a state has to be stored with
a trajectory. Neither references, scores, tags nor ids are in here, and agents enter as a set: an agent's name is
never a feature by itself, only the key of an identity that a policy may have learned.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import field, replace
from functools import lru_cache
from math import log1p, log2, log10
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.learned.likeness import likeness
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
AGENT = 11
"""Figures of one agent in a state: see `agent_figures`."""
PRICE = 8
"""Which of them is what asking the agent costs, in passed answers."""
GENEROUS = 40.0
"""Where nobody says what a passed answer is worth: so many typical replies."""
TYPICAL_REPLY = 50
"""Tokens of a reply, where only its price is known: the cost that a policy is shown is an order of magnitude."""
NODE = 9
"""Figures of one candidate answer: see `node_figures`."""
NEVER: tuple[int, frozenset[int]] = 0, frozenset()
"""How many replies gave an answer that nobody gave, and who did."""
SILENT, SAME, OTHER, EITHER = range(4)
"""What an agent's newest answer is beside a reply's: there is no reply of its, the same, another, or one of both has no
answer."""
WROTE, AGAIN = 4, 8
"""Added to it: the agent wrote the reply; who wrote it had spoken before."""
VIEWS = np.array(
    [
        [
            bool(kind & WROTE),
            kind % 4 == SAME,
            kind % 4 == OTHER,
            kind % 4 in {SILENT, EITHER},
            kind % 4 > 0,
            kind >= AGAIN,
        ]
        for kind in range(16)
    ],
    np.float32,
)
"""The figures of all views."""
MOST = 12
"""How many replies the finish head looks at: the newest ones."""


@frozen
class Said:
    """A reply as facts. share: of the directive's samples that agree with it; drawn: how many there were.

    own: the figures of it as a candidate that later replies do not change.
    """

    node: int
    author: int
    answer: str | None
    content: str
    share: float
    drawn: int
    tokens: int
    own: tuple[float, ...] = ()


@frozen
class Planned:
    """The newest plan. before: how many replies there were when it was made; length: of its text, in characters."""

    author: int
    before: int
    length: int


@frozen
class Event:
    """One reply for the network: its text, of which `read_all` makes vectors, and figures for all and per agent.

    figures: EVENT of them; seen: of each agent, which of the `VIEWS` it has, a byte each.
    """

    text: str
    figures: tuple[float, ...]
    author: int
    seen: bytes

    @property
    def views(self) -> Array:
        """(agents, VIEW)."""
        return VIEWS[np.frombuffer(self.seen, np.uint8)]


@frozen
class Facts:
    """Everything a policy knows of a run besides its own beliefs. Immutable.

    task: its text; chars: of it; prices: of asking each agent, in millionths of a dollar. reads: what of the texts of
    task and replies; words: those that it tells apart, None: all. voices: of each agent that spoke, its newest reply
    and how many it made; answers: of each answer, how many replies gave it, and which agents; of none (None), 0 and
    which agents; most: the highest of these numbers. alike: of each agent, how much the task is like what it is for.
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
    voices: dict[int, tuple[Said, int]] = field(default_factory=dict[int, tuple[Said, int]])
    answers: dict[str | None, tuple[int, frozenset[int]]] = field(
        default_factory=dict[str | None, tuple[int, frozenset[int]]]
    )
    most: int = 0
    alike: tuple[float, ...] = ()

    @staticmethod
    def of(
        task: tuple[Message, ...],
        cards: tuple[Card, ...],
        *,
        reads: Reads = True,
        words: frozenset[str] | None = None,
    ) -> Facts:
        """The facts of a run that has not started."""
        chars, text = sum(len(message.content) for message in task), "\n".join(message.content for message in task)
        return Facts(
            text,
            cards,
            {card.name: place for place, card in enumerate(cards)},
            chars=chars,
            reads=reads,
            words=words,
            prices=tuple(
                chars / card.chars_per_token * card.price[0] + TYPICAL_REPLY * card.price[1] for card in cards
            ),
            alike=likeness(text, cards) if reads is True else (0.0,) * len(cards),
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
        votes, givers = self.answers.get(node.answer, NEVER)
        length = log1p(len(node.content)) / 6 if self.reads else 0.0
        own = float(node.answer is not None), agree / drawn, log2(drawn) / 3, length, float(votes > 0)
        said = Said(node.id, author, node.answer, node.content, agree / drawn, drawn, tokens, own)
        voices = {**self.voices, author: (said, self.voices[author][1] + 1 if author in self.voices else 1)}
        counted = votes if node.answer is None else votes + 1
        answers = {**self.answers, node.answer: (counted, givers | {author})}
        event = self._event(said, votes, givers)
        dollars, heard = self.dollars + node.usage.dollars, (*self.said, said)
        # Not `replace`, which takes as long as all of the rest.
        same = self.task, self.cards, self.index
        rest = self.chars, self.reads, self.words, self.plan, self.prices
        return Facts(*same, heard, (), dollars, *rest, voices, answers, max(self.most, counted), self.alike), event

    def _event(self, new: Said, same: int, givers: frozenset[int]) -> Event:
        """What a reply tells the network. same: how many had its answer before it; givers: who."""
        before, known = len(self.said), len(self.answers) - (None in self.answers)
        figures = (
            log1p(new.tokens) / 6 if self.reads else 0.0,
            new.share,
            log2(new.drawn) / 3,
            float(new.answer is None),
            same / max(1, before),
            float(before > 0 and same == 0),
            len(givers - {new.author}) / 4,
            known / 4,
            float(not before),
        )
        again = AGAIN if new.author in self.voices else 0
        seen = [SILENT + again] * len(self.cards)
        for agent, (newest, _) in self.voices.items():
            if newest.answer is None or new.answer is None:
                seen[agent] = EITHER + again
            else:
                seen[agent] = (SAME if newest.answer == new.answer else OTHER) + again
        seen[new.author] += WROTE
        return Event(new.content, figures, new.author, bytes(seen))


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
    """What is read of a card's words by themselves: its role. What it says it is for is compared with the task."""
    return encode(card.role)


def state_figures(facts: Facts, step: int, left: Sequence[float], preference: float | None, scale: float) -> Array:
    """(STATE,): budget left, step, knob, how far the replies agree, and of the newest plan: it is there, replies since
    it was made (its own included) and one divided by them, and its length.

    left: fractions of (tokens, calls, seconds, dollars); seconds are left out, since a clock would make decisions
    unrepeatable. preference: dollars one passed answer is worth; scale: dollars of a typical reply of this policy's
    training, so that the knob has no unit inside the network; it is 0 at GENEROUS of them, and 1 at ten times as much.
    """
    return np.array(state_row(facts, step, left, preference, scale), np.float32)


def state_row(
    facts: Facts, step: int, left: Sequence[float], preference: float | None, scale: float
) -> tuple[float, ...]:
    """`state_figures` as numbers, of which many states make one array."""
    said = facts.said
    return (
        left[0],
        left[1],
        left[3],
        step / 6,
        float(step == 0),
        float(preference is not None),
        0.0 if preference is None else log10(max(preference, 1e-12) / (GENEROUS * scale)),
        min(facts.dollars / scale, 20.0) / 10,
        facts.most / max(1, len(said)),
        facts.most / 4,
        (len(facts.answers) - (None in facts.answers)) / 4,
        said[-1].share if said else 0.0,
        *_planned(facts.plan, len(said)),
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
    costs in passed answers (the knob's unit), on a log scale and as it is; whether the newest plan is its; and how much
    the task is like what it is for. Only the order of magnitude of a cost is known beforehand: the price of the task's
    text and of a typical reply.
    """
    return agents_figures([facts], [affordable], [preference], scale)[0]


def agents_figures(
    facts: Sequence[Facts], affordable: Sequence[Sequence[bool]], preferences: Sequence[float | None], scale: float
) -> Array:
    """`agent_figures` of B teams of one size: (B, agents, AGENT)."""
    units = [1e-6 / (GENEROUS * scale if each is None else each) for each in preferences]
    each = zip(facts, affordable, units, strict=True)
    out = np.concatenate([_silent(known.prices, known.alike, unit, tuple(may)) for known, may, unit in each])
    agents = len(out) // len(facts)
    places, rows = list[int](), list[tuple[float, ...]]()
    for first, known in zip(range(0, len(out), agents), facts, strict=True):
        for agent, (newest, times) in known.voices.items():
            votes, _ = known.answers[newest.answer]
            ahead, behind = float(votes == known.most and votes > 0), float(0 < votes < known.most)
            places.append(first + agent)
            rows.append((times / 2, float(newest is known.said[-1]), newest.own[0], ahead, newest.share, behind))
        if known.plan is not None:
            out[first + known.plan.author, 9] = 1.0
    if rows:
        out[places, 1:7] = rows
    return out.reshape(len(facts), agents, AGENT)


@lru_cache(maxsize=1 << 12)
def _silent(prices: tuple[float, ...], alike: tuple[float, ...], unit: float, affordable: tuple[bool, ...]) -> Array:
    """(agents, AGENT): figures of agents that have not spoken. Prices in a unit are on a log scale and as they are,
    both within bounds.
    """
    costs = [max(price * unit, 1e-4) for price in prices]
    rows = [
        (float(may), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, log10(cost) / 2 + 1, min(cost, 3.0), 0.0, like)
        for may, cost, like in zip(affordable, costs, alike, strict=True)
    ]
    return np.array(rows, np.float32)


def node_figures(facts: Facts, most: int = MOST) -> tuple[Array, NDArray[np.int64], Array]:
    """Figures (most, NODE), authors (most,) and backers (most, agents) of the newest replies, at most MOST.

    Newest, share of replies and number of agents with this answer, has an answer, samples' share and number, age,
    length, and whether an earlier reply had it already. backers: 1 for each agent whose newest answer is this one; the
    author is always one. Unused rows are 0, their author is -1.
    """
    figures, authors, backers = nodes_figures([facts], most)
    return figures[0], authors[0], backers[0]


def nodes_figures(facts: Sequence[Facts], most: int) -> tuple[Array, NDArray[np.int64], Array]:
    """`node_figures` of B teams of one size: (B, most, NODE), (B, most) and (B, most, agents)."""
    agents = len(facts[0].cards)
    rows, authors, backing = list[tuple[float, ...]](), list[int](), list[list[float]]()
    for known in facts:
        said, everything = known.said[-most:], len(known.said)
        backers: dict[str | None, list[float]] = {}
        for agent, (newest, _) in known.voices.items():
            if newest.answer is not None:
                backers.setdefault(newest.answer, [0.0] * agents)[agent] = 1.0
        for age, each in zip(range(len(said) - 1, -1, -1), said, strict=True):
            votes, givers = NEVER if each.answer is None else known.answers[each.answer]
            has, share, drawn, length, again = each.own
            rows.append(
                (float(not age), votes / everything, len(givers) / 4, has, share, drawn, age / 4, length, again)
            )
            authors.append(each.author)
            row = backers.get(each.answer) or [0.0] * agents
            if not row[each.author]:
                row = [*row]
                row[each.author] = 1.0
            backing.append(row)
        unused = most - len(said)
        rows += [_UNUSED] * unused
        authors += [-1] * unused
        backing += [[0.0] * agents] * unused
    size = len(facts), most
    figures, backed = np.array(rows, np.float32), np.array(backing, np.float32)
    return figures.reshape(*size, NODE), np.array(authors).reshape(size), backed.reshape(*size, agents)


_UNUSED = (0.0,) * NODE
