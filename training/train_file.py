"""The training file: which team learns what, on which tasks, for how long and for how much.

    team: team.yaml
    tasks:
      train: "jsonl:tasks.jsonl?verifier=numeric&split=train"
      test: "jsonl:tasks.jsonl?verifier=numeric&split=test"
    output: policies/desk

Paths start from the folder of the file, those of task files too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, Strict, ValidationInfo, field_validator, model_validator

from podium.orchestrator.learned.options import Options
from podium.orchestrator.yaml_file import FilePath, StrictModel, Words, load_model
from podium.orchestrator.yaml_problems import Problem
from podium.training.credit import Credit
from podium.training.tasks.spec import JOINT

Specs = str | Words
FILES = ("jsonl", "recorded")
"""Task sources that read a file."""


class _Finite(StrictModel):
    """A part of a training file: no number in it is infinite."""

    model_config = ConfigDict(allow_inf_nan=False)


class LossSpec(_Finite):
    """Weights of the losses."""

    clip_low: float = Field(default=0.2, gt=0)
    """How far below 1 the probability ratio still counts."""
    clip_high: float = Field(default=0.2, gt=0)
    """How far above 1 the probability ratio still counts."""
    entropy: float = Field(default=0.01, ge=0)
    """Weight of the entropy bonus at the start; it falls linearly to 0."""
    beliefs: float = Field(default=1.0, ge=0)
    """Weight of the success and cost predictions."""
    value: float = Field(default=0.5, ge=0)
    """Weight of the value's squared error."""
    value_clip: float | None = Field(default=None, gt=0)
    """How far the value may move from what it said when the run was made and still count; left out: any far."""


class TasksSpec(_Finite):
    """Where the tasks come from, as `podium eval --tasks` takes them."""

    train: Specs
    """What is learned from."""
    test: Specs | None = None
    """What is reported on at the end; left out: nothing is reported."""
    validation: float = Field(default=0.15, ge=0, lt=0.9)
    """Share of the training tasks that is not learned from but chooses which policy is kept."""


class PreferenceSpec(_Finite):
    """The price knob in training: dollars that one passed answer is worth."""

    low: float = Field(gt=0)
    """The least generous value."""
    high: float = Field(gt=0)
    """The most generous value; each group of runs gets one in between, drawn evenly on a log scale."""

    @model_validator(mode="after")
    def _ordered(self) -> PreferenceSpec:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not be above high ({self.high:g}); swap them")
        return self


class TeamsSpec(_Finite):
    """Teams that the policy meets in training: some of the agents, in a random order; see `team_variants`."""

    least: int = Field(default=3, ge=1)
    """Agents of a team, at least; from there to all of them, every number is equally likely."""
    prices: float = Field(default=1.0, ge=1)
    """An agent's prices are multiplied by a factor up to this, or divided; 1 leaves them as they are."""
    names: bool = True
    """In half of its teams an agent is a stranger: the policy is not told its name."""
    variants: int = Field(default=4, ge=1)
    """Teams of one iteration; all runs of a task are worked by one of them."""


class GradientSpec(_Finite):
    """Learning by the policy's gradient, all of its weights at once."""

    kind: Literal["gradient"] = "gradient"
    """Each decision is credited (`credit`) and made more or less likely."""


Head = Literal["pick", "pick.again", "stop", "finish", "choose", "options", "trust", "about", "about.all"]
"""Parts of the network that decisions are drawn from and that no prediction is: whom to ask first and beside, whether
that is all, when to finish, which answer, how to ask, how far to go by what is believed, and what to ask for."""


class EvolutionSpec(_Finite):
    """Learning small heads by sep-CMA-ES, on whole runs; the beliefs go on learning by gradient. See `evolution`."""

    kind: Literal["evolution"]
    """Candidates of some weights are tried, and the better ones are followed."""
    heads: Annotated[tuple[Head, ...], Field(min_length=1), Strict(False)] = ("pick", "finish", "choose", "trust")
    """Which parts of the policy."""
    population: int | None = Field(default=None, ge=4)
    """Candidates of one iteration, in place of `group`; left out: 4 + 3 ln(numbers in the heads)."""
    sigma: float = Field(default=0.2, gt=0)
    """How far candidates are from the first weights, in each number."""


class WarmStartSpec(_Finite):
    """A supervised start, before the first iteration: every agent is asked every training task. See `warm_start`."""

    runs: int = Field(default=4, ge=1)
    """Surveys of each task; in each, all agents are asked once, in a random order."""
    passes: int = Field(default=24, ge=1)
    """How often the surveys are gone through."""
    learning_rate: float = Field(default=5e-3, gt=0)
    """Of Adam, falling linearly to a tenth."""
    temperature: float = Field(default=0.02, gt=0)
    """In passed answers: how much less a choice may bring and still be made now and then, when iterations begin."""


class TrainSpec(_Finite):
    """One training of a coordinator."""

    team: FilePath
    """The team file; its coordinator and journal are not used here."""
    tasks: TasksSpec
    """Where the tasks come from."""
    output: FilePath
    """Folder for the policy, its checkpoints, metrics and plots."""
    options: Options = Options()
    """What the policy may choose from."""
    preference: Annotated[float, Field(gt=0)] | PreferenceSpec | None = None
    """Dollars that one passed answer is worth: a number or a range; left out: forty times a typical reply's cost."""
    teams: TeamsSpec | None = None
    """Random teams to learn with; left out: always the whole team as it is."""
    iterations: int = Field(default=80, ge=0)
    """Updates from fresh runs; 0 leaves it at a supervised start."""
    warm_start: WarmStartSpec | None = Field(default=None, validate_default=True)
    """Learn from surveys of all agents first; left out: from nothing."""
    warm_up: int = Field(default=6, ge=0)
    """The first iterations train the beliefs only."""
    tasks_per_iteration: int = Field(default=64, ge=1)
    """Tasks run in one iteration."""
    group: int = Field(default=8, ge=1)
    """Runs of each task in one iteration; they are each other's baseline, so that one alone needs another."""
    reply_variants: int = Field(default=4, ge=1)
    """Different replies a model gives to the same prompt in the whole training; more is truer, fewer is cheaper."""
    epochs: int = Field(default=3, ge=1)
    """Passes over an iteration's runs."""
    minibatches: int = Field(default=2, ge=1)
    """Updates per pass."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Of Adam, falling linearly to a tenth."""
    weight_decay: float = Field(default=3e-2, ge=0)
    """Decoupled, on all matrices."""
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the words of tasks and replies that is left out while the policy learns: against wordings by heart."""
    averaging: float = Field(default=0.95, ge=0, lt=1)
    """Share of the kept weights that stays each iteration: they are a moving average; 0: the last ones themselves."""
    gradient_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are shortened to this length."""
    drawn: Literal["all", "one"] = "all"
    """Which decisions of a run are drawn, and learned from: all, or one, the others the likeliest. See `exploring`."""
    credit: Credit = Field(default=Credit(), validate_default=True)
    """Which reward counts for which decision."""
    loss: LossSpec = LossSpec()
    """Weights of the losses."""
    learner: Annotated[GradientSpec | EvolutionSpec, Field(discriminator="kind")] = GradientSpec()
    """How the policy learns from its runs."""
    concurrency: int = Field(default=512, ge=1)
    """Runs under way at once."""
    evaluate_every: int = Field(default=10, ge=1)
    """Iterations between evaluations on the validation tasks and between checkpoints."""
    dollars: float | None = Field(default=None, gt=0)
    """Most that real endpoints may cost in this training; no call starts that could exceed it."""
    cache: FilePath | None = None
    """File that keeps every reply, so that a repeated training pays for nothing twice."""
    seed: int = 0
    """Everything random comes from this."""

    source: Path | None = Field(default=None, exclude=True)
    """The file this came from."""

    @field_validator("warm_start")
    @classmethod
    def _learns_somehow(cls, given: WarmStartSpec | None, info: ValidationInfo) -> WarmStartSpec | None:
        if given is None and info.data.get("iterations") == 0:
            raise ValueError("with iterations: 0 nothing is learned but by a supervised start: add warm_start: {}")
        return given

    @field_validator("credit")
    @classmethod
    def _knob_survives(cls, credit: Credit, info: ValidationInfo) -> Credit:
        scaled = any(stream.channel in ("cost", "price") and stream.scale == "std" for stream in credit.streams)
        lonely = [number for number, stream in enumerate(credit.streams) if stream.compares and "task" in stream.key]
        if info.data.get("group") == 1 and lonely:
            raise ValueError(
                f"with group: 1 a run has no other of its task to be compared with; in "
                f"credit.streams.{lonely[0]} leave task out of key, or set estimator: none or critic"
            )
        if scaled and isinstance(info.data.get("preference"), PreferenceSpec):
            raise ValueError(
                "scale: std on the cost cancels the price knob, and preference is a range: a policy would learn to "
                "ignore it; set scale: none, or make preference one number"
            )
        return credit

    @field_validator("learner")
    @classmethod
    def _whole_runs(cls, learner: GradientSpec | EvolutionSpec, info: ValidationInfo) -> GradientSpec | EvolutionSpec:
        credit = info.data.get("credit")
        if isinstance(learner, EvolutionSpec) and isinstance(credit, Credit):
            for number, stream in enumerate(credit.streams):
                if stream.estimator == "critic" or stream.fold == "gae" or stream.scale == "std":
                    raise ValueError(
                        f"evolution adds up what whole runs earned: in credit.streams.{number} set scale: none, and "
                        "neither estimator: critic nor fold: gae"
                    )
        return learner


def load_training(path: str | Path) -> TrainSpec:
    """Read a training file. Raises TeamFileError with every problem found."""
    spec, folder = load_model(path, TrainSpec, check=_infinite_credit), Path(path).parent
    tasks = spec.tasks.model_copy(
        update={
            "train": _placed(spec.tasks.train, folder),
            "test": spec.tasks.test and _placed(spec.tasks.test, folder),
        }
    )
    return spec.model_copy(update={"source": Path(path), "tasks": tasks})


def _infinite_credit(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Numbers of the credit that are infinite or none: no gradient would come of them."""
    left: list[tuple[tuple[str | int, ...], object]] = [(("credit",), data.get("credit"))]
    while left:
        where, value = left.pop()
        word = value.lower().lstrip("+-") if isinstance(value, str) else ""  # which YAML reads as no number
        if (isinstance(value, float) and not math.isfinite(value)) or word in ("nan", "inf", "infinity"):
            yield Problem(where, "expected a finite number")
        elif isinstance(value, Mapping):
            left += [((*where, key), each) for key, each in cast(Mapping[str, object], value).items()]
        elif isinstance(value, list):
            left += [((*where, index), each) for index, each in enumerate(cast(list[object], value))]


def _placed(specs: Specs, folder: Path) -> Specs:
    """Task specs whose files start from a folder."""
    if not isinstance(specs, str):
        return tuple(str(_placed(spec, folder)) for spec in specs)
    parts: list[str] = []
    for part in JOINT.split(specs):
        source, colon, rest = part.partition(":")
        path, mark, query = rest.partition("?")
        if source.strip() in FILES and path:
            rest = f"{folder / Path(path).expanduser()}{mark}{query}"
        parts.append(f"{source}{colon}{rest}")
    return "+".join(parts)
