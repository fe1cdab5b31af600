"""A table of who passes at what: the strongest coordinator that needs no network.

For each (skill, step, agent, samples) it keeps two Beta-Bernoulli posteriors: whether the reply itself passes (`own`)
and whether the run passes when it goes on after that reply (`after`), with the mean dollars of either. The prior of a
skill's arm is what the same arm did at all skills together (empirical Bayes), so that a lucky streak of three in a rare
skill does not outweigh a hundred outcomes elsewhere. After a reply it stops when the reply's own posterior is at least
what going on promises, less `cost_weight` times the expected dollars. Serving takes posterior means. Training explores
with randomised upper confidence bounds (the Beta posterior's standard deviation as in Bayes-UCB, Kaufmann et al. 2012;
a random share of it as in RandUCB, arXiv 1910.04928), so that runs which share one table do not all try the same arm.
The random share is a hash of the run's seed and task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import NamedTuple

from podium.orchestrator.coordinator import RunState, decision, directive_id, latest
from podium.orchestrator.coordinators.skills import Skills
from podium.orchestrator.coordinators.steps import SAMPLE_OPTIONS, compute_of, fits
from podium.protocols.bus import Card
from podium.protocols.noise import uniform
from podium.protocols.record import Decision, Directive, Node
from podium.protocols.task import Message

__all__ = ["Arm", "Key", "Remembered", "SkillTable", "Tally"]


class Key(NamedTuple):
    """What the table is keyed by. skill: of the task's text; step: from 0."""

    skill: int
    step: int
    agent: str
    samples: int


@dataclass(frozen=True, slots=True)
class Tally:
    """A Beta(1 + passed, 1 + failed) posterior, and the dollars spent under it."""

    passed: float = 0.0
    failed: float = 0.0
    dollars: float = 0.0

    @property
    def seen(self) -> float:
        """Outcomes counted."""
        return self.passed + self.failed

    @property
    def mean(self) -> float:
        """Posterior mean of passing; one half before anything was seen."""
        return (1.0 + self.passed) / (2.0 + self.seen)

    @property
    def deviation(self) -> float:
        """Posterior standard deviation of passing."""
        total = 2.0 + self.seen
        return sqrt((1.0 + self.passed) * (1.0 + self.failed) / (total * total * (total + 1.0)))

    @property
    def cost(self) -> float:
        """Mean dollars; 0 before anything was seen."""
        return self.dollars / self.seen if self.seen else 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed, self.dollars + other.dollars)

    def at_most(self, outcomes: float) -> Tally:
        """The same rates and mean dollars, on no more than so many outcomes."""
        share = min(1.0, outcomes / self.seen) if self.seen else 1.0
        return Tally(self.passed * share, self.failed * share, self.dollars * share)

    def after(self, passed: bool, dollars: float) -> Tally:
        """The tally with one more outcome."""
        return Tally(self.passed + passed, self.failed + (not passed), self.dollars + dollars)


NOTHING_SEEN = Tally()


@dataclass(frozen=True, slots=True)
class Arm:
    """What is known of one key. own: of finishing with its reply; after: of going on, dollars to the end of the run."""

    own: Tally = NOTHING_SEEN
    after: Tally = NOTHING_SEEN


UNKNOWN = Arm()

POOLED = 8.0
"""Outcomes that the other skills' experience with an arm counts for, at most: the weight of the prior."""

NEVER = -1.0
"""Worth of going on where that is impossible or untried: below any probability, and a finite number for the journal."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """Of a run: its skill, what was asked last (None before the first reply), and the text that keys its noise."""

    skill: int
    last: Key | None
    noise: str


class SkillTable:
    """Asks the agent with the best record at the task's skill. Immutable: `with_outcomes` makes a new table.

    max_steps: agents asked in a run at most. samples: the options. explore: constant of the confidence bound, used
    when a run samples or the table is `exploring`. cost_weight: success probability that one dollar is worth.
    """

    name = "skill_table"
    batched = False

    def __init__(
        self,
        skills: Skills | None = None,
        arms: Mapping[Key, Arm] | None = None,
        *,
        max_steps: int = 2,
        samples: Sequence[int] = SAMPLE_OPTIONS,
        explore: float = 1.0,
        cost_weight: float = 0.0,
        exploring: bool = False,
    ) -> None:
        self.skills = skills or Skills()
        self.arms = dict(arms or {})
        self.max_steps = max_steps
        self.samples = tuple(sorted(samples))
        self.explore = explore
        self.cost_weight = cost_weight
        self.exploring = exploring
        self._believed: dict[Key, Arm] = {}
        self._pool: dict[tuple[int, str, int], Arm] = {}
        self._visits: dict[tuple[int, int], float] = {}
        for key, arm in sorted(self.arms.items()):  # sums of dollars depend on the order, and a file has one of its own
            place = (key.skill, key.step)
            self._visits[place] = self._visits.get(place, 0.0) + arm.own.seen
            pooled = self._pool.get(key[1:], UNKNOWN)
            self._pool[key[1:]] = Arm(pooled.own + arm.own, pooled.after + arm.after)
        self._ranked: dict[tuple[int, int, tuple[Card, ...]], list[tuple[float, Key]]] = {}

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents that the table has seen."""
        return tuple(sorted({key.agent for key in self.arms}))

    def changed(
        self,
        *,
        explore: float | None = None,
        cost_weight: float | None = None,
        exploring: bool | None = None,
        arms: Mapping[Key, Arm] | None = None,
    ) -> SkillTable:
        """The same table with other settings or contents."""
        return SkillTable(
            self.skills,
            self.arms if arms is None else arms,
            max_steps=self.max_steps,
            samples=self.samples,
            explore=self.explore if explore is None else explore,
            cost_weight=self.cost_weight if cost_weight is None else cost_weight,
            exploring=self.exploring if exploring is None else exploring,
        )

    def with_outcomes(self, outcomes: Iterable[tuple[Key, str, bool, float]]) -> SkillTable:
        """The table after more outcomes: (key, "own" or "after", passed, dollars) each."""
        arms = dict(self.arms)
        for key, what, passed, dollars in outcomes:
            arm = arms.get(key, UNKNOWN)
            if what == "own":
                arms[key] = Arm(arm.own.after(passed, dollars), arm.after)
            else:
                arms[key] = Arm(arm.own, arm.after.after(passed, dollars))
        return self.changed(arms=arms)

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Remembered:
        """The task's skill; nobody asked yet."""
        text = task[-1].content
        return Remembered(self.skills.of(text), None, text)

    def observe(self, memory: Remembered, node: Node) -> Remembered:
        """What was asked last: the author of the newest reply, and how many samples it was picked from."""
        if node.kind != "reply":
            return memory
        step = 0 if memory.last is None else memory.last.step + 1
        drawn = max((option for option in self.samples if option <= len(node.parents)), default=self.samples[0])
        return Remembered(memory.skill, Key(memory.skill, step, node.author, drawn), memory.noise)

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """Finish where the newest reply's record says so; else the best arm that fits the budget."""
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        memory: Remembered = state.memory
        exploring = self.exploring or state.mode == "sample"
        last = memory.last
        if last is not None:
            stop, on = self._stop(last), self._go_on(last, state, exploring)
            if stop >= on:
                return decision(self.name, state, latest(state), skill=memory.skill, stop=stop, go_on=on)
        ranking = self._explored(state) if exploring else self._ranking(state)
        chosen = next((each for each in ranking if fits(state, each[1].agent)), ranking[0])
        value, key = chosen
        answer = state.step + 1 >= self.max_steps or (not exploring and self._surely_ends(key))
        directive = Directive(directive_id(state, 0), key.agent, compute=compute_of(key.samples), answer=answer)
        return decision(self.name, state, (directive,), skill=memory.skill, expected=value)

    def _surely_ends(self, key: Key) -> bool:
        """Whether the reply to this arm will end the run whatever it says: then it is the answer already."""
        return self._stop(key) >= self._promise(key)

    def _belief(self, key: Key) -> Arm:
        """What is believed of an arm: its own outcomes, and some of the other skills' outcomes with it."""
        belief = self._believed.get(key)
        if belief is None:
            arm, pool = self.arms.get(key, UNKNOWN), self._pool.get(key[1:], UNKNOWN)
            belief = Arm(arm.own + pool.own.at_most(POOLED), arm.after + pool.after.at_most(POOLED))
            self._believed[key] = belief
        return belief

    def _stop(self, key: Key) -> float:
        return self._belief(key).own.mean

    def _promise(self, key: Key) -> float:
        """Expected worth of going on after an arm; never worth it where nobody has tried."""
        after = self._belief(key).after
        return after.mean - self.cost_weight * after.cost if after.seen else NEVER

    def _go_on(self, key: Key, state: RunState, exploring: bool) -> float:
        if state.step >= self.max_steps:
            return NEVER
        if not exploring:
            return self._promise(key)
        after = self._belief(key).after
        return after.mean - self.cost_weight * after.cost + self._bonus(after, key, state)

    def _worth(self, key: Key) -> float:
        """Expected worth of an arm: the better of stopping and going on after it, less its own dollars."""
        own = self._belief(key).own
        return max(own.mean, self._promise(key)) - self.cost_weight * own.cost

    def _ranking(self, state: RunState) -> list[tuple[float, Key]]:
        """All arms of this skill and step, best first; those never tried come last. Worked out once per team."""
        place = (state.memory.skill, state.step, state.cards)
        ranked = self._ranked.get(place)
        if ranked is None:
            tried = {key: self._belief(key).own.seen > 0 for key in self._keys(state)}
            ranked = [(self._worth(key), key) for key in sorted(tried, key=lambda k: (not tried[k], -self._worth(k)))]
            self._ranked[place] = ranked
        return ranked

    def _explored(self, state: RunState) -> list[tuple[float, Key]]:
        """All arms by upper confidence bound, best first."""
        bounds: list[tuple[float, Key]] = []
        for key in self._keys(state):
            arm = self._belief(key)
            best = arm.after if arm.after.seen and arm.after.mean > arm.own.mean else arm.own
            bounds.append((self._worth(key) + self._bonus(best, key, state), key))
        return sorted(bounds, key=lambda each: -each[0])

    def _bonus(self, tally: Tally, key: Key, state: RunState) -> float:
        share = uniform(state.seed, state.memory.noise, key.step, key.agent, key.samples)
        visits = self._visits.get((key.skill, key.step), 0.0)
        return self.explore * share * sqrt(2.0 * log(2.0 + visits)) * tally.deviation

    def _keys(self, state: RunState) -> list[Key]:
        skill, step = state.memory.skill, state.step
        return [Key(skill, step, card.name, option) for card in state.cards for option in self.samples]
