"""Training a coordinator: run tasks with the policy as it is, credit its decisions, improve it, again.

Grouped policy gradient: each task is run several times with different decisions; runs of a task are each other's
baseline. The beliefs learn beside it from every reply. What is validated and kept is a moving average of the weights,
which is steadier than any of the policies that it is the average of. All randomness is hashed from (seed, iteration,
task), so there is no random state: a checkpoint is weights, average, optimiser and the iteration's number, and a
resumed training goes on exactly as an uninterrupted one would.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.learned.facts import GENEROUS
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy, PolicyCard
from podium.orchestrator.learned.text import telling_words
from podium.protocols.bus import Bus
from podium.protocols.errors import InputError
from podium.protocols.events import Result
from podium.protocols.noise import seed_of, uniform
from podium.protocols.record import Finish
from podium.protocols.task import Task, Verdict
from podium.protocols.words import counted
from podium.training.credit import Accountant, Credited
from podium.training.diagnostics import Diagnosis, Group, diagnose
from podium.training.exploring import OneDrawn
from podium.training.replay import replays
from podium.training.rewards import Earned, rewards_of
from podium.training.rollouts import Cap, Rollouts, Tally, judged, repeatable
from podium.training.team_variants import draw, own_name, varied
from podium.training.train_file import EvolutionSpec, PreferenceSpec, TrainSpec
from podium.training.updates import Experience, update

if TYPE_CHECKING:
    from podium.training.evolution import Evolution

Metrics = dict[str, float]

FIXED_TEAMS = 1
"""How often the random teams of a training are drawn for its validation, beside the whole team: once and for all."""


class Judged:
    """Scores of replies, each text judged once per task."""

    def __init__(self) -> None:
        self._verdicts: dict[tuple[int, str], Verdict] = {}

    def verdict(self, task: Task, content: str) -> Verdict:
        """The task's verdict on a text."""
        key = (id(task), content)
        found = self._verdicts.get(key)
        if found is None:
            found = self._verdicts[key] = judged(task, content)
        return found

    def worth(self, result: Result, content: str) -> float:
        """The score of a reply in a run."""
        return self.verdict(result.task, content).score

    def parts(self, result: Result, content: str) -> Mapping[str, float]:
        """The named parts of the verdict on a reply in a run."""
        return self.verdict(result.task, content).parts

    def of(self, result: Result) -> Verdict:
        """The verdict on a run's answer; a run without an answer has none and scores 0."""
        return self.verdict(result.task, result.answer) if result.node else Verdict(0.0, False)


def check_fits(spec: TrainSpec, team: Orchestrator) -> None:
    """Look, before anything is spent, whether a training goes with its team: random teams, and heads that evolve.

    Raises InputError when it does not, MissingExtra for a package that it needs.
    """
    agents = tuple(card.name for card in team.bus.cards())
    if spec.teams is not None and spec.teams.least > len(agents):
        raise InputError(f"teams.least is {spec.teams.least}, and the team has {counted(len(agents), 'agent')}")
    _evolution(spec, Policy.fresh(spec.options, agents))


def _evolution(spec: TrainSpec, policy: Policy) -> Evolution | None:
    if not isinstance(spec.learner, EvolutionSpec):
        return None
    from podium.training.evolution import Evolution

    return Evolution(spec.learner, policy.weights, spec.seed)


class CoordinatorTrainer:
    """One training under way.

    weights: what is learned, and tried in runs; averaged: their moving average, which is validated and kept.
    iteration: updates done; validated: how many were done at the last validation. tasks, validation: what is learned
    from and what chooses the policy that is kept. best: what each validation task gained in the best validation so far;
    worthy: whether the last one was as good, but for chance. whole: False while weights are being updated, when there
    is nothing to keep. scale: dollars of a typical reply. warning: what is wrong with the policy since the last
    iteration, in words; empty where nothing is. evolution: of the heads that do not learn by gradient; None
    where all do.
    """

    def __init__(
        self, spec: TrainSpec, team: Orchestrator, tasks: Sequence[Task], *, scale: float, cap: Cap | None = None
    ) -> None:
        self.spec = spec
        self.team = team
        held = min(round(len(tasks) * spec.tasks.validation), len(tasks) - 1)
        order = sorted(tasks, key=lambda task: seed_of("validation", spec.seed, task.id))
        self.validation, self.tasks = order[:held], order[held:]
        self.scale = scale
        check_fits(spec, team)
        self.cards = team.bus.cards()
        identities, told = zip(*((card.name, card.description) for card in self.cards), strict=True)
        words = telling_words(task.text for task in self.tasks) if spec.options.reads else None
        self.policy = Policy.fresh(
            spec.options, identities, descriptions=told, words=words, scale=scale, seed=spec.seed
        )
        self.weights: dict[str, torch.Tensor] = {
            name: torch.nn.Parameter(torch.from_numpy(w)) for name, w in self.policy.weights.items()
        }
        self.averaged = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in self.weights.values() if p.ndim > 1], "weight_decay": spec.weight_decay},
                {"params": [p for p in self.weights.values() if p.ndim == 1], "weight_decay": 0.0},
            ],
            lr=spec.learning_rate,
        )
        self.evolution = _evolution(spec, self.policy)
        self.accountant = Accountant(spec.credit)
        self.rollouts = Rollouts(team, concurrency=spec.concurrency, cap=cap, scored="replies")
        self.trials = Rollouts(team, concurrency=spec.concurrency, cap=cap)
        self.judged = Judged()
        self.iteration = self.validated = 0
        self.whole = True
        self.best: list[float] = []
        self.worthy = False
        self.warning = ""

    def knob(self, *parts: object) -> float:
        """Dollars that one passed answer is worth, for one group of runs."""
        given = self.spec.preference
        if given is None:
            return GENEROUS * self.scale
        if isinstance(given, PreferenceSpec):
            low, high = math.log(given.low), math.log(given.high)
            return math.exp(low + (high - low) * uniform("knob", self.spec.seed, *parts))
        return given

    @property
    def middle_knob(self) -> float:
        """The knob that evaluation during training uses: the middle of the range."""
        given = self.spec.preference
        return math.sqrt(given.low * given.high) if isinstance(given, PreferenceSpec) else self.knob()

    @property
    def runs(self) -> int:
        """How many runs it has learned from."""
        evolved = max(0, self.iteration - self.spec.warm_up) if self.evolution else 0
        width = self.evolution.population if self.evolution else 0
        return self.spec.tasks_per_iteration * ((self.iteration - evolved) * self.spec.group + evolved * width)

    @property
    def failed(self) -> str:
        """What failed in the last iteration and in the last validation, in words; empty where nothing did."""
        return self.rollouts.tally.words or self.trials.tally.words

    async def step(self, done: Callable[[], None] | None = None) -> Metrics:
        """One iteration: fresh runs, then updates. Raises what the runs raise when all of them fail."""
        began = time.monotonic()
        spec, iteration = self.spec, self.iteration
        tasks = self._tasks()
        knobs = [self.knob(iteration, task.text) for task in tasks]
        candidates = self._candidates()
        width = len(candidates) or spec.group
        before = Counter[int]()
        again = [_count(before, id(task)) for task in tasks]  # a task that comes twice is worked on in different ways

        def settings(place: int, which: int) -> Settings:
            text = tasks[place].text
            which += again[place] + iteration if candidates else again[place] * spec.group
            return Settings(
                seed_of("train", spec.seed, iteration, text, which),
                seed_of("replies", spec.seed, text, which % spec.reply_variants) & 0xFFFFFFFF,
                "greedy" if candidates else "sample",
                knobs[place],
            )

        self.rollouts.tally = Tally()
        teams = self._teams(self.rollouts.team, tasks, "training", iteration)
        if candidates:
            from podium.training.evolution import compete

            results = await compete(self.rollouts, candidates, tasks, settings, teams, done)
        else:
            learner = LearnedCoordinator(self._seen(self.weights))
            drawn = OneDrawn(learner, spec.options.max_steps) if spec.drawn == "one" else learner
            results = await self.rollouts.run(
                drawn, tasks, seeds=range(spec.group), settings=settings, teams=teams, done=done
            )
        sampled = time.monotonic()
        preferences = [knob for knob in knobs for _ in range(width)]
        self.whole = False
        metrics = self._learn(results, preferences, [team for team in teams for _ in range(width)])
        self._average()
        self.iteration += 1
        self.whole = True
        metrics |= {"seconds_running": sampled - began, "seconds_learning": time.monotonic() - sampled}
        return metrics

    def _candidates(self) -> list[Policy]:
        """The policies that this iteration tries, where heads evolve; none while only the beliefs learn."""
        if self.evolution is None or self.iteration < self.spec.warm_up:
            return []
        now = self._seen(self.weights)
        if not self.evolution.worth:
            self.evolution.begin(now.weights)
        return [Policy(now.card, now.weights | heads) for heads in self.evolution.ask()]

    def _evolve(self, returns: Sequence[NDArray[np.float64]]) -> Metrics:
        """Follow the better candidates. returns: of the runs, task by task and in each by candidate."""
        if self.evolution is None:
            return {}
        whole = [float(each[0]) if len(each) else 0.0 for each in returns]
        worth = np.reshape(whole, (-1, self.evolution.population)).mean(0)
        self.evolution.tell(worth.tolist())
        with torch.no_grad():
            for name, weight in self.evolution.mean.items():
                self.weights[name].copy_(torch.from_numpy(weight))
        return {"worth": float(worth.mean()), "worth_best": float(worth.max())}

    async def validate(self) -> Metrics:
        """Greedy runs of the validation tasks with the averaged weights, at the middle of the knob.

        The latest policy within one standard error of the best is the one to keep (Breiman et al. 1984, section 3.4.3,
        with the paired difference's error): the best of many noisy figures is often an early one that was lucky.
        """
        if not self.validation:
            self.validated, self.worthy = self.iteration, True
            return {}
        knob = self.middle_knob
        teams = [self.trials.team] * len(self.validation)
        if self.spec.teams is not None:
            for number in range(FIXED_TEAMS):
                teams += self._teams(self.trials.team, self.validation, "validation", number)
        tasks = [task for _ in range(len(teams) // len(self.validation)) for task in self.validation]

        def settings(place: int, which: int) -> Settings:
            plain = repeatable(tasks[place], which)
            return Settings(plain.seed, plain.reply_seed, "greedy", knob)

        self.trials.tally = Tally()
        learner = LearnedCoordinator(self._seen(self.averaged))
        results = await self.trials.run(learner, tasks, seeds=(0,), settings=settings, teams=teams)
        verdicts = [self.judged.of(result) for result in results]
        costs = [result.usage.dollars / knob for result in results]
        gains = [v.score - (c if v.passed else 0.0) for v, c in zip(verdicts, costs, strict=True)]
        gain: list[float] = np.reshape(gains, (-1, len(self.validation))).mean(0).tolist()
        behind = np.subtract(self.best or gain, gain)
        self.worthy = bool(behind.mean() <= behind.std(ddof=min(1, len(gain) - 1)) / math.sqrt(len(gain)))
        if not self.best or behind.mean() < 0:
            self.best = gain
        self.validated = self.iteration
        return {
            "eval_score": float(np.mean([verdict.score for verdict in verdicts])),
            "eval_tokens": float(np.mean([result.usage.tokens for result in results])),
            "eval_dollars": float(np.mean([result.usage.dollars for result in results])),
            "eval_gain": float(np.mean(gain)),
            "eval_failed": self.trials.tally.share,
        }

    def frozen(self, **card: object) -> Policy:
        """The policy to keep: a copy of the average, for good. card: fields of its card to set."""
        seen = self._seen(self.averaged)
        made = PolicyCard.model_validate(seen.card.model_dump() | card)
        return Policy(made, {name: weight.copy() for name, weight in seen.weights.items()})

    def _seen(self, weights: Mapping[str, torch.Tensor]) -> Policy:
        """The policy with some weights, for numpy; they are views of torch's, so it is current at no cost."""
        card = self.policy.card.model_copy(update={"version": self.iteration})
        return Policy(card, {name: weight.detach().numpy() for name, weight in weights.items()})

    def _average(self) -> None:
        """Move the average towards the weights; in the beginning over the last fifth of the iterations only."""
        stays = min(self.spec.averaging, self.iteration / (self.iteration + 5))
        for name, weight in self.weights.items():
            self.averaged[name].lerp_(weight.detach(), 1.0 - stays)

    def _tasks(self) -> list[Task]:
        """The tasks of this iteration: a fresh shuffle each epoch, hashed from the seed."""
        size, out = self.spec.tasks_per_iteration, list[Task]()
        at = self.iteration * size
        while len(out) < size:
            epoch, offset = divmod(at + len(out), len(self.tasks))
            order = np.random.default_rng(seed_of("order", self.spec.seed, epoch)).permutation(len(self.tasks))
            out.extend(self.tasks[int(place)] for place in order[offset : offset + size - len(out)])
        return out

    def _teams(self, team: Orchestrator, tasks: Sequence[Task], *parts: object) -> list[Orchestrator]:
        """Who works each task: a few random teams where the training has them; a task that comes twice has one."""
        given = self.spec.teams
        if given is None:
            return [team] * len(tasks)
        names, seed = [card.name for card in self.cards], self.spec.seed
        made = [
            varied(team, draw(given, names, seed, *parts, number, always=team.wind_down))
            for number in range(given.variants)
        ]
        first: dict[int, int] = {}
        return [made[first.setdefault(id(task), place) % len(made)] for place, task in enumerate(tasks)]

    def survey_teams(self, runs: int) -> list[Orchestrator]:
        """Who works each task of a supervised start, `runs` times each: random teams where the training has them."""
        each = [self._teams(self.rollouts.team, self.tasks, "survey", number) for number in range(runs)]
        return [team for teams in zip(*each, strict=True) for team in teams]

    def _learn(self, results: Sequence[Result], preferences: Sequence[float], teams: Sequence[Orchestrator]) -> Metrics:
        spec = self.spec
        verdicts = [self.judged.of(result) for result in results]
        credited = [
            self.credited(result, verdict, knob, team.bus)
            for result, verdict, knob, team in zip(results, verdicts, preferences, teams, strict=True)
        ]
        progress = self.iteration / max(1, spec.iterations - 1)  # 1 in the last iteration
        advantages = np.concatenate(self.accountant.advantages(credited, progress))
        if spec.drawn == "one":
            advantages *= [decision.mode == "sample" for result in results for decision in result.decisions]
        returns = self.accountant.returns(credited, progress)
        values = np.concatenate([run.values for run in credited])
        counts = np.array([len(run.agents) for run in credited])
        alike = spec.credit.aggregate == "per_unit"
        of_run = np.ones(counts.sum()) if alike else np.repeat(1.0 / np.maximum(counts, 1), counts)
        cards = [team.bus.cards() for team in teams]
        whole = replays(results, preferences, cards, self.policy.card, self.judged.worth, self.judged.parts)
        diagnosis = self._diagnosed(results, preferences, teams)
        self.warning = "" if self.iteration < spec.warm_up else diagnosis.collapse(progress)
        given = Experience(whole, advantages, np.concatenate(returns), values, of_run)
        learn_policy = self.iteration >= spec.warm_up and self.evolution is None
        learned = update(self.weights, self.optimiser, spec, self.iteration, given, learn_policy=learn_policy)
        evolved = self._evolve(returns) if self.iteration >= spec.warm_up else {}
        groups = np.array([verdict.score for verdict in verdicts]).reshape(spec.tasks_per_iteration, -1)
        return {
            **evolved,
            **diagnosis.metrics,
            **learned,
            "score": float(groups.mean()),
            "passed": float(np.mean([verdict.passed for verdict in verdicts])),
            "failed": self.rollouts.tally.share,
            "tokens": float(np.mean([result.usage.tokens for result in results])),
            "dollars": float(np.mean([result.usage.dollars for result in results])),
            "steps": float(counts.mean()),
            "mixed_groups": float((groups.std(1) > 0).mean()),
        }

    def _diagnosed(
        self, results: Sequence[Result], preferences: Sequence[float], teams: Sequence[Orchestrator]
    ) -> Diagnosis:
        """Whether the policy looks at its tasks."""
        groups: list[Group] = []
        width = len(results) // self.spec.tasks_per_iteration
        for first in range(0, len(results), width):
            bus = teams[first].bus
            cards = bus.cards()
            names = tuple(own_name(bus, card.name) for card in cards)
            groups.append(Group(results[first : first + width], preferences[first], cards, names))
        return diagnose(
            groups, [card.name for card in self.cards], seed_of("diagnosis", self.spec.seed, self.iteration)
        )

    def credited(self, result: Result, verdict: Verdict, knob: float, bus: Bus) -> Credited:
        """A run seen by the rewards that its credit names. bus: of the team that worked it."""
        count = len(result.decisions)
        agents, roles, roles_of = [""] * count, [""] * count, {card.name: card.role for card in self.cards}
        for step, decision in enumerate(result.decisions):
            if not isinstance(decision.action, Finish):
                agents[step] = own_name(bus, decision.action[0].agent)
                roles[step] = roles_of.get(agents[step], "")
        credit = self.spec.credit
        earned = Earned(
            result, verdict, knob, lambda text: self.judged.verdict(result.task, text), credit.streams[0].gamma
        )
        values = np.array([decision.value or 0.0 for decision in result.decisions])
        task = seed_of(*(message.content for message in result.task.messages))  # the same in a resumed training
        return Credited(task, verdict.passed, rewards_of(earned, credit.channels), agents, roles, values)


def _count(seen: Counter[int], key: int) -> int:
    """How often a key came before."""
    seen[key] += 1
    return seen[key] - 1
