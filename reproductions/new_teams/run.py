"""Teams that a policy was not trained on: other orders, names and prices, one agent less, and one agent more.

    python reproductions/new_teams/run.py             # three seeds
    python reproductions/new_teams/run.py --quick --output /tmp/new_teams

For each seed four policies are trained on the embedded team: for the whole team and for the team without the encoder,
each once with that very team in every run and once with random teams drawn from it (`teams` of the training file). All
are run on held-out tasks, in words that no policy was trained on, beside skill tables fitted for each team. What a
policy gains over the skill table of a team is compared with what the policy gains that was trained for that very team.
The beliefs of the policies of the whole team are put to the test beside it.

Trainings share the replies: a model has eight for each prompt there. Held-out tasks are answered as always. --work
keeps replies and policies, so that a study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent)]
from learning import AGENTS, Lesson, Sizes, embedded_team, price_list, table_of, trained, without
from plot import drawn
from study import Size, asked

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy
from podium.orchestrator.learned.survey import Survey
from podium.protocols.events import Result
from podium.protocols.record import Finish
from podium.protocols.task import Task
from podium.training.calibration import Belief, Kind, beliefs, calibration
from podium.training.rollouts import Rollouts, judged, passed, repeatable
from podium.training.statistics import mean_interval, paired_difference, resampled_means, task_means
from podium.training.tasks.scored import tasks_of
from podium.training.team_variants import Member, Variant, varied

SIZES: dict[Size, Sizes] = {
    "full": Sizes(36, 28, 1000, 300),
    "quick": Sizes(5, 10, 60, 30, replies=2, start={"runs": 2, "passes": 6}),
    "tiny": Sizes(1, 2, 6, 3, replies=1, start={"runs": 1, "passes": 1}),
}
LEFT_OUT = ("encoder",)
"""Who leaves, or is new: the only agent with its skill, which two in five tasks need."""
TEST = "embedded:?split=test&size=300"
KNOB = 0.00016
"""Dollars that one passed answer is worth, as in the embedded team's training file."""
ORDERS = ((4, 2, 0, 3, 1), (1, 0, 4, 3, 2))
PRICE_LISTS = 3
BELIEFS: tuple[Kind, ...] = ("success", "right", "after")
"""What every policy believes: of an agent's reply, of an answer that is there, of the best answer after a reply."""
Cell = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Todo:
    """One training, or (lesson None) all measurements of a seed."""

    seed: int
    lesson: Lesson | None
    sizes: Sizes
    work: Path


def main() -> None:
    """Train, measure, compare, write figures and the plot."""

    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--work", type=Path, help="keep replies and policies here, and use those that are there")

    study = asked(__doc__, HERE, more=more)
    with tempfile.TemporaryDirectory() as scratch:
        work = study.arguments.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        sizes = SIZES[study.size]
        seeds = range(study.seeds)
        lessons = [Lesson(seed, left, random) for seed in seeds for left in ((), LEFT_OUT) for random in (False, True)]
        if study.jobs > 1:  # one process alone trains when it measures
            study.spread(_train, [Todo(each.seed, each, sizes, work) for each in lessons], "trainings")
        per_seed = study.spread(_measure, [Todo(seed, None, sizes, work) for seed in seeds], "seeds measured")
    figures = summary(per_seed)
    study.write("new_teams", figures | {"trainings": len(lessons)}, "transformers")
    drawn(figures, study.output / "new_teams.png", seeds=study.seeds, tasks=sizes.held_out)
    for line in figures["verdicts"]:
        print(line)


def _train(todo: Todo) -> str:
    assert todo.lesson is not None
    trained(todo.lesson, todo.sizes, todo.work / "replies.db", todo.work / "policies")
    return todo.lesson.name


def _measure(todo: Todo) -> dict[str, Any]:
    policies = {
        name: trained(Lesson(todo.seed, left, random), todo.sizes, todo.work / "replies.db", todo.work / "policies")
        for left, prefix in (((), ""), (LEFT_OUT, "without "))
        for random, name in ((False, f"{prefix}fixed"), (True, f"{prefix}random"))
    }
    return asyncio.run(measured(todo, policies))


async def measured(todo: Todo, policies: dict[str, Policy]) -> dict[str, Any]:
    """All cells of one seed, whether permuted teams are led alike, and what was believed."""
    seed, sizes = todo.seed, todo.sizes
    learned = {name: LearnedCoordinator(policy, name) for name, policy in policies.items()}
    tasks = tasks_of(TEST, sizes.held_out)
    cells: dict[str, Cell] = {}
    runs: dict[str, list[Result]] = {}
    async with embedded_team(todo.work / "replies.db", sizes.replies) as school:
        tables = [await table_of(team, seed, sizes) for team in (school, without(school, LEFT_OUT))]
    async with embedded_team(todo.work / "replies.db") as whole:
        smaller = without(whole, LEFT_OUT)

        async def work(cell: str, team: Orchestrator, coordinator: Coordinator) -> None:
            runs[cell] = await _runs(team, coordinator, tasks, seed)
            cells[cell] = {
                "passed": [float(passed(each)) for each in runs[cell]],
                "dollars": [each.usage.dollars for each in runs[cell]],
            }

        await work("whole: table", whole, tables[0])
        await work("removed: table", smaller, tables[1])
        await work("removed: retrained", smaller, learned["without fixed"])
        await work("whole: random", whole, learned["random"])
        await work("whole: fixed", whole, learned["fixed"])
        for name in ("fixed", "random"):
            await work(f"removed: {name}", smaller, learned[name])
            await work(f"added: {name}", whole, learned[f"without {name}"])
            await work(f"strangers: {name}", _named(whole, [f"agent {n}" for n in range(5)]), learned[name])
            await work(f"exchanged: {name}", _named(whole, [*AGENTS[1:], AGENTS[0]]), learned[name])
            for number in range(PRICE_LISTS):
                await work(f"prices {number}: {name}", _priced(whole, seed, number), learned[name])
            for number, order in enumerate(ORDERS):
                permuted = Variant(tuple(Member(AGENTS[place], AGENTS[place]) for place in order))
                await work(f"permuted {number}: {name}", varied(whole, permuted), learned[name])
        said = {name: await _believed(whole, policies[name], tasks) for name in ("fixed", "random")}
    same = {
        name: [
            sum(
                _decisions(a) == _decisions(b)
                for a, b in zip(runs[f"permuted {n}: {name}"], runs[f"whole: {name}"], strict=True)
            )
            for n in range(len(ORDERS))
        ]
        for name in ("fixed", "random")
    }
    return {"seed": seed, "cells": cells, "same": same, "beliefs": said}


def _decisions(result: Result) -> list[Any]:
    """What was decided in a run, and what came of it."""
    actions = [
        each.action.answer
        if isinstance(each.action, Finish)
        else [(d.agent, d.objective, d.visible, d.detail, d.compute) for d in each.action]
        for each in result.decisions
    ]
    return [*actions, result.answer]


async def _runs(team: Orchestrator, coordinator: Coordinator, tasks: Sequence[Task], seed: int) -> list[Result]:
    def settings(place: int, _: int) -> Settings:
        plain = repeatable(tasks[place], seed)
        return Settings(plain.seed, plain.reply_seed, "greedy", KNOB)

    return await Rollouts(team).run(coordinator, tasks, seeds=(seed,), settings=settings)


def _named(team: Orchestrator, names: Sequence[str]) -> Orchestrator:
    """The whole team under other names."""
    return varied(team, Variant(tuple(Member(agent, name) for agent, name in zip(AGENTS, names, strict=True))))


def _priced(team: Orchestrator, seed: int, number: int) -> Orchestrator:
    """The whole team at other prices."""
    prices = price_list(seed, number)
    return varied(team, Variant(tuple(Member(agent, agent, prices[agent]) for agent in AGENTS)))


async def _believed(team: Orchestrator, policy: Policy, tasks: Sequence[Task]) -> dict[str, list[list[Any]]]:
    """What a policy believed of everybody, by kind: agent, believed, happened."""
    results = await Rollouts(team, scored="replies").run(
        Survey(policy), tasks, seeds=(0,), settings=lambda place, _: repeatable(tasks[place], 0)
    )
    found = beliefs(results, lambda result, content: judged(result.task, content).score)
    return {
        kind: [[each.agent, round(each.predicted, 4), each.happened] for each in found if each.kind == kind]
        for kind in BELIEFS
    }


def summary(per_seed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures of all seeds: cells with intervals, shares of a retrained policy's gain, beliefs, and what they say."""
    scores = {name: np.array([each["cells"][name]["passed"] for each in per_seed]) for name in per_seed[0]["cells"]}
    dollars = {name: np.array([each["cells"][name]["dollars"] for each in per_seed]) for name in scores}
    cells = {
        name: {
            "passed": _interval(mean_interval(scores[name])),
            "dollars per 1,000 tasks": float(dollars[name].mean() * 1000),
            "worth": _interval(mean_interval(_worth(scores[name], dollars[name]))),
        }
        for name in scores
    }
    claims = {"removed": ("removed: table", "removed: retrained"), "added": ("whole: table", "whole: fixed")}
    shares = {
        f"{claim}: {name}": share_of_gain(scores[f"{claim}: {name}"], scores[retrained], scores[table])
        for claim, (table, retrained) in claims.items()
        for name in ("fixed", "random")
    }
    differences = {
        f"{first} - {second}": _interval(paired_difference(scores[first], scores[second]))
        for what in ("removed", "added", "whole", "strangers", "exchanged")
        for first, second in ((f"{what}: random", f"{what}: fixed"),)
    }
    lists = range(PRICE_LISTS)
    of_prices = {
        name: np.concatenate([_worth(scores[f"prices {n}: {name}"], dollars[f"prices {n}: {name}"]) for n in lists])
        for name in ("fixed", "random")
    }
    differences["worth at other prices: random - fixed"] = _interval(
        paired_difference(of_prices["random"], of_prices["fixed"])
    )
    honest = {name: {kind: _honest(per_seed, name, kind) for kind in BELIEFS} for name in ("fixed", "random")}
    same = {name: [each["same"][name] for each in per_seed] for name in ("fixed", "random")}
    figures = {
        "cells": cells,
        "share of a retrained policy's gain": shares,
        "differences": differences,
        "beliefs": honest,
        "permuted runs that are the same": same,
        "tasks": int(scores["whole: fixed"].shape[1]),
        "per seed": [{"seed": each["seed"], "cells": _means(each["cells"])} for each in per_seed],
    }
    return figures | {"verdicts": verdicts(figures)}


def _worth(scores: Any, dollars: Any) -> Any:
    """Passed answers, less what was paid in them."""
    return scores - dollars / KNOB


def share_of_gain(new: Any, retrained: Any, table: Any) -> dict[str, float]:
    """What a policy gains over the skill table, as a share of what a retrained one gains; tasks are drawn again."""
    mine, theirs = task_means(new) - task_means(table), task_means(retrained) - task_means(table)
    low, high = np.quantile(resampled_means(mine) / np.maximum(resampled_means(theirs), 1e-3), (0.025, 0.975))
    return {
        "mean": float(mine.mean() / max(theirs.mean(), 1e-3)),
        "low": float(low),
        "high": float(high),
        "gain": float(mine.mean()),
        "retrained gain": float(theirs.mean()),
    }


def _honest(per_seed: Sequence[dict[str, Any]], name: str, kind: Kind) -> dict[str, Any]:
    """Calibration of each seed, and of all beliefs together for the diagram."""
    parts = [[Belief(kind, *each) for each in seed["beliefs"][name][kind]] for seed in per_seed]
    made = [calibration(part) for part in parts if part]
    whole = calibration([each for part in parts for each in part])
    return {
        "n per seed": len(parts[0]),
        "error": [each.error for each in made],
        "skill": [each.skill for each in made],
        "believed": list(whole.predicted),
        "happened": list(whole.happened),
    }


def _interval(found: Any) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _means(cells: dict[str, Cell]) -> dict[str, dict[str, float]]:
    return {name: {what: float(np.mean(values)) for what, values in cell.items()} for name, cell in cells.items()}


def verdicts(figures: dict[str, Any]) -> list[str]:
    """What the figures say, in sentences."""
    same = figures["permuted runs that are the same"]
    counts = [count for each in same.values() for seed in each for count in seed]
    out = [f"Permuted agents: {sum(counts)} of {len(counts) * figures['tasks']} runs are decided the same."]
    for name, share in figures["share of a retrained policy's gain"].items():
        out.append(
            f"{name}: {share['mean']:.0%} [{share['low']:.0%}, {share['high']:.0%}] of a retrained policy's gain of "
            f"{100 * share['retrained gain']:.1f} points over the skill table."
        )
    for name, each in figures["differences"].items():
        out.append(f"{name}: {100 * each['mean']:+.1f} points [{100 * each['low']:+.1f}, {100 * each['high']:+.1f}].")
    for name, kinds in figures["beliefs"].items():
        found = kinds["success"]
        out.append(
            f"Beliefs in success, {name}: error {', '.join(f'{each:.3f}' for each in found['error'])}; skill "
            f"{', '.join(f'{each:.2f}' for each in found['skill'])}; {found['n per seed']:,} of each seed."
        )
    return out


if __name__ == "__main__":
    main()
