"""The demonstration: train the embedded team's coordinator, compare it with everything simpler, and serve.

Nothing in it is special. It copies the embedded team into a folder, trains from the training file that lies beside
it, and runs the comparison that `benchmarks/comparison` runs with more seeds.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from podium.orchestrator.learned import load_policy
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.protocols.errors import InputError
from podium.training.comparison import TRAINED, compare, verdicts
from podium.training.evaluate import Evaluation, tasks_of
from podium.training.learn import METRICS, Purse, Watch, atrain
from podium.training.plots import cost_quality, training_curves
from podium.training.reports import markdown_table
from podium.training.train_file import load_training

POLICY = "policy"
FIT_TASKS = 200
"""Training tasks that fitted baselines choose on: enough to tell pipelines apart, few enough to be quick."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a demonstration left: a folder with team.yaml (trained), the policy and plots.

    evaluation, verdicts: the table, and what it says; example: a held-out task to try.
    """

    folder: Path
    evaluation: Evaluation
    verdicts: list[str]
    example: str


def unpack(folder: Path) -> None:
    """Put the embedded team (team file, training file, weights) into a folder. Raises InputError where one is."""
    if (folder / "team.yaml").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with as_file(files("podium.agents") / "embedded") as source:
        if not (source / "team.yaml").exists():
            raise InputError("the embedded team is not in this installation; install Podium again")
        shutil.copytree(source, folder, dirs_exist_ok=True)


def demo(folder: str | Path = "podium-demo", *, iterations: int | None = None, test_tasks: int = 200) -> Shown | None:
    """`demonstrate` without await, and without telling how it goes."""
    return asyncio.run(demonstrate(Path(folder), iterations=iterations, test_tasks=test_tasks))


async def demonstrate(
    folder: Path,
    *,
    iterations: int | None = None,
    test_tasks: int = 200,
    fit_tasks: int = FIT_TASKS,
    watch: Watch | None = None,
    began: Callable[[str], None] | None = None,
    done: Callable[[str], None] | None = None,
) -> Shown | None:
    """Train, compare, plot, and switch the team file to the trained coordinator. None when the training was stopped.

    iterations: instead of the training file's; fewer are validated three times. fit_tasks: training tasks that fitted
    baselines choose on. Raises what training and evaluation raise.
    """
    await asyncio.to_thread(unpack, folder)
    spec = load_training(folder / "train.yaml")
    length = iterations or spec.iterations
    spec = spec.model_copy(
        update={
            "output": folder / POLICY,
            "iterations": length,
            "evaluate_every": spec.evaluate_every if length >= spec.iterations else max(1, length // 3),
            "tasks": spec.tasks.model_copy(update={"test": None}),
        }
    )
    trained = await atrain(spec, watch=watch)
    if not trained.finished:
        return None
    learned_from = tasks_of(spec.tasks.train, fit_tasks)
    held_out = tasks_of(load_training(folder / "train.yaml").tasks.test or (), test_tasks)
    plain = Team.of(load_team(folder / "team.yaml"))
    purse = Purse(plain.models, spec)
    team = Team(plain.spec, purse.models)
    try:
        evaluation = await compare(team, load_policy(folder / POLICY), learned_from, held_out, began=began, done=done)
    finally:
        await team.aclose()
        purse.close()
    _leave(folder, evaluation)
    return Shown(folder, evaluation, verdicts(evaluation), min((task.text for task in held_out), key=len))


def _leave(folder: Path, evaluation: Evaluation) -> None:
    """Table, plots, and the team file under its trained coordinator."""
    note = f"embedded team, {evaluation.tasks} held-out tasks, one seed"
    (folder / "comparison.json").write_text(evaluation.to_json() + "\n")
    (folder / "comparison.md").write_text(markdown_table(evaluation.rows))
    cost_quality(evaluation.rows, folder / "comparison.png", cost="tokens", highlight=TRAINED, note=note)
    training_curves(folder / POLICY / METRICS, folder / "training.png", title="Training the coordinator")
    text = (folder / "team.yaml").read_text()
    learned = f"coordinator: {{kind: learned, policy: ./{POLICY}}}"
    lines = [learned if line.startswith("coordinator:") else line for line in text.splitlines()]
    (folder / "team.yaml").write_text("\n".join(lines) + "\n")
