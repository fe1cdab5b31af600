"""The coordinators that ship with Podium: everything but the learned one, which lives in `podium.orchestrator.learned`.

`SkillTable` needs numpy and is imported from its own module, `podium.orchestrator.coordinators.skill_table`.
"""

from podium.orchestrator.coordinators.build import build_coordinator
from podium.orchestrator.coordinators.debate import Debate, MixtureOfAgents
from podium.orchestrator.coordinators.fixed import Pipeline, RoundRobin, Sequential, Single
from podium.orchestrator.coordinators.oracle import Oracle
from podium.orchestrator.coordinators.random import Random
from podium.orchestrator.coordinators.routed import Routed
from podium.orchestrator.coordinators.selector import LLMSelector
from podium.orchestrator.coordinators.steps import Step
from podium.orchestrator.coordinators.voting import ParallelVote, SelfConsistency

__all__ = [
    "Debate",
    "LLMSelector",
    "MixtureOfAgents",
    "Oracle",
    "ParallelVote",
    "Pipeline",
    "Random",
    "RoundRobin",
    "Routed",
    "SelfConsistency",
    "Sequential",
    "Single",
    "Step",
    "build_coordinator",
]
