"""A language model decides: who is asked for what, with which words and how much compute, and when to stop.

The contract is that of the learned coordinator, so a decision is the same data. The model writes it as JSON, by a
schema made for this very state (`decision_form`), and is shown what `decision_prompt` says. What comes back is checked
against the same schema, whether the server enforced it or not. What is wrong is told to the model, a line for each
problem, up to `repairs` times. After that a rule decides, which the record tells (`fallback` among the reasons), or
the run fails, as `on_failure` says.

Every question is kept with its call, as what it adds to the one before (`Asked`), so that a recipe finds the exact
messages, the completion with its ids and log-probabilities, and what was made of it (`podium.training.decisions`).

Work in this line: Conductor (arXiv 2512.04388) writes instructions and who sees what; ToolOrchestra (arXiv 2511.21689)
is shown prices and what the user prefers; AgentFlow (arXiv 2510.05592) is trained in the flow.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from podium.agents.model import Model, Prompt
from podium.agents.response_format import ANY_OBJECT
from podium.orchestrator.coordinator import RunState, directive_id, plurality
from podium.orchestrator.coordinators import decision_prompt
from podium.orchestrator.coordinators.decision_form import Choices, Form, NoDecisionError, caps, form_of
from podium.orchestrator.coordinators.own_model import OwnModel, ShortError
from podium.orchestrator.leases import SHORTEST_REPLY
from podium.orchestrator.retrying import PATIENT, Retry
from podium.protocols.bus import Card
from podium.protocols.errors import BudgetExceeded, CoordinatorError, ModelError
from podium.protocols.noise import seed_of
from podium.protocols.record import (
    OBJECTIVES,
    Action,
    Asked,
    Call,
    Decision,
    Directive,
    Factor,
    Finish,
    Generation,
    Node,
    Objective,
    Plan,
    Sampling,
)
from podium.protocols.task import Message

__all__ = ["COMPLETION", "LLMCoordinator", "Leading", "question_in"]

COMPLETION = "completion"
"""The head of a factor that stands for a completion; its choice is the attempt."""

REFUSED = re.compile(r"response.?format|json.?schema|json.?object|structured|guided|grammar|schema", re.I)
"""What a refusal speaks of that is about the form of the reply."""

Structured = Literal["json_schema", "json_object", "none"]


@dataclass(frozen=True, slots=True)
class Leading:
    """How a model leads.

    max_steps: steps with requests; then it has to finish. width: requests of one step; samples: answers of one request.
    objectives: what may be asked for. structured: what the server is told of the form. repairs: further attempts at a
    decision. on_failure: what happens after them. max_tokens: of one reply of the model. transcript: characters of what
    was said. words: told to the model besides. plans: what may be told of plans.
    """

    max_steps: int = 6
    width: int = 3
    samples: int = 1
    objectives: tuple[Objective, ...] = OBJECTIVES
    structured: Structured = "json_schema"
    repairs: int = 2
    on_failure: Literal["fallback", "error"] = "fallback"
    max_tokens: int = 512
    transcript: int = 12_000
    words: str = ""
    plans: tuple[Plan, ...] = ("none",)

    def widest(self, cards: Sequence[Card]) -> Choices:
        """What may be decided in a run, whatever its state."""
        longest = max(card.max_tokens for card in cards)
        names = tuple(card.name for card in cards)
        return Choices(names, (), (), self.objectives, self.width, self.samples, caps(longest), self.plans)


PLAIN = Leading()


class LLMCoordinator:
    """A served model leads.

    model: any `Model`; greedy runs ask it at temperature 0, others at its own. Its memory is the text of the newest
    question, of which the record keeps differences only.
    A decision's reasons: attempts, invalid (attempts that were no decision), repaired, fallback (a rule decided), cut
    (not all that was said was shown), unasked (the budget did not hold the question), only (there was no choice).

    Raises ModelError (or a kind of it) when the model fails, and CoordinatorError when it gives no decision and
    `on_failure` is "error".
    """

    name = "llm"
    batched = False

    def __init__(self, model: Model, leading: Leading = PLAIN, retry: Retry = PATIENT) -> None:
        self.model = model
        self.leading = leading
        self._asking = OwnModel(model, retry)

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> str:
        """Nothing was asked yet."""
        return ""

    def observe(self, memory: str, node: Node) -> str:
        """The newest question."""
        for call in node.calls:
            if call.asked is not None:
                memory = call.asked.whole(memory)
        return memory

    async def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """One decision per state, at the same time."""
        return await asyncio.gather(*(_Step(self, state).decide() for state in states))

    async def ask(
        self, state: RunState, prompt: Prompt, sampling: Sampling, calls: list[Call], attempt: int, asked: Asked
    ) -> Generation:
        """What the model says. Raises ModelError, and ShortError before a call that the budgets do not hold."""
        try:
            return await self._asking.ask(state.own, prompt, sampling, calls, attempt, asked)
        except ModelError as error:
            if prompt.response_schema is not None and not error.transient and REFUSED.search(error.message):
                rest = {"json_schema": "json_object or none", "json_object": "none"}[self.leading.structured]
                error.message += (
                    f"; the request asked for a form of the reply: where the server takes none, set structured of the "
                    f"coordinator to {rest}"
                )
            raise


class _Step:
    """One decision under way."""

    def __init__(self, lead: LLMCoordinator, state: RunState) -> None:
        leading = lead.leading
        self.lead = lead
        self.state = state
        self.said = decision_prompt.shown(state, leading.transcript)
        affordable = zip(state.cards, state.affordable, strict=True)
        goes_on = state.step < leading.max_steps or not state.replies
        open_to = [card.name for card, fits in affordable if fits and goes_on]
        widest = leading.widest(state.cards)
        seen = self.said.replies
        self.choices = Choices(
            tuple(open_to), seen, seen, leading.objectives, leading.width, leading.samples, widest.caps, leading.plans
        )
        self.calls: list[Call] = []
        self.reasons: dict[str, float] = {"cut": 1.0} if self.said.cut else {}

    async def decide(self) -> Decision:
        """The decision, and how it came about."""
        state, choices = self.state, self.choices
        replies = state.replies
        if not choices.agents and len(replies) < 2:
            if not replies:
                raise BudgetExceeded("the budget does not hold one call", run=state.run)
            self.reasons["only"] = 1.0
            return self._made(Finish(replies[0].id))
        if choices.agents and state.own is not None and not state.own.keep(self._room()):
            self.reasons["unasked"] = 1.0
            return self._made(self._by_rule())
        try:
            action = await self._asked(form_of(choices))
        except ShortError:
            if state.own is not None:
                state.own.release()
            self.reasons["unasked"] = 1.0
            action = self._by_rule()
        return self._made(action)

    async def _asked(self, form: Form) -> Action:
        """What the model decides, or the rule where it gives no decision. Raises ModelError and ShortError."""
        state, lead = self.state, self.lead
        leading, problems = lead.leading, tuple[str, ...]()
        messages = [
            Message("system", decision_prompt.first_message(state.cards, leading.widest(state.cards), leading.words)),
            Message("user", decision_prompt.second_message(state, self.said, self.choices, leading.max_steps)),
        ]
        before = cast(str, state.memory)
        for attempt in range(1 + leading.repairs):
            question = _question(messages, form.schema, leading.structured)
            try:
                generation = await self._attempt(tuple(messages), form, attempt, Asked.after(before, question))
            except (ModelError, ShortError):
                if not attempt:
                    raise
                break  # what was paid for is on the decision, and the rule settles it
            asked = self.calls[-1].asked
            if asked is not None:  # as it was really asked: an earlier life of the run may have had more left
                before = asked.whole(before)
                messages = list(question_in(before)[0])
            try:
                action = form.read(generation.text, state)
            except NoDecisionError as error:
                problems = error.problems
                if generation.finish == "length":
                    cap = generation.sampling.max_tokens
                    problems = (f"the reply was cut off at {cap} tokens; be brief", *problems)
                messages += [Message("assistant", generation.text), Message("user", decision_prompt.mended(problems))]
            else:
                self.reasons["invalid"] = float(attempt)
                if attempt:
                    self.reasons["repaired"] = 1.0
                return action
        attempts = sum(call.error is None for call in self.calls)
        self.reasons["invalid"] = float(attempts)
        if leading.on_failure == "error":
            tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            raise CoordinatorError(
                f"model {lead.model.name} gave no valid decision in {tried}: {'; '.join(problems)}", run=state.run
            )
        self.reasons["fallback"] = 1.0
        return self._by_rule()

    async def _attempt(self, messages: tuple[Message, ...], form: Form, attempt: int, asked: Asked) -> Generation:
        state, model, leading = self.state, self.lead.model, self.lead.leading
        characters = sum(len(message.content) + 2 for message in messages)
        enforced: dict[Structured, dict[str, Any] | None] = {
            "json_schema": form.schema,
            "json_object": dict(ANY_OBJECT),
            "none": None,
        }
        prompt = Prompt(
            self.lead.name,
            state.task[-1].content,
            lambda: messages,
            int(characters / model.chars_per_token) + len(messages),
            response_schema=enforced[leading.structured],
            run=state.run,
            call=f"{state.run}.{state.step}{decision_prompt.CALL}{attempt}",
        )
        seed = seed_of(state.seed, state.step, self.lead.name, attempt) & 0x7FFFFFFF
        temperature = model.temperature if state.mode == "sample" else 0.0
        sampling = Sampling(temperature, max_tokens=leading.max_tokens, seed=seed)
        return await self.lead.ask(state, prompt, sampling, self.calls, attempt + 1, asked)

    def _by_rule(self) -> Action:
        """Without the model: the answer that most replies agree on, else the newest; else ask the first agent."""
        replies = self.state.replies
        if replies:
            answers = [node.answer for node in replies if node.answer is not None]
            return Finish((plurality(replies) if len(set(answers)) < len(answers) else replies[-1]).id)
        return (Directive(directive_id(self.state, 0), self.choices.agents[0]),)

    def _room(self) -> int:
        """Tokens that a request takes at least, whoever is asked: what is kept of the budgets for it."""
        state = self.state
        task = sum(len(message.content) for message in state.task)
        fits = [card for card in state.cards if card.name in self.choices.agents]
        return min(card.overhead + int(task / card.chars_per_token) + SHORTEST_REPLY for card in fits)

    def _made(self, action: Action) -> Decision:
        state = self.state
        completions = [call for call in self.calls if call.error is None]
        if completions:
            self.reasons["attempts"] = float(len(completions))
        factors = _factors(completions) if state.mode == "sample" else ()
        return Decision(
            f"{state.run}.{state.step}",
            state.step,
            action,
            self.lead.name,
            mode=state.mode,
            factors=factors,
            log_prob=sum(factor.log_prob for factor in factors),
            reasons=self.reasons,
            seen=len(state.nodes),
            budget_left=state.left.fractions,
            calls=tuple(self.calls),
        )


def _factors(completions: Sequence[Call]) -> tuple[Factor, ...]:
    """One for each completion, where the model gives log-probs of them all: what the decision was drawn with."""
    factors: list[Factor] = []
    for place, call in enumerate(completions):
        if not isinstance(call.result, Generation) or call.result.log_probs is None:
            return ()
        factors.append(Factor(COMPLETION, place, sum(call.result.log_probs)))
    return tuple(factors)


def _question(messages: Sequence[Message], schema: dict[str, Any], structured: Structured) -> str:
    """A question as the record keeps it: the messages first, which have most in common with those before."""
    said = [[message.role, message.content] for message in messages]
    return json.dumps([said, structured, schema], ensure_ascii=False, separators=(",", ":"))


def question_in(text: str) -> tuple[tuple[Message, ...], Structured, dict[str, Any]]:
    """Messages, what the server was told of the form, and the schema of a question as the record keeps it."""
    said, structured, schema = json.loads(text)
    return tuple(Message(role, content) for role, content in said), structured, schema
