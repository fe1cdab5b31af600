"""Whether a policy still looks at its task: figures of one iteration that show a collapse before the score does.

Entropy does not tell. A policy that draws among agents in the same way whatever it is asked is as uncertain as one that
has something to choose from, and one that always takes the same agent may be right to. What tells is the mutual
information between task and decision, beside what there would be to gain by deciding by task (the idea of RAGEN-2,
"template collapse", and of SkillOrchestra, "routing collapse").

All of it is read off the decisions' own records: the probabilities they were drawn with and what was believed of each
agent. The first decision of a run depends on the task alone, so that its probabilities give the information as it is,
with no noise of sampling. Later ones also depend on replies: what is found there by chance is estimated by dealing the
runs out to the tasks anew, and taken off.

All runs of a task have the same price knob, and other tasks others, so that a policy that follows the knob alone would
seem to follow the task. Tasks are compared with those whose knobs are nearest, few enough that the knob tells little
among them: the information is that of task and decision given the knob, and at most ln(NEIGHBOURS).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from podium.agents.model import Price
from podium.protocols.bus import Card
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.record import Decision, Finish
from podium.training.train_file import Head

HEADS = {*get_args(Head), "success", "cost", "gain", "passes", "supplies", "value"}
"""Parts of the network that say something; the rest is what they read."""
SHUFFLES = 8
"""How often the runs are dealt out anew."""
NEIGHBOURS = 8
"""Tasks that are compared with each other where knobs differ, at least (fewer than twice as many are not parted)."""
WORTH_TELLING = 0.05
"""So much has to be gained by deciding by task before a policy that does not is told of."""
ALIKE = 0.05
"""Share of the information that the best choice holds, below which a policy decides alike."""
SETTLED = 0.25
"""Share of a training that a policy has to find out what there is to gain."""

Chances = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Figures of one iteration.

    information: nats that the task tells of the first decision; later: of the second one, chance taken off. needed:
    nats that it tells of who is believed to be the best choice, and gain: by how much always taking that one is
    believed to beat always taking the same, in passed answers, cost off. All at one knob. shares: of all directives,
    by agent.
    """

    information: float
    later: float
    needed: float
    gain: float
    shares: Mapping[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """As metrics of an iteration."""
        used = np.array([share for share in self.shares.values() if share > 0])
        return {
            "information": self.information,
            "information_later": self.later,
            "information_needed": self.needed,
            "routing_gain": self.gain,
            "share_entropy": float(-(used * np.log(used)).sum()),
            **{f"share/{name}": share for name, share in self.shares.items()},
        }

    def collapse(self, progress: float) -> str:
        """What is wrong, in words; empty where nothing is. progress: of the training, 0 to 1."""
        if progress < SETTLED or self.gain < WORTH_TELLING:
            return ""
        if max(self.information, self.later) >= ALIKE * self.needed:
            return ""
        most = max(self.shares, key=lambda name: self.shares[name], default="")
        return (
            f"the policy decides alike whatever the task is ({max(self.information, self.later):.3f} nats of "
            f"{self.needed:.2f}; {self.shares[most]:.0%} of the directives go to {most}), though asking whoever is "
            f"believed best for each task would be worth {self.gain:.2f} more a task; raise loss.entropy or group, or "
            "lower learning_rate"
        )


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one task. cards: of the team that worked it; names: those agents' own names, in the same order."""

    results: Sequence[Result]
    knob: float
    cards: tuple[Card, ...]
    names: tuple[str, ...]


def diagnose(groups: Sequence[Group], agents: Sequence[str], seed: int = 0) -> Diagnosis:
    """The figures of one iteration. agents: of the whole team; seed: of what is dealt out anew.

    Groups of different teams are not compared with each other: what the team tells of a decision is not the task's.
    """
    teams: dict[Hashable, list[Group]] = {}
    for group in groups:
        teams.setdefault(group.cards, []).append(group)
    rows = [_of_team(each, seed) for each in teams.values()]
    sizes = [len(each) for each in teams.values()]
    information, later, needed, gain = np.average(rows, axis=0, weights=sizes).tolist() if rows else (0.0,) * 4
    return Diagnosis(information, later, needed, gain, _shares(groups, agents))


def information(groups: Sequence[Chances], shuffles: int = 0, seed: int = 0) -> float:
    """Mutual information of group and choice, in nats: entropy of the mean less the mean of the groups' entropies.

    groups: (runs, choices) each, the probabilities that each run's choice was drawn with. shuffles: how often runs are
    dealt out to groups of the same sizes anew, to take off what is found by chance; 0 where runs of a group cannot
    differ.
    """
    return max(0.0, _told(groups, shuffles, seed))


def _told(groups: Sequence[Chances], shuffles: int, seed: int) -> float:
    """`information`, below 0 where less is found than by chance."""
    full = [group for group in groups if len(group)]
    if len(full) < 2:
        return 0.0
    sizes = np.array([len(group) for group in full])
    runs = np.concatenate(full)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))

    def found(order: Chances) -> float:
        means = np.add.reduceat(order, starts) / sizes[:, None]
        return float(_entropy(order.mean(0)) - np.average(_entropy(means), weights=sizes))

    random = np.random.default_rng(seed_of("shuffled", seed))
    chance = [found(runs[random.permutation(len(runs))]) for _ in range(shuffles)]
    return found(runs) - (float(np.mean(chance)) if chance else 0.0)


def _of_team(groups: Sequence[Group], seed: int) -> tuple[float, float, float, float]:
    """Information in the first and the second decision, what the best choice needs, and what it gains."""
    known = [group for group in groups if group.results and group.results[0].decisions]
    if not known:
        return 0.0, 0.0, 0.0, 0.0
    near = _neighbours(known)

    def told(step: int, shuffles: int) -> float:
        chances = [[_chances(group, step) for group in each] for each in near]
        runs = [sum(map(len, each)) for each in chances]
        found = [_told(each, shuffles, seed) for each in chances]
        return max(0.0, float(np.average(found, weights=runs))) if any(runs) else 0.0

    best = np.array([_best(each) for each in near])
    needed, gain = np.average(best, axis=0, weights=[len(each) for each in near]).tolist()
    return told(0, 0), told(1, SHUFFLES), needed, gain


def _neighbours(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups whose knobs are near each other; all of them where there is one knob."""
    if len({group.knob for group in groups}) == 1:
        return [list(groups)]
    ordered = sorted(groups, key=lambda group: group.knob)
    parts = np.array_split(np.arange(len(ordered)), max(1, len(ordered) // NEIGHBOURS))
    return [[ordered[place] for place in part] for part in parts]


def _best(groups: Sequence[Group]) -> tuple[float, float]:
    """What the best choice needs to be known of the task, and what it gains."""
    worth = np.array([_worth(group) for group in groups])
    best = np.eye(worth.shape[1])[worth.argmax(1)]
    return float(_entropy(best.mean(0))), float(worth.max(1).mean() - worth.mean(0).max())


def _chances(group: Group, step: int) -> Chances:
    """How the runs of a group drew whom to ask, or to finish, at a step: (runs that got there, agents + 1)."""
    rows = [_drawn(result.decisions[step], group) for result in group.results if len(result.decisions) > step]
    return np.array(rows).reshape(-1, len(group.cards) + 1)


def _drawn(decision: Decision, group: Group) -> list[float]:
    """The probabilities of a decision's first pick; of a greedy one, all of it on what it took."""
    names = [card.name for card in group.cards]
    if decision.mode == "sample" and "p(finish)" in decision.reasons:
        return [*(decision.reasons.get(f"p({name})", 0.0) for name in names), decision.reasons["p(finish)"]]
    taken = "" if isinstance(decision.action, Finish) else decision.action[0].agent
    return [float(name == taken) for name in [*names, ""]]


def _worth(group: Group) -> list[float]:
    """What asking each agent first is believed to be worth: its success, less what that costs, in passed answers."""
    reasons = group.results[0].decisions[0].reasons
    out: list[float] = []
    for card in group.cards:
        success = reasons.get(f"success({card.name})", 0.0)
        reply = round(reasons.get(f"tokens({card.name})", 0.0))
        out.append(success * (1.0 - Price(*card.price).dollars(0, reply) / group.knob))
    return out


def gradient_norms(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """The gradient's length in each head, and in what they all read (`body`), as metrics; (n,) weights by name."""
    squares: dict[str, float] = {}
    for name, weight in weights.items():
        if weight.grad is not None:
            head = name.removesuffix(".w").removesuffix(".b")
            key = f"gradient/{head if head in HEADS else 'body'}"
            squares[key] = squares.get(key, 0.0) + float(weight.grad.square().sum())
    return {name: math.sqrt(square) for name, square in squares.items()}


def _shares(groups: Sequence[Group], agents: Sequence[str]) -> dict[str, float]:
    counts = dict.fromkeys(agents, 0)
    for group in groups:
        own = dict(zip((card.name for card in group.cards), group.names, strict=True))
        for result in group.results:
            for decision in result.decisions:
                for directive in () if isinstance(decision.action, Finish) else decision.action:
                    counts[own[directive.agent]] += 1
    total = max(1, sum(counts.values()))
    return {name: count / total for name, count in counts.items()}


def _entropy(chances: Chances) -> Chances:
    """In nats, over the last axis."""
    return -(chances * np.log(np.where(chances > 0, chances, 1.0))).sum(-1)
