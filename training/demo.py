"""The demonstration: train the embedded team's coordinator, compare it with everything simpler, and serve.

Nothing in it is special. It copies the embedded team into a folder, trains from the training file that lies beside
it, and runs the comparison that `benchmarks/comparison` runs with more seeds. A training that was interrupted goes on;
one that cannot, since it was begun with other settings or by another version, is begun anew: in the demonstration's own
folder by itself, elsewhere when that is asked for.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from podium.orchestrator.learned import load_policy
from podium.orchestrator.learned.saved import CARD
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.protocols.errors import InputError, PolicyError
from podium.protocols.words import counted
from podium.training.comparison import TRAINED, compare, verdicts
from podium.training.curves import training_curves
from podium.training.evaluation import Evaluation
from podium.training.learn import METRICS, Watch, atrain
from podium.training.plots import cost_quality
from podium.training.purse import Purse
from podium.training.reports import markdown_table
from podium.training.tasks.scored import tasks_of
from podium.training.train_file import TrainSpec, load_training

FOLDER = Path("podium-demo")
"""The demonstration's own folder: what is trained there is nobody's work."""
POLICY = "policy"
LINE = "coordinator:"
"""How the line of a team file begins that the demonstration changes."""
ITERATIONS, TEST_TASKS, FIT_TASKS = 36, 100, 100
"""What two cores do in ten minutes, installation included: as many iterations as the training file of the team has, but
only a hundred held-out tasks, and training tasks that fitted baselines choose on (benchmarks/comparison: 300, 200)."""


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


def demo(
    folder: str | Path = FOLDER,
    *,
    iterations: int = ITERATIONS,
    test_tasks: int = TEST_TASKS,
    fit_tasks: int = FIT_TASKS,
    fresh: bool = False,
) -> Shown | None:
    """`demonstrate` without await, and without telling how it goes; None when Ctrl-C stopped the training.

    test_tasks: held-out tasks of the comparison; fit_tasks: training tasks that fitted baselines choose on.
    Raises as `train` and `evaluate` do: InputError (or a kind of it), such as PolicyError for an earlier training that
    cannot go on and MissingExtra where the packages for training are not installed, and RunError (or a kind of it) when
    all runs fail.
    """
    return asyncio.run(
        demonstrate(Path(folder), iterations=iterations, test_tasks=test_tasks, fit_tasks=fit_tasks, fresh=fresh)
    )


async def demonstrate(
    folder: Path,
    *,
    iterations: int = ITERATIONS,
    test_tasks: int = TEST_TASKS,
    fit_tasks: int = FIT_TASKS,
    fresh: bool = False,
    watch: Watch | None = None,
    tell: Callable[[str], None] | None = None,
    began: Callable[[str], None] | None = None,
    done: Callable[[str], None] | None = None,
) -> Shown | None:
    """Train, compare, plot, and switch the team file to the trained coordinator. None when the training was stopped.

    iterations: fewer than the training file's are validated three times. fresh: throw an earlier training in the folder
    away; in the folder `FOLDER` that happens by itself where it cannot go on, and `tell` is called with a line that
    says so. Raises what training and evaluation raise, and PolicyError for an earlier training elsewhere that cannot go
    on.
    """
    await asyncio.to_thread(unpack, folder)
    spec = _training(folder, iterations)
    if not fresh and (earlier := await asyncio.to_thread(_in_the_way, folder, spec)):
        if not _own(folder):
            goes_on = f"go on with it by --iterations {earlier.length}, " if earlier.length else ""
            raise PolicyError(f"{earlier.why}: {goes_on}start anew with --fresh, or choose another --folder")
        fresh = True
        if tell:
            tell(f"{earlier.why}: a new one begins in its place")
    if fresh:
        packed = (files("podium.agents") / "embedded" / "team.yaml").read_text().splitlines()
        _lead(folder, next(line for line in packed if line.startswith(LINE)))  # its policy may be of another version
    trained = await atrain(spec, fresh=fresh, watch=watch)
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


def _own(folder: Path) -> bool:
    """Whether a folder is the demonstration's own."""
    return folder.resolve() == FOLDER.resolve()


def _training(folder: Path, length: int) -> TrainSpec:
    """The folder's training, of so many iterations, without test tasks: the comparison has them."""
    spec = load_training(folder / "train.yaml")
    return spec.model_copy(
        update={
            "output": folder / POLICY,
            "iterations": length,
            "evaluate_every": spec.evaluate_every if length >= spec.iterations else max(1, length // 3),
            "tasks": spec.tasks.model_copy(update={"test": None}),
        }
    )


class _Earlier(NamedTuple):
    """A training that cannot go on as asked. length: iterations with which it would; None where nothing helps."""

    why: str
    length: int | None = None


def _in_the_way(folder: Path, spec: TrainSpec) -> _Earlier | None:
    """The training that the folder holds, where it cannot go on as this one."""
    try:
        from podium.training.checkpoint import OF_TEAM, read_checkpoint, settings_of
    except ModuleNotFoundError:
        return None  # nothing can be trained here, and the training says what is missing
    try:
        checkpoint = read_checkpoint(spec.output)
        if checkpoint and (spec.output / CARD).exists():
            load_policy(spec.output)
    except PolicyError:
        return _Earlier(f"the training in {folder} is of another version of Podium, or damaged")
    if checkpoint is None:
        return None
    before = {key: value for key, value in checkpoint.settings.items() if key not in OF_TEAM}
    if before == settings_of(spec):
        return None
    length = before.get("iterations")
    if not isinstance(length, int) or length == spec.iterations:
        return _Earlier(f"the training in {folder} was begun with other settings")
    why = f"the training in {folder} is one of {counted(length, 'iteration')}, not of {spec.iterations}"
    return _Earlier(why, length if before == settings_of(_training(folder, length)) else None)


def _leave(folder: Path, evaluation: Evaluation) -> None:
    """Table, plots, and the team file under its trained coordinator."""
    note = f"embedded team, {evaluation.tasks} held-out tasks, one seed"
    (folder / "comparison.json").write_text(evaluation.to_json() + "\n")
    (folder / "comparison.md").write_text(markdown_table(evaluation.rows))
    cost_quality(evaluation.rows, folder / "comparison.png", cost="tokens", highlight=TRAINED, note=note)
    training_curves(folder / POLICY / METRICS, folder / "training.png", title="Training the coordinator")
    _lead(folder, f"{LINE} {{kind: learned, policy: ./{POLICY}}}")


def _lead(folder: Path, by: str) -> None:
    """Put a line into the team file that says who leads it."""
    lines = (folder / "team.yaml").read_text().splitlines()
    (folder / "team.yaml").write_text("\n".join(by if line.startswith(LINE) else line for line in lines) + "\n")
