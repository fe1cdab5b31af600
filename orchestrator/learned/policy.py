"""The learned coordinator: beliefs about each agent, gaps against them, and one sampled macro-action a step.

A decision is drawn factor by factor: an agent or finish; for an agent what it is shown, what it is asked for, in what
detail and how many samples; then a further agent or stop, without replacement, up to the policy's width; for finish,
which reply is the answer. Every factor's log-probability is logged under its mask, so a decision can be replayed,
explained, and learned from off-policy; where a factor went against the odds, its reasons say what was likelier.

Sources: arXiv 2509.04876 (collaborator model and gap), 2509.03581 (compute as a decision), DESIGN.md section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.coordinator import RunState
from podium.orchestrator.learned import network
from podium.orchestrator.learned.facts import (
    Event,
    Facts,
    agent_figures,
    card_figures,
    card_text,
    node_figures,
    state_figures,
)
from podium.orchestrator.learned.saved import Policy
from podium.protocols.bus import Card
from podium.protocols.noise import gumbels
from podium.protocols.record import Decision, Directive, Factor, Finish, Node
from podium.protocols.task import Message

Array = NDArray[np.float32]

TIE = 1e-6
"""Logits this close are equal for a greedy choice, and the name decides: rounding depends on the order of agents."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What the network holds of one run. task: (E,); agents: (N, Z); transcript: (H,)."""

    task: Array
    agents: Array
    transcript: Array


@dataclass(slots=True)
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
        self._identity = {agent: row for row, agent in enumerate(policy.identities, start=1)}
        self._words = policy.words
        self._spans = policy.card.options.heads.spans()
        self._choices = policy.card.options.words()
        self._masks = {
            head: tuple(policy.card.options.mask(head, replies) for replies in (0, 1)) for head in self._spans
        }
        self._cards: dict[tuple[Card, ...], Array] = {}

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Memory:
        """The memory of a run in which nobody has spoken."""
        w = self.policy.weights
        facts = Facts.of(task, cards, reads=self.policy.card.options.reads, words=self._words)
        embedded = self._cards.get(cards)
        if embedded is None:
            texts = [card_text(card) for card in cards]
            embedded = self._cards[cards] = network.cards(
                np,
                w,
                np.stack([vector for vector, _ in texts]),
                np.stack([shape for _, shape in texts]),
                card_figures(cards),
                w["identity"][[self._identity.get(card.name, 0) for card in cards]],
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
        knobs = [card.preference if state.preference is None else state.preference for state in states]
        beliefs = self._believed(memories)
        nodes = [node_figures(memory.facts) for memory in memories]
        authors = _stacked([authors for _, authors, _ in nodes])
        out = network.decide(
            np,
            self.policy.weights,
            _stacked([each.agents for each in beliefs]),
            _stacked([each.transcript for each in beliefs]),
            _stacked([each.task for each in beliefs]),
            _stacked([memory.cards for memory in memories]),
            _stacked(
                [
                    state_figures(memory.facts, state.step, state.left.fractions, knob, card.scale)
                    for memory, state, knob in zip(memories, states, knobs, strict=True)
                ]
            ),
            _stacked(
                [
                    agent_figures(memory.facts, card.options.affordable(state.step, state.affordable), knob, card.scale)
                    for memory, state, knob in zip(memories, states, knobs, strict=True)
                ]
            ),
            _stacked([figures for figures, _, _ in nodes]),
            (authors[..., None] == np.arange(len(states[0].cards))).astype(np.float32),
            _stacked([backers for _, _, backers in nodes]),
        )
        logits = np.concatenate((out.pick, out.finish[:, None]), -1).tolist()
        thoughts = _thoughts(out)
        return [self._draw(state, out, row, logits[row], thoughts[row]) for row, state in enumerate(states)]

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

    def _start(self, memories: Sequence[Memory]) -> None:
        """Beliefs before anybody has spoken."""
        if not memories:
            return
        w = self.policy.weights
        words, shapes = (_stacked(parts) for parts in zip(*(memory.facts.task for memory in memories), strict=True))
        tasks = network.embed(np, w, words, shapes)
        agents, transcripts = network.start(np, w, tasks, _stacked([memory.cards for memory in memories]))
        for memory, *beliefs in zip(memories, tasks, agents, transcripts, strict=True):
            memory.beliefs = Beliefs(*beliefs)

    def _fold(self, memories: Sequence[Memory]) -> None:
        """Beliefs after one more reply each."""
        if not memories:
            return
        w = self.policy.weights
        before = [memory.before.beliefs for memory in memories if memory.before and memory.before.beliefs]
        events = [memory.event for memory in memories if memory.event]
        words, shapes = (_stacked(parts) for parts in zip(*(event.text for event in events), strict=True))
        agents, transcripts = network.observe(
            np,
            w,
            _stacked([beliefs.agents for beliefs in before]),
            _stacked([beliefs.transcript for beliefs in before]),
            network.embed(np, w, words, shapes),
            _stacked([event.figures for event in events]),
            _stacked([event.views for event in events]),
            _stacked([memory.cards[event.author] for memory, event in zip(memories, events, strict=True)]),
        )
        for memory, old, *new in zip(memories, before, agents, transcripts, strict=True):
            memory.beliefs, memory.before, memory.event = Beliefs(old.task, *new), None, None

    def _draw(self, state: RunState, out: network.Out, row: int, logits: list[float], thoughts: _Thoughts) -> Decision:
        """Sample one decision factor by factor."""
        options = self.policy.card.options
        facts: Facts = state.memory.facts
        draw = _Draw(state)
        names = [card.name for card in state.cards]
        agents = len(names)
        open_agents = list(state.affordable) if state.step < options.max_steps else [False] * agents
        can_finish = bool(facts.said)
        if not can_finish and not any(open_agents):
            open_agents = list(state.affordable)
        choice, probabilities = draw.factor("pick", logits, (*open_agents, can_finish), [*names, ""], 0)
        reasons = thoughts.reasons(names, facts, probabilities)
        if choice == agents:
            answers: list[float] = out.choose[row].tolist()
            said = facts.said[-len(answers) :]
            places = range(len(answers))
            mask = tuple(place < len(said) for place in places)
            nodes = [str(each.node) for each in said]
            place, _ = draw.factor("answer", answers, mask, [str(place) for place in places], 0, nodes)
            return draw.decision(self, Finish(said[place].node), thoughts.value, reasons)
        picked = np.zeros(agents, np.float32)
        directives: list[Directive] = []
        while True:
            pick = len(directives)
            directives.append(self._directive(state, out.options[row, choice].tolist(), draw, choice, pick))
            picked[choice] = 1
            open_agents[choice] = False
            if pick + 1 >= options.width or not any(open_agents):
                break
            more, stop = network.again(self.policy.weights, _row(out, row), picked[None])
            logits = [*more[0].tolist(), float(stop[0])]
            choice, _ = draw.factor("pick", logits, (*open_agents, True), [*names, ""], pick + 1)
            if choice == agents:
                break
        return draw.decision(self, tuple(directives), thoughts.value, reasons)

    def _directive(self, state: RunState, logits: list[float], draw: _Draw, choice: int, pick: int) -> Directive:
        """What the chosen agent is told. logits: of all its options side by side."""
        options, name = self.policy.card.options, state.cards[choice].name
        replies = len(state.memory.facts.said)
        choices: dict[str, int] = {}
        for head, (start, end) in self._spans.items():
            mask = self._masks[head][replies > 0]
            if sum(mask) == 1:
                choices[head] = mask.index(True)
                continue
            keys = [f"{name}/{place}" for place in range(end - start)]
            choices[head], _ = draw.factor(head, logits[start:end], mask, keys, pick, self._choices[head])
        return options.directive(f"{state.run}.{state.step}.{pick}", name, choices)


@dataclass(frozen=True, slots=True)
class _Thoughts:
    """What the network believes in one state, as plain numbers: per agent, per answer, and of the whole."""

    success: list[float]
    tokens: list[float]
    after: list[float]
    gaps: list[float]
    right: list[float]
    now: float
    value: float

    def reasons(self, names: Sequence[str], facts: Facts, probabilities: Sequence[float]) -> dict[str, float]:
        """Why, in scalars: probabilities of the first pick, beliefs, gaps, and what each answer is thought worth.

        now: P(the best answer so far passes); gain(j): by how much asking j is believed to raise that.
        """
        reasons = {"p(finish)": probabilities[-1], "now": self.now}
        for place, (p, success, tokens, gain, gap) in enumerate(_keys(tuple(names))):
            reasons[p] = probabilities[place]
            reasons[success] = self.success[place]
            reasons[tokens] = self.tokens[place]
            reasons[gain] = self.after[place] - self.now
            reasons[gap] = self.gaps[place]
        for each, right in zip(facts.said[-len(self.right) :], self.right, strict=False):
            reasons[f"right(node {each.node})"] = right
        return reasons


@lru_cache(maxsize=256)
def _keys(names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """What the reasons are called, agent by agent."""
    return tuple(tuple(f"{what}({name})" for what in ("p", "success", "tokens", "gain", "gap")) for name in names)


def _stacked(arrays: Sequence[Array]) -> Array:
    """Arrays of one shape as a batch. One alone needs no copy, which is most of the time a single decision takes."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _thoughts(out: network.Out) -> list[_Thoughts]:
    """The beliefs of a batch, row by row."""
    agents = out.success.shape[1]
    chances = _logistic(np.concatenate((out.success, out.gain, out.passes), -1))
    columns = (
        chances[:, :agents],
        np.expm1(np.minimum(np.maximum(out.cost, 0), 12)),
        chances[:, agents : 2 * agents],
        np.sqrt(np.square(out.gaps).sum(-1) / out.gaps.shape[-1]),
        chances[:, 2 * agents :],
        out.now,
        out.value,
    )
    return [_Thoughts(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


class _Draw:
    """The factors of one decision as they are sampled.

    likelier: for each factor that went against the odds, the likeliest choice and its probability, as
    `likelier(PICK HEAD WORD)`; the word is missing where that was to finish, or to ask nobody else.
    """

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.factors: list[Factor] = []
        self.likelier: dict[str, float] = {}

    def factor(
        self,
        head: str,
        logits: Sequence[float],
        mask: tuple[bool, ...],
        keys: Sequence[str],
        pick: int,
        words: Sequence[str] = (),
    ) -> tuple[int, list[float]]:
        """Choose one of the allowed: the likeliest, or a sample by hashed Gumbel noise; and all probabilities.

        keys: of the noise, one per choice; words: what the choices are called, where the keys do not say it.
        Plain Python: for a dozen numbers it is faster than arrays.
        """
        state = self.state
        allowed = [place for place, may in enumerate(mask) if may] or list(range(len(mask)))
        top = max(logits[place] for place in allowed)
        parts = [exp(logits[place] - top) for place in allowed]
        total = sum(parts)
        if state.mode == "sample":
            noise = gumbels(state.seed, state.step, [keys[place] for place in allowed], head, pick)
            choice = max(zip(allowed, noise, strict=True), key=lambda each: logits[each[0]] + each[1])[0]
        else:
            choice = min((place for place in allowed if logits[place] > top - TIE), key=keys.__getitem__)
        probabilities = [0.0] * len(mask)
        for place, part in zip(allowed, parts, strict=True):
            probabilities[place] = part / total
        if logits[choice] < top - TIE:
            likeliest = max(allowed, key=logits.__getitem__)
            said = f"{pick} {head} {(words or keys)[likeliest]}".rstrip()
            self.likelier[f"likelier({said})"] = probabilities[likeliest]
        self.factors.append(Factor(head, choice, logits[choice] - top - log(total), mask))
        return choice, probabilities

    def decision(
        self,
        owner: LearnedCoordinator,
        action: tuple[Directive, ...] | Finish,
        value: float,
        reasons: dict[str, float],
    ) -> Decision:
        state = self.state
        return Decision(
            f"{state.run}.{state.step}",
            state.step,
            action,
            owner.name,
            owner.policy.card.version,
            state.mode,
            tuple(self.factors),
            sum(factor.log_prob for factor in self.factors),
            value,
            {**reasons, **self.likelier} if self.likelier else reasons,
            len(state.nodes),
            state.left.fractions,
        )


def _row(out: network.Out, row: int) -> network.Out:
    """One state of a batch, as a batch of one, with what further picks need."""
    nothing: Any = None
    return network.Out(
        out.agents[row : row + 1],
        out.state[row : row + 1],
        nothing,
        out.pick[row : row + 1],
        nothing,
        *(nothing,) * 8,
    )


def _logistic(x: Array) -> Array:
    return 0.5 * (np.tanh(0.5 * x) + 1.0)
