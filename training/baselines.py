"""Fitting the baselines on training tasks, by the same engine that serves them.

A comparison is only worth something if what the learned coordinator is compared with was given the same training tasks
and some effort: the best agent, the best fixed pipeline (successive halving, arXiv 1502.07943, so that a long list of
candidates costs little more than a short one) and an oracle that cheats and says so. The skill table has its own page,
`podium.training.skill_fit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinator_spec import (
    CoordinatorSpec,
    PipelineRequest,
    PipelineSpec,
    PipelineStep,
    SingleSpec,
    VoteSpec,
)
from podium.orchestrator.coordinators.build import build_coordinator
from podium.orchestrator.coordinators.fixed import Pipeline, Single
from podium.orchestrator.coordinators.oracle import Oracle
from podium.orchestrator.coordinators.steps import SAMPLE_OPTIONS, Step
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.record import LAST
from podium.protocols.task import Message, Task
from podium.training.rollouts import passed, score

SHOWN: Mapping[str, Literal["all", "last"]] = MappingProxyType({"": "all", ", the last reply in view": "last"})
"""What the steps of a pipeline may be shown: how a label says it -> how a team file does."""

Route = tuple[Step, ...]
"""Steps in order."""
Asked = tuple[tuple[str, ...], ...]
"""The agents of each step, in order."""
FEW = 4
"""Agents of a route up to which each has a number of samples of its own: with each further one there are as many times
more to try as there are numbers."""
THOROUGH = 2
"""Steps up to which the oracle tries every route: with each further one they are as many times more as there are steps
to choose from."""
LONGER_SHARE = 0.5
"""Runs that the oracle may spend on longer routes, as a share of those it made on shorter ones."""
AT_ONCE = 16
"""Longer routes that are tried between two looks at what is still open."""

__all__ = ["Choice", "Figures", "RunMany", "best_single", "choose_pipeline", "find_oracle", "measure"]


class RunMany(Protocol):
    """The way to the engine: `Rollouts.run`, or anything of its shape."""

    async def __call__(self, coordinator: Coordinator, tasks: Sequence[Task], *, seeds: Sequence[int]) -> list[Result]:
        """One run for each task and each seed, task by task."""
        ...


@dataclass(frozen=True, slots=True)
class Figures:
    """How a candidate did. score: mean, 0 to 1; tokens and dollars: means of a run; runs: how many were made."""

    label: str
    score: float
    tokens: float
    dollars: float
    runs: int

    @property
    def rank(self) -> tuple[float, float]:
        """Smaller is better: by score, then by tokens."""
        return -self.score, self.tokens


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, also as a team file says it, and what it was chosen from.

    figures: best first, those that were dropped early at the end.
    """

    coordinator: Coordinator
    label: str
    figures: tuple[Figures, ...]
    spec: CoordinatorSpec


Halve = Callable[[Mapping[str, Coordinator]], Awaitable[tuple[Figures, ...]]]
"""From candidates to the figures of all, best first."""


def measure(label: str, results: Sequence[Result]) -> Figures:
    """The means of some runs. Raises ValueError when there are none."""
    if not results:
        raise ValueError(f"{label}: nothing to measure, no run was made")
    runs = len(results)
    return Figures(
        label,
        sum(map(score, results)) / runs,
        sum(result.usage.tokens for result in results) / runs,
        sum(result.usage.dollars for result in results) / runs,
        runs,
    )


async def best_single(
    run_many: RunMany, tasks: Sequence[Task], agents: Sequence[str], *, seeds: Sequence[int] = (0,)
) -> Choice:
    """The agent that answers best alone, on all tasks; label: its name."""
    singles = {agent: Single(agent) for agent in agents}
    figures = await _halve(run_many, singles, tasks, seeds, first=len(tasks), kept=len(agents))
    best = figures[0].label
    return Choice(singles[best], best, figures, SingleSpec(kind="single", agent=best))


async def choose_pipeline(
    run_many: RunMany,
    tasks: Sequence[Task],
    agents: Sequence[str],
    *,
    max_len: int = 2,
    samples: Sequence[int] = SAMPLE_OPTIONS,
    width: int = 1,
    seeds: Sequence[int] = (0,),
    first: int = 24,
    kept: int = 4,
) -> Choice:
    """The fixed pipeline with the best score on training tasks, and of equals the one with the fewest tokens.

    All sequences of agents up to max_len compete with one sample each. Where width allows several agents in one step,
    the `kept` best of them compete with all that have one agent more beside a step, again until nothing better is found
    or every step is full. Then the `kept` best, with every number of samples of every agent (of every step, where a
    route asks more than FEW) and either view, every agent alone, and a vote over all. first: tasks of the first rung;
    with few, a mixture of skills makes the halving a matter of luck.
    """
    halve = partial(_halve, run_many, tasks=tasks, seeds=seeds, first=first, kept=kept)
    finalists, figures = await _finalists(halve, agents, max_len, width, kept)
    specs: dict[str, CoordinatorSpec] = {}
    for route in [*finalists, *(((agent,),) for agent in agents)]:
        for counts, word in product(_counts(route, samples), SHOWN if len(route) > 1 else ("",)):
            steps, shown = _steps(route, counts), SHOWN[word]
            specs[_label(steps) + word] = PipelineSpec(kind="pipeline", steps=tuple(map(_said, steps)), shown=shown)
    for count in samples:
        label = "vote of all" if count == 1 else f"vote of all x{count}"
        specs[label] = VoteSpec(kind="vote", agents=tuple(agents), samples=count)
    candidates = {label: build_coordinator(spec, agents) for label, spec in specs.items()}
    chosen = await halve(candidates)
    best = chosen[0].label
    seen = {each.label for each in chosen}
    others = {each.label: each for each in figures if each.label not in seen}
    return Choice(candidates[best], best, (*chosen, *others.values()), specs[best])


async def _finalists(
    halve: Halve, agents: Sequence[str], max_len: int, width: int, kept: int
) -> tuple[list[Asked], list[Figures]]:
    """The best routes of one sample, and the figures of all that were tried."""
    routes = [tuple(zip(names)) for length in range(1, max_len + 1) for names in product(agents, repeat=length)]
    best: list[Asked] = []
    figures: list[Figures] = []
    while True:
        plain = {_label(_steps(route)): route for route in (*best, *routes)}
        found = await halve({label: Pipeline(_steps(route)) for label, route in plain.items()})
        figures += found
        before, best = best, [plain[each.label] for each in found[:kept]]
        routes = [wider for route in best for wider in _wider(route, agents, width)]
        if not routes or best == before:
            return best, figures


@dataclass(frozen=True, slots=True)
class OracleSearch:
    """An oracle, and what was found.

    solved: share of the tasks that passed with every seed; runs: made in all. On the others every route of up to so
    many steps was tried, and so many longer ones.
    """

    oracle: Oracle
    solved: float
    runs: int
    steps: int
    longer: int


async def find_oracle(
    run_many: RunMany,
    tasks: Sequence[Task],
    agents: Sequence[str],
    *,
    samples: Sequence[int] = SAMPLE_OPTIONS,
    max_len: int = 2,
    seeds: Sequence[int] = (0,),
    cheapest: Literal["tokens", "dollars"] = "tokens",
) -> OracleSearch:
    """The cheapest steps that pass, for each task, one agent after another, each shown the reply before it.

    All routes of one and two steps are tried, by total number of samples; then, on what these leave open, longer ones
    up to max_len, shorter first, for at most LONGER_SHARE of the runs made until then. A task is open until it passed.

    cheapest: what decides between routes that pass equally often. It cheats: it looks at scores, and with few seeds it
    also keeps lucky draws. Run it with the seeds it is to be compared on. A task that nothing solves gets the steps
    that passed most often, the cheapest of those. It is a ceiling for a team that works in turn: agents that are asked
    at once, and shown all replies, may still do better.
    """
    every = [Step(agent, count) for agent in agents for count in samples]
    short = [route for length in range(1, min(max_len, THOROUGH) + 1) for route in product(every, repeat=length)]
    levels: dict[int, list[Route]] = {}
    for route in short:
        levels.setdefault(sum(step.samples for step in route), []).append(route)
    search = _Search(run_many, tasks, seeds, cheapest)
    for level in sorted(levels):
        await search.attempt(levels[level])
    longer, steps = 0, min(max_len, THOROUGH)
    most = search.runs + int(search.runs * LONGER_SHARE)
    for length in range(THOROUGH + 1, max_len + 1):
        routes = _routes(agents, samples, length)
        while search.open:
            fitting = min(AT_ONCE, (most - search.runs) // (len(search.open) * len(seeds)))
            if not (batch := list(islice(routes, fitting))):
                break
            await search.attempt(batch)
            longer += len(batch)
        if search.open and next(routes, None):
            break  # no runs are left
        longer, steps = 0, length
    oracle = Oracle({messages: found.route for messages, found in search.best.items()})
    return OracleSearch(oracle, 1.0 - len(search.open) / max(1, len(tasks)), search.runs, steps, longer)


class _Found(NamedTuple):
    """What a route did on one task: share of the seeds that failed, tokens or dollars of a run. Smaller is better."""

    failed: float
    cost: float
    route: Route


class _Search:
    """A search for the oracle's routes. best: by task; open: tasks that nothing passes yet; runs: made so far."""

    def __init__(
        self, run_many: RunMany, tasks: Sequence[Task], seeds: Sequence[int], cheapest: Literal["tokens", "dollars"]
    ) -> None:
        self.run_many = run_many
        self.cheapest = cheapest
        self.seeds = seeds
        self.open = list(tasks)
        self.best: dict[tuple[Message, ...], _Found] = {}
        self.runs = 0

    async def attempt(self, routes: Sequence[Route]) -> None:
        """Run all of these on what is open."""
        if not self.open:
            return
        led = (Pipeline(route, visible=LAST) for route in routes)
        batches = await asyncio.gather(*(self.run_many(each, self.open, seeds=self.seeds) for each in led))
        count = len(self.seeds)
        for route, results in zip(routes, batches, strict=True):
            self.runs += len(results)
            for place, task in enumerate(self.open):
                own = results[place * count : (place + 1) * count]
                failed = sum(not passed(result) for result in own) / count
                cost = sum(result.usage.tokens if self.cheapest == "tokens" else result.usage.dollars for result in own)
                found = _Found(failed, cost / count, route)
                if task.messages not in self.best or found[:2] < self.best[task.messages][:2]:
                    self.best[task.messages] = found
        self.open = [task for task in self.open if self.best[task.messages].failed > 0]


def _routes(agents: Sequence[str], samples: Sequence[int], length: int) -> Iterator[Route]:
    """All routes of a length, those with the fewest samples first; one at a time, since they are many."""
    for counts in sorted(product(samples, repeat=length), key=sum):
        for names in product(agents, repeat=length):
            yield tuple(map(Step, names, counts))


async def _halve(
    run_many: RunMany,
    candidates: Mapping[str, Coordinator],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    *,
    first: int,
    kept: int,
) -> tuple[Figures, ...]:
    """Successive halving: twice the tasks for half of the candidates, down to `kept`, which are run on all tasks.

    The figures of all, best first.
    """
    if not tasks or not candidates:
        raise ValueError("choosing needs at least one task and one candidate")
    order = sorted(tasks, key=lambda task: seed_of("order", task.id, task.text))
    results: dict[str, list[Result]] = {label: [] for label in candidates}
    alive, done = list(candidates), 0
    while done < len(order):
        upto = len(order) if len(alive) <= kept else min(len(order), max(first, 2 * done))
        rung = order[done:upto]
        made = await asyncio.gather(*(run_many(candidates[label], rung, seeds=seeds) for label in alive))
        for label, new in zip(alive, made, strict=True):
            results[label].extend(new)
        done = upto
        alive.sort(key=lambda label: measure(label, results[label]).rank)
        if done < len(order):
            alive = alive[: max(kept, (len(alive) + 1) // 2)]
    return tuple(sorted((measure(label, each) for label, each in results.items()), key=lambda f: (-f.runs, f.rank)))


def _steps(route: Asked, counts: Sequence[int] = ()) -> Route:
    """The steps that ask these agents. counts: samples of each, in order; one where nothing is said."""
    left = iter(counts or [1] * sum(map(len, route)))
    asked = ([Step(name, next(left)) for name in names] for names in route)
    return tuple(Step(first.agent, first.samples, tuple(others)) for first, *others in asked)


def _counts(route: Asked, samples: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All numbers of samples that the agents of a route may draw; of many agents, those of a step draw the same."""
    if sum(map(len, route)) <= FEW:
        yield from product(samples, repeat=sum(map(len, route)))
        return
    for counts in product(samples, repeat=len(route)):
        yield tuple(count for names, count in zip(route, counts, strict=True) for _ in names)


def _wider(route: Asked, agents: Sequence[str], width: int) -> Iterator[Asked]:
    """All routes that have one agent more beside a step; those of a step are in the order of the team."""
    for place, names in enumerate(route):
        if len(names) < width:
            for agent in agents:
                if agent not in names:
                    step = tuple(each for each in agents if each == agent or each in names)
                    yield (*route[:place], step, *route[place + 1 :])


def _said(step: Step) -> PipelineStep:
    """A step as a team file says it."""
    beside = tuple(PipelineRequest(agent=each.agent, samples=each.samples) for each in step.beside)
    return PipelineStep(agent=step.agent, samples=step.samples, beside=beside)


def _label(steps: Sequence[Step]) -> str:
    return " > ".join(map(str, steps))
