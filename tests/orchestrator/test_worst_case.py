"""The worst case: by hand for small teams, and never less than a real run."""

from __future__ import annotations

import math

import pytest

from podium.agents.model import Price
from podium.orchestrator.coordinator_words import in_words
from podium.orchestrator.coordinators.selector import ANSWER_TOKENS, LAST_WORDS, first_question, second_question
from podium.orchestrator.team_file import TeamSpec, parse_team
from podium.orchestrator.worst_case import INSTRUCTION_TOKENS, TOOL_RESULT_TOKENS, TOOL_SCHEMA_TOKENS, Use, worst_case

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
SEEN = 100 + 2
"""Prompt tokens of a reply that is shown: its own, and those of its speaker's name."""


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
    prompt = sum(FIRST + SEEN * replies for replies in seen)
    output = 100 * len(seen)
    assert case.total.calls == len(seen)
    assert case.total.tokens == prompt + output
    assert case.total.dollars == pytest.approx((prompt + 2 * output) * 1e-6)
    assert sum(row.use.tokens for row in case.agents) == case.total.tokens
    assert not case.chosen
    assert case.cut_by == ()


def test_topology_takes_replies_away() -> None:
    case = worst_case(team("{kind: sequential}", topology="{kind: chain}"))
    assert case.total.tokens == 3 * (FIRST + 100) + 2 * SEEN


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
    assert only_calls.tokens == 3 * (FIRST + 100) + 3 * SEEN
    assert worst_case(team(kind)).total == Use(math.inf, math.inf, math.inf)


SELECTOR = """
name: t
models:
  m: {provider: openai, base_url: "http://x/v1", model: q, max_tokens: 100, price: {input: 5, output: 9}}
  boss: {provider: openai, base_url: "http://x/v1", model: q, max_tokens: MOST, fallback: [m],
         price: {input: 3, output: 7}}
agents: AGENTS
coordinator: {kind: llm_selector, model: boss, max_steps: 2}
budget: BUDGET
"""
PAIR = f"{{a: {{role: r, model: m, prompt: {PROMPT}}}, b: {{role: r, model: m, prompt: {PROMPT}, description: quick}}}}"


def selector(most: int = 512, agents: str = PAIR, budget: str = NO_LIMIT) -> TeamSpec:
    return parse_team(SELECTOR.replace("MOST", str(most)).replace("AGENTS", agents).replace("BUDGET", budget))


@pytest.mark.parametrize("most", [16, 64, 512])
def test_a_decision_of_a_selector_is_a_question_and_its_repair(most: int) -> None:
    roles = {"a": ("r", ""), "b": ("r", "quick")}
    options = ["a", "b", "finish"]
    first = len(first_question(options, roles, "finish")) // 4 + 1 + len(LAST_WORDS) // 4 + 1 + 500
    second = first + ANSWER_TOKENS + len(second_question(options)) // 4 + 1
    reads, writes = first + second + (first + SEEN) + (second + SEEN), 4 * ANSWER_TOKENS
    deciding = worst_case(selector(most)).deciding
    assert (deciding.calls, deciding.tokens) == (4, reads + writes)
    assert deciding.dollars == pytest.approx((3 * reads + 7 * writes) * 1e-6)


def test_one_agent_alone_is_asked_first_without_a_question() -> None:
    alone = worst_case(selector(agents=f"{{a: {{role: r, model: m, prompt: {PROMPT}}}}}"))
    assert (alone.deciding.calls, alone.total.calls) == (2, 4)


def test_what_a_decision_takes_is_held_to_the_budget() -> None:
    assert worst_case(selector()).total.calls == 6
    tight = worst_case(selector(budget="{tokens: 1500, calls: 4}"))
    assert (tight.total.calls, tight.total.tokens) == (4, 1500)
    assert tight.cut_by == ("calls", "tokens", "dollars")


def lead(**settings: object) -> TeamSpec:
    told = "".join(f", {key}: {value}" for key, value in settings.items())
    told = told if "max_steps" in settings else f", max_steps: 2{told}"
    kind = f"{{kind: llm, model: boss{told}}}"
    return parse_team(
        SELECTOR.replace("MOST", "512")
        .replace("AGENTS", PAIR)
        .replace("BUDGET", NO_LIMIT)
        .replace("{kind: llm_selector, model: boss, max_steps: 2}", kind)
    )


def test_a_model_that_leads_decides_once_more_to_finish_with_its_repairs() -> None:
    case = worst_case(lead())
    assert (case.deciding.calls, case.unlimited.calls) == (3 * 3, 9 + 2 * 3)
    assert worst_case(lead(repairs=0, width=2, samples=3)).unlimited.calls == 3 + 2 * 2 * 3
    assert worst_case(lead(repairs=0, width=1)).deciding.calls == 3
    assert worst_case(lead(repairs=0, width=1, max_steps=1)).deciding.calls == 1, "one reply needs no choice"


def test_what_a_model_that_leads_reads_is_bounded_by_its_transcript_and_by_the_task() -> None:
    def tokens(task: int = 500, **settings: object) -> float:
        return worst_case(lead(repairs=0, **settings), task_tokens=task).deciding.tokens

    assert tokens(max_tokens=100) - tokens(max_tokens=40) == 3 * 60
    assert tokens(1_000) - tokens(500) == 3 * 500
    assert tokens(100_000) == tokens(10_000), "a long task is cut"
    assert tokens(transcript=1_000) < tokens() == tokens(transcript=100_000)


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
        "llm, model: m",
        "llm, model: m, width: 1, repairs: 0, preference: 0.5",
        "skill_table",
        "random",
        "pipeline, steps: [{agent: a, samples: 2}]",
        "pipeline, steps: [{agent: a, samples: 2, beside: [{agent: b}]}]",
        "learned, policy: p, preference: 0.5",
    ]
    told = [in_words(team(f"{{kind: {kind}}}").coordinator, ["a", "b", "c"]) for kind in kinds]
    assert len(set(told)) == len(kinds)
    assert all(words.endswith(".") for words in told)


def test_a_pipeline_that_shows_the_newest_reply_reads_less() -> None:
    steps = "{kind: pipeline, steps: [{agent: a}, {agent: b}, {agent: a}, {agent: b}]%s}"
    whole, newest = worst_case(team(steps % "")).total, worst_case(team(steps % ", shown: last")).total
    assert whole.calls == newest.calls == 4
    assert whole.tokens - newest.tokens == 3 * SEEN  # longest replies of 100 tokens: one of step 1 and 2, two of step 3


def test_a_step_that_asks_several_is_read_whole_by_the_next() -> None:
    steps = "{kind: pipeline, steps: [{agent: a}, {agent: a, beside: [{agent: b}]}, {agent: c}], shown: last}"
    whole = worst_case(team(steps)).total
    assert (whole.calls, whole.tokens) == (4, 4 * (FIRST + 100) + 2 * SEEN + 2 * SEEN)


def test_the_newest_reply_is_the_newest_that_an_agent_may_see() -> None:
    steps = "{kind: pipeline, steps: [{agent: a}, {agent: b}, {agent: c}], shown: last}"
    assert worst_case(team(steps, topology="{edges: [[a, c]]}")).total.tokens == 3 * (FIRST + 100) + SEEN
