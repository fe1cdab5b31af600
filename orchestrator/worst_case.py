"""The worst case of a run, worked out from the team file without calling anything.

A coordinator with a fixed schedule says in advance who is asked when, and what they see. One that decides as it goes
(learned, llm, llm_selector, skill_table, random) is taken at its worst: every request goes to the agent that costs
most, and everybody sees everything. The sums are cut at the budget, which the engine checks before each call.

Formula. Let V be the longest replies of the earlier requests that the topology and the schedule show to an agent, in
tokens, each with its speaker's name. A request to it makes R = 1 + (max_tool_rounds if it has tools) calls. Call number
r (from 0) reads at most

    prompt_r = system + task + instruction + passages + V + r * (max_tokens + tool result)

and writes at most max_tokens; together at most the model's `context`, where one is stated. A request uses the sum over
r, in dollars at the model's prices. One tool is assumed per round. Each sample of a directive is a request of its own,
and all of them leave one reply behind for others to see. A plan is taken off the reply that it opens, and both together
are no longer than it was; who uses tools may have written it before, so there V holds one plan more, where it is kept
to. Where `wind_down` names an agent, its last turn is one call more.

Calls that a coordinator makes to decide are counted on their own row, repairs included; `own_questions` says how long
they are. It asks only where a call is left for whoever is chosen, and each of its calls is set aside in the budget
before it starts, as an agent's is.

An attempt that fails in passing and is made again is not counted, since mostly it is not billed. Where it may have been
(see `budget`), the budget holds it, and this does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from podium.agents.model import Price, estimate_tokens
from podium.agents.roles import ROLES
from podium.orchestrator.budget_spec import BudgetSpec, PoolSpec, ShareSpec
from podium.orchestrator.coordinator_spec import LearnedSpec, LLMSelectorSpec, LLMSpec, RandomSpec
from podium.orchestrator.leases import SHORTEST_REPLY
from podium.orchestrator.model_spec import ModelSpec
from podium.orchestrator.own_questions import decider, instruction_tokens, most_requests, questions
from podium.orchestrator.schedule import Request, schedule
from podium.orchestrator.team_file import AgentSpec, TeamSpec
from podium.orchestrator.topology import Topology

__all__ = ["TASK_TOKENS", "AgentWorst", "Use", "WorstCase", "least_call", "worst_case"]

TASK_TOKENS = 500
"""Length of a task that is assumed where the caller says nothing; a page of text."""
INSTRUCTION_TOKENS = 60
"""What an objective and a level of detail add to a prompt."""
NAME_CHARACTERS = 4
"""What a shown reply adds to its text and its speaker's name; the engine counts as much when it leases a call."""
TOOL_SCHEMA_TOKENS = 150
"""A tool's name, description and parameters, as a model is shown them."""
TOOL_RESULT_TOKENS = 2_000
"""A tool's result, as a model is shown it."""
PASSAGES_TOKENS = 2_000
"""The passages that a retriever is shown."""
MOST_SAMPLES = 5
"""Most samples that a coordinator which chooses draws with one directive."""
MOST_REQUESTS = 5_000
"""Requests that are added up one by one; a run that may make more is bounded by its budget alone."""


@dataclass(frozen=True, slots=True)
class Use:
    """An amount. calls and tokens: counts; dollars. Infinite where nothing limits it."""

    calls: float = 0
    tokens: float = 0
    dollars: float = 0.0

    def __add__(self, other: Use) -> Use:
        """Both together."""
        return Use(self.calls + other.calls, self.tokens + other.tokens, self.dollars + other.dollars)

    def times(self, number: int) -> Use:
        """So often."""
        return Use(number * self.calls, number * self.tokens, number * self.dollars)

    def at_most(self, other: Use) -> Use:
        """The smaller of both, number by number."""
        return Use(min(self.calls, other.calls), min(self.tokens, other.tokens), min(self.dollars, other.dollars))


NOTHING = Use()


@dataclass(frozen=True, slots=True)
class AgentWorst:
    """What one agent can use. model: its key; price: of that model, per million tokens.

    use: at most, where the schedule is fixed; where the coordinator chooses, as if every request went to this agent.
    """

    agent: str
    model: str
    price: Price
    use: Use


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The worst case of a run.

    total: of the whole run, cut at the budget. agents: each by itself; where the coordinator chooses, their sum is
    more than the total. deciding: the coordinator's own calls. unlimited: the need before the cut, infinite where
    only the budget ends a run. task_tokens: the length of the task that was assumed. chosen: the coordinator chooses.
    """

    total: Use
    agents: tuple[AgentWorst, ...]
    deciding: Use
    unlimited: Use
    task_tokens: int
    chosen: bool

    @property
    def cut_by(self) -> tuple[str, ...]:
        """Which limits of the budget end a run before its schedule does."""
        total, need = self.total, self.unlimited
        pairs = (
            ("calls", total.calls < need.calls),
            ("tokens", total.tokens < need.tokens),
            ("dollars", total.dollars < need.dollars),
        )
        return tuple(name for name, cut in pairs if cut)


def worst_case(
    team: TeamSpec,
    *,
    task_tokens: int = TASK_TOKENS,
    prices: Mapping[str, Price] | None = None,
    requests: float = math.inf,
    keeps: bool = False,
    told: int = 0,
) -> WorstCase:
    """The most that one run of a team can use.

    task_tokens: length of the task, in tokens. prices: of models that do not state theirs (recorded pools), by key.
    requests: that a learned coordinator can make, by what its policy may choose; keeps: it may have a plan kept to;
    told: tokens of what a request says of the piece of the task that it is about.
    """
    count = _Count(team, task_tokens, prices or {}, requests, keeps, told)
    steps = schedule(team.coordinator, list(team.agents))
    if steps is None:
        by_agent = {name: count.chosen([name]) for name in team.agents}
        work = count.chosen(list(team.agents))
    else:
        by_agent = count.scheduled(steps)
        by_agent = {name: use.at_most(count.share(name)) for name, use in by_agent.items()}
        work = _sum(by_agent.values())
    last = count.last_turn()
    if team.budget.wind_down is not None:
        by_agent[team.budget.wind_down] = (by_agent.get(team.budget.wind_down, NOTHING) + last).at_most(count.limits)
    work = work + last
    deciding = count.deciding()
    limits = count.limits
    total = (work + deciding).at_most(limits)
    rows: list[AgentWorst] = []
    for name, use in by_agent.items():
        model = team.agents[name].model
        price = count.price(model)
        rows.append(AgentWorst(name, model, price, _consistent(use.at_most(count.share(name)), [price])))
    total = _consistent(total, count.prices_used())
    return WorstCase(total, tuple(rows), deciding, work + deciding, task_tokens, steps is None)


def least_call(
    team: TeamSpec, agent: str, *, task_tokens: int = 0, prices: Mapping[str, Price] | None = None
) -> tuple[int, int, float]:
    """What a budget must hold for an agent to be asked at all: tokens read, tokens written, dollars; roughly.

    task_tokens, prices: as in `worst_case`; the passages of a retriever are not counted.
    """
    spec = team.agents[agent]
    model = team.models[spec.model]
    price = _Count(team, task_tokens, prices or {}, math.inf, keeps=False).price(spec.model)
    reads = _own_tokens(spec.model_copy(update={"documents": ()})) + task_tokens
    writes = min(SHORTEST_REPLY, model.max_tokens)
    return reads, writes, price.dollars(reads, writes)


def _limit(budget: BudgetSpec | ShareSpec | PoolSpec) -> Use:
    """What a budget holds."""
    return Use(budget.calls or math.inf, budget.tokens or math.inf, budget.dollars or math.inf)


class _Count:
    """The arithmetic of one team."""

    def __init__(
        self, team: TeamSpec, task_tokens: int, prices: Mapping[str, Price], requests: float, keeps: bool, told: int = 0
    ) -> None:
        self.team = team
        self.task_tokens = task_tokens
        self.prices = prices
        self.requests = requests
        self.told = told
        self.keeps = "keep" in team.coordinator.plans if isinstance(team.coordinator, LLMSpec) else keeps
        self.topology = Topology(team.topology, list(team.agents))
        self.limits = _limit(team.budget).at_most(_limit(team.pool))

    def share(self, agent: str) -> Use:
        """The most that an agent may use in a run."""
        return self.limits.at_most(_limit(self.team.agents[agent].budget))

    def chain(self, model: str) -> list[str]:
        """A model and those that stand in for it."""
        return [model, *self.team.models[model].fallback]

    def prices_used(self) -> list[Price]:
        """The price of every model that a run may call."""
        leader = decider(self.team.coordinator)
        asked = [self.price(agent.model) for agent in self.team.agents.values()]
        return asked + ([self._own_price(leader)] if leader else [])

    def price(self, model: str) -> Price:
        """The dearest price in a model's chain."""
        found = [self._own_price(name) for name in self.chain(model)]
        return Price(max(each.input for each in found), max(each.output for each in found))

    def _own_price(self, model: str) -> Price:
        """A model's price: as the file states it, else as the caller knows it."""
        stated = self.team.models[model].price
        return self.prices.get(model, Price()) if stated is None else stated.to_price()

    def call(self, model: str, prompt: float) -> Use:
        """One call of a model, or of one that stands in for it."""
        models = {name: self.team.models[name] for name in self.chain(model)}
        uses = [_call(each, self._own_price(name), prompt, each.max_tokens) for name, each in models.items()]
        return Use(1, max(use.tokens for use in uses), max(use.dollars for use in uses))

    def reply(self, agent: str) -> int:
        """Tokens of an agent's longest reply, with its name, as others are shown it."""
        return self.longest(self.team.agents[agent].model) + math.ceil((len(agent) + NAME_CHARACTERS) / 4)

    def longest(self, model: str) -> int:
        """Tokens of the longest reply in a model's chain."""
        return max(self.team.models[name].max_tokens for name in self.chain(model))

    def request(self, agent: str, shown: float) -> Use:
        """One request to an agent that is shown replies of this many tokens."""
        spec = self.team.agents[agent]
        told = INSTRUCTION_TOKENS + max(self.told, instruction_tokens(self.team.coordinator))
        prompt = _own_tokens(spec) + self.task_tokens + told + shown
        use = NOTHING
        for _ in range(1 + (spec.max_tool_rounds if spec.tools else 0)):
            use = use + self.call(spec.model, prompt)
            prompt += self.longest(spec.model) + TOOL_RESULT_TOKENS
        return use

    def scheduled(self, steps: Sequence[Sequence[Request]]) -> dict[str, Use]:
        """What the steps use, by agent."""
        by_agent: dict[str, Use] = {}
        for number, step in enumerate(steps):
            for request in step:
                authors = [earlier.agent for past in steps[request.since : number] for earlier in past]
                replies = [self.reply(name) for name in authors if self.topology.may_see(request.agent, name)]
                shown = max(replies, default=0) if request.newest else sum(replies)
                drawn = self.request(request.agent, shown).times(request.samples)
                by_agent[request.agent] = by_agent.get(request.agent, NOTHING) + drawn
        return by_agent

    def chosen(self, agents: Sequence[str]) -> Use:
        """What a coordinator that chooses among some agents can use: at each request, the most that any would.

        The requests are taken one after another, each seeing all before it, which is more than parallel ones can see.
        Calls, tokens and dollars are maximised separately, so that no choice can exceed any of them.
        """
        most = min(self._most_requests(), self.limits.calls)
        longest = max(self.reply(name) for name in agents)
        limits = _consistent(self.limits, [self.price(self.team.agents[name].model) for name in agents])
        plan = longest if self.keeps and any(self.team.agents[name].tools for name in agents) else 0
        total = NOTHING
        for number in range(int(min(most, MOST_REQUESTS))):
            each = [self.request(name, number * longest + min(number, 1) * plan) for name in agents]
            total = total + Use(
                max(use.calls for use in each), max(use.tokens for use in each), max(use.dollars for use in each)
            )
            if total.tokens >= limits.tokens and total.dollars >= limits.dollars:
                break
        else:
            if most <= MOST_REQUESTS:
                return total
        return Use(most * max(1, *(self.request(name, 0).calls for name in agents)), math.inf, math.inf)

    def last_turn(self) -> Use:
        """What the last turn can use: one call, shown a reply of everybody at most."""
        name = self.team.budget.wind_down
        if name is None:
            return NOTHING
        shown = sum(self.reply(other) for other in self.team.agents if self.topology.may_see(name, other))
        spec = self.team.agents[name]
        return self.call(spec.model, _own_tokens(spec) + self.task_tokens + INSTRUCTION_TOKENS + shown)

    def _most_requests(self) -> float:
        """Requests that a choosing coordinator can make before any budget ends the run."""
        coordinator = self.team.coordinator
        if isinstance(coordinator, RandomSpec):
            return coordinator.max_steps * MOST_SAMPLES
        if isinstance(coordinator, LLMSelectorSpec | LLMSpec):
            return most_requests(coordinator)
        return self.requests if isinstance(coordinator, LearnedSpec) else math.inf

    def deciding(self) -> Use:
        """What decisions take of the coordinator's own calls; their repairs are among them."""
        name = decider(self.team.coordinator)
        if name is None:
            return NOTHING
        model, price = self.team.models[name], self._own_price(name)
        dearest = max((self.price(agent.model) for agent in self.team.agents.values()), key=lambda each: each.output)
        longest = max(self.reply(agent) for agent in self.team.agents)
        asked = questions(self.team, dearest, self.task_tokens, longest, min(self.requests, self.limits.calls))
        return _sum(_call(model, price, reads, writes).times(often) for often, each in asked for reads, writes in each)


def _own_tokens(agent: AgentSpec) -> int:
    """What an agent adds to every prompt of its own: its system prompt, its tools, its passages."""
    system = estimate_tokens([agent.prompt or ROLES.get(agent.role, "")])
    return system + len(agent.tools) * TOOL_SCHEMA_TOKENS + (PASSAGES_TOKENS if agent.documents else 0)


def _call(model: ModelSpec, price: Price, prompt: float, longest: int) -> Use:
    """One call that reads a prompt and writes at most so many tokens."""
    context = getattr(model, "context", None)
    if context is not None:
        prompt = min(prompt, max(0, context - longest))
    dollars = (prompt * price.input + longest * price.output) * 1e-6
    return Use(1, prompt + longest, dollars)


def _consistent(use: Use, prices: Iterable[Price]) -> Use:
    """The same bound, tightened: a call reads a token at least, and no token costs more than the dearest."""
    dearest = max(max(price.input, price.output) for price in prices) * 1e-6
    dollars = min(use.dollars, use.tokens * dearest) if dearest else 0.0
    return Use(min(use.calls, use.tokens), use.tokens, dollars)


def _sum(uses: Iterable[Use]) -> Use:
    total = NOTHING
    for use in uses:
        total = total + use
    return total
