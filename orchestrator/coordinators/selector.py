"""A language model names the next speaker, or ends the run.

Known from AutoGen's group chat (arXiv 2308.08155). The model answers in structured output (a JSON Schema goes with the
prompt, for endpoints that can enforce one). What comes back is not trusted: a pick that cannot be read or names nobody
gets one chance of repair, then the nearest name is taken, then the next agent in turn. Every call the selection took
is on the decision, those that failed included, and the run pays for it (see `own_model`). Nothing is asked when the
answer would be of no use: when there is one option only, or when the budget would not hold another agent's reply after
the question.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import cast

from podium.agents.model import Model, Prompt
from podium.orchestrator.coordinator import RunState, Stateless, directive_id, latest
from podium.orchestrator.coordinators.own_model import OwnModel, ShortError
from podium.orchestrator.retrying import PATIENT, Retry
from podium.protocols.errors import ModelError
from podium.protocols.noise import seed_of
from podium.protocols.record import Action, Call, Decision, Directive, Sampling
from podium.protocols.task import Message

__all__ = ["ANSWER_TOKENS", "ATTEMPTS", "LAST_WORDS", "LLMSelector", "finishing", "first_question", "second_question"]

FINISH = "finish"
"""The option that ends the run with the newest reply; an agent of this name makes it "finish the run"."""

ANSWER_TOKENS = 64
"""Cap of the selector's own reply, whatever the model's own: a name in JSON is far below it."""

ATTEMPTS = 2
"""Calls that one selection takes at most: the question, and its repair where the answer names nobody."""

CUTOFF = 0.6
"""How alike a wrong name must be to count as a misspelt one (difflib's ratio)."""

ASK = (
    "You lead a team. Read the task and what the team has said, and choose who speaks next. Choose {finish!r} as soon "
    "as the newest message answers the task.\n{options}\n"
    'Reply with JSON only: {{"next": one of {names}}}'
)

LAST_WORDS = "Who speaks next?"
"""What the model is told after the task and the replies."""


def finishing(agents: Sequence[str]) -> str:
    """What the option to finish is called."""
    return FINISH if FINISH not in agents else f"{FINISH} the run"


def first_question(options: Sequence[str], roles: Mapping[str, tuple[str, str]], finish: str) -> str:
    """What the model is told before the task. roles: role and description of each agent, by name."""
    lines = [
        f"- {name}: {'. '.join(roles[name])}".rstrip()
        if name in roles
        else f"- {name}: end the run; the newest message is the answer"
        for name in options
    ]
    return ASK.format(finish=finish, options="\n".join(lines), names=json.dumps(options))


def second_question(options: Sequence[str]) -> str:
    """What it is told after an answer that names nobody."""
    return f'That is none of {", ".join(options)}. Reply with JSON only: {{"next": "..."}}'


class LLMSelector(Stateless):
    """A served model picks the next agent.

    model: any `Model`; it is asked at temperature 0, and again as `retry` says where that fails in passing.
    max_steps: agents asked at most; the last reply is the answer, and so is the newest where the budgets, with what
    other runs hold of the pool by then, do not hold the question.
    A decision's reasons count `invalid` picks and say whether `repaired`, `nearest` or `turn` settled it.
    Raises ModelError (or a kind of it) when the model fails.
    """

    name = "llm_selector"

    def __init__(self, model: Model, max_steps: int = 6, retry: Retry = PATIENT) -> None:
        self.model = model
        self.max_steps = max_steps
        self._asking = OwnModel(model, retry)

    async def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """One selection per state, at the same time."""
        return await asyncio.gather(*(self._decide(state) for state in states))

    async def _decide(self, state: RunState) -> Decision:
        spoken = any(node.kind == "reply" for node in state.nodes)
        names = [card.name for card, fits in zip(state.cards, state.affordable, strict=True) if fits]
        finish = finishing([card.name for card in state.cards])
        options = [*names, finish] if spoken else names
        calls: list[Call] = []
        reasons: dict[str, float] = {}
        if len(options) < 2:
            choice = options[0]
        elif not self._holds(state):
            choice = finish if spoken else names[0]
        else:
            try:
                choice = await self._select(state, options, finish, calls, reasons)
            except ShortError:
                choice = finish if spoken else names[0]
                if state.own is not None:
                    state.own.release()
        action: Action
        if choice == finish:
            action = latest(state)
        else:
            last = state.step + 1 >= self.max_steps
            action = (Directive(directive_id(state, 0), choice, answer=last),)
        return Decision(
            f"{state.run}.{state.step}",
            state.step,
            action,
            self.name,
            reasons=reasons,
            seen=len(state.nodes),
            calls=tuple(calls),
        )

    async def _select(
        self, state: RunState, options: list[str], finish: str, calls: list[Call], reasons: dict[str, float]
    ) -> str:
        schema = {
            "type": "object",
            "properties": {"next": {"type": "string", "enum": options}},
            "required": ["next"],
            "additionalProperties": False,
        }
        if state.own is not None and not state.own.keep(self._prompt(state)):
            raise ShortError
        messages = self._messages(state, options, finish)
        said: list[str] = []
        for attempt in range(ATTEMPTS):
            try:
                text = await self._call(state, tuple(messages), schema, attempt, calls)
            except (ModelError, ShortError):
                if not said:
                    raise
                break  # what was paid for is on the decision, and the first answer settles it
            picked = _read(text)
            if picked in options:
                reasons.update(invalid=attempt, repaired=attempt)
                return picked
            said.append(picked or text)
            messages += [
                Message("assistant", text),
                Message("user", second_question(options)),
            ]
        for text in reversed(said):
            near = get_close_matches(text.strip().lower(), [option.lower() for option in options], 1, CUTOFF)
            if near:
                reasons.update(invalid=2, nearest=1)
                return next(option for option in options if option.lower() == near[0])
        reasons.update(invalid=2, turn=1)
        agents = [option for option in options if option != finish]
        return agents[state.step % len(agents)] if agents else finish

    async def _call(
        self,
        state: RunState,
        messages: tuple[Message, ...],
        schema: Mapping[str, object],
        attempt: int,
        calls: list[Call],
    ) -> str:
        """What the model says, asked again where it fails in passing. Raises ModelError, and ShortError before it."""
        shown = sum(len(message.content) + len(message.name or "") + 2 for message in messages)
        prompt = Prompt(
            self.name,
            state.task[-1].content,
            lambda: messages,
            int(shown / self.model.chars_per_token) + len(messages),
            response_schema=dict(schema),
            run=state.run,
            call=f"{state.run}.{state.step}.select.{attempt}",
        )
        seed = seed_of(state.seed, state.step, self.name, attempt) & 0x7FFFFFFF
        sampling = Sampling(0.0, max_tokens=ANSWER_TOKENS, seed=seed)
        return (await self._asking.ask(state.own, prompt, sampling, calls, attempt + 1)).text

    def _messages(self, state: RunState, options: list[str], finish: str) -> list[Message]:
        roles = {card.name: (card.role, card.description) for card in state.cards}
        ask = first_question(options, roles, finish)
        replies = [Message("user", node.content, name=node.author) for node in state.replies]
        return [Message("system", ask), *state.task, *replies, Message("user", LAST_WORDS)]

    def _prompt(self, state: RunState) -> int:
        """Tokens of a prompt that shows everything, roughly."""
        chars = sum(len(message.content) for message in state.task) + sum(len(node.content) for node in state.replies)
        return chars // 4 + 64 * len(state.cards)

    def _holds(self, state: RunState) -> bool:
        """Whether the budget holds a selection, its repair, and one more reply after it."""
        prompt, left = self._prompt(state), state.left
        tokens = 2 * (prompt + ANSWER_TOKENS)
        dollars = self.model.price.dollars(2 * prompt, 2 * ANSWER_TOKENS)
        return left.calls >= 3 and left.tokens > tokens + prompt and left.dollars >= dollars


def _read(text: str) -> str | None:
    """The value of "next" in the first JSON object of a text; None where there is none."""
    found = re.search(r"\{.*?\}", text, re.DOTALL)
    if found is None:
        return None
    try:
        value = cast(Mapping[str, object], json.loads(found.group())).get("next")
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, str) else None
