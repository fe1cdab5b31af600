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
    from podium.orchestrator.collecting import collect_seldom
    from podium.orchestrator.journal import Journal
    from podium.orchestrator.narrate import Story, tell
    from podium.orchestrator.server import make_app, serve
    from podium.orchestrator.starter import init
    from podium.orchestrator.team import Team
    from podium.orchestrator.team_checks import Checked, plan, validate
    from podium.orchestrator.team_file import TeamSpec
    from podium.orchestrator.team_schema import team_schema
    from podium.orchestrator.worst_case import WorstCase
    from podium.protocols.events import Added, Decided, Ended, Event, Piece, Result, Started
    from podium.protocols.task import Message, Task, Verdict
    from podium.training.demo import Shown, demo
    from podium.training.evaluate import aevaluate, evaluate
    from podium.training.evaluation import Evaluation
    from podium.training.learn import Trained, atrain, train
    from podium.training.recording import Recorded, arecord, record
    from podium.training.tasks.spec import load_tasks

__version__ = VERSION

_HOMES = {
    "Added": "podium.protocols.events",
    "Checked": "podium.orchestrator.team_checks",
    "Decided": "podium.protocols.events",
    "Ended": "podium.protocols.events",
    "Evaluation": "podium.training.evaluation",
    "Event": "podium.protocols.events",
    "Journal": "podium.orchestrator.journal",
    "Limits": "podium.orchestrator.budget",
    "Message": "podium.protocols.task",
    "Piece": "podium.protocols.events",
    "Recorded": "podium.training.recording",
    "Result": "podium.protocols.events",
    "Shown": "podium.training.demo",
    "Started": "podium.protocols.events",
    "Story": "podium.orchestrator.narrate",
    "Task": "podium.protocols.task",
    "Team": "podium.orchestrator.team",
    "TeamSpec": "podium.orchestrator.team_file",
    "Trained": "podium.training.learn",
    "Verdict": "podium.protocols.task",
    "WorstCase": "podium.orchestrator.worst_case",
    "aevaluate": "podium.training.evaluate",
    "arecord": "podium.training.recording",
    "atrain": "podium.training.learn",
    "collect_seldom": "podium.orchestrator.collecting",
    "demo": "podium.training.demo",
    "evaluate": "podium.training.evaluate",
    "init": "podium.orchestrator.starter",
    "load_tasks": "podium.training.tasks.spec",
    "make_app": "podium.orchestrator.server",
    "plan": "podium.orchestrator.team_checks",
    "record": "podium.training.recording",
    "serve": "podium.orchestrator.server",
    "team_schema": "podium.orchestrator.team_schema",
    "tell": "podium.orchestrator.narrate",
    "train": "podium.training.learn",
    "validate": "podium.orchestrator.team_checks",
}

__all__ = [
    "Added",
    "Checked",
    "Decided",
    "Ended",
    "Evaluation",
    "Event",
    "Journal",
    "Limits",
    "Message",
    "Piece",
    "Recorded",
    "Result",
    "Shown",
    "Started",
    "Story",
    "Task",
    "Team",
    "TeamSpec",
    "Trained",
    "Verdict",
    "WorstCase",
    "__version__",
    "aevaluate",
    "arecord",
    "atrain",
    "collect_seldom",
    "demo",
    "evaluate",
    "init",
    "load_tasks",
    "make_app",
    "plan",
    "record",
    "serve",
    "team_schema",
    "tell",
    "train",
    "validate",
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
