"""What a team file says, made: its models behind circuit breakers, its agents with their tools and documents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from podium.agents.agent import Agent
from podium.agents.breaker import Breaker, Guarded
from podium.agents.documents import DocumentIndex
from podium.agents.model import Model
from podium.agents.tools import Tool, load_tool
from podium.orchestrator import period
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.budget_spec import BudgetSpec, PoolSpec, ShareSpec
from podium.orchestrator.model_spec import REMOTE, RecordedModel
from podium.orchestrator.team_file import TeamSpec, ToolSpec
from podium.protocols.errors import InputError, ToolError

if TYPE_CHECKING:
    from podium.orchestrator.journal import Journal
    from podium.orchestrator.telemetry.watch import Telemetry

__all__ = ["agents_of", "limits", "models_of", "own_voices", "pool_of"]


def limits(budget: BudgetSpec | ShareSpec | PoolSpec) -> Limits:
    """What a team file's budget means."""
    named = budget.model_dump(exclude={"wind_down", "every"})
    given = {name: value for name, value in named.items() if value is not None}
    return Limits(**given)


def pool_of(spec: TeamSpec, journal: Journal | None) -> Budget | None:
    """What all runs of a team may use together, if the file limits that.

    Where it fills again, what the journal knows of the present period has been used. Raises InputError when the journal
    cannot be read.
    """
    if spec.pool == PoolSpec():
        return None
    every = spec.pool.every
    pool = Budget(limits(spec.pool), shared=True, metered=True, every=every)
    if every is not None and journal is not None:
        used = journal.used(spec.name, period.begins(every, time.time()))
        pool.spend(used)
        if pool.meter is not None:
            pool.meter.spend(used.seconds)
    return pool


def own_voices(spec: TeamSpec) -> TeamSpec:
    """A recorded model that names no agent of its pool speaks for each team agent by that agent's name and price."""
    models, agents = dict(spec.models), dict(spec.agents)
    for name, agent in spec.agents.items():
        model = spec.models[agent.model]
        if isinstance(model, RecordedModel) and model.agent is None:
            own = f"{agent.model}.{name}"
            models[own] = model.model_copy(update={"agent": name})
            agents[name] = agent.model_copy(update={"model": own})
    return spec.model_copy(update={"models": models, "agents": agents})


def models_of(spec: TeamSpec, models: Mapping[str, Model], telemetry: Telemetry | None) -> dict[str, Model]:
    """A team's models as its agents ask them: watched where telemetry is on, and remote ones behind a breaker each."""
    guarded = dict(models)
    for name, model in spec.models.items():
        if telemetry:
            guarded[name] = telemetry.model(name, models[name])
        if isinstance(model, REMOTE):
            breaker = Breaker(spec.retry.open_after, spec.retry.open_seconds)
            guarded[name] = Guarded(guarded[name], breaker)
            if telemetry:
                telemetry.breaker(breaker, name)
    return guarded


def agents_of(spec: TeamSpec, models: Mapping[str, Model], telemetry: Telemetry | None) -> dict[str, Agent]:
    """A team's agents, by name. models: as `models_of` gives them. Raises InputError for tools and documents."""
    base = spec.source.parent if spec.source else Path()
    return {
        name: Agent(
            name,
            agent.role,
            models[agent.model],
            prompt=agent.prompt,
            description=agent.description or "",
            examples=agent.examples,
            tools=[_tool(tool, base, name, telemetry) for tool in agent.tools],
            documents=DocumentIndex.load(agent.documents) if agent.documents else None,
            max_tool_rounds=agent.max_tool_rounds,
            fallbacks=[models[other] for other in spec.models[agent.model].fallback],
        )
        for name, agent in spec.agents.items()
    }


def _tool(tool: str | ToolSpec, base: Path, agent: str, telemetry: Telemetry | None) -> Tool:
    """A tool of the team file. Raises InputError: a name that leads nowhere is a mistake of the file."""
    spec = ToolSpec(name=tool) if isinstance(tool, str) else tool
    try:
        loaded = load_tool(folder=base, **spec.model_dump())
    except ToolError as error:
        raise InputError(f"agents.{agent}.tools: {error.message}") from None
    return telemetry.tool(loaded, agent) if telemetry else loaded
