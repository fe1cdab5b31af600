"""An agent: a role bound to a model, with tools and documents if it has any.

It is immutable and keeps nothing between requests: all state of a run lives in the run, so one agent serves any
number of runs at once. It works one envelope into one reply: render what it is allowed to see, call the model, run
the tools the model asks for, and call again until the model answers in words. Each completed call is sent back as it
happens; no call is started that the envelope's lease does not hold. One that is cancelled after its first piece counts,
too, with an estimate of what it used.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from heapq import nlargest

from podium.agents.documents import DocumentIndex
from podium.agents.model import Model, Prompt, ToolSchema, usage_of
from podium.agents.plans import plan_words
from podium.agents.roles import ROLES, instruction
from podium.agents.tools import Tool
from podium.protocols.bus import Card, Delta, Envelope, Send
from podium.protocols.errors import BudgetExceeded, ModelError, NobodyAnswered, ToolError
from podium.protocols.people import Question
from podium.protocols.record import Begun, Call, Generation, Sampling, ToolCall, ToolResult, Usage
from podium.protocols.task import Message

PASSAGES = 4
"""How many passages of its documents a retriever reads for one directive."""

BROKEN_OFF = "stopped in the middle of its answer"
"""Why a call that was cancelled after its first piece has no result."""


class Agent:
    """One member of a team.

    name: unique in the team. role: a known role or any word, then with a prompt of its own. description: one sentence
    for coordinators; examples: tasks that it is for, for them too. max_tool_rounds: how often the model may ask for
    tools before it must answer. fallbacks: models that are asked in its place when it fails, in this order. asks: one
    of its tools waits for a person.
    """

    def __init__(
        self,
        name: str,
        role: str,
        model: Model,
        *,
        prompt: str | None = None,
        description: str = "",
        examples: Sequence[str] = (),
        tools: Sequence[Tool] = (),
        documents: DocumentIndex | None = None,
        max_tool_rounds: int = 4,
        fallbacks: Sequence[Model] = (),
    ) -> None:
        self.model = model
        self._chain = (model, *fallbacks)
        self._system = ROLES.get(role, "") if prompt is None else prompt
        self._tools = {tool.name: tool for tool in tools}
        self._schemas = tuple(tool.schema for tool in tools)
        self._documents = documents
        self._rounds = max_tool_rounds if tools else 0
        self.asks = any(tool.approve or tool.asks for tool in tools)
        densest = min(each.chars_per_token for each in self._chain)
        self.card = Card(
            name,
            role,
            description,
            (max(each.price.input for each in self._chain), max(each.price.output for each in self._chain)),
            tuple(self._tools),
            max(each.max_tokens for each in self._chain),
            int(self._own_characters() / densest) + 1,
            densest,
            self._rounds + 1,
            len(self._chain),
            tuple(examples),
        )

    def _own_characters(self) -> int:
        """What its system prompt, its tools and, at most, its passages add to a prompt."""
        tools = sum(len(json.dumps(schema.as_function())) for schema in self._schemas)
        passages = self._documents.passages if self._documents else ()
        longest = nlargest(PASSAGES, (len(passage.source) + len(passage.text) + 5 for passage in passages))
        return len(self._system) + tools + sum(longest)

    async def answer(self, envelope: Envelope, send: Send) -> str:
        """Work one directive; the reply.

        Raises ModelError (or a kind of it) when the model fails, ToolError when it asks for tools without end, and
        BudgetExceeded before a call that the lease does not hold.
        """
        history: tuple[Message, ...] = ()
        done = {call.id: call for call in envelope.done} if envelope.done else {}
        for turn in range(self._rounds + 1):
            more = turn < self._rounds and envelope.lease.calls >= 2  # for a tool's result to be read
            schemas = self._schemas if more else ()
            call_id = f"{envelope.id}.{turn}"
            known = done.get(call_id)
            asked = known.result if known else await self._generated(call_id, envelope, send, history, schemas)
            assert isinstance(asked, Generation)
            if not asked.tool_calls:
                return asked.text
            history += (Message("assistant", asked.text, tool_calls=asked.tool_calls),)
            for call in asked.tool_calls:
                used = done.get(f"{call_id}.{call.id}")
                if used is None:
                    used = await self._used(f"{call_id}.{call.id}", call, envelope, send)
                    send(used)
                history += (Message("tool", used.result.text, name=call.name, tool_call_id=call.id),)
        raise ToolError(
            f"still asked for tools after {self._rounds} rounds; raise max_tool_rounds or mend the prompt",
            run=envelope.run,
            agent=self.card.name,
        )

    async def _generated(
        self,
        call_id: str,
        envelope: Envelope,
        send: Send,
        history: tuple[Message, ...],
        schemas: tuple[ToolSchema, ...],
    ) -> Generation:
        """One call of the model, sent when it is complete, and taken off the lease."""
        generation: Generation | None = None
        came = 0  # characters
        model = self._chain[envelope.rung]
        prompt, sampling = self._asked(model, call_id, envelope, history, schemas)
        try:
            async for item in model.generate(prompt, sampling):
                if isinstance(item, Generation):
                    generation = item
                else:
                    came += len(item)
                    if envelope.stream:
                        send(Delta(item))
            if generation is None:
                raise ModelError("the model ended without an answer")
        except ModelError as error:
            error.run, error.agent = error.run or envelope.run, error.agent or self.card.name
            error.model = model.name
            raise
        except asyncio.CancelledError:
            if came:
                nothing = Generation("", _estimated(model, prompt, came), sampling, "cancelled")
                number = envelope.attempt
                send(Call(f"{call_id}.stopped.{number}", model.name, nothing, number, BROKEN_OFF))
            raise
        if generation.tool_calls and not self._tools:
            name, agent = generation.tool_calls[0].name, self.card.name
            wrong = ModelError(f"asked for the tool {name!r}, and was given none", run=envelope.run, agent=agent)
            wrong.model, wrong.usage = model.name, generation.usage
            raise wrong
        if generation.tool_calls:
            generation = replace(generation, tool_calls=_told_apart(generation.tool_calls))
        envelope.lease.pay(generation.usage)
        send(Call(call_id, model.name, generation, envelope.attempt))
        return generation

    def _asked(
        self,
        model: Model,
        call_id: str,
        envelope: Envelope,
        history: tuple[Message, ...],
        schemas: tuple[ToolSchema, ...],
    ) -> tuple[Prompt, Sampling]:
        """What the model is asked. Raises BudgetExceeded when the lease does not hold the call."""
        compute, lease = envelope.directive.compute, envelope.lease
        estimate, price = envelope.estimate, model.price
        if history:
            estimate += int(sum(_characters(message) for message in history) / model.chars_per_token) + 1
        room = lease.tokens - estimate
        if self._rounds and price.output > 0:  # one call of several: it may not use up all dollars either
            room = min(room, (lease.dollars - price.dollars(estimate, 0)) / price.dollars(0, 1))
        if lease.calls < 1 or room < 1:
            raise BudgetExceeded(
                f"a call of about {estimate} prompt tokens does not fit the {lease.tokens:.0f} tokens, "
                f"{lease.calls:.0f} calls and ${lease.dollars:.6f} left",
                run=envelope.run,
                agent=self.card.name,
            )
        limit = min(compute.max_tokens or model.max_tokens, model.max_tokens)
        sampling = Sampling(
            model.temperature if compute.temperature is None else compute.temperature,
            max_tokens=limit if limit <= room else int(room),
            seed=envelope.seed,
        )
        render = partial(self._render, envelope, history)
        asked, name = envelope.task[-1].content, self.card.name
        return Prompt(name, asked, render, estimate, schemas, None, envelope.run, call_id, envelope.ask), sampling

    async def _used(self, call_id: str, call: ToolCall, envelope: Envelope, send: Send) -> Call:
        """One tool call. One that must not run twice is announced, and runs when that is known to be written."""
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(self._tools)
            result = ToolResult(f"there is no tool {call.name!r}; you have: {known}", failed=True)
        elif (refused := tool.wrong(call.arguments) or await self._refused(call_id, tool, call, envelope)) is not None:
            result = refused
        else:
            if not tool.idempotent:
                written = send(Begun(envelope.directive.id, call_id, call.name, call.arguments, envelope.sample))
                if written is not None:
                    await written
            result = await tool.call(call.arguments, id=call.id)
            if tool.asks and not result.failed:
                name = self.card.name
                question = Question(envelope.run, f"{call_id}.said", name, result.text, wait=tool.wait)
                result = await self._told(question, envelope)
        return Call(call_id, call.name, result, envelope.attempt)

    async def _refused(self, call_id: str, tool: Tool, call: ToolCall, envelope: Envelope) -> ToolResult | None:
        """What the model is told of a call that a person had to approve and did not."""
        if not tool.approve:
            return None
        text = f"{self.card.name} wants to use {tool.name}: {call.arguments}"
        question = Question(envelope.run, call_id, self.card.name, text, approval=True, wait=tool.wait)
        try:
            word = await envelope.ask(question)
        except NobodyAnswered as error:
            return ToolResult(f"{tool.name} needs a person's approval: {error.message}. Go on without it.", failed=True)
        if word.approved:
            return None
        why = f": {word.text}" if word.text else ""
        return ToolResult(f"A person refused this call of {tool.name}{why}. Do not repeat it.", failed=True)

    async def _told(self, question: Question, envelope: Envelope) -> ToolResult:
        """What a person answered."""
        try:
            return ToolResult((await envelope.ask(question)).text)
        except NobodyAnswered as error:
            return ToolResult(f"{error.message}. Go on without an answer.", failed=True)

    def _render(self, envelope: Envelope, history: tuple[Message, ...]) -> tuple[Message, ...]:
        """The prompt: role, conversation, passages, visible replies, instruction, and the tool calls made so far."""
        messages: list[Message] = [Message("system", self._system)] if self._system else []
        messages.extend(envelope.task)
        directive, name = envelope.directive, self.card.name
        if self._documents is not None:
            query = f"{envelope.task[-1].content} {directive.instruction}"
            found = self._documents.search(query, PASSAGES)
            passages = "\n\n".join(f"[{passage.source}] {passage.text}" for passage in found)
            messages.append(Message("user", passages or "No passage matches.", name="passages"))
        messages.extend(Message("user", node.content, name=node.author) for node in envelope.visible())
        if envelope.directive.compute.plan != "none":
            planned = plan_words(directive.compute.plan, envelope.plan)
            if planned:
                messages.append(Message("user", planned))
        words = instruction(directive.objective, directive.detail, directive.instruction)
        if words:
            messages.append(Message("user", words))
        messages.extend(history)
        if messages and messages[-1].role == "system":
            raise ModelError("there is nothing to answer: the task is empty", run=envelope.run, agent=name)
        return tuple(messages)


def _told_apart(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """Tool calls with an id each, by which results and people's words find them; models may give two the same."""
    taken: set[str] = set()
    out: list[ToolCall] = []
    for call in calls:
        name, count = call.id, 1
        while name in taken:
            count += 1
            name = f"{call.id}.{count}"
        taken.add(name)
        out.append(replace(call, id=name))
    return tuple(out)


def _estimated(model: Model, prompt: Prompt, came: int) -> Usage:
    """What a call used that broke off after so many characters."""
    return usage_of(model.price, prompt.estimate, int(came / model.chars_per_token) + 1)


def _characters(message: Message) -> int:
    """How long a message of the tool loop is, the calls that it asks for included."""
    asked = (call for call in message.tool_calls if isinstance(call, ToolCall))
    return len(message.content) + sum(len(call.name) + len(call.arguments) for call in asked)
