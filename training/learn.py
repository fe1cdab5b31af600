"""From a training file to a trained policy: the whole of `podium train`, as one call.

The training goes on from its last checkpoint if there is one, keeps what it has when it is interrupted, measures the
policy on held-out tasks, and leaves in the output folder: the policy (two files to serve), metrics as JSON lines and
for TensorBoard, plots, and a checkpoint to go on from.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from podium.orchestrator.coordinators.random import Random
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import CARD, Policy, load_policy, save_policy
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.protocols.errors import BudgetExceeded, InputError, MissingExtra, PolicyError, RunError
from podium.protocols.task import Task
from podium.training.evaluate import measure
from podium.training.evaluation import Evaluation
from podium.training.judges import TeamJudges
from podium.training.purse import Purse
from podium.training.rollouts import Cap, Rollouts
from podium.training.tasks.scored import disjoint, tasks_of
from podium.training.train_file import PreferenceSpec, TrainSpec, load_training

if TYPE_CHECKING:
    from podium.training.checkpoint import Checkpoint
    from podium.training.coordinator_trainer import CoordinatorTrainer

METRICS = "metrics.jsonl"
SINGLE_TASKS = 200
"""Training tasks on which the best single agent is chosen, to be shown beside the learned coordinator."""
PROBE_TASKS = 32
"""Tasks run at random before training, to learn what a reply of this team costs."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands. seconds_left, dollars_forecast: extrapolated from what was done in this session.

    dollars_spent: at paid endpoints, replies from the cache not counted. failed: how many runs of this iteration failed
    and why, in words; empty where none did. warning: what is wrong with the policy, in words; empty where nothing is.
    stage: of a supervised start, what is counted in place of iterations, without metrics; empty afterwards.
    """

    iteration: int
    iterations: int
    metrics: Mapping[str, float]
    seconds_left: float
    dollars_spent: float
    dollars_forecast: float
    failed: str = ""
    warning: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left behind. finished: False when it was interrupted; evaluation: None without test tasks.

    judged: what each judge of the tasks was asked and cost in this session, in words.
    """

    policy: Policy
    folder: Path
    iterations: int
    finished: bool
    evaluation: Evaluation | None
    metrics: Sequence[Mapping[str, float]]
    judged: Mapping[str, str] = field(default_factory=dict[str, str])


Watch = Callable[[Progress], None]


def train(
    spec: TrainSpec | str | Path, *, fresh: bool = False, extend: bool = False, watch: Watch | None = None
) -> Trained:
    """Train a coordinator as a training file says.

    fresh: throw an earlier checkpoint in the output folder away instead of going on from it. extend: go on from it also
    where `iterations` grew since. watch: is called after each iteration. Ctrl-C ends the training after saving what it
    has.

    Raises InputError (or a kind of it) for what is wrong in the file, the team or the tasks: TeamFileError, TaskError,
    PolicyError for a checkpoint that cannot go on, MissingExtra. Raises BudgetExceeded when the dollar cap does not
    hold the next call, RunError when every run of an iteration fails or a gradient is not finite. What was learned
    until then is saved.
    """
    return asyncio.run(atrain(spec, fresh=fresh, extend=extend, watch=watch))


async def atrain(
    spec: TrainSpec | str | Path, *, fresh: bool = False, extend: bool = False, watch: Watch | None = None
) -> Trained:
    """`train`, to be awaited. Cancelling it saves a checkpoint first, and what is returned is not finished.

    Raises as `train` does: InputError (or a kind of it), BudgetExceeded, RunError (or a kind of it).
    """
    spec = spec if isinstance(spec, TrainSpec) else load_training(spec)
    _needs_torch()
    from podium.training.checkpoint import forget_checkpoint, read_checkpoint, restore, save_checkpoint
    from podium.training.coordinator_trainer import CoordinatorTrainer, check_fits
    from podium.training.warm_start import warm_start

    team_spec = load_team(spec.team)
    judges = TeamJudges(team_spec)
    tasks = tasks_of(spec.tasks.train, None, judges)
    held_out = None if spec.tasks.test is None else tasks_of(spec.tasks.test, None, judges)
    disjoint(tasks, held_out or (), "training", "test")
    best = spec.output / "best"
    try:
        spec.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output {spec.output}: {error.strerror}") from None
    checkpoint = None if fresh else read_checkpoint(spec.output)
    if checkpoint:
        checkpoint = _of_length(checkpoint, spec.iterations, extend)
    plain = Team.of(team_spec.model_copy(update={"journal": None}))
    purse = Purse(plain.models, spec, spent=checkpoint.spent if checkpoint else 0.0)
    judges.ask_through(purse.outside)
    team = Team(plain.spec, purse.models)
    try:
        check_fits(spec, team.orchestrator)
        scale = checkpoint.scale if checkpoint else await _scale(team, tasks, spec, purse.cap)
        trainer = CoordinatorTrainer(spec, team.orchestrator, tasks, scale=scale, cap=purse.cap)
        begun: dict[str, float] = {}
        if checkpoint:
            restore(trainer, checkpoint)
        else:
            forget_checkpoint(spec.output)
            shutil.rmtree(best, ignore_errors=True)
            begun = await warm_start(trainer, _told(watch, purse))
        log = MetricsLog(spec.output, keep=trainer.iteration if checkpoint else None)
        began, first, spent = time.monotonic(), trainer.iteration, purse.spent
        failure: RunError | None = None

        async def keep() -> dict[str, float]:
            found = await trainer.validate()
            if trainer.worthy:
                save_policy(trainer.frozen(preference=trainer.middle_knob), best)
            save_checkpoint(trainer, spec.output, spent=purse.spent)
            return found

        def due() -> bool:
            return trainer.iteration % spec.evaluate_every == 0 or trainer.iteration == spec.iterations

        try:
            if begun:  # a policy to keep already: iterations may lead away from it
                log.add(0, begun | await keep())
            elif trainer.iteration and due() and trainer.validated != trainer.iteration:
                await keep()  # it was interrupted there
            while trainer.iteration < spec.iterations:
                metrics = await trainer.step()
                try:
                    if due():
                        metrics |= await keep()
                finally:
                    log.add(trainer.iteration, metrics)
                if watch:
                    share = (spec.iterations - trainer.iteration) / (trainer.iteration - first)
                    used = purse.spent - spent
                    watch(
                        Progress(
                            trainer.iteration,
                            spec.iterations,
                            metrics,
                            (time.monotonic() - began) * share,
                            purse.spent,
                            purse.spent + used * share,
                            trainer.failed,
                            trainer.warning,
                        )
                    )
        except (asyncio.CancelledError, KeyboardInterrupt):
            _go_on()
        except RunError as error:
            failure = error
        finally:
            log.close()
        if trainer.validated < spec.iterations:
            judges.close()  # what is still being judged is paid for by nobody
        if trainer.whole:
            save_checkpoint(trainer, spec.output, spent=purse.spent)
        if not (best / CARD).exists():
            save_policy(trainer.frozen(preference=trainer.middle_knob), best)
        policy = load_policy(best)
        _finish(policy, spec, trainer, None)
        _draw(spec)
        finished = failure is None and trainer.iteration == spec.iterations == trainer.validated
        evaluation = None
        if finished and held_out:
            learned = {"learned": LearnedCoordinator(policy)}
            try:
                evaluation = await measure(team, learned, held_out, (0,), concurrency=spec.concurrency, cap=purse.cap)
                _finish(policy, spec, trainer, evaluation, await _honest(team, policy, held_out, spec, purse))
                await _best_single_beside(evaluation, team, tasks, held_out, purse)
            except asyncio.CancelledError:
                _go_on()
            except RunError as error:
                failure = error
            save_checkpoint(trainer, spec.output, spent=purse.spent)
        if failure is not None:
            if purse.refusal and isinstance(failure, BudgetExceeded):
                failure.message += "; raise dollars in the training file, then start again to go on"
            failure.kept = f"policy and checkpoint are in {spec.output}; the same command goes on from there"
            raise failure
        return Trained(policy, spec.output, trainer.iteration, finished, evaluation, log.rows, judges.details)
    finally:
        judges.close()
        await team.aclose()
        purse.close()


def _told(watch: Watch | None, purse: Purse) -> Callable[[str, int, int], None]:
    """Tells who watches how far a supervised start is: what is counted, how many are done, and of how many."""
    began: dict[str, float] = {}

    def tell(stage: str, done: int, of: int) -> None:
        first = began.setdefault(stage, time.monotonic())
        left = (time.monotonic() - first) / max(1, done) * (of - done)
        if watch:
            watch(Progress(done, of, {}, left, purse.spent, purse.spent, stage=stage))

    return tell


def _go_on() -> None:
    """Take a cancellation back: it has been heard, and what is left to do is to keep the work."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _of_length(checkpoint: Checkpoint, iterations: int, extend: bool) -> Checkpoint:
    """The checkpoint, to go on from for a number of iterations. Raises PolicyError when it was made for fewer."""
    before = checkpoint.settings.get("iterations")
    if not isinstance(before, int) or iterations <= before:
        return checkpoint
    if not extend:
        raise PolicyError(
            f"{checkpoint.folder}: this training was begun with iterations: {before}, and now there are {iterations}. "
            "The learning rate and the entropy bonus fall over all iterations, so going on gives another policy than "
            f"{iterations} from the start would: go on all the same with --extend, start anew with --fresh, or put "
            f"{before} back"
        )
    return replace(checkpoint, settings={**checkpoint.settings, "iterations": iterations})


async def _best_single_beside(
    evaluation: Evaluation, team: Team, tasks: Sequence[Task], held_out: Sequence[Task], purse: Purse
) -> None:
    """Measure the best single agent as well, where that is free, or say why not."""
    from podium.training.candidates import Fitting, resolve

    name = "best_single"
    if purse.paid:
        evaluation.details[name] = "not measured, since its calls are paid for; podium eval measures it"
        return
    try:
        chosen = await resolve(name, Fitting(team, tasks[:SINGLE_TASKS]), evaluation.details)
        await measure(team, {name: chosen.coordinator}, held_out, (0,), into=evaluation)
    except RunError as error:
        evaluation.details[name] = f"not measured: {error.message}"


class MetricsLog:
    """Metrics by iteration, a supervised start's as iteration 0: JSON lines, TensorBoard, and a list.

    keep: the last iteration of an earlier session that stands; None: nothing stands.
    """

    def __init__(self, folder: Path, *, keep: int | None) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._path = folder / METRICS
        self.rows: list[dict[str, float]] = []
        if keep is not None and self._path.exists():
            self.rows = [
                row for row in map(_row, self._path.read_text().splitlines()) if 0 <= row.get("step", -1) <= keep
            ]
        self._path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=None if keep is None else keep + 1)

    def add(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """One iteration's metrics."""
        row = {"step": float(iteration), **metrics}
        self.rows.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in metrics.items():
            self._board.add_scalar(name, value, iteration)

    def close(self) -> None:
        """Write what is buffered."""
        self._board.close()


def _row(line: str) -> dict[str, float]:
    """One line of metrics; an empty row where a crash left half a line."""
    try:
        return json.loads(line)
    except ValueError:
        return {}


async def _honest(
    team: Team, policy: Policy, held_out: Sequence[Task], spec: TrainSpec, purse: Purse
) -> dict[str, dict[str, float]]:
    """How honest the policy's beliefs are, also as a picture; nothing where it would have to be paid for."""
    from podium.training.calibration import surveyed
    from podium.training.plots import reliability

    if purse.paid:
        return {}
    found = await surveyed(team, policy, held_out, concurrency=spec.concurrency)
    reliability(found, spec.output / "beliefs.png", note=f"{len(held_out):,} held-out tasks, every agent asked")
    return {
        kind: {"n": each.n, "error": round(each.error, 4), "skill": round(each.skill, 4)}
        for kind, each in found.items()
    }


def _finish(
    policy: Policy,
    spec: TrainSpec,
    trainer: CoordinatorTrainer,
    evaluation: Evaluation | None,
    honest: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """The policy with its card filled in, at the top of the output folder."""
    policy.card = policy.card.model_copy(
        update={
            "trained_on": {
                "tasks": spec.tasks.train,
                "iterations": trainer.iteration,
                "runs": trainer.runs,
                "seed": spec.seed,
                **({"preference": spec.preference.model_dump()} if isinstance(spec.preference, PreferenceSpec) else {}),
            },
            "measured": {}
            if evaluation is None
            else {"tasks": spec.tasks.test, "beliefs": honest or {}} | json.loads(evaluation.to_json())["rows"][0],
        }
    )
    save_policy(policy, spec.output)


def _draw(spec: TrainSpec) -> None:
    """The curves of the training, beside the policy, and whether it looks at its tasks."""
    from podium.training.curves import diagnosis_curves, training_curves

    with contextlib.suppress(InputError):  # no iteration was finished: there is no curve to draw
        training_curves(spec.output / METRICS, spec.output / "curves.png", title="Training the coordinator")
        diagnosis_curves(spec.output / METRICS, spec.output / "diagnosis.png")


async def _scale(team: Team, tasks: Sequence[Task], spec: TrainSpec, cap: Cap | None) -> float:
    """Dollars of a typical reply: the mean over some random runs; the policy measures its price knob in it.

    Where all models are free, a nominal millionth of a dollar a reply keeps the knob defined.
    """
    probe = sorted(tasks, key=lambda task: task.id)[:PROBE_TASKS]
    rollouts = Rollouts(team.orchestrator, concurrency=spec.concurrency, cap=cap, scored="nothing")
    results = await rollouts.run(Random(), probe, seeds=(spec.seed,))
    costs = [node.usage.dollars / node.usage.calls for result in results for node in result.nodes if node.usage.calls]
    mean = float(np.mean(costs)) if costs else 0.0
    return float(f"{mean:.2e}") if mean > 0 else 1e-6


def _needs_torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtra("training", "train", "torch") from None
    return torch
