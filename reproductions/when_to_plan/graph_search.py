"""A partially observable graph search: a walker looks for a goal that it sees only from near by.

The graph is a tree with long branches and a few short cuts. From where it stands the walker sees all that is at most
`SIGHT` passages away. What it knows is what it has seen from anywhere on its way so far; a frontier is a place that it
has seen without seeing where it leads. The goal may be behind any of them, and nothing says which.

Simulated, after the partially observable graph search of arXiv 2509.03581 ("POGS"), whose code is not public.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

SIGHT = 2
"""Passages that can be looked along."""
MOVES = 30
"""Moves of one search at most."""
SIZES = (20, 40)
"""Places of a graph, fewest and most."""
BRANCH = 4
"""A new place leads off one of the newest so many: small numbers make long branches."""
SHORT_CUTS = 0.12
"""Passages besides those of the tree, per place."""
NEAREST = 6
"""Passages between start and goal, at least."""
SLACK = 3
"""Frontiers that are at most so many passages farther than the nearest are as good, for all that a planner knows."""


@dataclass(frozen=True, slots=True)
class World:
    """One graph. passages: place -> its neighbours, in order."""

    passages: Mapping[int, tuple[int, ...]]
    start: int
    goal: int

    def seen(self, place: int) -> dict[int, int]:
        """Places in sight of one, with how many passages away they are."""
        return _distances(self.passages, place, SIGHT)


@dataclass(frozen=True, slots=True)
class Known:
    """What a walker knows. passages: of places that it has seen, those it has seen; frontier: places seen only."""

    passages: Mapping[int, tuple[int, ...]]
    frontier: frozenset[int]

    @staticmethod
    def of(world: World, visited: Iterable[int]) -> Known:
        """After having stood on some places."""
        whole: set[int] = set()
        seen: set[int] = set()
        for place in set(visited):
            near = world.seen(place)
            seen.update(near)
            whole.update(each for each, away in near.items() if away < SIGHT)
        passages = {
            place: tuple(other for other in world.passages[place] if other in seen and {place, other} & whole)
            for place in seen
        }
        return Known(passages, frozenset(seen - whole))


def plan(known: Known, place: int, goal: int, random: Random) -> list[int]:
    """A way to the goal where that was seen, else to a frontier: any of those that are about as near as the nearest."""
    away = _distances(known.passages, place)
    if goal in away:
        return _way(known, place, goal)
    near = min((away[each] for each in known.frontier if each in away), default=0)
    tied = sorted(each for each in known.frontier if each in away and away[each] <= near + SLACK)
    return _way(known, place, random.choice(tied)) if tied else []


def wander(world: World, place: int, visited: Sequence[int], random: Random) -> int:
    """A step without a plan: to the goal if it is next, else to somewhere new, else anywhere."""
    near = world.passages[place]
    if world.goal in near:
        return world.goal
    return random.choice([each for each in near if each not in visited] or list(near))


def drawn(seed: int) -> World:
    """A graph from its number."""
    random = Random(f"graph {seed}")
    while True:
        size = random.randint(*SIZES)
        passages: dict[int, set[int]] = {place: set() for place in range(size)}
        for place in range(1, size):
            other = random.randint(max(0, place - BRANCH), place - 1)
            passages[place].add(other)
            passages[other].add(place)
        for _ in range(round(SHORT_CUTS * size)):
            one, other = random.sample(range(size), 2)
            passages[one].add(other)
            passages[other].add(one)
        names = random.sample(range(10, 100), size)
        named = {names[place]: tuple(sorted(names[each] for each in near)) for place, near in passages.items()}
        start = random.choice(names)
        away = _distances(named, start)
        far = sorted(place for place, passages in away.items() if passages >= NEAREST)
        if far:
            return World(named, start, random.choice(far))


def _way(known: Known, place: int, target: int) -> list[int]:
    """The shortest way between two places, without the first."""
    away = _distances(known.passages, target)
    way: list[int] = []
    while place != target:
        place = min((each for each in known.passages[place] if each in away), key=lambda each: (away[each], each))
        way.append(place)
    return way


def _distances(passages: Mapping[int, Sequence[int]], start: int, most: int | None = None) -> dict[int, int]:
    """Places that can be reached from one, with how many passages away they are; breadth first."""
    away, left = {start: 0}, deque([start])
    while left:
        place = left.popleft()
        if most is not None and away[place] == most:
            break
        for other in passages.get(place, ()):
            if other not in away:
                away[other] = away[place] + 1
                left.append(other)
    return away
