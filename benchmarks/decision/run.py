"""How long a learned coordinator takes to decide: one core, eight agents, a new reply of 400 characters each time.

Timed is all that stands between a reply and the next directive: encoding the reply's words, updating what is believed
of each agent, the network, and sampling the decision (`LearnedCoordinator.observe` and `decide`, in sample mode). No
text comes twice, so nothing is found in a cache; the texts are made of words that come again, as words do. numpy is
pinned to one thread, the process to one core. A decision alone, and 32 runs that wait together, each of them after
one to six replies, for two action spaces: the default one, and one with more to choose from and two agents at once.

Both are told: the time that passed, and that of CPU, which is what is left on a machine that others use too. The time
of each part is taken in rounds of their own, since the clock itself costs something. The policy is not trained; its
weights are as many, and its decisions as long.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from podium.orchestrator.budget import Left, Limits
from podium.orchestrator.coordinator import RunState
from podium.orchestrator.learned import LearnedCoordinator, Policy, network, policy
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.sampling import Sampler
from podium.protocols.bus import Card
from podium.protocols.record import Node, Usage
from podium.protocols.task import Message

sys.path.append(str(Path(__file__).parents[1]))
from machine import made, plain

AGENTS = 8
CHARACTERS = 400
TURNS = 6
"""Replies of a run, each followed by a decision."""
TOGETHER = 32
TARGETS = {1: 500.0, TOGETHER: 50.0}
"""Microseconds per decision, median, by how many runs wait together."""
MOST_PARAMETERS = 300_000
OPTIONS = {
    "default": Options(max_steps=TURNS + 1),
    "wide": Options(samples=(1, 3, 5), objectives=("propose", "verify"), width=2, max_steps=TURNS + 1),
}
LIMITS = Limits(tokens=100_000, calls=100, dollars=1.0)
LEFT = Left(80_000, 90, 50.0, 0.8, LIMITS)
CARDS = tuple(
    Card(f"agent-{place}", ("solver", "critic", "verifier")[place % 3], f"knows field {place}", (0.1 * place, 0.4))
    for place in range(AGENTS)
)
PARTS = (
    ("encode", policy, "read_all"),
    ("believe", LearnedCoordinator, "_believed"),
    ("network", network, "decide"),
    ("sample", Sampler, "decisions"),
    ("observe", LearnedCoordinator, "observe"),
    ("decide", LearnedCoordinator, "decide"),
)
"""What is timed alone: its name, and where it is found. The last two hold the others."""


class Talk:
    """Replies that nobody has read: words that come again, numbers that do not."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = ["".join(self._random.choices(letters, k=self._random.randint(2, 9))) for _ in range(3000)]

    def reply(self, number: int) -> Node:
        """A node of CHARACTERS characters by one of the agents, with one of three answers."""
        draw = self._random
        words: list[str] = []
        size = 0
        while size < CHARACTERS:
            words.append(str(draw.randrange(10_000)) if draw.random() < 0.1 else draw.choice(self._words))
            size += len(words[-1]) + 1
        answer = str(draw.randrange(3))
        text = " ".join(words)[: CHARACTERS - 4].ljust(CHARACTERS - 4, ".") + f" = {answer}"
        author = CARDS[draw.randrange(AGENTS)].name
        return Node(number, (number - 1,), "reply", author, text, answer, usage=Usage(120, 100, 1, 1e-4))


class Runs:
    """Runs under way, all after the same number of replies."""

    def __init__(self, coordinator: LearnedCoordinator, talk: Talk, count: int, seed: int) -> None:
        self.coordinator = coordinator
        self._talk = talk
        self._tasks = [(Message("user", f"Task {seed}-{place}: {talk.reply(1).content}"),) for place in range(count)]
        self._nodes = [[Node(0, (), "task", "user", task[0].content)] for task in self._tasks]
        self._memories = [coordinator.begin(task, CARDS) for task in self._tasks]
        self._seed = seed
        coordinator.decide(self._states(0))

    def _states(self, step: int) -> list[RunState]:
        return [
            RunState(
                f"run-{place}", task, CARDS, nodes, step, LEFT, (True,) * AGENTS, memory, self._seed, "sample", 0.01
            )
            for place, (task, nodes, memory) in enumerate(zip(self._tasks, self._nodes, self._memories, strict=True))
        ]

    def turn(self, step: int) -> tuple[float, float]:
        """One new reply in each run, and a decision on it. Returns microseconds per run: that passed, and of CPU."""
        new = [self._talk.reply(len(nodes)) for nodes in self._nodes]
        for nodes, node in zip(self._nodes, new, strict=True):
            nodes.append(node)
        observe = self.coordinator.observe
        began = time.perf_counter(), time.thread_time()
        self._memories = [observe(memory, node) for memory, node in zip(self._memories, new, strict=True)]
        observed = time.perf_counter(), time.thread_time()
        states = self._states(step)  # the engine's work, not the policy's
        again = time.perf_counter(), time.thread_time()
        decisions = self.coordinator.decide(states)
        done = time.perf_counter(), time.thread_time()
        if len(decisions) != len(states):
            raise RuntimeError(f"{len(states)} states, {len(decisions)} decisions")
        wall, cpu = (1e6 * (observed[at] - began[at] + done[at] - again[at]) / len(states) for at in (0, 1))
        return wall, cpu


def measured(
    coordinator: LearnedCoordinator, talk: Talk, count: int, decisions: int, seed: int
) -> list[tuple[float, float]]:
    """Microseconds per decision, passed and of CPU, of so many decisions of `count` runs together."""
    out: list[tuple[float, float]] = []
    while len(out) < decisions:
        runs = Runs(coordinator, talk, count, seed + len(out))
        out += [runs.turn(step) for step in range(1, TURNS + 1)]
    return out


@contextmanager
def watched(owner: Any, name: str, took: list[float]) -> Generator[None]:
    """Meanwhile the seconds of CPU spent in a function are added to took[0]."""
    before: Callable[..., Any] = getattr(owner, name)

    def timed(*given: Any, **named: Any) -> Any:
        began = time.thread_time()
        try:
            return before(*given, **named)
        finally:
            took[0] += time.thread_time() - began

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, before)


def parted(coordinator: LearnedCoordinator, talk: Talk, count: int, decisions: int, seed: int) -> dict[str, float]:
    """Microseconds of CPU of each part per decision, medians."""
    spent: dict[str, list[float]] = {name: [] for name, _, _ in PARTS}
    seen = 0
    while seen < decisions:
        runs = Runs(coordinator, talk, count, seed + seen)
        for step in range(1, TURNS + 1):
            took = {name: [0.0] for name, _, _ in PARTS}
            with ExitStack() as stack:
                for name, owner, attribute in PARTS:
                    stack.enter_context(watched(owner, attribute, took[name]))
                runs.turn(step)
            for name, (seconds,) in took.items():
                spent[name].append(1e6 * seconds / count)
            seen += 1
    middle = {name: statistics.median(values) for name, values in spent.items()}
    return {
        "encode": middle["encode"],
        "observe": middle["observe"],
        "believe": middle["believe"] - middle["encode"],
        "network": middle["network"],
        "sample": middle["sample"],
        "rest of decide": middle["decide"] - middle["believe"] - middle["network"] - middle["sample"],
    }


def main() -> None:
    """Measure and print; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--decisions", type=int, default=600, help="of each kind in a round")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    coordinators = {
        name: LearnedCoordinator(Policy.fresh(options, tuple(card.name for card in CARDS)))
        for name, options in OPTIONS.items()
    }
    rows: dict[tuple[str, int], list[list[tuple[float, float]]]] = {
        (name, count): [] for name in coordinators for count in (1, TOGETHER)
    }
    parts: dict[tuple[str, int], list[dict[str, float]]] = {key: [] for key in rows}
    speed: list[float] = []
    with threadpool_limits(1):
        for number in range(arguments.rounds):
            speed.append(plain())
            for place, (name, count) in enumerate(rows):
                talk = Talk(1000 * number + place)
                decisions = arguments.decisions if count == 1 else max(TURNS, arguments.decisions // 8)
                seed = 10**6 * number + 10**5 * place
                rows[name, count].append(measured(coordinators[name], talk, count, decisions, seed))
                some = max(TURNS, decisions // 4)
                parts[name, count].append(parted(coordinators[name], talk, count, some, seed + 5 * 10**4))
    parameters = {name: each.policy.parameters for name, each in coordinators.items()}
    table = [row(key, rows[key], parts[key], parameters[key[0]]) for key in rows]
    tell(table, arguments.rounds)
    print(f"30,000 additions in plain Python: median {statistics.median(speed):.2f} ms of CPU")
    if arguments.json:
        what = {"agents": AGENTS, "characters": CHARACTERS, "turns": TURNS, "rounds": arguments.rounds}
        data = {**made("numpy"), "plain_milliseconds": speed, **what, "rows": table}
        arguments.json.write_text(json.dumps(data, indent=1) + "\n")


def row(
    key: tuple[str, int], rounds: list[list[tuple[float, float]]], parts: list[dict[str, float]], parameters: int
) -> dict[str, Any]:
    """What was found for one action space and one number of runs together."""
    name, count = key
    wall, cpu = np.concatenate([np.array(each) for each in rounds]).T
    return {
        "options": name,
        "runs_together": count,
        "parameters": parameters,
        "decisions": len(wall) * count,
        "microseconds": {f"p{at}": float(np.percentile(wall, at)) for at in (10, 50, 90, 99)},
        "microseconds_of_cpu": {f"p{at}": float(np.percentile(cpu, at)) for at in (10, 50, 90, 99)},
        "p50_of_each_round": [statistics.median(passed for passed, _ in each) for each in rounds],
        "parts_of_cpu": {part: statistics.median(each[part] for each in parts) for part in parts[0]},
        "target": TARGETS[count],
    }


def tell(table: list[dict[str, Any]], rounds: int) -> None:
    """Print the figures."""
    print(f"microseconds per decision, {rounds} rounds; Python {platform.python_version()}, numpy {np.__version__}\n")
    heads = "".join(f"{head:>10}" for head in ("p10", "p50", "p90", "p99", "CPU p10", "CPU p50", "target"))
    print(f"{'options':<9}{'together':>9}{'parameters':>12}  {heads}")
    for each in table:
        figures = [each["microseconds"][at] for at in ("p10", "p50", "p90", "p99")]
        figures += [*(each["microseconds_of_cpu"][at] for at in ("p10", "p50")), each["target"]]
        cells = "".join(f"{figure:>10.1f}" for figure in figures)
        print(f"{each['options']:<9}{each['runs_together']:>9}{each['parameters']:>12,}  {cells}")
    names = list(table[0]["parts_of_cpu"])
    print(f"\nof CPU, by part{'':<3}" + "".join(f"{name:>17}" for name in names))
    for each in table:
        cells = "".join(f"{each['parts_of_cpu'][name]:>17.1f}" for name in names)
        print(f"{each['options']:<9}{each['runs_together']:>9}{cells}")
    if max(each["parameters"] for each in table) > MOST_PARAMETERS:
        print(f"\nmore than {MOST_PARAMETERS:,} parameters")
    print()


if __name__ == "__main__":
    main()
