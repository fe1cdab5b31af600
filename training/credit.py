"""Credit as data: which reward, compared with what, counts for which decision.

An algorithm's advantage is a list of streams. A stream takes one reward channel, folds it over a run, subtracts a
baseline estimated from runs that share a key, and scales. REINFORCE, leave-one-out, group-relative, role-conditioned
and per-agent-and-turn baselines are choices of (key, estimator), so a new one is a few lines of YAML.

Sources: GRPO arXiv 2402.03300; RLOO 2402.14740; Dr. GRPO 2503.20783 (no division by a deviation); SPIRAL 2506.24119
(moving average per role); AT-GRPO 2510.11062 (per agent and turn); PAPO 2603.26535 (costs compared among passed runs
only, in units of their deviation there if asked); PPO's critic 1506.02438 (generalised advantage estimation).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from podium.training.rewards import MILESTONES, Channel

Key = Literal["batch", "task", "agent", "role", "turn"]
ROUNDING = 1e-9
"""Rewards that differ by no more than this share of the largest are the same, added up in another order."""


class Ramp(BaseModel):
    """A number that goes from one value to another in a straight line, while a training does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: float
    """At the beginning."""
    last: float
    """At the end."""

    def at(self, progress: float) -> float:
        """Its value. progress: 0 to 1."""
        return self.first + (self.last - self.first) * progress


class Stream(BaseModel):
    """One reward channel on its way to an advantage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Channel = "outcome"
    """Name of the reward channel."""
    where: Literal["all", "passed"] = "all"
    """Runs that take part; on the others this stream is 0."""
    fold: Literal["total", "to_go", "gae"] = "total"
    """Whole sum for every decision, the discounted sum from the decision on, or generalised advantage estimation."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount per decision of `to_go` and `gae`, and of milestones."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """Of `gae`: 1 believes the rewards that came, 0 the critic's prediction one decision on."""
    key: tuple[Key, ...] = ("task",)
    """Decisions with equal keys share a baseline. With fold `total` each of their runs counts once, however long."""
    estimator: Literal["none", "mean", "leave_one_out", "ema", "critic"] = "leave_one_out"
    """The baseline: nothing, the mean, the mean of the others, a moving average over updates, or predicted value."""
    decay: float = Field(default=0.95, ge=0, lt=1)
    """Of the moving average."""
    singleton: Literal["zero", "pass", "error"] = "zero"
    """What a decision gets that has no other to be compared with: nothing, its raw reward, or a refusal."""
    scale: Literal["none", "std"] = "none"
    """Whether to divide by the key's standard deviation (ddof 0, plus 1e-4); where there is none, the credit is 0."""
    weight: float | Ramp = 1.0
    """Factor of this stream in the sum; {first: A, last: B} goes from A to B while the training does."""

    @property
    def compares(self) -> bool:
        """Whether runs are compared with other runs of the same update."""
        return self.estimator in ("mean", "leave_one_out")

    @model_validator(mode="after")
    def _makes_sense(self) -> Stream:
        critic = self.estimator == "critic"
        if self.channel == "cost" and self.scale == "std" and self.where == "all":
            raise ValueError(
                "a cost stream is scaled by a deviation among passed runs only: set where: passed, or scale: none"
            )
        if self.channel in MILESTONES and (self.where == "passed" or self.scale == "std"):
            raise ValueError(
                "milestones leave the best policy as it is only on all runs, unscaled: set where: all, scale: none"
            )
        if self.channel in MILESTONES and self.fold == "total" and self.gamma < 1:
            raise ValueError("discounted milestones cancel only from a decision on: set fold: to_go, or gamma: 1")
        if self.fold == "gae" and self.estimator not in ("critic", "none"):
            raise ValueError("fold: gae needs estimator: critic, or none where another stream has the critic")
        if critic and (self.where == "passed" or self.weight != 1.0):
            raise ValueError(
                "the critic predicts the sum of all streams on all runs: set where: all and weight: 1 on its stream"
            )
        return self


class Credit(BaseModel):
    """How decisions are credited, as a sum of streams."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams: tuple[Stream, ...] = Field(
        default=(Stream(), Stream(channel="cost", where="passed", weight=-1.0)), min_length=1
    )
    """The streams that are summed."""
    aggregate: Literal["per_unit", "sequence_mean"] = "per_unit"
    """Whether every decision weighs the same, or every run."""

    @model_validator(mode="after")
    def _fits_together(self) -> Credit:
        if sum(stream.estimator == "critic" for stream in self.streams) > 1:
            raise ValueError("only one stream may have the critic: it predicts the sum of all of them")
        critic = any(stream.estimator == "critic" for stream in self.streams)
        for number, stream in enumerate(self.streams if critic and len(self.streams) > 1 else ()):
            compared = stream.estimator not in ("critic", "none")
            if compared or stream.scale != "none":
                raise ValueError(
                    "the critic predicts the sum of all streams as they are, so the others have no baseline: "
                    f"in credit.streams.{number} set {'estimator: none' if compared else 'scale: none'}"
                )
        if not critic and any(stream.fold == "gae" for stream in self.streams):
            raise ValueError("fold: gae has no critic in any stream: set estimator: critic on one, or fold: to_go")
        if self.channels & set(MILESTONES) and len({stream.gamma for stream in self.streams}) > 1:
            raise ValueError("beside milestones all streams need the same gamma: else they change the best policy")
        return self

    @property
    def channels(self) -> frozenset[Channel]:
        """The channels that the streams name."""
        return frozenset(stream.channel for stream in self.streams)


@dataclass(frozen=True, slots=True)
class Credited:
    """One run, seen by its rewards.

    rewards: channel -> (T,) float64, one per decision. passed: its answer is right. agents, roles: of each decision's
    first directive ("" for finish). values: (T,) what was predicted of the sum of all streams, for the critic; nothing
    follows the last decision. task: its group.
    """

    task: Hashable
    passed: bool
    rewards: Mapping[str, NDArray[np.float64]]
    agents: Sequence[str]
    roles: Sequence[str]
    values: NDArray[np.float64]


class Accountant:
    """Turns rewards into advantages. averages: the moving averages, the only state; saved with checkpoints."""

    def __init__(self, credit: Credit) -> None:
        self.credit = credit
        self.averages: dict[str, float] = {}

    def advantages(self, runs: Sequence[Credited], progress: float = 0.0) -> list[NDArray[np.float64]]:
        """Advantages of each run's decisions: arrays (T,), in the order given. progress: of the training, 0 to 1.

        Raises ValueError for a channel that a run has no rewards in, or a singleton where the stream refuses them.
        """
        total = [np.zeros(len(run.agents)) for run in runs]
        for number, stream in enumerate(self.credit.streams):
            weight = _weight(stream, progress)
            for run, part in enumerate(self._stream(number, stream, runs)):
                total[run] += weight * part
        return total

    def returns(self, runs: Sequence[Credited], progress: float = 0.0) -> list[NDArray[np.float64]]:
        """What the critic should have predicted: arrays (T,), the streams' weighted sum as folded, nothing compared.

        For `gae` that is the advantage on top of the prediction, TD(lambda)'s return (1506.02438, section 5).
        """
        total = [np.zeros(len(run.agents)) for run in runs]
        for stream in self.credit.streams:
            weight = _weight(stream, progress)
            for run, out in zip(runs, total, strict=True):
                if stream.where == "all" or run.passed:
                    out += weight * _folded(stream, run)
                    if stream.fold == "gae" and stream.estimator == "critic":
                        out += run.values
        return total

    def _stream(self, number: int, stream: Stream, runs: Sequence[Credited]) -> list[NDArray[np.float64]]:
        out = [np.zeros(len(run.agents)) for run in runs]
        groups: dict[tuple[Hashable, ...], list[tuple[int, int, float]]] = defaultdict(list)
        for index, run in enumerate(runs):
            if stream.where == "passed" and not run.passed:
                continue
            for turn, value in enumerate(_folded(stream, run)):
                groups[_key(stream.key, run, turn)].append((index, turn, float(value)))
        for key, members in groups.items():
            values = np.array([value for _, _, value in members])
            sources = np.array([index for index, _, _ in members])
            weights = _weights(stream, sources)
            baseline = self._baseline(number, stream, key, values, weights, sources, members, runs)
            compared = values - baseline
            alone = stream.compares and len(set(sources.tolist())) == 1  # whose raw reward, if any, is to be passed on
            if stream.scale == "std" and not alone:
                spread = _deviation(values, weights)
                compared = compared / (spread + 1e-4) if spread > ROUNDING * np.abs(values).max() else 0.0 * compared
            for (index, turn, _), advantage in zip(members, compared, strict=True):
                out[index][turn] = advantage
        return out

    def _baseline(
        self,
        number: int,
        stream: Stream,
        key: tuple[Hashable, ...],
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        sources: NDArray[np.int64],
        members: Sequence[tuple[int, int, float]],
        runs: Sequence[Credited],
    ) -> NDArray[np.float64]:
        """What each value is compared with. Others are other runs: a run is never its own baseline."""
        if stream.estimator == "none" or stream.fold == "gae":  # which has compared already
            return np.zeros_like(values)
        if stream.estimator == "critic":
            return np.array([runs[index].values[turn] for index, turn, _ in members])
        if stream.estimator == "ema":
            name = f"{number}:{'/'.join(map(str, key))}"
            before = self.averages.get(name, 0.0)
            self.averages[name] = stream.decay * before + (1 - stream.decay) * float(
                np.average(values, weights=weights)
            )
            return np.full_like(values, before)
        if len(set(sources.tolist())) == 1:
            if stream.singleton == "error":
                raise ValueError(f"only one run has the key {key}: there is nothing to compare it with")
            return values.copy() if stream.singleton == "zero" else np.zeros_like(values)
        if stream.estimator == "mean":
            return np.full_like(values, np.average(values, weights=weights))
        own_sum = np.bincount(sources, weights * values)[sources]
        own_weight = np.bincount(sources, weights)[sources]
        return (weights @ values - own_sum) / (weights.sum() - own_weight)


def _weights(stream: Stream, sources: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each decision weighs in a baseline: with `total` all decisions of a run together as much as another run's.

    That is how REINFORCE leave-one-out and GRPO count: their samples are whole answers.
    """
    if stream.fold == "total":
        return 1.0 / np.bincount(sources)[sources]
    return np.ones(len(sources))


def _deviation(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    mean = np.average(values, weights=weights)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _weight(stream: Stream, progress: float) -> float:
    return stream.weight.at(progress) if isinstance(stream.weight, Ramp) else stream.weight


def _folded(stream: Stream, run: Credited) -> NDArray[np.float64]:
    """A run's rewards as each decision is credited with them: (T,). Raises ValueError where the channel is missing."""
    if stream.channel not in run.rewards:
        known = ", ".join(sorted(run.rewards))
        raise ValueError(f"no reward channel {stream.channel!r} in this run; there are: {known}")
    rewards = run.rewards[stream.channel]
    if stream.fold == "total":
        return np.full(len(rewards), rewards.sum())
    discount = stream.gamma
    if stream.fold == "gae":
        if stream.estimator == "critic":  # what came and is predicted now, against what was predicted before
            rewards = rewards + stream.gamma * np.append(run.values[1:], 0.0) - run.values
        discount *= stream.lam
    out = np.zeros(len(rewards))
    ahead = 0.0
    for turn in range(len(rewards) - 1, -1, -1):
        ahead = rewards[turn] + discount * ahead
        out[turn] = ahead
    return out


def _key(names: Sequence[Key], run: Credited, turn: int) -> tuple[Hashable, ...]:
    parts: dict[str, Hashable] = {
        "batch": 0,
        "task": run.task,
        "agent": run.agents[turn],
        "role": run.roles[turn],
        "turn": turn,
    }
    return tuple(parts[name] for name in names)
