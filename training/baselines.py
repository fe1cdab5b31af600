"""Fitting the baselines on training tasks, by the same engine that serves them.

A comparison is only worth something if what the learned coordinator is compared with was given the same training tasks
and some effort: the best agent, the best fixed pipeline (successive halving, arXiv 1502.07943, so that a long list of
candidates costs little more than a short one) and an oracle that cheats and says so. The skill table has its own page,
`podium.training.skill_fit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Protocol

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinators.fixed import Pipeline, Single
from podium.orchestrator.coordinators.oracle import Oracle
from podium.orchestrator.coordinators.steps import SAMPLE_OPTIONS, Step
from podium.orchestrator.coordinators.voting import ParallelVote
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.record import ALL, LAST, View
from podium.protocols.task import Message, Task
from podium.training.rollouts import passed, score

VIEWS: Mapping[str, View] = MappingProxyType({"": ALL, ", the last reply in view": LAST})
"""What the steps of a pipeline may be shown: how a label says it -> the view."""

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
    """What was chosen, and what it was chosen from: best first, those that were dropped early at the end."""

    coordinator: Coordinator
    label: str
    figures: tuple[Figures, ...]


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
    return await _halve(run_many, singles, tasks, seeds, first=len(tasks), kept=len(agents))


async def choose_pipeline(
    run_many: RunMany,
    tasks: Sequence[Task],
    agents: Sequence[str],
    *,
    max_len: int = 2,
    samples: Sequence[int] = SAMPLE_OPTIONS,
    views: Mapping[str, View] = VIEWS,
    seeds: Sequence[int] = (0,),
    first: int = 24,
    kept: int = 4,
) -> Choice:
    """The fixed pipeline with the best score on training tasks, and of equals the one with the fewest tokens.

    All sequences of agents up to max_len compete with one sample each; then the `kept` best of them, with every number
    of samples at every step and each of the views, every agent alone, and a vote over all. first: tasks of the first
    rung; with few, a mixture of skills makes the halving a matter of luck.
    """
    names = [names for length in range(1, max_len + 1) for names in product(agents, repeat=length)]
    plain = {_label(steps): Pipeline(steps) for steps in ([Step(name) for name in each] for each in names)}
    rough = await _halve(run_many, plain, tasks, seeds, first=first, kept=kept)
    finalists = [figures.label for figures in rough.figures[:kept]]
    routes = [[step.agent for step in plain[label].steps] for label in finalists] + [[agent] for agent in agents]
    candidates: dict[str, Coordinator] = {}
    for route in routes:
        shown = views.items() if len(route) > 1 else [("", ALL)]
        for (word, view), counts in product(shown, product(samples, repeat=len(route))):
            steps = [Step(agent, count) for agent, count in zip(route, counts, strict=True)]
            candidates[_label(steps) + word] = Pipeline(steps, visible=view)
    for count in samples:
        candidates["vote of all" if count == 1 else f"vote of all x{count}"] = ParallelVote(agents, count)
    chosen = await _halve(run_many, candidates, tasks, seeds, first=first, kept=kept)
    seen = {figures.label for figures in chosen.figures}
    others = tuple(figures for figures in rough.figures if figures.label not in seen)
    return Choice(chosen.coordinator, chosen.label, chosen.figures + others)


@dataclass(frozen=True, slots=True)
class OracleSearch:
    """An oracle, and what was found. solved: share of the tasks that passed with every seed; runs: made in all."""

    oracle: Oracle
    solved: float
    runs: int


async def find_oracle(
    run_many: RunMany,
    tasks: Sequence[Task],
    agents: Sequence[str],
    *,
    samples: Sequence[int] = SAMPLE_OPTIONS,
    max_len: int = 2,
    seeds: Sequence[int] = (0,),
) -> OracleSearch:
    """The cheapest steps that pass, for each task: exhaustive search, by total number of samples.

    It cheats: it looks at scores, and with few seeds it also keeps lucky draws. Run it with the seeds it is to be
    compared on. A task that nothing solves gets the steps that passed most often, the cheapest of those.
    """
    every = [Step(agent, count) for agent in agents for count in samples]
    routes = [route for length in range(1, max_len + 1) for route in product(every, repeat=length)]
    levels: dict[int, list[tuple[Step, ...]]] = {}
    for route in routes:
        levels.setdefault(sum(step.samples for step in route), []).append(route)
    best: dict[tuple[Message, ...], tuple[float, float, tuple[Step, ...]]] = {}
    open_tasks: list[Task] = list(tasks)
    runs = 0
    for level in sorted(levels):
        if not open_tasks:
            break
        batches = await asyncio.gather(*(run_many(Pipeline(route), open_tasks, seeds=seeds) for route in levels[level]))
        for route, results in zip(levels[level], batches, strict=True):
            runs += len(results)
            for place, task in enumerate(open_tasks):
                own = results[place * len(seeds) : (place + 1) * len(seeds)]
                failed = sum(not passed(result) for result in own) / len(own)
                found = (failed, sum(result.usage.tokens for result in own) / len(own), route)
                if task.messages not in best or found[:2] < best[task.messages][:2]:
                    best[task.messages] = found
        open_tasks = [task for task in open_tasks if best[task.messages][0] > 0]
    oracle = Oracle({messages: route for messages, (_, _, route) in best.items()})
    return OracleSearch(oracle, 1.0 - len(open_tasks) / max(1, len(tasks)), runs)


async def _halve(
    run_many: RunMany,
    candidates: Mapping[str, Coordinator],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    *,
    first: int,
    kept: int,
) -> Choice:
    """Successive halving: twice the tasks for half of the candidates, down to `kept`, which are run on all tasks."""
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
    figures = sorted((measure(label, each) for label, each in results.items()), key=lambda f: (-f.runs, f.rank))
    return Choice(candidates[figures[0].label], figures[0].label, tuple(figures))


def _label(steps: Sequence[Step]) -> str:
    return " > ".join(map(str, steps))
