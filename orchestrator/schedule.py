"""Who is asked when, and what they see, as far as a team file says it in advance.

Coordinators that follow a fixed schedule are known before a run; of those that decide as they go, nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podium.orchestrator.coordinator_spec import (
    CoordinatorSpec,
    DebateSpec,
    MoASpec,
    PipelineSpec,
    RoundRobinSpec,
    SelfConsistencySpec,
    SequentialSpec,
    SingleSpec,
    VoteSpec,
)

__all__ = ["Request", "others", "schedule"]


@dataclass(frozen=True, slots=True)
class Request:
    """One directive of a schedule.

    since: the first step whose replies its agent is shown; newest: of those, it is shown the newest that it may see.
    """

    agent: str
    samples: int = 1
    since: int = 0
    newest: bool = False


def schedule(coordinator: CoordinatorSpec, agents: Sequence[str]) -> list[list[Request]] | None:
    """The steps of a coordinator that follows a fixed schedule; None for one that decides as it goes.

    agents: all names, in the order of the file. Requests of one step run in parallel and do not see each other.
    """
    match coordinator:
        case SingleSpec():
            return [[Request(coordinator.agent)]]
        case SelfConsistencySpec():
            return [[Request(coordinator.agent, coordinator.samples)]]
        case RoundRobinSpec():
            return [[Request(name)] for _ in range(coordinator.rounds) for name in coordinator.order or agents]
        case SequentialSpec():
            return [[Request(name)] for name in coordinator.order or agents]
        case VoteSpec():
            return [[Request(name, coordinator.samples) for name in coordinator.agents or agents]]
        case PipelineSpec():
            return _pipeline(coordinator)
        case DebateSpec():
            names = coordinator.agents or others(agents, coordinator.aggregator)
            steps = [[Request(name) for name in names] for _ in range(coordinator.rounds)]
            return steps + _last(coordinator.aggregator, coordinator.rounds)
        case MoASpec():
            names = coordinator.agents or others(agents, coordinator.aggregator)
            layers = range(coordinator.layers)
            steps = [[Request(name, since=max(0, layer - 1)) for name in names] for layer in layers]
            return steps + _last(coordinator.aggregator, coordinator.layers)
        case _:
            return None


def others(agents: Sequence[str], aggregator: str | None) -> Sequence[str]:
    """Who works for an aggregator: all but itself, or itself where it is alone."""
    return [name for name in agents if name != aggregator] or agents


def _last(aggregator: str | None, steps: int) -> list[list[Request]]:
    return [] if aggregator is None else [[Request(aggregator, since=steps - 1)]]


def _pipeline(coordinator: PipelineSpec) -> list[list[Request]]:
    """The steps of a list. Where the last is shown, that is the newest reply, or the step before if it asks several."""
    last = coordinator.shown == "last"
    out: list[list[Request]] = []
    for step in coordinator.steps:
        since, newest = (len(out) - 1, False) if last and out and len(out[-1]) > 1 else (0, last)
        out.append([Request(each.agent, each.samples, since, newest) for each in (step, *step.beside)])
    return out
