"""Cascades to compare with, run through the same engine as everything else: ask the cheap, then perhaps the dear.

Two kinds. By agreement: two agents are asked, and what they agree on is the answer; otherwise a third one's, or, with
two, the dearer's. By gradient boosting: all cheap agents are asked, trees look at who agrees with whom and at plain
figures of the texts, and the dearest agent is asked where that seems to bring enough. Both are fitted on the training
part alone.
"""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import ensemble

from podium.orchestrator.coordinator import RunState, Stateless, ask, decision, plurality
from podium.orchestrator.learned.text import outline
from podium.protocols.errors import TaskError
from podium.protocols.events import Result
from podium.protocols.pool import read_pool
from podium.protocols.record import NOTHING, Decision, Finish, Node
from podium.training.rollouts import judged

Floats = NDArray[np.float64]
CHEAP = 0.1
"""An agent is cheap whose replies cost at most this share of the dearest agent's."""


def priced_pool(file: str) -> Path:
    """The file of a pool that cascades can be compared on: of two agents or more, whose replies cost something.

    Raises ArgumentTypeError for any other.
    """
    try:
        pool = read_pool(file)
    except TaskError as error:
        raise ArgumentTypeError(str(error)) from None
    agents = pool.agents
    if len(agents) < 2:
        raise ArgumentTypeError(
            f"{file}: a cascade needs two agents or more, and this pool has {', '.join(agents)} alone"
        )
    if not any(
        agents[name].price.input * reply.prompt_tokens + agents[name].price.output * reply.completion_tokens
        for task in pool.tasks
        for name, reply in task.replies.items()
    ):
        price = json.dumps({"pool": {"agents": {next(iter(agents)): {"price": {"input": 0.1, "output": 0.4}}}}})
        raise ArgumentTypeError(
            f"{file}: all replies of this pool are free, so that there is nothing to trade against a score; put prices "
            f"into its first line, in dollars per million tokens, such as {price}"
        )
    return Path(file)


@dataclass(frozen=True, slots=True)
class Replies:
    """What every agent said to one task: newest reply by agent, its score, its dollars."""

    nodes: Mapping[str, Node]
    scores: Mapping[str, float]
    dollars: Mapping[str, float]
    question: str

    @staticmethod
    def of(result: Result) -> Replies:
        """From a run in which everybody was asked."""
        nodes = {node.author: node for node in result.nodes if node.kind == "reply"}
        scores = {name: judged(result.task, node.content).score for name, node in nodes.items()}
        return Replies(nodes, scores, {name: node.usage.dollars for name, node in nodes.items()}, result.task.text)


class Agreement(Stateless):
    """Asks two agents, and a third where they differ."""

    def __init__(self, first: str, second: str, third: str | None = None) -> None:
        self.pair, self.third = (first, second), third
        self.name = f"{first} = {second}" + (f", else {third}" if third else "")

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The pair at once; then the answer, or the third agent's."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        said = state.replies
        if not said:
            return decision(self.name, state, ask(state, self.pair, visible=NOTHING))
        last = said[-1]
        if len(said) > 2 or self.third is None or (last.answer is not None and last.answer == said[0].answer):
            return decision(self.name, state, Finish(last.id))
        return decision(self.name, state, ask(state, [self.third], visible=NOTHING))

    def on(self, replies: Replies) -> tuple[float, float]:
        """Score and dollars of the same on replies that are known, for choosing."""
        first, second = (replies.nodes[name] for name in self.pair)
        dollars = sum(replies.dollars[name] for name in self.pair)
        if self.third is None or (second.answer is not None and second.answer == first.answer):
            return replies.scores[self.pair[1]], dollars
        return replies.scores[self.third], dollars + replies.dollars[self.third]


def best_agreement(known: Sequence[Replies]) -> tuple[Agreement, float]:
    """The cascade of two or three agents with the best score on these tasks that is cheaper than the dearest agent.

    Of equal ones, the cheapest. Where none is cheaper, as with two agents, the best of all. Also its score there.
    Raises ValueError for fewer than two agents.
    """
    dollars = {name: float(np.mean([each.dollars[name] for each in known])) for name in known[0].nodes}
    names = sorted(dollars, key=lambda name: dollars[name])
    made = [Agreement(*pair) for pair in combinations(names, 2)]
    made += [Agreement(*pair, third) for pair in combinations(names, 2) for third in names if third not in pair]
    means = [np.mean([cascade.on(each) for each in known], 0) for cascade in made]
    allowed = [place for place, (_, spent) in enumerate(means) if spent < dollars[names[-1]]] or range(len(made))
    best = max(allowed, key=lambda place: (means[place][0], -means[place][1]))
    return made[best], float(means[best][0])


class Boosted(Stateless):
    """Asks all cheap agents, then the dearest where the trees expect it to raise the score by more than `threshold`."""

    def __init__(self, trees: Trees, threshold: float) -> None:
        self.trees, self.threshold = trees, threshold
        self.name = f"boosted, {threshold:.2f}"

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The cheap ones at once; then the plurality's answer, or the dearest agent's."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        said = state.replies
        if not said:
            return decision(self.name, state, ask(state, self.trees.cheap, visible=NOTHING))
        if len(said) > len(self.trees.cheap):
            return decision(self.name, state, Finish(said[-1].id))
        nodes = {node.author: node for node in said}
        gain = self.trees.gain(nodes, state.task[-1].content)
        if gain > self.threshold:
            return decision(self.name, state, ask(state, [self.trees.dear], visible=NOTHING), gain=gain)
        return decision(self.name, state, Finish(self.trees.answer(nodes).id), gain=gain)


class Trees:
    """What the dearest agent would bring over the cheap ones' answer, by gradient-boosted trees."""

    def __init__(self, known: Sequence[Replies], seed: int) -> None:
        dollars = {name: float(np.mean([each.dollars[name] for each in known])) for name in known[0].nodes}
        self.dear = max(dollars, key=lambda name: dollars[name])
        cheap = [name for name in sorted(dollars) if dollars[name] <= CHEAP * dollars[self.dear]]
        self.cheap = tuple(cheap or [min(dollars, key=lambda name: dollars[name])])
        right = {name: float(np.mean([each.scores[name] for each in known])) for name in self.cheap}
        self._trusted = sorted(self.cheap, key=lambda name: -right[name])
        seen = np.array([self._figures(each.nodes, each.question) for each in known])
        trees: Any = ensemble.GradientBoostingRegressor  # scikit-learn carries no types
        self._models = [
            trees(n_estimators=120, max_depth=3, learning_rate=0.05, subsample=0.7, random_state=seed).fit(seen, target)
            for target in (
                np.array([each.scores[self.dear] for each in known]),
                np.array([each.scores[self.answer(each.nodes).author] for each in known]),
            )
        ]

    def answer(self, nodes: Mapping[str, Node]) -> Node:
        """The plurality of the cheap ones; of equal ones, the agent's that is right most often."""
        return plurality([nodes[name] for name in self._trusted if name in nodes])

    def gain(self, nodes: Mapping[str, Node], question: str) -> float:
        """By how much the dearest agent is expected to raise the score."""
        seen = self._figures(nodes, question)[None]
        dear, cheap = (float(model.predict(seen)[0]) for model in self._models)
        return dear - cheap

    def _figures(self, nodes: Mapping[str, Node], question: str) -> Floats:
        """Who agrees with whom, how many do, and plain figures of the question and of each reply."""
        said = [nodes.get(name) for name in self.cheap]
        same = [
            float(one is not None and other is not None and one.answer is not None and one.answer == other.answer)
            for one, other in combinations(said, 2)
        ]
        most = max(
            (sum(o is not None and o.answer == n.answer for o in said) for n in said if n is not None), default=0
        )
        plain = [outline(question)[1], *(outline(node.content if node else "")[1] for node in said)]
        return np.concatenate([same, [float(most)], *plain])
