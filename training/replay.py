"""From finished runs to arrays for learning: a record is replayed through the same facts that served it.

Shapes: R runs, T replies (longest run), N agents, M decisions of all runs, W parallel picks, K `facts.MOST` answers,
P pieces of a task (`Options.needs`).
Rows that are not there are 0, choices that were not made are -1. Texts are kept once each and named by index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.learned import facts as features
from podium.orchestrator.learned.facts import Facts
from podium.orchestrator.learned.needs import COVER, PAIR, PIECE, figures, needs_of
from podium.orchestrator.learned.network import HEADS
from podium.orchestrator.learned.saved import PolicyCard
from podium.orchestrator.learned.text import SHAPE, WIDTH
from podium.orchestrator.pieces import supplied
from podium.protocols.bus import Card
from podium.protocols.events import Result
from podium.protocols.record import Finish

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
PER_RUN = ("task", "needs", "event_text", "event_figures", "event_views", "event_author", "events")
PER_DECISION = (
    *("seen", "state", "agents", "answers", "authors", "backers", "picks", "asked", "pick_masks", "choices"),
    *("choice_masks", "answer", "answer_masks", "log_prob", "success", "tokens", "passes"),
    *("pieces", "pairs", "covers", "about", "about_masks", "supplied", "there"),
)


PER_REPLY = (
    *("event_text", "event_figures", "event_views", "event_author"),
    *("answers", "authors", "backers", "answer_masks", "passes", "covers"),
)


@dataclass(slots=True)
class Replay:
    """Runs as arrays. See the module for shapes.

    success, passes, supplied, there: targets in 0..1, -1 where nothing was observed, of `supplied` also for what was
    not asked for. tokens: log1p of a directive's output tokens.
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
    picks: Ints  # (M, W) as they were drawn, N: nobody, or nobody else
    asked: Ints  # (M, W) who was asked, whoever decided that
    pick_masks: Bools  # (M, W, N + 1)
    choices: Ints  # (M, W, heads)
    choice_masks: Bools  # (M, W, total)
    answer: Ints  # (M,)
    answer_masks: Bools  # (M, K)
    log_prob: Floats  # (M,)
    success: Floats  # (M, W)
    tokens: Floats  # (M, W)
    passes: Floats  # (M, K)
    needs: Ints  # (R, P) texts of the pieces of a run's task, -1 where there is none
    pieces: Floats  # (M, P, PIECE)
    pairs: Floats  # (M, N, P, PAIR)
    covers: Floats  # (M, K, COVER)
    about: Ints  # (M, W) piece that was asked for, P: all of the task
    about_masks: Bools  # (M, W, P + 1)
    supplied: Floats  # (M, W, P)
    there: Floats  # (M, P) the most that a reply so far supplied of it

    def __len__(self) -> int:
        return len(self.run)

    def part(self, runs: Ints) -> tuple[Replay, Ints]:
        """Some of the runs with their texts, as far as the longest goes, and the rows of their decisions in the whole.

        Cards stay shared.
        """
        rows = np.flatnonzero(np.isin(self.run, runs))
        renamed = np.full(len(self.task), -1, np.int64)
        renamed[runs] = np.arange(len(runs))
        cut = {name: getattr(self, name)[runs] for name in PER_RUN}
        cut |= {name: getattr(self, name)[rows] for name in PER_DECISION}
        cut |= {"run": renamed[self.run[rows]], "card_text": self.card_text}
        named = ("task", "event_text", "card_text")
        used = np.unique(np.concatenate([*(cut[name].ravel() for name in named), cut["needs"][cut["needs"] >= 0]]))
        cut |= {name: np.searchsorted(used, cut[name]) for name in named}
        needs: Ints = np.searchsorted(used, self.needs[runs])
        cut["needs"] = np.where(self.needs[runs] >= 0, needs, -1)
        replies = max(1, int(cut["events"].max(initial=0)))  # no state has more replies to look at
        cut |= {name: cut[name][:, :replies] for name in PER_REPLY}
        return replace(self, **cut, texts=self.texts[used], shapes=self.shapes[used]), rows


@dataclass(slots=True)
class Replays:
    """Runs of several teams, whose arrays have different agents in them.

    replays: one for each team; runs, rows: where its runs and its decisions stand among all.
    """

    replays: tuple[Replay, ...]
    runs: tuple[Ints, ...]
    rows: tuple[Ints, ...]

    @property
    def size(self) -> int:
        """How many runs there are."""
        return sum(len(runs) for runs in self.runs)

    def part(self, runs: Ints) -> tuple[list[Replay], Ints]:
        """Some of the runs, team by team, and the rows of their decisions among all, in the same order."""
        parts: list[Replay] = []
        rows = [np.zeros(0, np.int64)]
        for each, mine, all_rows in zip(self.replays, self.runs, self.rows, strict=True):
            wanted: Ints = runs[np.isin(runs, mine)]
            at: Ints = np.searchsorted(mine, wanted)
            part, places = each.part(at)
            if len(places):
                parts.append(part)
                rows.append(all_rows[places])
        return parts, np.concatenate(rows)


NO_PARTS: Mapping[str, float] = MappingProxyType({})


def no_parts(result: Result, content: str) -> Mapping[str, float]:
    """Nothing is known of the parts of a reply."""
    return NO_PARTS


def replays(
    results: Sequence[Result],
    preferences: Sequence[float | None],
    teams: Sequence[tuple[Card, ...]],
    policy: PolicyCard,
    worth: Callable[[Result, str], float],
    parts: Callable[[Result, str], Mapping[str, float]] = no_parts,
) -> Replays:
    """Arrays of finished runs of several teams. teams: the cards of each run's; the rest as for `replay`."""
    ends = [0, *accumulate(len(result.decisions) for result in results)]
    runs = [[run for run, cards in enumerate(teams) if cards == team] for team in dict.fromkeys(teams)]
    made = [
        replay([results[run] for run in some], [preferences[run] for run in some], teams[some[0]], policy, worth, parts)
        for some in runs
    ]
    rows = [[row for run in some for row in range(ends[run], ends[run + 1])] for some in runs]
    return Replays(tuple(made), *(tuple(np.array(each, np.int64) for each in places) for places in (runs, rows)))


def replay(
    results: Sequence[Result],
    preferences: Sequence[float | None],
    cards: tuple[Card, ...],
    policy: PolicyCard,
    worth: Callable[[Result, str], float],
    parts: Callable[[Result, str], Mapping[str, float]] = no_parts,
) -> Replay:
    """Arrays of finished runs.

    preferences: the knob of each run. policy: what made them. worth: (run, content of a reply) -> its score, for the
    beliefs' targets; parts: the same -> the parts of its verdict, of which those named as a piece of the task say how
    far the reply supplies it.
    """
    options, scale = policy.options, policy.scale
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
        card_text=np.array([text_id(f"card:{card.role}", features.card_text(card)) for card in cards], np.int64),
        card_figures=features.card_figures(cards),
        identity=np.array(policy.known(cards), np.int64),
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
        asked=np.full((decisions, width), -1, np.int64),
        pick_masks=np.ones((decisions, width, agents + 1), np.bool_),
        choices=np.full((decisions, width, len(HEADS)), -1, np.int64),
        choice_masks=np.ones((decisions, width, options.heads.total), np.bool_),
        answer=np.full(decisions, -1, np.int64),
        answer_masks=np.ones((decisions, most), np.bool_),
        log_prob=np.zeros(decisions, np.float32),
        success=np.full((decisions, width), -1, np.float32),
        tokens=np.zeros((decisions, width), np.float32),
        passes=np.full((decisions, most), -1, np.float32),
        needs=np.full((runs, options.needs), -1, np.int64),
        pieces=np.zeros((decisions, options.needs, PIECE), np.float32),
        pairs=np.zeros((decisions, agents, options.needs, PAIR), np.float32),
        covers=np.zeros((decisions, most, COVER), np.float32),
        about=np.full((decisions, width), -1, np.int64),
        about_masks=np.ones((decisions, width, options.needs + 1), np.bool_),
        supplied=np.full((decisions, width, options.needs), -1, np.float32),
        there=np.full((decisions, options.needs), -1, np.float32),
    )
    row = 0
    for index, (result, preference) in enumerate(zip(results, preferences, strict=True)):
        facts = Facts.of(result.task.messages, cards, reads=options.reads, words=told_apart)
        words = "\n".join(message.content for message in result.task.messages) if options.reads else ""
        out.task[index] = text_id("task:" + words, _read(facts, facts.task))
        needs = needs_of(result.task.messages[-1].content, options.needs, options.reads, told_apart)
        for at, piece in enumerate(needs.pieces):
            key = f"piece:{piece if options.reads else ''}"
            out.needs[index, at] = text_id(key, (needs.texts[at], needs.shapes[at]))
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
            if options.needs:
                out.pieces[row], out.pairs[row], out.covers[row] = figures(needs, facts.said, cards)
                heard = [parts(result, each.content) for each in facts.said]
                for at, piece in enumerate(needs.pieces):
                    known = [found for found in (supplied(piece, each) for each in heard) if found is not None]
                    if known or not heard:
                        out.there[row, at] = max(known, default=0.0)
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
                elif factor.head == "about":
                    out.about[row, pick] = factor.choice
                    out.about_masks[row, pick] = factor.mask
                else:
                    start, end = spans[factor.head]
                    out.choices[row, pick, HEADS.index(factor.head)] = factor.choice
                    out.choice_masks[row, pick, start:end] = factor.mask
            if not isinstance(decision.action, Finish):
                for pick, directive in enumerate(decision.action[:width]):
                    out.asked[row, pick] = place.get(directive.agent, -1)
                    replies = [n for n in result.nodes if n.directive == directive.id and n.kind == "reply"]
                    if replies and directive.agent in place:
                        spent = [n.usage.output_tokens for n in result.nodes if n.directive == directive.id]
                        out.success[row, pick] = worth(result, replies[0].content)
                        out.tokens[row, pick] = np.log1p(sum(spent))
                        its_parts = parts(result, replies[0].content) if needs.pieces else NO_PARTS
                        about = int(out.about[row, pick])
                        for at, piece in enumerate(needs.pieces):
                            found = supplied(piece, its_parts)
                            if found is not None and about in (-1, at, options.needs):
                                out.supplied[row, pick, at] = found
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
        out.event_text[index, at] = text_id(f"said:{node.content if facts.reads else ''}", _read(facts, event.text))
        out.event_figures[index, at] = event.figures
        out.event_views[index, at] = event.views
        out.event_author[index, at] = event.author
        out.events[index] = at + 1
    return facts


def _read(facts: Facts, text: str) -> tuple[Floats, Floats]:
    """What is read of one text of a run."""
    vectors, shapes = features.read_all([text], facts.reads, facts.words)
    return vectors[0], shapes[0]
