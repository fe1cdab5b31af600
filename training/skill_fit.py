"""Fitting a skill table: tasks into skills by their wording, then who passes at what, by exploring.

The skills are clusters of hashed n-grams (k-means, scikit-learn); serving needs only the centres. The table is filled
by runs of the engine that it leads itself, exploring: after each batch every reply is scored, which says what would
have come of stopping there, and the run's end says what came of going on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from podium.orchestrator.coordinators.skill_table import Key, SkillTable
from podium.orchestrator.coordinators.skills import Skills
from podium.orchestrator.coordinators.steps import SAMPLE_OPTIONS
from podium.orchestrator.learned.text import encode, telling_words
from podium.protocols.errors import MissingExtra
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.record import NO_USAGE, Finish
from podium.protocols.task import Task
from podium.training.baselines import RunMany
from podium.training.rollouts import passed

__all__ = ["fit_skill_table", "fit_skills", "outcomes"]


def fit_skills(texts: Sequence[str], skills: int, *, seed: int = 0) -> Skills:
    """At most `skills` clusters of texts. Raises MissingExtra without scikit-learn."""
    try:
        from sklearn import cluster
    except ImportError:
        raise MissingExtra("fitting a skill table", "train", "scikit-learn") from None
    words = telling_words(texts)
    vectors = np.stack([encode(text, words)[0] for text in texts])
    count = min(skills, len(np.unique(vectors, axis=0)))
    if count < 2:
        return Skills()
    k_means: Any = cluster.KMeans  # scikit-learn carries no types
    return Skills.from_centres(k_means(count, n_init=4, random_state=seed).fit(vectors).cluster_centers_, words)


async def fit_skill_table(
    run_many: RunMany,
    tasks: Sequence[Task],
    *,
    skills: int = 12,
    passes: int = 4,
    batch: int = 64,
    max_steps: int = 2,
    samples: Sequence[int] = SAMPLE_OPTIONS,
    explore: float = 1.0,
    cost_weight: float = 0.0,
    seed: int = 0,
) -> SkillTable:
    """A skill table from training tasks.

    skills: clusters at most. passes: over the tasks. batch: runs that share one state of the table; smaller learns
    from fewer runs, larger keeps models busier. Every reply is scored, so a scorer that costs money is asked often.
    """
    table = SkillTable(
        fit_skills([task.text for task in tasks], skills, seed=seed),
        max_steps=max_steps,
        samples=samples,
        explore=explore,
        cost_weight=cost_weight,
    )
    for number in range(passes):
        order = sorted(tasks, key=lambda task: seed_of("order", seed, number, task.id, task.text))
        for start in range(0, len(order), batch):
            runs = await run_many(
                table.changed(exploring=True), order[start : start + batch], seeds=(seed_of(seed, number) & 0xFFFFFFFF,)
            )
            table = table.with_outcomes(each for run in runs for each in outcomes(run, table.skills))
    return table


def outcomes(result: Result, skills: Skills) -> Iterator[tuple[Key, str, bool, float]]:
    """What a run says of the arms it tried: (key, "own" or "after", passed, dollars), the last step's first."""
    skill, won, later = skills.of(result.task.text), passed(result), 0.0
    asked = [decision.action for decision in result.decisions if not isinstance(decision.action, Finish)]
    for step in reversed(range(len(asked))):
        if len(asked[step]) != 1:
            continue
        directive = asked[step][0]
        nodes = [node for node in result.nodes if node.directive == directive.id]
        replies = [node for node in nodes if node.kind == "reply"]
        if not replies:
            continue
        dollars = sum((node.usage for node in nodes), NO_USAGE).dollars
        key = Key(skill, step, directive.agent, directive.compute.samples)
        yield key, "own", result.task.score(replies[0].content).passed, dollars
        if step + 1 < len(asked):
            yield key, "after", won, later
        later += dollars
