"""The runs: which team works each, what befalls it, and what this process saw of how it ended."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from weather import DICE, FIRED, SHARE, Stormy

from podium.agents.model import Model
from podium.agents.providers import build_model
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.journal import Journal
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.errors import RunError
from podium.protocols.events import Result

AGENTS = ("ann", "bob", "cyd")
COORDINATORS: dict[str, dict[str, Any]] = {
    "sequential": {"kind": "sequential"},
    "vote": {"kind": "vote"},
    "debate": {"kind": "debate", "rounds": 2},
    "moa": {"kind": "moa", "aggregator": "ann"},
    "self_consistency": {"kind": "self_consistency", "agent": "ann", "samples": 4},
    "skill_table": {"kind": "skill_table"},
    "learned": {"kind": "vote"},
}
TIMEOUT = 0.6
"""Seconds of one request to an agent, its retries included."""
ENDPOINT_TIMEOUT = 0.25
TOOL_TIMEOUT = 0.15
BUDGETS = (Limits(calls=1), Limits(calls=2), Limits(tokens=150), Limits(dollars=2e-4), Limits(seconds=0.02))
SHORT = ("budget", "deadline", "BudgetExceeded", "DeadlineExceeded")
"""How runs end whose budget was too small."""
LONGEST_PATIENCE = 0.03
"""Seconds after which a run that is to be cancelled is, at the latest."""


def teams(journal: Journal, port: int) -> dict[str, Team]:
    """A team under each coordinator, all with one journal. port: of the endpoint that bob's model stands behind."""
    return {name: _team(name, spec, journal, port) for name, spec in COORDINATORS.items()}


def _team(name: str, coordinator: Mapping[str, Any], journal: Journal, port: int) -> Team:
    at = {"provider": "openai", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1", "timeout": ENDPOINT_TIMEOUT}
    price = {"input": 1.0, "output": 2.0}
    scripted = {"provider": "scripted", "replies": ["unused"], "price": price}
    tool = {"name": "weather:weigh", "seconds": TOOL_TIMEOUT}
    spec = TeamSpec.model_validate(
        {
            "name": name,
            "models": {"ann": scripted, "bob": at | {"price": price}, "cyd": scripted},
            "agents": {
                "ann": {"role": "solver", "model": "ann", "timeout": TIMEOUT},
                "bob": {"role": "critic", "model": "bob", "timeout": TIMEOUT},
                "cyd": {"role": "verifier", "model": "cyd", "timeout": TIMEOUT, "tools": [tool]},
            },
            "coordinator": coordinator,
            "retry": {"attempts": 3, "wait": 0.01, "longest": 0.1, "open_seconds": 0.5},
        }
    )
    bob = build_model("bob", spec.models["bob"].model_dump())
    models: dict[str, Model] = {"ann": Stormy("ann"), "bob": bob, "cyd": Stormy("cyd", uses=True)}
    learned: Coordinator | None = None
    if name == "learned":
        learned = LearnedCoordinator(Policy.fresh(Options(samples=(1, 3), width=2), AGENTS, seed=5))
    return Team(spec, models, coordinator=learned, journal=journal)


class Seen:
    """What became of every run, in tables that do not grow: they would be taken for a leak.

    ids: "" for a run that was cancelled before it began. wrong: what no run may end with.
    """

    def __init__(self, runs: int) -> None:
        self.ids = np.full(runs, "", "S12")
        self.stops = np.full(runs, "", "S10")
        self.numbers = np.full((runs, 4), -1.0)  # tokens, calls, dollars, nodes
        self.kinds: Counter[str] = Counter()
        self.wrong: list[str] = []

    def ended(self, number: int, result: Result, kind: str) -> None:
        """A run ended, with a result or with an error that carries one."""
        usage = result.usage
        self.ids[number], self.stops[number] = result.run, result.stop
        self.numbers[number] = usage.tokens, usage.calls, usage.dollars, len(result.nodes)
        self.kinds[kind] += 1
        if kind in SHORT:
            FIRED["run out of budget"] += 1


async def one(number: int, seed: int, desks: Mapping[str, Team], seen: Seen) -> None:
    """A run, with what befalls it as a whole: it is cancelled, or its budget is small."""
    dice = random.Random(f"{seed} {number}")
    DICE.set(dice)
    team = desks[dice.choice(list(desks))]
    limits = None
    if dice.random() < SHARE:
        limits = dice.choice(BUDGETS)
    patience = None
    if dice.random() < SHARE:
        patience = dice.random() * LONGEST_PATIENCE
    work = team.arun(f"task {number}", seed=dice.getrandbits(48), mode="sample", limits=limits)
    try:
        result = await (work if patience is None else _impatient(work, patience))
    except RunError as error:
        if isinstance(error.partial, Result):
            seen.ended(number, error.partial, type(error).__name__)
        else:
            seen.wrong.append(f"run {number}: {error!r} carries no result")
    except asyncio.CancelledError as error:
        FIRED["run cancelled"] += 1
        if error.args and isinstance(error.args[0], Result):
            seen.ended(number, error.args[0], "cancelled")
        else:
            seen.kinds["cancelled before it began"] += 1
    except Exception as error:
        seen.wrong.append(f"run {number}: {error!r}")
    else:
        seen.ended(number, result, result.stop)
        if not result.answer:
            seen.wrong.append(f"run {number}: ended with {result.stop} and without an answer")


async def _impatient(work: Any, patience: float) -> Result:
    """The work's result. Raises its CancelledError when it took longer."""
    task = asyncio.ensure_future(work)
    await asyncio.wait((task,), timeout=patience)
    task.cancel()
    return await task
