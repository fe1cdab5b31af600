"""When to plan: fixed replanning periods against a policy that decides step by step whether a plan is worth its price.

    python reproductions/when_to_plan/run.py

The engine plays a search in a graph that is seen only in part (graph_search.py), with a simulated walker (walk.py).
Fixed periods plan anew every 1, 2, 3, ... moves. One policy, whose input is what a passed answer is worth, learns the
plan bit by the trainer's grouped policy gradient, on other graphs than those that all are compared on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1]))
from graph_search import MOVES
from study import Size, Study, asked
from walk import PLAN_DOLLARS, SITUATIONS, Period, Rule, moves, search, team
from when_to_plan_picture import draw

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.protocols.noise import seed_of
from podium.protocols.record import Finish
from podium.training.coordinator_trainer import CoordinatorTrainer
from podium.training.rollouts import Rollouts, passed
from podium.training.statistics import crossed_interval, mean_interval
from podium.training.train_file import TrainSpec

PERIODS: tuple[int | None, ...] = (1, 2, 3, 4, 6, 8, 12, None)
PRICES = (0.003, 0.01, 0.03, 0.1, 0.3)
"""What a plan costs, in passed answers, by the knob; training draws it between the first and the last."""
HELD_OUT = 10_000
"""Numbers of graphs that nothing is chosen on begin here."""
OPTIONS = Options(context=("all",), plans=("keep", "renew"), finish="answered", max_steps=MOVES)
"""The plan bit and nothing else; to keep where there is no plan yet is to go on without one."""
GAMMA = 0.98
"""Of the credit: at 1, what a plan saves shows only in searches that end just before or after the last move; the lower,
the dearer it may be to save a move, and what is reported does not count moves."""
CREDIT = {
    "streams": [
        {"fold": "to_go", "gamma": GAMMA, "key": ["task", "turn"]},
        {
            "channel": "cost",
            "where": "passed",
            "weight": -1.0,
            "fold": "to_go",
            "gamma": GAMMA,
            "key": ["task", "turn"],
        },
    ]
}
"""Grouped: a decision is compared with those that other searches of the graph took at the same move."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. graphs: of training; held: held-out ones; iterations: of a training; tasks: in each."""

    graphs: int
    held: int
    iterations: int
    tasks: int


SIZES: dict[Size, Sizes] = {
    "full": Sizes(300, 300, 80, 8),
    "quick": Sizes(60, 60, 12, 8),
    "tiny": Sizes(8, 6, 2, 2),
}


@dataclass(frozen=True, slots=True)
class Job:
    """Something to work out by itself: a coordinator's plays, or one training and the plays of what came of it."""

    size: Sizes
    period: int | None = None
    rule: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Plays:
    """One play of each graph, an array (graphs,) each. tokens: read and written.

    when: what the walker last said -> how often it was asked after that, and with how many plans.
    """

    passed: Floats
    steps: Floats
    plans: Floats
    tokens: Floats
    dollars: Floats
    when: dict[str, tuple[int, int]]

    def returns(self, price: float) -> Floats:
        """What the trainer counts: the score, less what a passed run cost, in passed answers. price: of a plan."""
        return self.passed * (1.0 - self.dollars * price / PLAN_DOLLARS)


def played(coordinator: Coordinator, graphs: Sequence[int], price: float) -> Plays:
    """A greedy play of each graph, the walker's luck seeded by the graph, the knob where a plan has this price."""

    def settings(place: int, which: int) -> Settings:
        luck = seed_of("luck", graphs[place], which) & 0xFFFFFFFF
        return Settings(seed_of("decisions", graphs[place], which), luck, "greedy", PLAN_DOLLARS / price)

    tasks = [search(number) for number in graphs]
    results = asyncio.run(Rollouts(team()).run(coordinator, tasks, seeds=(0,), settings=settings))
    figures = [
        (
            float(passed(result)),
            sum(not isinstance(each.action, Finish) for each in result.decisions),
            sum(node.kind == "plan" for node in result.nodes),
            result.usage.tokens,
            result.usage.dollars,
        )
        for result in results
    ]
    when: dict[str, list[bool]] = {name: [] for name in SITUATIONS}
    for result in results:
        for situation, planned in moves(result.nodes):
            when[situation].append(planned)
    counts = {name: (len(each), sum(each)) for name, each in when.items()}
    scored, steps, plans, tokens, dollars = np.array(figures).T
    return Plays(scored, steps, plans, tokens, dollars, counts)


def trained(size: Sizes, seed: int) -> tuple[LearnedCoordinator, list[dict[str, float]]]:
    """A policy from the trainer as it is, and how its training went."""
    spec = TrainSpec.model_validate(
        {
            "team": "simulated",
            "tasks": {"train": "simulated", "validation": 0.0},
            "output": "nothing is written",
            "options": OPTIONS,
            "preference": {"low": PLAN_DOLLARS / PRICES[-1], "high": PLAN_DOLLARS / PRICES[0]},
            "iterations": size.iterations,
            "warm_up": min(2, size.iterations - 1),
            "tasks_per_iteration": size.tasks,
            "group": 8,
            "reply_variants": 8,
            "epochs": 4,
            "minibatches": 4,
            "learning_rate": 5e-3,
            "averaging": 0.9,
            "gradient_norm": 5.0,
            "loss": {"entropy": 0.02, "beliefs": 0.1, "value": 0.1},
            "credit": CREDIT,
            "seed": seed,
        }
    )
    trainer = CoordinatorTrainer(spec, team(), [search(number) for number in range(size.graphs)], scale=PLAN_DOLLARS)

    async def learn() -> list[dict[str, float]]:
        return [await trainer.step() for _ in range(size.iterations)]

    curve = asyncio.run(learn())
    kept = ("score", "dollars", "steps", "entropy", "seconds_running", "seconds_learning")
    return LearnedCoordinator(trainer.frozen()), [{name: each[name] for name in kept} for each in curve]


def work(job: Job) -> dict[str, Any]:
    """A job's figures: plays of training graphs, for the choice of a period, and of held-out ones."""
    size = job.size
    held, known = range(HELD_OUT, HELD_OUT + size.held), range(size.graphs)
    if job.seed is not None:
        coordinator, curve = trained(size, job.seed)
        return {"plays": [played(coordinator, held, price) for price in PRICES], "curve": curve}
    fixed = Rule() if job.rule else Period(job.period)
    return {
        "name": fixed.name,
        "known": played(fixed, known, PRICES[0]),
        "held": played(fixed, held, PRICES[0]),
    }


def told(values: Floats) -> dict[str, float]:
    """A mean with its interval over graphs; over seeds, too, where there are several trainings. values: (S, T)."""
    found = mean_interval(values) if len(values) == 1 else crossed_interval(values)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def of_plays(plays: Plays, price: float) -> dict[str, dict[str, float]]:
    """All figures of one coordinator, over graphs."""
    columns = {
        "success": plays.passed,
        "return": plays.returns(price),
        "steps": plays.steps,
        "plans": plays.plans,
        "tokens": plays.tokens,
    }
    return {name: told(values[None]) for name, values in columns.items()}


def compared(fixed: Sequence[dict[str, Any]], learned: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """At each price: the period that is best on the training graphs, the rule, and the policy, all on held-out graphs.

    more_return, more_plans: of the policy than of that period, graph by graph, with intervals over graphs and seeds.
    """
    periods, rule = fixed[:-1], fixed[-1]
    out: list[dict[str, Any]] = []
    for place, price in enumerate(PRICES):
        best = max(periods, key=lambda each: float(each["known"].returns(price).mean()))
        plays: list[Plays] = [each["plays"][place] for each in learned]

        def over_seeds(of: str, plays: list[Plays] = plays, price: float = price) -> Floats:
            return np.stack([each.returns(price) if of == "return" else getattr(each, of) for each in plays])

        their = {"return": best["held"].returns(price), "plans": best["held"].plans}
        names = {"success": "passed", "return": "return", "steps": "steps", "plans": "plans", "tokens": "tokens"}
        out.append(
            {
                "price": price,
                "best_period": best["name"],
                "periods": {each["name"]: of_plays(each["held"], price) for each in periods},
                "rule": of_plays(rule["held"], price),
                "learned": {name: told(over_seeds(of)) for name, of in names.items()},
                "learned_by_seed": {name: over_seeds(of).mean(1).tolist() for name, of in names.items()},
                "more_return": told(over_seeds("return") - their["return"]),
                "more_plans": told(over_seeds("plans") - their["plans"]),
                "when": [each.when for each in plays],
            }
        )
    return out


def main() -> None:
    """The study as it was asked for."""
    study: Study = asked(__doc__, Path(__file__).parent)
    size = SIZES[study.size]
    jobs = [Job(size, seed=seed) for seed in range(study.seeds)]
    jobs += [*(Job(size, period) for period in PERIODS), Job(size, rule=True)]
    found = study.spread(work, jobs)
    learned, fixed = found[: study.seeds], found[study.seeds :]
    prices = compared(fixed, learned)
    figures = {
        "settings": {"graphs": size.graphs, "held_out": size.held, "iterations": size.iterations},
        "known": {
            each["name"]: {str(price): float(each["known"].returns(price).mean()) for price in PRICES} for each in fixed
        },
        "prices": prices,
        "rule_when": fixed[-1]["held"].when,
        "fewer_when_dear": told(np.stack([each["plays"][0].plans - each["plays"][-1].plans for each in learned])),
        "curves": [each["curve"] for each in learned],
    }
    study.write("when_to_plan", figures)
    draw(prices, study.output / "when_to_plan.png", seeds=study.seeds, graphs=size.held)
    for each in prices:
        best, mine = each["periods"][each["best_period"]], each["learned"]
        print(
            f"a plan costs {each['price']:g}: {each['best_period']} returns {best['return']['mean']:.3f} with "
            f"{best['plans']['mean']:.1f} plans, the policy {mine['return']['mean']:.3f} with "
            f"{mine['plans']['mean']:.1f}, the rule {each['rule']['return']['mean']:.3f}"
        )


if __name__ == "__main__":
    main()
