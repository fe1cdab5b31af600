"""What a coordinator that asks a model reads and writes to decide, at most: the sizes that `worst_case` adds up.

An llm_selector decides max_steps times (the first time without a call, where the team is one agent), with two calls
each: the question, and its repair where the answer names nobody. With W the longest replies of all earlier requests,

    question_1 = what it is told + agents and what they are + task + W
    question_2 = question_1 + ANSWER_TOKENS + what it is told the second time

An llm decides once more than max_steps, to finish (not where there can be one reply only), with 1 + repairs calls each:

    question_1 = what it is told + agents and what they are + min(task, TASK) + min(W with heads, transcript)
    question_n = question_1 + (n - 1) * (max_tokens + what was wrong)

Both write at most ANSWER_TOKENS or `max_tokens`, whatever the model's own; their fallbacks are not asked. A trained
policy whose requests a model words has one call for each request, which reads LONGEST_QUESTION and the task at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from podium.agents.model import Price, estimate_tokens
from podium.orchestrator.coordinator_spec import CoordinatorSpec, LearnedSpec, LLMSelectorSpec, LLMSpec, WordsSpec
from podium.orchestrator.coordinators import decision_prompt
from podium.orchestrator.coordinators.decision_form import LONGEST, MOST_PROBLEMS, Choices, caps
from podium.orchestrator.coordinators.selector import (
    ANSWER_TOKENS,
    ATTEMPTS,
    LAST_WORDS,
    finishing,
    first_question,
    second_question,
)
from podium.orchestrator.coordinators.worded import LONGEST_QUESTION, LONGEST_WORDS, TASK
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.bus import Card

__all__ = ["Question", "decider", "instruction_tokens", "most_requests", "questions"]

Question = tuple[float, int]
"""Tokens that are read, and tokens that are written at most."""


def decider(coordinator: CoordinatorSpec) -> str | None:
    """The model that a coordinator asks; None for one that asks none."""
    if isinstance(coordinator, LearnedSpec) and coordinator.words is not None:
        return coordinator.words.model
    return coordinator.model if isinstance(coordinator, LLMSelectorSpec | LLMSpec) else None


def most_requests(coordinator: LLMSelectorSpec | LLMSpec) -> int:
    """Requests that a run can make at most, each sample counted."""
    if isinstance(coordinator, LLMSelectorSpec):
        return coordinator.max_steps
    return coordinator.max_steps * coordinator.width * coordinator.samples


def instruction_tokens(coordinator: CoordinatorSpec) -> int:
    """What the coordinator's own words add to a request."""
    if isinstance(coordinator, LearnedSpec) and coordinator.words is not None:
        return LONGEST_WORDS // 4 + 1
    return LONGEST // 4 + 1 if isinstance(coordinator, LLMSpec) else 0


def questions(
    team: TeamSpec, price: Price, task_tokens: int, reply: int, requests: float = math.inf
) -> list[tuple[int, list[Question]]]:
    """How often a decision comes, and its questions, in order. reply: tokens of the longest reply of the team, as
    others are shown it.

    price: the dearest of the team's agents, as far as it is told to the model. requests: that a trained policy can
    make, which may be as many as a budget holds calls.
    """
    match team.coordinator:
        case LLMSelectorSpec():
            return [(1, each) for each in _selections(team, team.coordinator.max_steps, task_tokens, reply)]
        case LLMSpec():
            return [(1, each) for each in _decisions(team, team.coordinator, price, task_tokens, reply)]
        case LearnedSpec(words=WordsSpec(max_tokens=most)) if math.isfinite(requests):
            return [(int(requests), [(LONGEST_QUESTION / 4 + min(task_tokens, TASK / 4), most)])]
        case _:  # a schedule, or what nothing but the budget bounds
            return []


def _selections(team: TeamSpec, max_steps: int, task_tokens: int, reply: int) -> list[list[Question]]:
    agents = team.agents
    finish = finishing(list(agents))
    options = [*agents, finish]
    roles = {key: (agent.role, agent.description or "") for key, agent in agents.items()}
    asked = estimate_tokens([first_question(options, roles, finish), LAST_WORDS]) + task_tokens
    again = ANSWER_TOKENS + estimate_tokens([second_question(options)])
    first = 0 if len(agents) > 1 else 1
    return [
        [(asked + number * reply + attempt * again, ANSWER_TOKENS) for attempt in range(ATTEMPTS)]
        for number in range(first, max_steps)
    ]


def _decisions(team: TeamSpec, spec: LLMSpec, price: Price, task_tokens: int, reply: int) -> list[list[Question]]:
    cards = _cards(team, price)
    names = tuple(card.name for card in cards)
    longest = max(card.max_tokens for card in cards)
    widest = Choices(names, (), (), spec.objectives, spec.width, spec.samples, caps(longest), spec.plans)
    told = len(decision_prompt.first_message(cards, widest, spec.prompt or "")) + decision_prompt.overhead(cards)
    asked = told / 4 + 2 + min(task_tokens, decision_prompt.longest(decision_prompt.TASK) / 4)
    again = spec.max_tokens + (MOST_PROBLEMS + 1) * decision_prompt.longest(decision_prompt.PROBLEM) / 4
    last = spec.max_steps + (1 if spec.max_steps * spec.width > 1 else 0)
    return [
        [
            (asked + _said(number * spec.width, reply, spec.transcript) + attempt * again, spec.max_tokens)
            for attempt in range(1 + spec.repairs)
        ]
        for number in range(last)
    ]


def _said(replies: int, reply: int, transcript: int) -> float:
    """Tokens of so many replies, as the model is shown them. Their numbers come on top of what limits the rest."""
    head, number = decision_prompt.HEAD / 4, decision_prompt.NUMBER / 4
    return min(replies * (reply + head), transcript / 4 + head) + replies * number


def _cards(team: TeamSpec, price: Price) -> Sequence[Card]:
    """The team as the model is told of it; prices by the dearest, whose digits matter only."""
    cards: list[Card] = []
    for name, agent in team.agents.items():
        model = team.models[agent.model]
        tools = tuple(each if isinstance(each, str) else each.name for each in agent.tools)
        about = agent.description or ""
        prices = price.input, price.output
        cards.append(Card(name, agent.role, about, prices, tools, model.max_tokens, examples=agent.examples))
    return cards
