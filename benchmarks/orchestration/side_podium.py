"""Podium as its users have it: a team file, a round-robin coordinator, `Team.arun`; nothing switched off."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from case import AGENTS, REPLIES, TASK, Case, Gate, Work

from podium import Team
from podium.agents.model import Model, Prompt, Wrapped
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.journal import Journal
from podium.orchestrator.team_file import load_team
from podium.protocols.record import Generation, Sampling

FILE = """
name: peers
models: {{instant: {{provider: scripted, replies: {replies}}}}}
agents:
  first: {{role: solver, model: instant}}
  second: {{role: critic, model: instant}}
  third: {{role: verifier, model: instant}}
coordinator: {{kind: round_robin, order: {order}}}
budget: {{tokens: 100000000, calls: 1000}}
{journal}
"""
"""The budget is what 200 turns need; the rest is what a file that does not say otherwise gets."""


@asynccontextmanager
async def opened(case: Case, gate: Gate, folder: str) -> AsyncGenerator[Work]:
    """A team, made once. With a delay, a gate or a reader its scripted model is replaced by one that has it."""
    order = [AGENTS[turn % len(AGENTS)] for turn in range(case.turns)]
    journal = f"journal: sqlite:///{folder}/runs.db" if case.journal else ""
    file = Path(folder) / "team.yaml"
    file.write_text(FILE.format(replies=json.dumps(REPLIES), order=json.dumps(order), journal=journal))
    model: Model | None = ScriptedModel(REPLIES, cycle=True, delay=case.delay) if case.delay else None
    if case.side == "podium-reading":
        model = Reading(model or ScriptedModel(REPLIES, cycle=True))
    if gate.closed:
        model = Held(ScriptedModel(REPLIES, cycle=True), gate)
    if model is None:
        team = Team.load(file)
    else:
        spec = load_team(file)
        team = Team(spec, {"instant": model}, journal=Journal(spec.journal) if spec.journal else None)

    async def work() -> int:
        result = await team.arun(TASK)
        return sum(node.kind == "reply" for node in result.nodes)

    async with team:
        yield work


class Reading(Wrapped):
    """A model that reads its prompt, as an endpoint has to: scripted ones do not, and then it is never rendered."""

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Render the prompt, then reply."""
        assert prompt.messages
        return self.model.generate(prompt, sampling)


class Held(Wrapped):
    """A model that holds its prompt and waits at a gate."""

    def __init__(self, model: Model, gate: Gate) -> None:
        super().__init__(model)
        self._gate = gate

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Reply when the gate lets it."""
        await self._gate.passed(sum(message.name in AGENTS for message in prompt.messages))
        async for piece in self.model.generate(prompt, sampling):
            yield piece
