"""A supervised start: what agents say to every training task, before the policy tries anything.

Each training task is run a few times by a survey, which asks agents in a random order, each in a way drawn from the
action space (shown what, how many samples), so that everybody is heard after everybody else. Two things are learned
from these runs: the beliefs, as from any others, and what each choice is worth, by Q-learning (Watkins 1989) fitted
over and over to the same transitions: finishing is worth what the answer that would be taken scores; asking an agent is
worth the best choice in the state that its reply leads to, less what the reply cost. The values are those that a
softmax policy and its critic stand for together, Q = V + temperature log pi (Nachum et al., arXiv 1702.08892), so that
no other network is needed; a way of asking is worth less than the best way by temperature times how much less likely it
is, in nats. The policy that comes of it is what the iterations after it begin with. So it is learned to look several
steps ahead, for every knob at once, from a few runs of each task: on recorded answers that came further in a minute
than many iterations of trying did from nothing.

Source of the idea: a coordinator's head that is first taught soft success rates, Sakana Fugu (arXiv 2606.21228), there
of one choice before anybody has spoken; states, prices, looking ahead and finishing are added here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.learned.survey import Survey
from podium.protocols.bus import Card
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.record import Finish
from podium.training.policy_loss import fitted, worths
from podium.training.replay import Replay, replays
from podium.training.rollouts import Rollouts
from podium.training.updates import leave_alone, one_thread, some_words

if TYPE_CHECKING:
    from podium.training.coordinator_trainer import CoordinatorTrainer

__all__ = ["Surveyed", "warm_start"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
RUNS_OF_A_BATCH = 64
FOLLOWS = 0.02
"""Share by which the averaged weights, with whose values one looks ahead, follow the others at each update."""
TEMPERATURE = 0.1
"""Of the policy that learns what choices are worth, in passed answers."""
STEERING = ("pick.w", "pick.b", "finish.w", "finish.b", "options.w", "options.b")
"""Weights that the logits of asking, of how, and of finishing are linear in; of `trust` and `need.trust` it is all but
one."""
RELUCTANCE = 0.3
"""By how much, in passed answers, asking an agent again is held to be worse than the best choice: surveys ask once, so
that nothing is known of it."""


def _nobody(stage: str, done: int, of: int) -> None:
    pass


async def warm_start(trainer: CoordinatorTrainer, tell: Callable[[str, int, int], None] = _nobody) -> dict[str, float]:
    """Teach a fresh policy from surveys, in place; what that came to, as metrics.

    tell: is told what is counted, how many are done, and of how many: surveys, then passes over them.

    Does nothing where the training has no `warm_start`. Raises what the runs raise when all of them fail.
    """
    given, spec = trainer.spec.warm_start, trainer.spec
    if given is None:
        return {}
    began = time.monotonic()
    tasks = [task for task in trainer.tasks for _ in range(given.runs)]
    numbers = list(range(given.runs)) * len(trainer.tasks)
    knobs = [trainer.knob("survey", task.text, number) for task, number in zip(tasks, numbers, strict=True)]
    teams = trainer.survey_teams(given.runs)

    def settings(place: int, which: int) -> Settings:
        text, number = tasks[place].text, numbers[place]
        replies = seed_of("replies", spec.seed, text, number % spec.reply_variants) & 0xFFFFFFFF
        return Settings(seed_of("survey", spec.seed, text, number), replies, "greedy", knobs[place])

    done = 0

    def surveyed_one() -> None:
        nonlocal done
        done += 1
        tell("surveys", done, len(tasks))

    tell("surveys", 0, len(tasks))
    rollouts = Rollouts(trainer.team, concurrency=spec.concurrency, cap=trainer.rollouts.cap, scored="replies")
    results = await rollouts.run(
        Survey(options=spec.options), tasks, seeds=(0,), settings=settings, teams=teams, done=surveyed_one
    )
    sampled = time.monotonic()
    with one_thread():
        losses = _taught(trainer, _lessons(trainer, results, knobs, teams), tell)
    _cooled(trainer.averaged, TEMPERATURE / given.temperature)
    for name, weight in trainer.weights.items():
        weight.data.copy_(trainer.averaged[name])
    return {
        "warm_start_runs": float(len(results)),
        "warm_start_loss_first": losses[0],
        "warm_start_loss_last": losses[-1],
        "warm_start_seconds_running": sampled - began,
        "warm_start_seconds_learning": time.monotonic() - sampled,
    }


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What the decisions of surveys came to, (M, ...) each.

    asked: which agent, -1: it finished. costs: (M,), what that took, in passed answers. likely: (M, N), what asking
    each agent takes in the mean. heard: (M, N), who has spoken. open: (M, N + 1), what is worth a policy's thought.
    """

    asked: Ints
    costs: Floats
    likely: Floats
    heard: Bools
    open: Bools

    def part(self, rows: Ints) -> Surveyed:
        """Some of the decisions."""
        return Surveyed(*(getattr(self, each.name)[rows] for each in fields(self)))

    def targets(self, worth: Floats, taken: Floats, run: Ints) -> Floats:
        """(M, N + 1): what choices should be held to be worth, in passed answers; NaN where nothing is known.

        worth: (M, N + 1), what they are held to be worth now; taken: (M,), the score of the answer that would be taken,
        -1 where there is none; run: (M,), of each decision.
        """
        out = np.full(worth.shape, np.nan)
        best = np.where(self.open, worth, -np.inf).max(-1)
        follows = np.flatnonzero((self.asked[:-1] >= 0) & (run[:-1] == run[1:]))
        out[follows, self.asked[follows]] = best[follows + 1] - self.costs[follows]
        out[:, :-1] = np.where(self.heard, best[:, None] - self.likely - RELUCTANCE, out[:, :-1])
        out[:, -1] = np.maximum(taken, 0.0)
        return out


@dataclass(frozen=True, slots=True)
class _Lesson:
    """The surveys of one team, as arrays. runs: where its runs stand among all."""

    replay: Replay
    surveyed: Surveyed
    runs: Ints

    def part(self, runs: Ints) -> tuple[Replay, Surveyed]:
        """Some of its runs, by where they stand among all."""
        batch, rows = self.replay.part(np.searchsorted(self.runs, runs))
        return batch, self.surveyed.part(rows)


def _lessons(
    trainer: CoordinatorTrainer, results: Sequence[Result], knobs: Sequence[float], teams: Sequence[Orchestrator]
) -> list[_Lesson]:
    """What is learned from, team by team."""
    judged = trainer.judged
    cards: list[tuple[Card, ...]] = [team.bus.cards() for team in teams]
    whole = replays(results, knobs, cards, trainer.policy.card, judged.worth, judged.parts)
    lessons: list[_Lesson] = []
    for replay, runs in zip(whole.replays, whole.runs, strict=True):
        its: list[int] = runs.tolist()
        names = [card.name for card in cards[its[0]]]
        done, worth = [results[run] for run in its], [knobs[run] for run in its]
        known = surveyed(done, worth, names, trainer.spec.options.max_steps)
        lessons.append(_Lesson(replay, known, runs))
    return lessons


def surveyed(results: Sequence[Result], knobs: Sequence[float], agents: Sequence[str], steps: int) -> Surveyed:
    """What surveys of one team came to. knobs: of each, dollars that one passed answer is worth; steps: of a run."""
    place, rows = {name: number for number, name in enumerate(agents)}, sum(len(each.decisions) for each in results)
    spent, replies = np.zeros(len(place)), np.zeros(len(place))
    asked, costs = np.full(rows, -1, np.int64), np.zeros(rows)
    heard, possible = np.zeros((rows, len(place)), np.bool_), np.ones((rows, len(place) + 1), np.bool_)
    for row, before, dollars, agent, finished, step, knob in _decisions(results, knobs, place):
        heard[row], possible[row, :-1], possible[row, -1] = before, ~before & (step < steps), before.any()
        if finished:  # nobody else was there to ask, or to pay for
            possible[row, :-1] = False
        if agent >= 0:
            asked[row], costs[row] = agent, dollars / knob
            spent[agent] += dollars
            replies[agent] += 1
    each = np.repeat(knobs, [len(result.decisions) for result in results])
    return Surveyed(asked, costs, spent / np.maximum(replies, 1) / each[:, None], heard, possible)


def _decisions(
    results: Sequence[Result], knobs: Sequence[float], place: dict[str, int]
) -> Iterator[tuple[int, Bools, float, int, bool, int, float]]:
    """Every decision: its row, who was heard before, what it took in dollars, whom it asked (-1: nobody, or nobody
    answered), whether it finished, step and knob.
    """
    row = 0
    for result, knob in zip(results, knobs, strict=True):
        heard = np.zeros(len(place), np.bool_)
        for decision in result.decisions:
            agent, dollars, before = -1, 0.0, heard.copy()
            finished = isinstance(decision.action, Finish)
            if not isinstance(decision.action, Finish):
                nodes = [node for node in result.nodes if node.directive == decision.action[0].id]
                if nodes:
                    agent = place[decision.action[0].agent]
                    dollars = sum(node.usage.dollars for node in nodes)
                    heard[agent] = True
            yield row, before, dollars, agent, finished, decision.step, knob
            row += 1


def _taught(
    trainer: CoordinatorTrainer, lessons: Sequence[_Lesson], tell: Callable[[str, int, int], None]
) -> list[float]:
    """Pass over the surveys several times; the mean loss of each pass."""
    spec, given = trainer.spec, trainer.spec.warm_start
    assert given is not None
    weights = list(trainer.weights.values())
    for trust in (trainer.weights["trust"].data, trainer.averaged["trust"]):
        trust[2] = 1.0 / TEMPERATURE  # a price counts as what it is
    optimiser = torch.optim.AdamW(
        [
            {"params": [each for each in weights if each.ndim > 1], "weight_decay": spec.weight_decay},
            {"params": [each for each in weights if each.ndim == 1], "weight_decay": 0.0},
        ],
        lr=given.learning_rate,
    )
    means: list[float] = []
    for number in range(given.passes):
        tell("passes over the surveys", number, given.passes)
        for group in optimiser.param_groups:
            group["lr"] = given.learning_rate * (1.0 - 0.9 * number / given.passes)
        losses: list[float] = []
        random = np.random.default_rng(seed_of("warm start", spec.seed, number))
        missing = np.random.default_rng(seed_of("word dropout", spec.seed, "warm start", number))
        for lesson, some in _batches(lessons, random):
            batch, known = lesson.part(some)
            if not batch.events.any():  # all of them failed before any reply
                continue
            with torch.no_grad():
                before, taken, _ = worths(trainer.averaged, batch, TEMPERATURE)
            targets = known.targets(before.numpy(), taken.numpy(), batch.run)
            if spec.word_dropout:
                batch = some_words(batch, spec.word_dropout, missing)
            optimiser.zero_grad()
            loss = fitted(trainer.weights, batch, spec.options, spec.loss, targets, TEMPERATURE)
            loss.backward()
            leave_alone(trainer.weights)
            torch.nn.utils.clip_grad_norm_(weights, spec.gradient_norm)
            optimiser.step()
            for name, weight in trainer.weights.items():
                trainer.averaged[name].lerp_(weight.detach(), FOLLOWS)
            losses.append(loss.item())
        means.append(float(np.mean(losses)))
    return means


def _batches(lessons: Sequence[_Lesson], random: np.random.Generator) -> Iterator[tuple[_Lesson, Ints]]:
    """All runs once, in batches of one team each: batches of many small teams would take many times as long."""
    batches = [
        (lesson, some)
        for lesson in lessons
        for some in np.array_split(random.permutation(lesson.runs), -(-len(lesson.runs) // RUNS_OF_A_BATCH))
    ]
    for place in random.permutation(len(batches)):
        yield batches[place]


def _cooled(weights: dict[str, torch.Tensor], factor: float) -> None:
    """Multiply the logits of whom to ask, of how, and of finishing: what is worth more is chosen that much more surely.

    A policy that chooses as it learned to value would draw a worse choice at every other step, and iterations would
    teach it to take as few steps as it can (tried on recorded answers: they ended in asking one agent).
    """
    for name in STEERING:
        weights[name] *= factor
    weights["trust"][[0, 2]] *= factor
    if "need.trust" in weights:
        weights["need.trust"][1:] *= factor
