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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.learned.facts import GENEROUS
from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy, PolicyCard
from podium.orchestrator.learned.text import telling_words
from podium.protocols.errors import RunError
from podium.protocols.events import Result
from podium.protocols.noise import seed_of, uniform
from podium.protocols.record import Finish
from podium.protocols.task import Task, Verdict
from podium.training.credit import Accountant, Credited
from podium.training.policy_loss import Losses, losses
from podium.training.replay import Replay, replay
from podium.training.rollouts import Cap, Rollouts, Tally, judged, repeatable
from podium.training.train_file import PreferenceSpec, TrainSpec

Metrics = dict[str, float]


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

    def of(self, result: Result) -> Verdict:
        """The verdict on a run's answer; a run without an answer has none and scores 0."""
        return self.verdict(result.task, result.answer) if result.node else Verdict(0.0, False)


class CoordinatorTrainer:
    """One training under way.

    weights: what is learned, and tried in runs; averaged: their moving average, which is validated and kept.
    iteration: updates done; validated: how many were done at the last validation. tasks, validation: what is learned
    from and what chooses the policy that is kept. best: what each validation task gained in the best validation so far;
    worthy: whether the last one was as good, but for chance. whole: False while weights are being updated, when there
    is nothing to keep. scale: dollars of a typical reply.
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
        self.cards = team.bus.cards()
        identities = tuple(card.name for card in self.cards)
        words = telling_words(task.text for task in self.tasks) if spec.options.reads else None
        self.policy = Policy.fresh(spec.options, identities, words=words, scale=scale, seed=spec.seed)
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
        self.accountant = Accountant(spec.credit)
        self.rollouts = Rollouts(team, concurrency=spec.concurrency, cap=cap, scored="replies")
        self.trials = Rollouts(team, concurrency=spec.concurrency, cap=cap)
        self.judged = Judged()
        self.iteration = self.validated = 0
        self.whole = True
        self.best: list[float] = []
        self.worthy = False

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
    def failed(self) -> str:
        """What failed in the last iteration and in the last validation, in words; empty where nothing did."""
        return self.rollouts.tally.words or self.trials.tally.words

    async def step(self, done: Callable[[], None] | None = None) -> Metrics:
        """One iteration: fresh runs, then updates. Raises what the runs raise when all of them fail."""
        began = time.monotonic()
        spec, iteration = self.spec, self.iteration
        tasks = self._tasks()
        knobs = [self.knob(iteration, task.text) for task in tasks]
        before = Counter[int]()
        again = [_count(before, id(task)) for task in tasks]  # a task that comes twice is worked on in different ways

        def settings(place: int, which: int) -> Settings:
            text = tasks[place].text
            which += again[place] * spec.group
            return Settings(
                seed_of("train", spec.seed, iteration, text, which),
                seed_of("replies", spec.seed, text, which % spec.reply_variants) & 0xFFFFFFFF,
                "sample",
                knobs[place],
            )

        self.rollouts.tally = Tally()
        learner = LearnedCoordinator(self._seen(self.weights))
        results = await self.rollouts.run(learner, tasks, seeds=range(spec.group), settings=settings, done=done)
        sampled = time.monotonic()
        preferences = [knobs[index // spec.group] for index in range(len(results))]
        self.whole = False
        metrics = self._learn(results, preferences)
        self._average()
        self.iteration += 1
        self.whole = True
        metrics |= {"seconds_running": sampled - began, "seconds_learning": time.monotonic() - sampled}
        return metrics

    async def validate(self) -> Metrics:
        """Greedy runs of the validation tasks with the averaged weights, at the middle of the knob.

        The latest policy within one standard error of the best is the one to keep (Breiman et al. 1984, section 3.4.3,
        with the paired difference's error): the best of many noisy figures is often an early one that was lucky.
        """
        if not self.validation:
            self.validated, self.worthy = self.iteration, True
            return {}
        knob = self.middle_knob

        def settings(place: int, which: int) -> Settings:
            plain = repeatable(self.validation[place], which)
            return Settings(plain.seed, plain.reply_seed, "greedy", knob)

        self.trials.tally = Tally()
        learner = LearnedCoordinator(self._seen(self.averaged))
        results = await self.trials.run(learner, self.validation, seeds=(0,), settings=settings)
        verdicts = [self.judged.of(result) for result in results]
        costs = [result.usage.dollars / knob for result in results]
        gain = [v.score - (c if v.passed else 0.0) for v, c in zip(verdicts, costs, strict=True)]
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

    def _learn(self, results: Sequence[Result], preferences: Sequence[float]) -> Metrics:
        spec = self.spec
        verdicts = [self.judged.of(result) for result in results]
        credited = [
            self._credited(result, verdict, knob)
            for result, verdict, knob in zip(results, verdicts, preferences, strict=True)
        ]
        progress = self.iteration / max(1, spec.iterations - 1)  # 1 in the last iteration
        advantages = np.concatenate(self.accountant.advantages(credited, progress))
        returns = np.concatenate(
            [
                np.full(len(run.agents), verdict.score - (run.rewards["cost"].sum() if run.passed else 0.0))
                for run, verdict in zip(credited, verdicts, strict=True)
            ]
        )
        counts = np.array([len(run.agents) for run in credited])
        alike = spec.credit.aggregate == "per_unit"
        of_run = np.ones(counts.sum()) if alike else np.repeat(1.0 / np.maximum(counts, 1), counts)
        whole = replay(results, preferences, self.cards, self.policy.card, self.judged.worth)
        with _one_thread():
            reports = self._update(whole, advantages, returns, of_run)
        groups = np.array([verdict.score for verdict in verdicts]).reshape(-1, spec.group)
        return {
            "score": float(groups.mean()),
            "passed": float(np.mean([verdict.passed for verdict in verdicts])),
            "failed": self.rollouts.tally.share,
            "tokens": float(np.mean([result.usage.tokens for result in results])),
            "dollars": float(np.mean([result.usage.dollars for result in results])),
            "steps": float(counts.mean()),
            "mixed_groups": float((groups.std(1) > 0).mean()),
            "policy_loss": float(np.mean([report.policy for report in reports])),
            "belief_loss": float(np.mean([report.beliefs for report in reports])),
            "value_loss": float(np.mean([report.value for report in reports])),
            "entropy": float(np.mean([report.entropy for report in reports])),
            "clipped": float(np.mean([report.clipped for report in reports])),
        }

    def _update(
        self,
        whole: Replay,
        advantages: NDArray[np.float64],
        returns: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> list[Losses]:
        """Adam on the iteration's decisions, cut by runs into minibatches."""
        spec, reports = self.spec, list[Losses]()
        left = 1.0 - self.iteration / spec.iterations
        for group in self.optimiser.param_groups:
            group["lr"] = spec.learning_rate * (0.1 + 0.9 * left)
        for epoch in range(spec.epochs):
            random = np.random.default_rng(seed_of("minibatches", spec.seed, self.iteration, epoch))
            parts = np.array_split(random.permutation(len(whole.task)), min(spec.minibatches, len(whole.task)))
            for runs in parts:
                batch, rows = whole.part(runs)
                if not len(rows):
                    continue  # runs that failed before their first decision
                weight = weights[rows] / weights[rows].sum()
                self.optimiser.zero_grad()
                loss = losses(
                    self.weights,
                    batch,
                    spec.options,
                    spec.loss,
                    advantages[rows],
                    weight,
                    returns[rows],
                    entropy=spec.loss.entropy * left,
                    learn_policy=self.iteration >= spec.warm_up,
                )
                loss.total.backward()
                norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), spec.gradient_norm)
                if not torch.isfinite(norm):
                    raise RunError(
                        f"iteration {self.iteration}: the gradient is not finite; lower learning_rate and start anew "
                        "with --fresh"
                    )
                self.optimiser.step()
                reports.append(loss)
        return reports

    def _credited(self, result: Result, verdict: Verdict, knob: float) -> Credited:
        """A run seen by its rewards: outcome at its last decision, cost (in passed answers) where it was caused."""
        count = len(result.decisions)
        outcome, cost = np.zeros(count), np.zeros(count)
        agents, roles, roles_of = [""] * count, [""] * count, {card.name: card.role for card in self.cards}
        step_of: dict[str, int] = {}
        for step, decision in enumerate(result.decisions):
            if not isinstance(decision.action, Finish):
                agents[step] = decision.action[0].agent
                roles[step] = roles_of.get(agents[step], "")
                step_of |= {directive.id: step for directive in decision.action}
        for node in result.nodes:
            if node.directive in step_of:
                cost[step_of[node.directive]] += node.usage.dollars / knob
        if count:
            outcome[-1] = verdict.score
        values = np.array([decision.value or 0.0 for decision in result.decisions])
        task = seed_of(*(message.content for message in result.task.messages))  # the same in a resumed training
        return Credited(task, verdict.passed, {"outcome": outcome, "cost": cost}, agents, roles, values)


def _count(seen: Counter[int], key: int) -> int:
    """How often a key came before."""
    seen[key] += 1
    return seen[key] - 1


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: these matrices are small, and threads that wait for each other cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
