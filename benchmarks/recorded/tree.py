"""What can be made of who agrees with whom: the best tree of decisions, found by dynamic programming.

A policy that reads no texts knows whom it has asked and which of their answers are the same. For each such state the
best choice is worked out exactly on the training tasks, from the last step backwards: the answer that is right most
often, or the agent whose reply leads to what is worth more, less its price. States that fewer than `LEAST` training
tasks come to are not asked further in. So this is what is there to be learned, found without learning; how far it
carries over to held-out tasks says how far any policy can come that knows no more.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.coordinator import RunState, Stateless, ask, decision, plurality
from podium.protocols.record import NOTHING, Decision, Finish, Node

sys.path.append(str(Path(__file__).parents[1]))
from recorded.cascades import Replies

LEAST = 40
"""Training tasks of a state in which somebody is asked; chosen of 10, 20, 40 on splits from 20 on."""
STEPS = 5
"""Agents asked at most, as the trained policy's `max_steps`."""

Asked = tuple[int, ...]
"""Agents by their places, ascending."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Tree(Stateless):
    """Asks one agent at a time, and goes by whom it asked and whose answers are the same.

    known: training tasks; worth: of a passed answer, in dollars.
    """

    def __init__(self, known: Sequence[Replies], worth: float, *, least: int = LEAST, steps: int = STEPS) -> None:
        self.name = "agreement tree"
        self.agents = tuple(sorted(known[0].nodes))
        self._choices = _solved(
            np.array([_answers(each.nodes, self.agents) for each in known]),
            np.array([[each.scores[name] for name in self.agents] for each in known]),
            np.array([[each.dollars[name] for name in self.agents] for each in known]) / worth,
            least,
            steps,
        )

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The next agent, or the answer; the plurality's where no training task came."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        nodes = {node.author: node for node in state.replies}
        asked = tuple(place for place, name in enumerate(self.agents) if name in nodes)
        [code] = _codes(np.array([_answers(nodes, self.agents)]), asked)
        finish, choice = self._choices.get((asked, int(code)), (True, -1))
        if not finish:
            return decision(self.name, state, ask(state, [self.agents[choice]], visible=NOTHING))
        node = plurality(state.replies) if choice < 0 else nodes[self.agents[choice]]
        return decision(self.name, state, Finish(node.id))


def _answers(nodes: Mapping[str, Node], agents: Sequence[str]) -> list[int]:
    """Answers as numbers, the same for the same; -1 where there is none."""
    numbers: dict[str, int] = {}
    said = [nodes[name].answer if name in nodes else None for name in agents]
    return [-1 if answer is None else numbers.setdefault(answer, len(numbers)) for answer in said]


def _codes(answers: Ints, asked: Asked) -> Ints:
    """(tasks,): a number for who of the asked gave an answer, and whose are the same. answers: (tasks, agents)."""
    bits = [answers[:, agent] >= 0 for agent in asked]
    bits += [(answers[:, one] == answers[:, other]) & (answers[:, one] >= 0) for one, other in combinations(asked, 2)]
    return sum((bit.astype(np.int64) << place for place, bit in enumerate(bits)), np.zeros(len(answers), np.int64))


def _solved(
    answers: Ints, scores: Floats, costs: Floats, least: int, steps: int
) -> dict[tuple[Asked, int], tuple[bool, int]]:
    """Of each state, whether to finish, and with whose answer, or else whom to ask. scores, costs: (tasks, agents), in
    passed answers.
    """
    agents = scores.shape[1]
    choices: dict[tuple[Asked, int], tuple[bool, int]] = {}
    after: dict[Asked, Floats] = {}  # what each task comes to, once these agents were asked
    for size in range(min(steps, agents), -1, -1):
        for asked in combinations(range(agents), size):
            codes, group, many = np.unique(_codes(answers, asked), return_inverse=True, return_counts=True)

            def mean(values: Floats, group: Ints = group, many: Ints = many) -> Floats:
                return np.bincount(group, values) / many

            right = np.array([mean(scores[:, agent]) for agent in asked]).reshape(size, len(codes))
            value = right.max(0, initial=-np.inf)
            choice = np.array(asked)[right.argmax(0)] if asked else np.full(len(codes), -1)
            finish = np.full(len(codes), bool(asked))
            for agent in set(range(agents)) - set(asked) if size < min(steps, agents) else ():
                follows = after[tuple(sorted((*asked, agent)))] - costs[:, agent]
                worth = np.where((many >= least) | (not asked), mean(follows), -np.inf)
                better = worth > value
                value, choice = np.where(better, worth, value), np.where(better, agent, choice)
                finish &= ~better
            after[asked] = value[group]
            found = zip(codes.tolist(), finish.tolist(), choice.tolist(), strict=True)
            choices |= {(asked, code): (done, who) for code, done, who in found}
    return choices
