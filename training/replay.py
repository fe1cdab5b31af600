"""From finished runs to arrays for learning: a record is replayed through the same facts that served it.

Shapes: R runs, T replies (longest run), N agents, M decisions of all runs, W parallel picks, K `facts.MOST` answers.
Rows that are not there are 0, choices that were not made are -1. Texts are kept once each and named by index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.learned import facts as features
from podium.orchestrator.learned.facts import Facts
from podium.orchestrator.learned.network import HEADS
from podium.orchestrator.learned.saved import PolicyCard
from podium.orchestrator.learned.text import SHAPE, WIDTH
from podium.protocols.bus import Card
from podium.protocols.events import Result
from podium.protocols.record import Finish

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
PER_RUN = ("task", "event_text", "event_figures", "event_views", "event_author", "events")
PER_DECISION = (
    *("seen", "state", "agents", "answers", "authors", "backers", "picks", "pick_masks", "choices", "choice_masks"),
    *("answer", "answer_masks", "log_prob", "success", "tokens", "passes"),
)


@dataclass(slots=True)
class Replay:
    """Runs as arrays. See the module for shapes.

    success, passes: targets in 0..1, -1 where nothing was observed. tokens: log1p of a directive's output tokens.
    """

    texts: Floats  # (Q, WIDTH)
    shapes: Floats  # (Q, SHAPE)
    task: Ints  # (R,)
    card_text: Ints  # (N,)
    card_figures: Floats  # (N, CARD)
    identity: Ints  # (N,)
    event_text: Ints  # (R, T)
    event_figures: Floats  # (R, T, EVENT)
    event_views: Floats  # (R, T, N, VIEW)
    event_author: Ints  # (R, T)
    events: Ints  # (R,)
    run: Ints  # (M,)
    seen: Ints  # (M,) replies seen before the decision
    state: Floats  # (M, STATE)
    agents: Floats  # (M, N, AGENT)
    answers: Floats  # (M, K, NODE)
    authors: Ints  # (M, K)
    backers: Floats  # (M, K, N)
    picks: Ints  # (M, W)
    pick_masks: Bools  # (M, W, N + 1)
    choices: Ints  # (M, W, heads)
    choice_masks: Bools  # (M, W, total)
    answer: Ints  # (M,)
    answer_masks: Bools  # (M, K)
    log_prob: Floats  # (M,)
    success: Floats  # (M, W)
    tokens: Floats  # (M, W)
    passes: Floats  # (M, K)

    def __len__(self) -> int:
        return len(self.run)

    def part(self, runs: Ints) -> tuple[Replay, Ints]:
        """Some of the runs with their texts, and the rows of their decisions in the whole. Cards stay shared."""
        rows = np.flatnonzero(np.isin(self.run, runs))
        renamed = np.full(len(self.task), -1, np.int64)
        renamed[runs] = np.arange(len(runs))
        cut = {name: getattr(self, name)[runs] for name in PER_RUN}
        cut |= {name: getattr(self, name)[rows] for name in PER_DECISION}
        cut |= {"run": renamed[self.run[rows]], "card_text": self.card_text}
        named = ("task", "event_text", "card_text")
        used = np.unique(np.concatenate([cut[name].ravel() for name in named]))
        cut |= {name: np.searchsorted(used, cut[name]) for name in named}
        return replace(self, **cut, texts=self.texts[used], shapes=self.shapes[used]), rows


def replay(
    results: Sequence[Result],
    preferences: Sequence[float | None],
    cards: tuple[Card, ...],
    policy: PolicyCard,
    worth: Callable[[Result, str], float],
) -> Replay:
    """Arrays of finished runs.

    preferences: the knob of each run. policy: what made them. worth: (run, content of a reply) -> its score, for the
    beliefs' targets.
    """
    options, scale = policy.options, policy.scale
    identities = {name: row for row, name in enumerate(policy.identities, start=1)}
    told_apart = None if policy.words is None else frozenset(policy.words)
    texts: dict[str, int] = {}
    vectors: list[tuple[Floats, Floats]] = []

    def text_id(key: str, vector: tuple[Floats, Floats]) -> int:
        place = texts.get(key)
        if place is None:
            place = texts[key] = len(vectors)
            vectors.append(vector)
        return place

    runs, decisions = len(results), sum(len(result.decisions) for result in results)
    longest = max((sum(node.kind == "reply" for node in result.nodes) for result in results), default=0)
    agents, width, most = len(cards), options.width, features.MOST
    spans = options.heads.spans()
    out = Replay(
        texts=np.zeros((0, WIDTH), np.float32),
        shapes=np.zeros((0, SHAPE), np.float32),
        task=np.zeros(runs, np.int64),
        card_text=np.array(
            [text_id(f"card:{card.role}: {card.description}", features.card_text(card)) for card in cards], np.int64
        ),
        card_figures=features.card_figures(cards),
        identity=np.array([identities.get(card.name, 0) for card in cards], np.int64),
        event_text=np.zeros((runs, longest), np.int64),
        event_figures=np.zeros((runs, longest, features.EVENT), np.float32),
        event_views=np.zeros((runs, longest, agents, features.VIEW), np.float32),
        event_author=np.zeros((runs, longest), np.int64),
        events=np.zeros(runs, np.int64),
        run=np.zeros(decisions, np.int64),
        seen=np.zeros(decisions, np.int64),
        state=np.zeros((decisions, features.STATE), np.float32),
        agents=np.zeros((decisions, agents, features.AGENT), np.float32),
        answers=np.zeros((decisions, most, features.NODE), np.float32),
        authors=np.full((decisions, most), -1, np.int64),
        backers=np.zeros((decisions, most, agents), np.float32),
        picks=np.full((decisions, width), -1, np.int64),
        pick_masks=np.ones((decisions, width, agents + 1), np.bool_),
        choices=np.full((decisions, width, len(HEADS)), -1, np.int64),
        choice_masks=np.ones((decisions, width, options.heads.total), np.bool_),
        answer=np.full(decisions, -1, np.int64),
        answer_masks=np.ones((decisions, most), np.bool_),
        log_prob=np.zeros(decisions, np.float32),
        success=np.full((decisions, width), -1, np.float32),
        tokens=np.zeros((decisions, width), np.float32),
        passes=np.full((decisions, most), -1, np.float32),
    )
    row = 0
    for index, (result, preference) in enumerate(zip(results, preferences, strict=True)):
        facts = Facts.of(result.task.messages, cards, reads=options.reads, words=told_apart)
        words = "\n".join(message.content for message in result.task.messages) if options.reads else ""
        out.task[index] = text_id("task:" + words, facts.task)
        place = {card.name: number for number, card in enumerate(cards)}
        node_at = 1
        for decision in result.decisions:
            while node_at < decision.seen:
                facts = _fold(out, index, facts, result, node_at, text_id)
                node_at += 1
            out.run[row], out.seen[row] = index, out.events[index]
            out.state[row] = features.state_figures(facts, decision.step, decision.budget_left, preference, scale)
            affordable = decision.factors[0].mask[:agents] if decision.factors else (True,) * agents
            out.agents[row] = features.agent_figures(
                facts, options.affordable(decision.step, affordable), preference, scale
            )
            out.answers[row], out.authors[row], out.backers[row] = features.node_figures(facts)
            for column, said in enumerate(facts.said[-most:]):
                out.passes[row, column] = worth(result, said.content)
            out.log_prob[row] = decision.log_prob
            pick = -1
            for factor in decision.factors:
                if factor.head == "pick":
                    pick += 1
                    out.picks[row, pick] = factor.choice
                    out.pick_masks[row, pick] = factor.mask
                elif factor.head == "answer":
                    out.answer[row] = factor.choice
                    out.answer_masks[row] = factor.mask
                else:
                    start, end = spans[factor.head]
                    out.choices[row, pick, HEADS.index(factor.head)] = factor.choice
                    out.choice_masks[row, pick, start:end] = factor.mask
            if not isinstance(decision.action, Finish):
                for pick, directive in enumerate(decision.action):
                    replies = [n for n in result.nodes if n.directive == directive.id and n.kind == "reply"]
                    if replies and directive.agent in place:
                        spent = [n.usage.output_tokens for n in result.nodes if n.directive == directive.id]
                        out.success[row, pick] = worth(result, replies[0].content)
                        out.tokens[row, pick] = np.log1p(sum(spent))
            row += 1
        while node_at < len(result.nodes):
            facts = _fold(out, index, facts, result, node_at, text_id)
            node_at += 1
    out.texts = np.stack([vector for vector, _ in vectors])
    out.shapes = np.stack([shape for _, shape in vectors])
    return out


def _fold(
    out: Replay,
    index: int,
    facts: Facts,
    result: Result,
    node_at: int,
    text_id: Callable[[str, tuple[Floats, Floats]], int],
) -> Facts:
    """One more node of a run."""
    node = result.nodes[node_at]
    facts, event = facts.after(node)
    if event is not None:
        at = int(out.events[index])
        out.event_text[index, at] = text_id(f"said:{node.content if facts.reads else ''}", event.text)
        out.event_figures[index, at] = event.figures
        out.event_views[index, at] = event.views
        out.event_author[index, at] = event.author
        out.events[index] = at + 1
    return facts
