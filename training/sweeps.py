"""The ways in which one coordinator is measured: once, at several prices of an answer, or cut off after several turns.

The knobs of a frontier are dollars that one passed answer is worth. Who hears a knob, a learned policy or a fitted
skill table, is measured at each; a name that says its own `preference` is taken at its word. Where nobody says which
knobs, they are those that the policies were trained for, or follow from what the dearest agent's reply costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinators.llm import LLMCoordinator
from podium.orchestrator.coordinators.skill_table import SkillTable
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError
from podium.training.candidates import Chosen, Knobs
from podium.training.measured import Place
from podium.training.turn_limit import TurnLimit

__all__ = ["Sweep", "Way", "knobs_for"]

STEPS = 5
"""Knobs of a frontier where nobody says which."""
AROUND = 5.0
"""How far below and above the knob of a policy they go, where its range is not known: a factor."""
REPLY_TOKENS = 200
"""Of a reply, where only its price is known."""
LARGEST = 20.0
"""The largest knob in replies of the dearest agent, where nothing else says it: one such reply hardly matters then."""


@dataclass(frozen=True, slots=True)
class Way:
    """One row of an evaluation: its name, who leads, how it is run, and what it stands for."""

    row: str
    coordinator: Coordinator
    knobs: Knobs
    place: Place


@dataclass(frozen=True, slots=True)
class Sweep:
    """knobs: of a frontier; ks: of Pass@(k, T), where decisions are drawn; turns: T. Empty: not asked for."""

    knobs: tuple[float, ...] = ()
    ks: tuple[int, ...] = ()
    turns: tuple[int, ...] = ()

    @staticmethod
    def asked(
        frontier: bool, knobs: Sequence[float] | None, pass_at: Sequence[int] | None, turns: Sequence[int] | None
    ) -> Sweep:
        """What the arguments of an evaluation ask for. Raises InputError for what makes no sense."""
        if frontier and pass_at is not None:
            raise InputError("frontier and pass_at: decisions are drawn for one and not for the other; ask one by one")
        for given, word, of, there in ((knobs, "knobs", "frontier", frontier), (turns, "turns", "pass_at", pass_at)):
            if given is not None and not there:
                raise InputError(f"{word}: there are none without {of}; ask for {of} as well")
        return Sweep(
            () if knobs is None else _knobs(knobs),
            () if pass_at is None else _numbers("pass_at", pass_at),
            () if turns is None else _numbers("turns", turns),
        )

    def priced(self, ready: Mapping[str, Chosen], team: Team) -> tuple[Sweep, str]:
        """The sweep of a frontier with its knobs, and what is told of them."""
        known, why = knobs_for(ready, team)
        knobs = self.knobs or known
        said = ", ".join(f"${knob:g}" for knob in knobs)
        return replace(self, knobs=knobs), f"one passed answer is worth {said}" + ("" if self.knobs else f" ({why})")

    def ways(self, name: str, chosen: Chosen) -> list[Way]:
        """How a coordinator is measured."""
        knobs = chosen.knobs._replace(mode="sample") if self.ks else chosen.knobs
        if self.knobs and hears(name, chosen.coordinator):
            return [
                Way(
                    f"{name}, ${knob:g}",
                    _priced(chosen.coordinator, knob),
                    knobs._replace(preference=knob),
                    Place(name, knob),
                )
                for knob in self.knobs
            ]
        if self.turns:
            return [
                Way(
                    f"{name}, {turns} turn{'s' * (turns > 1)}",
                    TurnLimit(chosen.coordinator, turns),
                    knobs,
                    Place(name, turns=turns),
                )
                for turns in self.turns
            ]
        return [Way(name, chosen.coordinator, knobs, Place(name))]

    def rows(self, names: Sequence[str], ready: Mapping[str, Chosen]) -> int:
        """How many rows there are going to be. ready: those that are known; a skill table hears knobs once fitted."""
        return sum(
            len(self.ways(name, ready[name]))
            if name in ready
            else len(self.turns) or (len(self.knobs) if name in {"skill_table", "untrained"} else 0) or 1
            for name in names
        )


def hears(name: str, coordinator: Coordinator) -> bool:
    """Whether a knob changes what a coordinator does, and its name does not say which one it is to have."""
    if isinstance(coordinator, SkillTable):
        return name == "skill_table"
    return isinstance(coordinator, LearnedCoordinator | LLMCoordinator) and "preference=" not in name.partition("?")[2]


def _priced(coordinator: Coordinator, knob: float) -> Coordinator:
    """A skill table with another price of a dollar: what it has seen stays; others read the knob off each state."""
    return coordinator.changed(cost_weight=1.0 / knob) if isinstance(coordinator, SkillTable) else coordinator


def knobs_for(ready: Mapping[str, Chosen], team: Team) -> tuple[tuple[float, ...], str]:
    """The knobs of a frontier where nobody says which, and why those.

    ready: the coordinators that are known. Raises InputError where no agent has a price.
    """
    if not any(max(card.price) > 0 for card in team.orchestrator.bus.cards()):
        raise InputError("frontier: no model of the team has a price, so no answer costs anything; give them `price:`")
    ranges = list(_ranges(ready))
    if ranges:
        names, lows, highs = zip(*ranges, strict=True)
        return _spread(min(lows), max(highs)), f"the range of {' and '.join(names)}"
    dearest = (
        max(REPLY_TOKENS * card.price[1] + REPLY_TOKENS * card.price[0] for card in team.orchestrator.bus.cards())
        * 1e-6
    )
    return _spread(dearest, LARGEST * dearest), f"1 to {LARGEST:g} times what a reply of the dearest agent costs"


def _ranges(ready: Mapping[str, Chosen]) -> Iterator[tuple[str, float, float]]:
    """Name and range of each policy that hears a knob."""
    for name, chosen in ready.items():
        if hears(name, chosen.coordinator) and isinstance(chosen.coordinator, LearnedCoordinator):
            card = chosen.coordinator.policy.card
            trained = card.trained_on.get("preference")
            if isinstance(trained, dict):
                span = cast(Mapping[str, float], trained)
                yield name, span["low"], span["high"]
            elif card.preference is not None:
                yield name, card.preference / AROUND, card.preference * AROUND


def _spread(low: float, high: float) -> tuple[float, ...]:
    """STEPS knobs from low to high, even on a log scale, two digits each; one where low is high."""
    ratio = (high / low) ** (1.0 / (STEPS - 1))
    return tuple(dict.fromkeys(float(f"{low * ratio**step:.2g}") for step in range(STEPS)))


def _knobs(given: Sequence[float]) -> tuple[float, ...]:
    """Knobs that somebody asked for, the smallest first. Raises InputError for what is none."""
    for each in cast(Sequence[object], given):
        if isinstance(each, bool) or not isinstance(each, int | float) or not 0 < each < math.inf:
            raise InputError(
                f"knobs: expected dollars that one answer is worth, finite and more than 0, found {each!r}"
            )
    return _distinct("knobs", tuple(map(float, given)))


def _numbers(what: str, given: Sequence[int]) -> tuple[int, ...]:
    """Whole numbers that somebody asked for, the smallest first. Raises InputError for what is none."""
    for each in cast(Sequence[object], given):
        if isinstance(each, bool) or not isinstance(each, int) or each < 1:
            raise InputError(f"{what}: expected whole numbers from 1 on, found {each!r}")
    return cast(tuple[int, ...], _distinct(what, tuple(given)))


def _distinct(what: str, given: tuple[float, ...]) -> tuple[float, ...]:
    twice = next((each for each in given if given.count(each) > 1), None)
    if not given:
        raise InputError(f"{what}: there are none; leave {what} out, or name some")
    if twice is not None:
        raise InputError(f"{what}: {twice:g} is named twice; name it once")
    return tuple(sorted(given))
