"""No run uses more than its plan: random small teams under every kind of coordinator, through the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any, get_args

import pytest

from podium.agents.model import Price, Prompt
from podium.agents.plans import CLOSES, OPENS, RENEW
from podium.orchestrator.coordinator_spec import CoordinatorSpec, LearnedSpec
from podium.orchestrator.coordinators.worded import Worded
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.orchestrator.retrying import Retry
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.orchestrator.worst_case import Use, WorstCase, worst_case
from podium.protocols.errors import ModelError, RunError
from podium.protocols.events import Result
from podium.protocols.record import PLANS, Generation, Plan, Sampling, ToolCall, Usage
from tests.orchestrator.by_schema import instance
from tests.orchestrator.learned.parts import loud

SPECS = get_args(get_args(CoordinatorSpec)[0])
KINDS = [get_args(spec.model_fields["kind"].annotation)[0] for spec in SPECS]
NAMES = ("a", "bo", "final", "a-rather-long-name")
ENDLESS = {"random", "skill_table"}
"""Those that a budget is to end."""
LOOSE = {*ENDLESS, "learned", "llm"}
"""Those that end of themselves: their plan is what budget or steps allow, and hardly a run gets there."""
TEAMS = 60
"""Random teams of each kind of coordinator."""


class Voice:
    """A model that says as much as it may, or less; may want tools; breaks in passing, or for good.

    As a selector it names somebody, or nobody. It bills what it reads and what it says, and no failure. estimates: what
    it reads counts as much as the engine has set aside; an endpoint that bills more makes a run overshoot its budget.
    """

    temperature = 1.0
    gives_ids = False
    chars_per_token = 4.0

    def __init__(self, name: str, spec: Any, random: Random, *, broken: bool, estimates: bool) -> None:
        self.name = self.identity = name
        self.price: Price = spec.price.to_price()
        self.max_tokens: int = spec.max_tokens
        self.random = random
        self.broken = broken
        self.estimates = estimates
        self.loud = random.random() < 0.7
        self.clear = random.choice((0.0, 0.5, 1.0))

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        if self.broken or self.random.random() < 0.05:
            raise ModelError("broken", transient=not self.broken)
        tools: tuple[ToolCall, ...] = ()
        said = sampling.max_tokens if self.loud else self.random.randint(1, sampling.max_tokens)
        text = self.random.choice("xyz") * (4 * said - 1)
        if prompt.response_schema:
            if self.random.random() < self.clear:
                text = json.dumps(self._chosen(prompt.response_schema))
        elif prompt.tools and said >= 6 and self.random.random() < 0.7:
            text, tools = "", (ToolCall("1", "calculator", '{"expression": "1+1"}'),)
        if any(message.content == RENEW for message in prompt.messages):
            text = self._planned(4 * said - 1)
        characters = sum(len(message.content) + len(message.name or "") for message in prompt.messages)
        read = prompt.estimate if self.estimates else max(prompt.estimate, characters // 4)
        usage = Usage(read, said, 1, self.price.dollars(read, said))
        yield Generation(text, usage, sampling, "tool" if tools else "stop", tool_calls=tools)

    def _planned(self, size: int) -> str:
        """A text of this size that opens with a plan, where that fits."""
        room = size - len(OPENS + CLOSES)
        plan = self.random.randint(0, max(0, room))
        return f"{OPENS}{'p' * plan}{CLOSES}{'x' * (room - plan)}" if room >= 0 else "x" * size

    def _chosen(self, schema: dict[str, Any]) -> Any:
        """What a coordinator is told: hardly ever that the run is over."""
        if "next" in schema["properties"]:
            return {"next": self.random.choice(schema["properties"]["next"]["enum"][:2])}
        decision = schema["properties"]["decision"]
        if "anyOf" in decision and self.random.random() < 0.8:
            schema = {**schema, "properties": {**schema["properties"], "decision": decision["anyOf"][0]}}
        return instance(schema, self.random)

    async def close(self) -> None: ...


def coordinator(kind: str, names: list[str], random: Random) -> dict[str, Any]:
    """Settings of a kind of coordinator, at random."""
    one, some = random.choice(names), random.sample(names, random.randint(1, len(names)))
    number = random.randint(1, 4)

    def step() -> dict[str, Any]:
        asked = random.sample(names, random.randint(1, len(names)) if random.random() < 0.4 else 1)
        first, *others = ({"agent": name, "samples": random.randint(1, 3)} for name in asked)
        return {**first, "beside": others}

    settings: dict[str, dict[str, Any]] = {
        "single": {"agent": one},
        "self_consistency": {"agent": one, "samples": number},
        "round_robin": {"rounds": random.choice((1, 2, 60)), "order": some},
        "sequential": {"order": some},
        "vote": {"agents": some, "samples": number},
        "debate": {"agents": some, "rounds": number, "aggregator": random.choice((None, one))},
        "moa": {"agents": some, "layers": number, "aggregator": one},
        "pipeline": {
            "steps": [step() for _ in range(number)],
            "finish": random.choice(("last", "vote")),
            "shown": random.choice(("all", "last")),
        },
        "llm_selector": {"model": random.choice(("boss", names[0])), "max_steps": random.choice((1, 2, 6))},
        "llm": {
            "model": random.choice(("boss", names[0])),
            "max_steps": random.choice((1, 2, 5)),
            "width": random.randint(1, 3),
            "samples": random.randint(1, 2),
            "repairs": random.randint(0, 2),
            "structured": random.choice(("json_schema", "json_schema", "none")),
            "transcript": random.choice((1_000, 12_000)),
            "max_tokens": random.choice((32, 512)),
            "plans": random.choice((["none"], ["none", "keep", "renew"])),
        },
        "random": {"max_steps": number, "finish_probability": random.choice((0.0, 0.3))},
        "learned": {
            "policy": "none",
            "mode": "sample",
            "words": random.choice((None, {"model": "boss", "max_tokens": random.choice((16, 200))})),
        },
        "skill_table": {},
    }
    return {"kind": kind, **settings[kind]}


def limits(kind: str, names: list[str], random: Random) -> dict[str, Any]:
    """A budget, at random. A coordinator that its budget alone ends is given one, or there is nothing to compare."""
    if kind not in ENDLESS and random.random() < 0.4:
        return {"tokens": None, "calls": None, "repeats": None}
    return {
        "tokens": random.choice((None, 20_000, random.randint(100, 3000))),
        "calls": random.randint(2, 12) if kind in ENDLESS else random.choice((None, None, random.randint(2, 12))),
        "dollars": random.choice((None, None, random.uniform(0.0002, 0.01))),
        "wind_down": random.choice((None, None, random.choice(names))),
        "repeats": None,
    }


def any_team(kind: str, random: Random) -> Team:
    """A team of up to four agents with a model each, and a further model for a selector."""
    names = list[str](random.sample(NAMES, random.randint(1, len(NAMES))))
    models = [*names, "boss"]
    budget = limits(kind, names, random)
    broken = {name for name in names if random.random() < 0.1}
    spec = TeamSpec.model_validate(
        {
            "name": "t",
            "models": {
                name: {
                    "provider": "scripted",
                    "replies": ["unused"],
                    "max_tokens": random.choice((random.randint(1, 20), random.randint(20, 100))),
                    "price": {"input": random.uniform(0, 5), "output": random.uniform(0, 20)},
                    "fallback": ["boss"] if name in broken or (name != "boss" and random.random() < 0.2) else [],
                }
                for name in models
            },
            "agents": {
                name: {
                    "role": random.choice(("solver", "critic")),
                    "model": name,
                    "prompt": random.choice((None, "p" * random.randint(1, 400))),
                    "description": random.choice((None, "d" * random.randint(1, 200))),
                    "tools": ["calculator"] if random.random() < 0.2 else [],
                    "max_tool_rounds": random.randint(1, 3),
                    "budget": {"calls": random.randint(1, budget["calls"] or 9)} if random.random() < 0.1 else {},
                }
                for name in names
            },
            "topology": random.choice(
                ({"kind": "star"}, {"kind": "chain"}, {"kind": "full"}, {"edges": [[names[0], names[-1]]]})
            ),
            "coordinator": coordinator(kind, names, random),
            "budget": budget,
            "retry": {"attempts": 3, "wait": 0.0001},
        }
    )
    learned: LearnedCoordinator | Worded | None = None
    estimates = budget["tokens"] is not None or budget.get("dollars") is not None
    voices = {
        name: Voice(name, spec.models[name], random, broken=name in broken, estimates=estimates) for name in models
    }
    if kind == "learned":
        plans: tuple[Plan, ...] = random.choice((("none",), PLANS))
        wide = random.randint(1, 2)
        options = Options(
            samples=(1, 3),
            width=wide,
            max_steps=4,
            objectives=("propose", "verify"),
            plans=plans,
            styles=("plain", "reasons"),
            needs=random.choice((0, 3)),
            audience=random.choice(("unsaid", "lacking")),
        )
        learned = LearnedCoordinator(loud(options, names, seed=random.randint(0, 99)))
        words = spec.coordinator.words if isinstance(spec.coordinator, LearnedSpec) else None
        if words is not None:
            learned = Worded(learned, voices[words.model], words.max_tokens, Retry(3, 0.0001))
    return Team(spec, voices, coordinator=learned)


def options_of(team: Team) -> Options | None:
    """What a learned coordinator's policy may choose from, as `plan` reads it off its card."""
    coordinator = team.orchestrator.coordinator
    lead = coordinator.lead if isinstance(coordinator, Worded) else coordinator
    return lead.policy.card.options if isinstance(lead, LearnedCoordinator) else None


def planned(team: Team, task: str) -> WorstCase:
    """The plan, as `podium plan` makes it."""
    options, tokens = options_of(team), len(task) // 4 + 1
    if options is None:
        return worst_case(team.spec, task_tokens=tokens)
    keeps, told = "keep" in options.plans, options.words_tokens(team.spec.agents)
    return worst_case(team.spec, task_tokens=tokens, requests=options.most_requests, keeps=keeps, told=told)


def worked(team: Team, task: str, seed: int) -> Result | None:
    """How far a run got; None where it did not begin."""
    try:
        return asyncio.run(team.arun(task, seed=seed))
    except RunError as error:
        return error.partial if isinstance(error.partial, Result) else None


def excess(used: Usage, most: Use) -> bool:
    """Whether more was used, in calls, tokens or dollars."""
    return used.calls > most.calls or used.tokens > most.tokens or used.dollars > most.dollars + 1e-12


def over(result: Result, case: WorstCase) -> list[str]:
    """Where a run used more than its plan: in all, by the coordinator, by an agent."""
    shares = {"coordinator": case.deciding, **{row.agent: row.use for row in case.agents}}
    by = {share if share in shares else "coordinator": usage for share, usage in result.by_agent.items()}
    found = [f"{name}: {usage} > {shares[name]}" for name, usage in by.items() if excess(usage, shares[name])]
    return [*found, f"{result.usage} > {case.total}"] if excess(result.usage, case.total) else found


@pytest.mark.parametrize("kind", KINDS)
def test_no_run_uses_more_than_its_plan(kind: str) -> None:
    most = 0
    for seed in range(TEAMS):
        random = Random(f"{kind} {seed}")
        team, task = any_team(kind, random), "q" * random.randint(1, 2000) + "\n- a piece\n- another one"
        case = planned(team, task)
        result = worked(team, task, seed)
        if result is not None:
            assert not over(result, case), (seed, team.spec)
            most += result.usage.calls == case.total.calls
    assert kind in LOOSE or most >= TEAMS // 10  # a plan far above every run would hold, too
