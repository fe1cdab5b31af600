"""The learned coordinator: a set-equivariant policy with beliefs about agents, gaps, and compute to allocate."""

from podium.orchestrator.learned.policy import LearnedCoordinator
from podium.orchestrator.learned.saved import Policy, load_policy, save_policy

__all__ = ["LearnedCoordinator", "Policy", "load_policy", "save_policy"]
