"""Podium: a learned coordinator in front of a team of LLM agents.

    from podium import Team

    team = Team.load("team.yaml")
    print(team.run("How many goats can John buy?").answer)

Names are loaded when they are first used, so that `import podium` costs next to nothing and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from podium.version import VERSION

if TYPE_CHECKING:
    from podium.orchestrator.budget import Limits
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_file import TeamSpec
    from podium.protocols.events import Added, Decided, Ended, Event, Piece, Result, Started
    from podium.protocols.task import Message, Task, Verdict
    from podium.training.evaluate import aevaluate, evaluate
    from podium.training.learn import atrain, train
    from podium.training.tasks.spec import load_tasks

__version__ = VERSION

_HOMES = {
    "Added": "podium.protocols.events",
    "Decided": "podium.protocols.events",
    "Ended": "podium.protocols.events",
    "Event": "podium.protocols.events",
    "Limits": "podium.orchestrator.budget",
    "Message": "podium.protocols.task",
    "Piece": "podium.protocols.events",
    "Result": "podium.protocols.events",
    "Started": "podium.protocols.events",
    "Task": "podium.protocols.task",
    "Team": "podium.orchestrator.team",
    "TeamSpec": "podium.orchestrator.team_file",
    "Verdict": "podium.protocols.task",
    "aevaluate": "podium.training.evaluate",
    "atrain": "podium.training.learn",
    "evaluate": "podium.training.evaluate",
    "load_tasks": "podium.training.tasks.spec",
    "train": "podium.training.learn",
}

__all__ = [
    "Added",
    "Decided",
    "Ended",
    "Event",
    "Limits",
    "Message",
    "Piece",
    "Result",
    "Started",
    "Task",
    "Team",
    "TeamSpec",
    "Verdict",
    "__version__",
    "aevaluate",
    "atrain",
    "evaluate",
    "load_tasks",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("podium.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'podium' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
