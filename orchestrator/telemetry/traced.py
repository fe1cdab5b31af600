"""What is wrapped where a team is watched: its models, its tools and its coordinator; `invocations` wraps its bus.

    invoke_workflow TEAM            a run
      plan COORDINATOR              a decision, with the model calls that it takes
      invoke_agent AGENT            a directive, with all attempts at it
        sample AGENT                one of its samples, where it asks for more than one
          chat MODEL                one model call: in the sample, or in the directive that is one
          execute_tool TOOL

Names and attributes are those of OpenTelemetry's conventions for generative AI, and podium.* where they have none.
`gen_ai.usage.*` stands on `chat` spans only, so a sum over spans counts every token once; `podium.usage.*`, on
directives and runs, is what all that is inside of them used. Models and tools that are used outside
of a watched run, in training for instance, are as they are without all this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields

from opentelemetry.trace import SpanKind

from podium.agents.model import Model, Prompt, Wrapped, usage_of
from podium.agents.tools import Tool
from podium.orchestrator.coordinator import Coordinator, Memory, RunState
from podium.orchestrator.telemetry.contents import reply_json, said_json
from podium.orchestrator.telemetry.instruments import AGENT, MODEL, TOOL, WORKFLOW, Labels
from podium.orchestrator.telemetry.logs import PLACE
from podium.orchestrator.telemetry.operations import LIVE, Live, Operation, Watcher, reason
from podium.protocols.bus import Card
from podium.protocols.errors import ModelError
from podium.protocols.record import NO_USAGE, Decision, Finish, Generation, Node, Sampling, ToolResult
from podium.protocols.task import Message

__all__ = ["TracedCoordinator", "TracedModel", "TracedTool"]

FINISHES = {"tool": "tool_calls"}


class TracedModel(Wrapped):
    """A model whose calls in watched runs are spans. labels: its provider and its name there; remote: so is it."""

    def __init__(self, model: Model, watcher: Watcher, labels: Labels, server: Labels, *, remote: bool) -> None:
        super().__init__(model)
        self._watcher = watcher
        self._labels = labels
        self._server = server
        self._kind = SpanKind.CLIENT if remote else SpanKind.INTERNAL

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """As the model."""
        live = LIVE.get()
        if live is None:
            async for item in self.model.generate(prompt, sampling):
                yield item
            return
        labels = {**self._labels, AGENT: prompt.agent}
        operation, began = self._begin(live, prompt, sampling, labels), time.perf_counter()
        waited: float | None = None
        came = 0  # characters
        try:
            async for item in self.model.generate(prompt, sampling):
                if isinstance(item, Generation):
                    self._used(operation, item, labels)
                else:
                    came += len(item)
                    if waited is None:
                        waited = time.perf_counter() - began
                        operation.span.set_attribute("gen_ai.response.time_to_first_chunk", waited)
                yield item
        except BaseException as error:
            usage = error.usage if isinstance(error, ModelError) else NO_USAGE
            if came and isinstance(error, asyncio.CancelledError):  # as the agent counts it
                usage = usage_of(self.price, prompt.estimate, int(came / self.chars_per_token) + 1)
            if usage.calls:
                self._used(operation, Generation("", usage, sampling, "cancelled"), labels)
            operation.end(*reason(error))
            raise
        operation.end()

    def _begin(self, live: Live, prompt: Prompt, sampling: Sampling, labels: Labels) -> Operation:
        attributes: dict[str, str | int | float] = {
            **self._server,
            "podium.model": self.name,
            "gen_ai.request.max_tokens": sampling.max_tokens,
            "gen_ai.request.temperature": sampling.temperature,
        }
        if sampling.top_p < 1:
            attributes["gen_ai.request.top_p"] = sampling.top_p
        if sampling.seed is not None:
            attributes["gen_ai.request.seed"] = sampling.seed
        if self._watcher.content:
            attributes["gen_ai.input.messages"] = self._watcher.mask(said_json(prompt.messages))
        return self._watcher.begin(live, "chat", str(labels[MODEL]), attributes, labels, kind=self._kind)

    def _used(self, operation: Operation, generation: Generation, labels: Labels) -> None:
        usage = generation.usage
        attributes: dict[str, int | float | list[str] | str] = {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "podium.dollars": usage.dollars,
            "gen_ai.response.finish_reasons": [FINISHES.get(generation.finish, generation.finish)],
        }
        if self._watcher.content:
            attributes["gen_ai.output.messages"] = self._watcher.mask(reply_json(generation.text, generation))
        operation.span.set_attributes(attributes)
        self._watcher.instruments.used(usage, labels)


@dataclass(frozen=True, slots=True)
class TracedTool(Tool):
    """A tool whose calls in watched runs are spans."""

    watcher: Watcher | None = None

    @classmethod
    def of(cls, tool: Tool, watcher: Watcher) -> TracedTool:
        """The same tool, watched."""
        return cls(**{each.name: getattr(tool, each.name) for each in fields(tool)}, watcher=watcher)

    async def call(self, arguments: str, *, id: str = "") -> ToolResult:
        """As the tool."""
        live, place, watcher = LIVE.get(), PLACE.get(), self.watcher
        if live is None or watcher is None:
            return await Tool.call(self, arguments, id=id)
        labels: Labels = {TOOL: self.name, "gen_ai.tool.type": "function", AGENT: place.agent if place else ""}
        told = {"gen_ai.tool.call.id": id} if id else {}
        if watcher.content:
            told["gen_ai.tool.call.arguments"] = watcher.mask(arguments)
        operation = watcher.begin(live, "execute_tool", self.name, told, labels)
        try:
            with operation.current():
                result = await Tool.call(self, arguments, id=id)
        except BaseException as error:
            operation.end(*reason(error))
            raise
        if watcher.content:
            operation.span.set_attribute("gen_ai.tool.call.result", watcher.mask(result.text))
        operation.end("ToolError" if result.failed else "")  # its text may repeat arguments: that is content
        return result


class TracedCoordinator:
    """A coordinator whose decisions are spans. runs: those under way, by id, since some decide for many at once."""

    def __init__(self, coordinator: Coordinator, watcher: Watcher, runs: Mapping[str, Live]) -> None:
        self.coordinator = coordinator
        self.name = coordinator.name
        self.batched = coordinator.batched
        self._watcher = watcher
        self._runs = runs

    def begin(self, task: tuple[Message, ...], cards: tuple[Card, ...]) -> Memory:
        """As the coordinator."""
        return self.coordinator.begin(task, cards)

    def observe(self, memory: Memory, node: Node) -> Memory:
        """As the coordinator."""
        return self.coordinator.observe(memory, node)

    def decide(self, states: Sequence[RunState]) -> list[Decision] | Awaitable[list[Decision]]:
        """As the coordinator. What it asks of models is inside the span, where it decides for one run alone."""
        operations = [self._begin(state) for state in states]
        try:
            with ExitStack() as inside:
                if len(operations) == 1:
                    inside.enter_context(operations[0].current())
                made = self.coordinator.decide(states)
        except BaseException as error:
            self._failed(operations, error)
            raise
        if isinstance(made, list):
            self._decided(operations, states, made)
            return made
        return self._awaited(operations, states, made)

    async def _awaited(
        self, operations: Sequence[Operation], states: Sequence[RunState], work: Awaitable[list[Decision]]
    ) -> list[Decision]:
        try:
            with ExitStack() as inside:
                if len(operations) == 1:
                    inside.enter_context(operations[0].current())
                made = await work
        except BaseException as error:
            self._failed(operations, error)
            raise
        self._decided(operations, states, made)
        return made

    def _begin(self, state: RunState) -> Operation:
        live = self._runs[state.run]
        live.settle()
        live.step = state.step
        return self._watcher.begin(
            live, "plan", self.name, {"podium.step": state.step}, {AGENT: self.name}, context=live.context
        )

    def _decided(self, operations: Sequence[Operation], states: Sequence[RunState], made: Sequence[Decision]) -> None:
        for operation, decision in zip(operations, made, strict=True):
            action = decision.action
            agents = [] if isinstance(action, Finish) else [directive.agent for directive in action]
            operation.span.set_attributes(
                {
                    "podium.decision": decision.id,
                    "podium.agents": agents,
                    "podium.finish": isinstance(action, Finish),
                    "podium.mode": decision.mode,
                    "podium.log_prob": decision.log_prob,
                }
            )
            if decision.value is not None:
                operation.span.set_attribute("podium.value", decision.value)
            operation.end()
            self._watcher.instruments.decisions.add(1, {WORKFLOW: self._watcher.team, AGENT: self.name})

    def _failed(self, operations: Sequence[Operation], error: BaseException) -> None:
        for operation in operations:
            operation.end(*reason(error))
