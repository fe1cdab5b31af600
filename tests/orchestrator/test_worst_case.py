"""The worst case: by hand for small teams, and never less than a real run."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from podium.agents.agent import Agent
from podium.agents.model import Price, Prompt
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinator_words import in_words
from podium.orchestrator.coordinators.debate import Debate, MixtureOfAgents
from podium.orchestrator.coordinators.fixed import RoundRobin, Single
from podium.orchestrator.coordinators.random import Random
from podium.orchestrator.coordinators.voting import ParallelVote, SelfConsistency
from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.team_file import TeamSpec, parse_team
from podium.orchestrator.topology import Topology
from podium.orchestrator.worst_case import INSTRUCTION_TOKENS, TOOL_RESULT_TOKENS, TOOL_SCHEMA_TOKENS, Use, worst_case
from podium.protocols.bus import MemoryBus
from podium.protocols.errors import BudgetExceeded
from podium.protocols.record import Generation, Sampling, Usage
from podium.protocols.task import Task

NO_LIMIT = "{tokens: null, calls: null, seconds: null}"
PROMPT = "x" * 39
"""A system prompt of ten tokens."""


def team(
    coordinator: str, budget: str = NO_LIMIT, extra: str = "", topology: str = "{kind: star}", model: str = ""
) -> TeamSpec:
    agents = "".join(f"  {name}: {{role: r, model: m, prompt: {PROMPT}{extra}}}\n" for name in "abc")
    return parse_team(
        "name: t\n"
        "models:\n"
        "  m: {provider: openai, base_url: http://x/v1, model: q, max_tokens: 100, "
        f"price: {{input: 1, output: 2}}{model}}}\n"
        f"agents:\n{agents}topology: {topology}\ncoordinator: {coordinator}\nbudget: {budget}\n"
    )


FIRST = 10 + 500 + INSTRUCTION_TOKENS
"""Prompt tokens of a request that sees no reply."""


@pytest.mark.parametrize(
    ("coordinator", "seen"),
    [
        # for every call of the schedule, how many replies it reads
        ("{kind: single, agent: a}", [0]),
        ("{kind: self_consistency, agent: a, samples: 4}", [0, 0, 0, 0]),
        ("{kind: round_robin, rounds: 2, order: [a, b]}", [0, 1, 2, 3]),
        ("{kind: sequential}", [0, 1, 2]),
        ("{kind: vote, samples: 2}", [0] * 6),
        ("{kind: debate, rounds: 2}", [0, 0, 0, 3, 3, 3]),
        ("{kind: debate, rounds: 2, aggregator: c}", [0, 0, 2, 2, 2]),
        ("{kind: moa, layers: 3, aggregator: c}", [0, 0, 2, 2, 2, 2, 2]),
        ("{kind: pipeline, steps: [{agent: a, samples: 3}, {agent: b}]}", [0, 0, 0, 1]),
    ],
)
def test_fixed_schedules_by_hand(coordinator: str, seen: list[int]) -> None:
    case = worst_case(team(coordinator))
    prompt = sum(FIRST + 100 * replies for replies in seen)
    output = 100 * len(seen)
    assert case.total.calls == len(seen)
    assert case.total.tokens == prompt + output
    assert case.total.dollars == pytest.approx((prompt + 2 * output) * 1e-6)
    assert sum(row.use.tokens for row in case.agents) == case.total.tokens
    assert not case.chosen
    assert case.cut_by == ()


def test_topology_takes_replies_away() -> None:
    case = worst_case(team("{kind: sequential}", topology="{kind: chain}"))
    assert case.total.tokens == 3 * (FIRST + 100) + 2 * 100


def test_tools_add_calls_and_their_history() -> None:
    case = worst_case(team("{kind: single, agent: a}", extra=", tools: [t], max_tool_rounds: 2"))
    prompt = FIRST + TOOL_SCHEMA_TOKENS
    step = 100 + TOOL_RESULT_TOKENS
    assert (case.total.calls, case.total.tokens) == (3, 3 * (prompt + 100) + 3 * step)
    assert case.total.dollars == pytest.approx((3 * prompt + 3 * step + 600) * 1e-6)


def test_context_caps_a_call() -> None:
    assert worst_case(team("{kind: single, agent: a}", model=", context: 300")).total.tokens == 300


def test_a_fallback_may_be_dearer_and_longer() -> None:
    plain = parse_team(CHAIN.replace("FALLBACK", "[]"))
    chained = parse_team(CHAIN.replace("FALLBACK", "[large]"))
    cheap, dear = worst_case(plain).total, worst_case(chained).total
    assert dear.tokens == cheap.tokens + 200
    assert dear.dollars == pytest.approx((FIRST * 10 + 300 * 20) * 1e-6)


def test_an_agents_share_and_the_pool_bound_it() -> None:
    shared = parse_team(CHAIN.replace("FALLBACK", "[]").replace("prompt:", "budget: {tokens: 400}, prompt:"))
    assert worst_case(shared).total.tokens == 400
    pooled = parse_team(CHAIN.replace("FALLBACK", "[]") + "pool: {tokens: 300}\n")
    assert worst_case(pooled).total.tokens == 300


CHAIN = f"""
name: t
models:
  small: {{provider: openai, base_url: "http://x/v1", model: q, max_tokens: 100, price: {{input: 1, output: 2}},
          fallback: FALLBACK}}
  large: {{provider: openai, base_url: "http://x/v1", model: q, max_tokens: 300, price: {{input: 10, output: 20}}}}
agents: {{a: {{role: r, model: small, prompt: {PROMPT}}}}}
coordinator: {{kind: single, agent: a}}
"""


def test_the_task_is_counted() -> None:
    short = worst_case(team("{kind: vote}"), task_tokens=1).total.tokens
    assert worst_case(team("{kind: vote}"), task_tokens=101).total.tokens == short + 300


@pytest.mark.parametrize("kind", ["{kind: learned, policy: p}", "{kind: skill_table}"])
def test_choosing_coordinators_are_bounded_by_the_budget(kind: str) -> None:
    case = worst_case(team(kind, "{tokens: 5000, calls: 7, dollars: 0.002}"))
    assert case.total == Use(7, 5000, 0.002)
    assert case.chosen
    dear = worst_case(team(kind, "{tokens: 5000, calls: 100}")).total
    assert (dear.calls, dear.tokens) == (100, 5000)
    assert dear.dollars == pytest.approx(5000 * 2e-6)
    only_calls = worst_case(team(kind, "{tokens: null, calls: 3}")).total
    assert only_calls.tokens == 3 * (FIRST + 100) + 300
    assert worst_case(team(kind)).total == Use(math.inf, math.inf, math.inf)


def test_deciding_calls_are_counted_and_may_come_on_top() -> None:
    case = worst_case(team("{kind: llm_selector, model: m, max_steps: 2}"))
    assert case.deciding.calls == 3
    assert case.total.calls == 5
    tight = worst_case(team("{kind: llm_selector, model: m, max_steps: 2}", "{calls: 4}"))
    assert tight.total.calls == 5
    assert worst_case(team("{kind: llm_selector, model: m, max_steps: 9}", "{calls: 4}")).total.calls == 5


def test_cut_by_names_the_limits_that_bind() -> None:
    case = worst_case(team("{kind: vote}", "{tokens: 1000, calls: 32}"))
    assert case.cut_by == ("tokens", "dollars")
    assert case.unlimited.calls == 3


def test_prices_that_the_file_does_not_state() -> None:
    spec = parse_team(
        "name: t\nmodels: {m: {provider: recorded, path: p}}\nagents: {a: {role: solver, model: m}}\n"
        "coordinator: {kind: single, agent: a}\n"
    )
    assert worst_case(spec).total.dollars == 0
    assert worst_case(spec, prices={"m": Price(0, 10)}).total.dollars == pytest.approx(512 * 10e-6)


def test_every_coordinator_is_put_in_words() -> None:
    kinds = [
        "single, agent: a",
        "round_robin",
        "sequential",
        "vote, samples: 3",
        "self_consistency, agent: a",
        "debate",
        "moa, aggregator: a",
        "llm_selector, model: m",
        "skill_table",
        "random",
        "pipeline, steps: [{agent: a, samples: 2}]",
        "learned, policy: p, preference: 0.5",
    ]
    told = [in_words(team(f"{{kind: {kind}}}").coordinator, ["a", "b", "c"]) for kind in kinds]
    assert len(set(told)) == len(kinds)
    assert all(words.endswith(".") for words in told)


RUNS: list[tuple[str, Coordinator]] = [
    ("{kind: single, agent: a}", Single("a")),
    ("{kind: round_robin, rounds: 3}", RoundRobin("abc", 3)),
    ("{kind: vote, samples: 3}", ParallelVote("abc", 3)),
    ("{kind: self_consistency, agent: b, samples: 7}", SelfConsistency("b", 7)),
    ("{kind: debate, rounds: 3}", Debate("abc", 3)),
    ("{kind: moa, layers: 3, aggregator: c}", MixtureOfAgents("ab", "c", 3)),
    ("{kind: random, max_steps: 5, finish_probability: 0}", Random(5, 0.0)),
]


class Talkative:
    """A model that always says as much as it may, and bills every token of its prompt."""

    name = "m"
    price = Price(1, 2)
    max_tokens = 100
    temperature = 1.0
    identity = "fake"
    gives_ids = False
    chars_per_token = 4.0

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """As many tokens as the request allows."""
        read = sum(len(message.content) + len(message.name or "") for message in prompt.messages) // 4
        said = sampling.max_tokens
        yield Generation("z" * (4 * said), Usage(read, said, 1, self.price.dollars(read, said)), sampling)

    async def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize(("kind", "coordinator"), RUNS, ids=[row[0] for row in RUNS])
@pytest.mark.parametrize(
    ("budget", "limits", "last"),
    [
        (NO_LIMIT, Limits(), None),
        ("{tokens: 3000, calls: 5}", Limits(tokens=3000, calls=5), None),
        ("{tokens: 3000, calls: 5, wind_down: b}", Limits(tokens=3000, calls=5), "b"),
    ],
)
def test_a_real_run_never_uses_more(
    kind: str, coordinator: Coordinator, budget: str, limits: Limits, last: str | None
) -> None:
    bus = MemoryBus({name: Agent(name, "r", Talkative(), prompt=PROMPT) for name in "abc"})
    orchestrator = Orchestrator("t", bus, coordinator, Topology.full("abc"), limits, wind_down=last)
    case = worst_case(team(kind, budget), task_tokens=500)
    for seed in range(5):
        try:
            result = asyncio.run(orchestrator.run(Task.of("q" * 1900), Settings(seed=seed), id=f"r{seed}"))
        except BudgetExceeded:
            continue
        assert result.usage.calls <= case.total.calls
        assert result.usage.tokens <= case.total.tokens
        assert result.usage.dollars <= case.total.dollars + 1e-12


def test_a_pipeline_that_shows_the_newest_reply_reads_less() -> None:
    steps = "{kind: pipeline, steps: [{agent: a}, {agent: b}, {agent: a}, {agent: b}]%s}"
    whole, newest = worst_case(team(steps % "")).total, worst_case(team(steps % ", shown: last")).total
    assert whole.calls == newest.calls == 4
    assert whole.tokens - newest.tokens == 300  # longest replies of 100 tokens: one of step 1 and 2, two of step 3
