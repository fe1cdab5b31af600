"""A simulated pool of five workers: who is good at what, at what price, and wrong together more often than chance.

Everything here is a simulation. There are three kinds of tasks, told by their words. Three cheap specialists are good
at one kind each and poor at the rest; a medium worker is fair at all of them, a large one good, at ten times a
specialist's price. Each task has a difficulty that all workers share (a one-factor Gaussian copula), and a few wrong
answers that everybody falls for, so that two that agree may both be wrong. Cards tell prices and nothing of skills.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from math import sqrt
from statistics import NormalDist

from podium.agents.agent import Agent
from podium.agents.model import Price, Prompt
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinators.random import Random
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.topology import Topology
from podium.protocols.bus import MemoryBus
from podium.protocols.noise import seed_of, uniform
from podium.protocols.record import Generation, Sampling, Usage
from podium.protocols.task import Message, Task, Verdict

KINDS = {
    "sum": ("add", "total", "sum", "altogether"),
    "route": ("road", "map", "journey", "distance"),
    "verse": ("poem", "rhyme", "stanza", "line"),
}
"""Kinds of tasks and the words that give them away; three of them stand in each task."""
FILLER = ("bench", "cloud", "door", "cup", "stone", "lamp", "field", "boat", "coat", "wall", "spoon", "glass")
SKILLS = {
    "ada": (0.92, 0.15, 0.15),
    "ben": (0.15, 0.92, 0.15),
    "cat": (0.15, 0.15, 0.92),
    "medium": (0.55,) * 3,
    "large": (0.75,) * 3,
}
"""How often each worker is right, by kind."""
PRICES = {"ada": 1.0, "ben": 1.0, "cat": 1.0, "medium": 3.0, "large": 10.0}
"""Dollars per million output tokens; what is read is free."""
TOKENS = 100
"""Output tokens of a reply."""
COMMON = 0.5
"""Share of the variance of success that all workers of a task have in common."""
LURES = 3
"""Wrong answers to a task."""
KNOB = 0.01
"""Dollars that one passed answer is worth: ten replies of the large worker."""
SCALE = 3.2e-4
"""Dollars of a typical reply."""


def kind_of(number: int) -> str:
    """The kind of a task."""
    return tuple(KINDS)[int(uniform("kind", number) * len(KINDS))]


def right(number: int) -> str:
    """The right answer to a task."""
    return str(seed_of("right", number) % 900 + 100)


@lru_cache(maxsize=1 << 16)
def task(number: int) -> Task:
    """A task: words of its kind among others, in an order that says nothing."""
    words = [KINDS[kind_of(number)][int(uniform("word", number, place) * 4)] for place in range(3)]
    words += [FILLER[int(uniform("filler", number, place) * len(FILLER))] for place in range(2)]
    words.sort(key=lambda word: uniform("order", number, word))

    def score(text: str) -> Verdict:
        return Verdict(float(text == right(number)), text == right(number))

    return Task(f"task-{number}", (Message("user", f"{number}: {' '.join(words)}"),), score)


class Worker:
    """A simulated model of one skill by kind."""

    gives_ids = False
    chars_per_token = 4.0
    max_tokens = TOKENS
    temperature = 1.0

    def __init__(self, name: str) -> None:
        self.name = self.identity = name
        self.price = Price(0.0, PRICES[name])

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """The answer, right as often as the skill says."""
        number = int(prompt.task.partition(":")[0])
        skill = SKILLS[self.name][tuple(KINDS).index(kind_of(number))]
        own = sqrt(1.0 - COMMON) * _normal("own", number, self.name, sampling.seed)
        if sqrt(COMMON) * _normal("difficulty", number) + own < NormalDist().inv_cdf(skill):
            text = right(number)
        else:
            text = str(
                1000 + seed_of("lure", number, int(uniform("which", number, self.name, sampling.seed) * LURES)) % 900
            )
        usage = Usage(len(prompt.task) // 4, TOKENS, 1, self.price.dollars(0, TOKENS))
        yield text
        yield Generation(text, usage, sampling)

    async def close(self) -> None:
        """Nothing to free."""


def _normal(*parts: object) -> float:
    return NormalDist().inv_cdf(min(max(uniform(*parts), 1e-12), 1 - 1e-12))


def team() -> Orchestrator:
    """The pool, led at random until another coordinator leads it."""
    agents = {name: Agent(name, "solver", Worker(name), prompt="") for name in SKILLS}
    return Orchestrator("pool", MemoryBus(agents), Random(), Topology.full(tuple(SKILLS)), Limits())


def alone(worker: str) -> tuple[float, float]:
    """What always asking one worker once is worth: score, and dollars a task."""
    return sum(SKILLS[worker]) / len(KINDS), PRICES[worker] * TOKENS * 1e-6


def told() -> tuple[float, float]:
    """The same for asking the best worker of each kind, less its price; for one who is told the kinds and skills."""
    best = [
        max(SKILLS, key=lambda name: SKILLS[name][place] * (1 - PRICES[name] * TOKENS * 1e-6 / KNOB))
        for place in range(len(KINDS))
    ]
    score = sum(SKILLS[name][place] for place, name in enumerate(best)) / len(KINDS)
    return score, sum(PRICES[name] for name in best) * TOKENS * 1e-6 / len(KINDS)
