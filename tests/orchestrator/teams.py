"""Teams for tests of what is built on `Team`: scripted models behind real agents, with what each test needs to see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from podium.agents.model import Model, Price, Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.journal import Journal
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.record import Generation, Sampling

PRICE = Price(1.0, 2.0)


def team(
    models: Mapping[str, Model],
    kind: str = "sequential",
    *,
    name: str = "desk",
    roles: Mapping[str, str] | None = None,
    budget: Mapping[str, Any] | None = None,
    coordinator: Coordinator | None = None,
    journal: Journal | None = None,
    pool: Mapping[str, Any] | None = None,
    shares: Mapping[str, Mapping[str, Any]] | None = None,
    timeouts: Mapping[str, float] | None = None,
    retry: Mapping[str, Any] | None = None,
    topology: Mapping[str, Any] | None = None,
    **more: Any,
) -> Team:
    """A team with one agent per model, of the same name.

    shares, timeouts: of agents, by name; retry: left out, nothing is tried again; more: of the coordinator's spec.
    """
    spec = TeamSpec.model_validate(
        {
            "name": name,
            "models": {each: {"provider": "scripted", "replies": ["unused"]} for each in models},
            "agents": {
                each: {
                    "role": (roles or {}).get(each, "solver"),
                    "model": each,
                    "budget": (shares or {}).get(each, {}),
                    "timeout": (timeouts or {}).get(each),
                }
                for each in models
            },
            "pool": pool or {},
            "coordinator": {"kind": kind, **more},
            "budget": budget or {},
            "retry": retry or {"attempts": 1},
            "topology": topology or {"kind": "star"},
        }
    )
    return Team(spec, models, coordinator=coordinator, journal=journal)


def scripted(
    *replies: str | Exception, name: str = "m", pace: float | None = None, delay: float = 0.0
) -> ScriptedModel:
    """A model that gives these replies, over and over. pace: tokens a second."""
    script: Sequence[str | Exception] = list(replies)
    return ScriptedModel(script, name, cycle=True, price=PRICE, tokens_per_second=pace, delay=delay)


class Gated(ScriptedModel):
    """A model that says its first word, and the rest only when the gate is opened; or breaks with an error.

    closed: how often it was left.
    """

    def __init__(self, text: str, name: str = "gated", *, error: Exception | None = None) -> None:
        super().__init__(text, name, price=PRICE)
        self.text = text
        self.error = error
        self.gate = asyncio.Event()
        self.started = 0
        self.finished = 0
        self.closed = 0

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        return self._gated(prompt, sampling)

    async def _gated(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        self.started += 1
        try:
            first, _, rest = self.text.partition(" ")
            yield first + " "
            if self.error is not None:
                raise self.error
            await self.gate.wait()
            yield rest
            async for item in ScriptedModel(self.text, price=PRICE).generate(prompt, sampling):
                if isinstance(item, Generation):
                    yield item
            self.finished += 1
        finally:
            self.closed += 1
