"""The learned coordinator: beliefs about each agent, gaps against them, and one sampled macro-action a step.

A decision is drawn factor by factor: an agent or finish; for an agent the piece of the task that it is about, what it
is shown, what it is asked for, in what detail and style, and how many samples; then a further agent or stop, without
replacement, up to the policy's width; for finish, which reply is the answer. Every factor's log-probability is logged
under its mask, so a decision can be replayed, explained, and learned from off-policy; where a factor went against the
odds, its reasons say what was likelier.

Sources: arXiv 2509.04876 (collaborator model and gap), 2509.03581 (compute as a decision), DESIGN.md section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.coordinator import RunState
from podium.orchestrator.learned import network
from podium.orchestrator.learned.facts import (
    MOST,
    VIEWS,
    Event,
    Facts,
    agents_figures,
    card_figures,
    card_text,
    nodes_figures,
    read_all,
    state_row,
)
from podium.orchestrator.learned.joined import joined
from podium.orchestrator.learned.needs import Needs, figures, needs_of
from podium.orchestrator.learned.sampling import Sampler
from podium.orchestrator.learned.saved import Policy
from podium.protocols.bus import Card
from podium.protocols.frozen import frozen, slotted
from podium.protocols.record import Decision, Node
from podium.protocols.task import Message

Array = NDArray[np.float32]

TEAMS = 256
"""Teams whose embedded cards are kept: agents may come and go for as long as a server runs."""


@frozen
class Beliefs:
    """What the network holds of one run. task: (E,); agents: (N, Z); transcript: (H,)."""

    task: Array
    agents: Array
    transcript: Array


@slotted
class Memory:
    """What is known of one run, and what is believed, worked out when a decision needs it: of many runs at once.

    cards: (N, C). before, event: while the beliefs are open, the memory they follow from, and the reply that came.
    """

    facts: Facts
    cards: Array
    before: Memory | None = None
    event: Event | None = None
    beliefs: Beliefs | None = None


class LearnedCoordinator:
    """Serves a trained policy with numpy."""

    batched = True

    def __init__(self, policy: Policy, name: str = "learned") -> None:
        self.name = name
        self.policy = policy
        self._weights = joined(np, policy.weights)
        self._words = policy.words
        self._sampler = Sampler(policy, name)
        self._cards: dict[tuple[Card, ...], Array] = {}

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Memory:
        """The memory of a run in which nobody has spoken."""
        w = self._weights
        facts = Facts.of(task, cards, reads=self.policy.card.options.reads, words=self._words)
        embedded = self._cards.get(cards)
        if embedded is None:
            while len(self._cards) >= TEAMS:
                self._cards.pop(next(iter(self._cards)), None)
            texts = [card_text(card) for card in cards]
            embedded = self._cards[cards] = network.cards(
                np,
                w,
                np.stack([vector for vector, _ in texts]),
                np.stack([shape for _, shape in texts]),
                card_figures(cards),
                w["identity"][self.policy.card.known(cards)],
            )
        return Memory(facts, embedded)

    def observe(self, memory: Memory, node: Node) -> Memory:
        """The memory after one more reply."""
        facts, event = memory.facts.after(node)
        if event is None:
            return Memory(facts, memory.cards, memory.before, memory.event, memory.beliefs)
        return Memory(facts, memory.cards, memory, event)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """One decision per state, in one pass of the network for all teams of the same size."""
        if len({len(state.cards) for state in states}) == 1:
            return self._decide(states)
        made: dict[int, Decision] = {}
        for size in {len(state.cards) for state in states}:
            places = [place for place, state in enumerate(states) if len(state.cards) == size]
            made.update(zip(places, self._decide([states[place] for place in places]), strict=True))
        return [made[place] for place in range(len(states))]

    def _decide(self, states: Sequence[RunState]) -> list[Decision]:
        card = self.policy.card
        memories: list[Memory] = [state.memory for state in states]
        left = [state.left.fractions for state in states]
        knobs = [card.preference if state.preference is None else state.preference for state in states]
        beliefs = self._believed(memories)
        # Only as many rows as there are replies anywhere in the batch: the network does not see the others.
        most = min(MOST, max(1, *(len(memory.facts.said) for memory in memories)))
        facts = [memory.facts for memory in memories]
        figures, authors, backers = nodes_figures(facts, most)
        needs = [self._needs(state) for state in states] if card.options.needs else []
        each = zip(facts, states, left, knobs, strict=True)
        rows = [state_row(known, state.step, rest, knob, card.scale) for known, state, rest, knob in each]
        affordable = [card.options.affordable(state.step, state.affordable) for state in states]
        out = network.decide(
            np,
            self._weights,
            _stacked([each.agents for each in beliefs]),
            _stacked([each.transcript for each in beliefs]),
            _stacked([each.task for each in beliefs]),
            _stacked([memory.cards for memory in memories]),
            np.array(rows, np.float32),
            agents_figures(facts, affordable, knobs, card.scale),
            figures,
            _one_hot(len(states[0].cards))[authors],
            backers,
            wanted=self._wanted(states, needs, most) if needs else None,
        )
        return self._sampler.decisions(states, out, needs, left)

    def _needs(self, state: RunState) -> Needs:
        """The pieces of a run's task."""
        options = self.policy.card.options
        return needs_of(state.task[-1].content, options.needs, options.reads, self._words)

    def _wanted(self, states: Sequence[RunState], needs: Sequence[Needs], most: int) -> network.Wanted:
        """What the tasks of a batch need, piece by piece. most: how many of the newest replies the network sees."""
        facts = [state.memory.facts for state in states]
        read = [figures(each, known.said, known.cards) for each, known in zip(needs, facts, strict=True)]
        texts, shapes, there = (
            _stacked(part) for part in zip(*((each.texts, each.shapes, each.there) for each in needs), strict=True)
        )
        embedded = network.embed(np, self._weights, texts, shapes) * there[..., None]
        of_pieces, of_pairs, of_replies = (_stacked(part) for part in zip(*read, strict=True))
        return network.Wanted(embedded, there, of_pieces, of_pairs, of_replies[:, :most])

    def _believed(self, memories: Sequence[Memory]) -> list[Beliefs]:
        """The beliefs of runs of teams of one size; what is open is worked out, oldest first, in batches."""
        chains: list[list[Memory]] = []
        for memory in memories:
            chain: list[Memory] = []
            at: Memory | None = memory
            while at is not None and at.beliefs is None:
                chain.append(at)
                at = at.before
            chains.append(chain)
        while any(chains):
            now = [chain.pop() for chain in chains if chain]
            self._start([memory for memory in now if memory.before is None])
            self._fold([memory for memory in now if memory.before is not None])
        return [memory.beliefs for memory in memories if memory.beliefs]

    def _embedded(self, texts: Sequence[str]) -> Array:
        """What the network makes of texts."""
        options, w = self.policy.card.options, self._weights
        return network.embed(np, w, *read_all(texts, options.reads, self._words))

    def _start(self, memories: Sequence[Memory]) -> None:
        """Beliefs before anybody has spoken."""
        if not memories:
            return
        w = self._weights
        tasks = self._embedded([memory.facts.task for memory in memories])
        agents, transcripts = network.start(np, w, tasks, _stacked([memory.cards for memory in memories]))
        for memory, *beliefs in zip(memories, tasks, agents, transcripts, strict=True):
            memory.beliefs = Beliefs(*beliefs)

    def _fold(self, memories: Sequence[Memory]) -> None:
        """Beliefs after one more reply each."""
        if not memories:
            return
        w = self._weights
        before = [memory.before.beliefs for memory in memories if memory.before and memory.before.beliefs]
        events = [memory.event for memory in memories if memory.event]
        seen = [event.seen for event in events]
        agents, transcripts = network.observe(
            np,
            w,
            _stacked([beliefs.agents for beliefs in before]),
            _stacked([beliefs.transcript for beliefs in before]),
            self._embedded([event.text for event in events]),
            np.array([event.figures for event in events], np.float32),
            VIEWS[np.frombuffer(b"".join(seen), np.uint8).reshape(len(events), -1)],
            _stacked([memory.cards[event.author] for memory, event in zip(memories, events, strict=True)]),
        )
        for memory, old, *new in zip(memories, before, agents, transcripts, strict=True):
            memory.beliefs, memory.before, memory.event = Beliefs(old.task, *new), None, None


@lru_cache(maxsize=64)
def _one_hot(agents: int) -> Array:
    """A row for each agent, and, last, zeros for nobody (-1)."""
    rows = np.zeros((agents + 1, agents), np.float32)
    np.fill_diagonal(rows, 1)
    return rows


def _stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays of one shape as a batch. One alone needs no copy, which is most of the time a single decision takes."""
    if len(arrays) == 1:
        return arrays[0][None]
    # As np.stack, which takes five times as long.
    return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)
