"""The learned coordinator: beliefs about each agent, gaps against them, and one sampled macro-action a step.

A decision is drawn factor by factor: an agent or finish; for an agent what it is shown, what it is asked for, in what
detail and how many samples; then a further agent or stop, without replacement, up to the policy's width; for finish,
which reply is the answer. Every factor's log-probability is logged under its mask, so a decision can be replayed,
explained, and learned from off-policy.

Sources: arXiv 2509.04876 (collaborator model and gap), 2509.03581 (compute as a decision), DESIGN.md section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.coordinator import RunState
from podium.orchestrator.learned import network
from podium.orchestrator.learned.facts import (
    Facts,
    agent_figures,
    card_figures,
    card_text,
    node_figures,
    state_figures,
)
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy
from podium.protocols.bus import Card
from podium.protocols.noise import gumbel
from podium.protocols.record import Decision, Directive, Factor, Finish, Node
from podium.protocols.task import Message

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Memory:
    """Beliefs of one run. task: (E,); cards: (N, C); beliefs: (N, Z); transcript: (H,)."""

    facts: Facts
    task: Array
    cards: Array
    beliefs: Array
    transcript: Array


class LearnedCoordinator:
    """Serves a trained policy with numpy."""

    batched = True

    def __init__(self, policy: Policy, name: str = "learned") -> None:
        self.name = name
        self.policy = policy
        self._identity = {agent: row for row, agent in enumerate(policy.identities, start=1)}
        self._cards: dict[tuple[Card, ...], Array] = {}

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Memory:
        """Beliefs before anybody has spoken."""
        w = self.policy.weights
        facts = Facts.of(task, cards)
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
        task_E = network.embed(np, w, *facts.task)
        z, h = network.start(np, w, task_E[None], embedded[None])
        return Memory(facts, task_E, embedded, z[0], h[0])

    def observe(self, memory: Memory, node: Node) -> Memory:
        """Beliefs after one more reply."""
        facts, event = memory.facts.after(node)
        if event is None:
            return Memory(facts, memory.task, memory.cards, memory.beliefs, memory.transcript)
        w = self.policy.weights
        z, h = network.observe(
            np,
            w,
            memory.beliefs[None],
            memory.transcript[None],
            network.embed(np, w, *event.text)[None],
            event.figures[None],
            event.views[None],
            memory.cards[event.author][None],
        )
        return Memory(facts, memory.task, memory.cards, z[0], h[0])

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
        memories: list[Memory] = [state.memory for state in states]
        nodes = [node_figures(memory.facts) for memory in memories]
        agents = len(states[0].cards)
        authors = np.stack([authors for _, authors in nodes])
        out = network.decide(
            np,
            self.policy.weights,
            np.stack([memory.beliefs for memory in memories]),
            np.stack([memory.transcript for memory in memories]),
            np.stack([memory.task for memory in memories]),
            np.stack([memory.cards for memory in memories]),
            np.stack(
                [
                    state_figures(
                        memory.facts,
                        state.step,
                        state.left.fractions,
                        state.preference or self.policy.card.preference,
                        self.policy.card.scale,
                    )
                    for memory, state in zip(memories, states, strict=True)
                ]
            ),
            np.stack(
                [
                    agent_figures(memory.facts, state.affordable)
                    for memory, state in zip(memories, states, strict=True)
                ]
            ),
            np.stack([figures for figures, _ in nodes]),
            (authors[..., None] == np.arange(agents)).astype(np.float32),
        )
        return [self._draw(state, out, row) for row, state in enumerate(states)]

    def _draw(self, state: RunState, out: network.Out, row: int) -> Decision:
        """Sample one decision factor by factor."""
        options, memory = self.policy.card.options, state.memory
        facts: Facts = memory.facts
        draw = _Draw(state)
        names = [card.name for card in state.cards]
        agents = len(names)
        open_agents = list(state.affordable) if state.step < options.max_steps else [False] * agents
        can_finish = bool(facts.said)
        if not can_finish and not any(open_agents):
            open_agents = list(state.affordable)
        logits = np.append(out.pick[row], out.finish[row])
        choice = draw.factor("pick", logits, (*open_agents, can_finish), [*names, ""], 0)
        reasons = self._reasons(state, out, row, draw.last)
        if choice == agents:
            width = len(facts.said[-len(out.choose[row]) :])
            mask = tuple(place < width for place in range(len(out.choose[row])))
            place = draw.factor("answer", out.choose[row], mask, [str(place) for place in range(len(mask))], 0)
            said = facts.said[-len(mask) :][place]
            return draw.decision(self, Finish(said.node), float(out.value[row]), reasons)
        picked = np.zeros(agents, np.float32)
        directives: list[Directive] = []
        while True:
            pick = len(directives)
            directives.append(self._directive(state, out, row, draw, choice, pick, options))
            picked[choice] = 1
            open_agents[choice] = False
            if pick + 1 >= options.width or not any(open_agents):
                break
            logits, stop = network.again(self.policy.weights, _row(out, row), picked[None])
            choice = draw.factor("pick", np.append(logits[0], stop[0]), (*open_agents, True), [*names, ""], pick + 1)
            if choice == agents:
                break
        return draw.decision(self, tuple(directives), float(out.value[row]), reasons)

    def _directive(
        self, state: RunState, out: network.Out, row: int, draw: _Draw, choice: int, pick: int, options: Options
    ) -> Directive:
        name = state.cards[choice].name
        replies = len(state.memory.facts.said)
        choices: dict[str, int] = {}
        for head, (start, end) in options.heads.spans().items():
            mask = options.mask(head, replies)
            if sum(mask) == 1:
                choices[head] = mask.index(True)
                continue
            keys = [f"{name}/{place}" for place in range(end - start)]
            choices[head] = draw.factor(head, out.options[row, choice, start:end], mask, keys, pick)
        return options.directive(f"{state.run}.{state.step}.{pick}", name, choices)

    def _reasons(self, state: RunState, out: network.Out, row: int, probabilities: Array) -> dict[str, float]:
        """Why, in scalars: probabilities of the first pick, beliefs, gaps, and what each answer is thought worth."""
        reasons: dict[str, float] = {"p(finish)": float(probabilities[-1])}
        success, cost = _logistic(out.success[row]), np.expm1(np.clip(out.cost[row], 0, 12))
        for place, card in enumerate(state.cards):
            reasons[f"p({card.name})"] = float(probabilities[place])
            reasons[f"success({card.name})"] = float(success[place])
            reasons[f"tokens({card.name})"] = float(cost[place])
            reasons[f"gap({card.name})"] = float(np.sqrt((out.gaps[row, place] ** 2).mean()))
        said = state.memory.facts.said[-len(out.passes[row]) :]
        passes = _logistic(out.passes[row])
        for place, each in enumerate(said):
            reasons[f"right(node {each.node})"] = float(passes[place])
        return reasons


class _Draw:
    """The factors of one decision as they are sampled."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.factors: list[Factor] = []
        self.last: Array = np.zeros(0, np.float32)

    def factor(self, head: str, logits: Array, mask: tuple[bool, ...], keys: Sequence[str], pick: int) -> int:
        """Choose one of the allowed: the likeliest, or a sample by hashed Gumbel noise."""
        state = self.state
        allowed = np.array(mask)
        masked = np.where(allowed, logits, network.FAR).astype(np.float64)
        shifted = masked - masked.max()
        log_probs = shifted - np.log(np.exp(shifted).sum())
        self.last = np.exp(log_probs)
        if state.mode == "sample":
            noise = [gumbel(state.seed, state.step, key, head, pick) for key in keys]
            choice = int(np.argmax(np.where(allowed, masked + noise, -np.inf)))
        else:
            choice = int(np.argmax(masked))
        self.factors.append(Factor(head, choice, float(log_probs[choice]), mask))
        return choice

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
            reasons,
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
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
    )


def _logistic(x: Array) -> Array:
    return 0.5 * (np.tanh(0.5 * x) + 1.0)
