"""From a team file's coordinator to the coordinator itself.

What needs numpy is imported when a team asks for it, so a team led by a fixed schedule starts without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from podium.agents.model import Model
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinator_spec import (
    CoordinatorSpec,
    DebateSpec,
    LearnedSpec,
    LLMSelectorSpec,
    LLMSpec,
    MoASpec,
    PipelineSpec,
    PipelineStep,
    RandomSpec,
    RoundRobinSpec,
    SelfConsistencySpec,
    SequentialSpec,
    SingleSpec,
    SkillTableSpec,
    VoteSpec,
)
from podium.orchestrator.coordinators.debate import Debate, MixtureOfAgents
from podium.orchestrator.coordinators.fixed import Pipeline, RoundRobin, Sequential, Single
from podium.orchestrator.coordinators.llm import Leading, LLMCoordinator
from podium.orchestrator.coordinators.random import Random
from podium.orchestrator.coordinators.selector import LLMSelector
from podium.orchestrator.coordinators.steps import Step
from podium.orchestrator.coordinators.voting import ParallelVote, SelfConsistency
from podium.orchestrator.coordinators.worded import Worded
from podium.orchestrator.retrying import PATIENT, Retry
from podium.protocols.errors import InputError
from podium.protocols.record import ALL, LAST

__all__ = ["build_coordinator"]


def build_coordinator(
    spec: CoordinatorSpec, agents: Sequence[str], models: Mapping[str, Model] | None = None, retry: Retry = PATIENT
) -> Coordinator:
    """The coordinator that a team file describes.

    agents: names of the team, in the order of the file. models: by name, for coordinators that ask one;
    retry: how often they do where that fails in passing.
    Raises PolicyError for a saved policy or table that cannot be used, InputError for what the team lacks.
    """
    match spec:
        case SingleSpec():
            return Single(spec.agent)
        case RoundRobinSpec():
            return RoundRobin(spec.order or agents, spec.rounds)
        case SequentialSpec():
            return Sequential(spec.order or agents)
        case PipelineSpec():
            return Pipeline(_steps(spec.steps), ending=spec.finish, visible=ALL if spec.shown == "all" else LAST)
        case VoteSpec():
            return ParallelVote(spec.agents or agents, spec.samples)
        case SelfConsistencySpec():
            return SelfConsistency(spec.agent, spec.samples)
        case DebateSpec():
            return Debate(spec.agents or _but(agents, spec.aggregator), spec.rounds, spec.aggregator)
        case MoASpec():
            return MixtureOfAgents(spec.agents or _but(agents, spec.aggregator), spec.aggregator, spec.layers)
        case RandomSpec():
            return Random(spec.max_steps, spec.finish_probability)
        case LLMSelectorSpec():
            return LLMSelector(_model(spec.model, models or {}), spec.max_steps, retry)
        case LLMSpec():
            return LLMCoordinator(_model(spec.model, models or {}), _leading(spec), retry)
        case SkillTableSpec():
            return _skill_table(spec, agents)
        case LearnedSpec():
            from podium.orchestrator.learned import LearnedCoordinator, load_policy

            learned = LearnedCoordinator(load_policy(spec.policy))
            if spec.words is None:
                return learned
            return Worded(learned, _model(spec.words.model, models or {}), spec.words.max_tokens, retry)
        case _:
            assert_never(spec)


def _steps(steps: Sequence[PipelineStep]) -> list[Step]:
    return [
        Step(step.agent, step.samples, tuple(Step(each.agent, each.samples) for each in step.beside)) for step in steps
    ]


def _leading(spec: LLMSpec) -> Leading:
    return Leading(
        spec.max_steps,
        spec.width,
        spec.samples,
        spec.objectives,
        spec.structured,
        spec.repairs,
        spec.on_failure,
        spec.max_tokens,
        spec.transcript,
        spec.prompt or "",
        spec.plans,
    )


def _skill_table(spec: SkillTableSpec, agents: Sequence[str]) -> Coordinator:
    from podium.orchestrator.coordinators.saved_table import load_table
    from podium.orchestrator.coordinators.skill_table import SkillTable

    table = SkillTable() if spec.table is None else load_table(spec.table, agents)
    return table.changed(explore=spec.explore, cost_weight=spec.cost_weight)


def _but(agents: Sequence[str], aggregator: str | None) -> Sequence[str]:
    others = [agent for agent in agents if agent != aggregator]
    if not others:
        raise InputError(f"nobody is left to propose: {aggregator} is the only agent, and it is the aggregator")
    return others


def _model(name: str, models: Mapping[str, Model]) -> Model:
    if name not in models:
        raise InputError(f"the coordinator asks model {name!r}, which was not given; there are: {', '.join(models)}")
    return models[name]
