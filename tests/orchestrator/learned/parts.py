"""A small world for learned policies: agents whose words depend on what they are asked and shown, and loud policies."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from podium.orchestrator.budget import Left, Limits
from podium.orchestrator.coordinator import RunState
from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator, Policy
from podium.orchestrator.learned.options import Options
from podium.protocols.bus import Card, Envelope
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.record import PLANS, Decision, Finish, Node, Usage
from podium.protocols.task import Message, Task, Verdict
from tests.orchestrator.stage import Speaker, Stage

NAMES = ("ann", "bob", "cy")
WIDE = Options(
    samples=(1, 2, 3),
    context=("task", "last", "all"),
    objectives=("propose", "verify"),
    details=("short", "normal"),
    styles=("plain", "sure"),
    plans=PLANS,
    max_tokens=(None, 16),
    needs=3,
    width=3,
    max_steps=4,
)
HEADS = ("pick", "pick.again", "stop", "finish", "choose", "options", "value", "success", "cost", "gain", "passes")
NEEDS = ("about", "about.all", "supplies", "there")


def loud(options: Options = WIDE, names: Sequence[str] = NAMES, *, seed: int = 1, volume: float = 12.0) -> Policy:
    """An untrained policy with strong opinions, so that what it decides depends on everything it sees."""
    policy = Policy.fresh(options, tuple(names), scale=1e-5, seed=seed)
    random = np.random.default_rng(seed)
    for head in (*HEADS, *NEEDS):
        if f"{head}.w" not in policy.weights:
            continue  # a policy that tells no pieces apart
        policy.weights[f"{head}.w"] *= np.float32(volume)
        bias = policy.weights[f"{head}.b"]
        bias += random.standard_normal(bias.shape).astype(np.float32) * np.float32(0.3)
    policy.weights["identity"][1:] *= np.float32(10.0)
    return policy


def words(envelope: Envelope) -> str:
    """What an agent says: its name, how much it was shown, and one of three answers."""
    planned = "<plan>look, then say</plan>" if envelope.directive.compute.plan == "renew" else ""
    number = seed_of(envelope.task[-1].content, envelope.directive.agent, envelope.seed, envelope.sample) % 3
    return f"{planned}{envelope.directive.agent} saw {len(envelope.visible())} replies, so it is {number}"


def stage(names: Sequence[str] = NAMES, *, limits: Limits | None = None) -> Stage:
    """Agents at different prices, two of them at the same one."""
    prices = {"ann": (1.0, 2.0), "bob": (1.0, 2.0), "cy": (3.0, 9.0)}
    return Stage(*(Speaker(name, words, price=prices.get(name, (2.0, 4.0))) for name in names), limits=limits)


def task(number: int, *, id: str | None = None, tag: str = "x", right: int = 1) -> Task:
    """A question whose answer is the last word of a reply."""

    def score(text: str) -> Verdict:
        passed = text.endswith(f" {right}")
        return Verdict(float(passed), passed)

    def answer(text: str) -> str | None:
        return text.rpartition(" ")[2] or None

    text = f"What is {number} plus {number * 7 % 11}? Think of {'apples ' * (number % 5)}."
    return Task(id or f"t{number}", (Message("user", text),), score, answer, tags={"type": tag})


def play(
    policy: Policy,
    tasks: Sequence[Task],
    *,
    mode: Literal["sample", "greedy"] = "sample",
    names: Sequence[str] = NAMES,
    together: bool = True,
    limits: Limits | None = None,
    preference: float | None = None,
) -> list[Result]:
    """One run of each task through the engine, all at once or one after the other."""
    team = stage(names, limits=limits).led_by(LearnedCoordinator(policy))

    def settings(place: int) -> Settings:
        return Settings(seed=place, reply_seed=place, mode=mode, preference=preference)

    async def everything() -> list[Result]:
        work = [team.run(each, settings(place), id=f"r{place}") for place, each in enumerate(tasks)]
        return list(await asyncio.gather(*work)) if together else [await each for each in work]

    return asyncio.run(everything())


def told(decision: Decision) -> tuple[object, ...]:
    """A decision without ids, numbers and places: what was asked of whom."""
    if isinstance(decision.action, Finish):
        return ("finish", decision.action.answer)
    return tuple((d.agent, d.objective, d.detail, d.visible, d.compute) for d in decision.action)


def story(results: Sequence[Result]) -> list[list[tuple[object, ...]]]:
    """What was decided in each run."""
    return [[told(decision) for decision in result.decisions] for result in results]


def state_of(
    coordinator: LearnedCoordinator,
    work: Task,
    nodes: Sequence[Node] = (),
    *,
    step: int = 0,
    seed: int = 0,
    mode: Literal["sample", "greedy"] = "sample",
    affordable: tuple[bool, ...] | None = None,
    preference: float | None = None,
    left: Left | None = None,
    names: Sequence[str] = NAMES,
) -> RunState:
    """A state outside of any run, its memory made by replaying the nodes."""
    cards = tuple(Card(name, "solver", f"speaks for {name}", (1.0, 2.0)) for name in names)
    memory = coordinator.begin(work.messages, cards)
    for node in nodes:
        memory = coordinator.observe(memory, node)
    everybody = affordable or (True,) * len(cards)
    record = [Node(0, (), "task", "user", work.text), *nodes]
    room = left or Left(math.inf, math.inf, math.inf, math.inf)
    return RunState("s", work.messages, cards, record, step, room, everybody, memory, seed, mode, preference)


def reply(id: int, author: str, content: str, answer: str | None = None, tokens: int = 10) -> Node:
    """One reply of a record."""
    return Node(id, (id - 1,), "reply", author, content, answer, usage=Usage(10, tokens, 1, 1e-5), directive=f"d{id}")
