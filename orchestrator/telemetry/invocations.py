"""Directives as spans: one for each, over all its samples and all attempts to have them answered.

Where a directive asks for one sample, its span holds the calls of models and tools itself. Where it asks for more, each
sample has a span of its own in between. A bus sees requests, one for each sample, and how many of them the budget held
is not its to know: a directive ends when all samples that it asks for are there, or when it is known that nobody asks
any more, and then at the end of the last.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from functools import partial

from opentelemetry import trace

from podium.orchestrator.telemetry.instruments import AGENT, ERROR, WORKFLOW, Labels
from podium.orchestrator.telemetry.logs import PLACE, Place
from podium.orchestrator.telemetry.operations import LIVE, Live, Operation, Watcher, reason
from podium.protocols.bus import Bus, Card, Delta, Envelope, Send
from podium.protocols.errors import ModelError
from podium.protocols.record import NO_USAGE, Begun, Call, Directive, Generation, Usage

__all__ = ["TracedBus"]

Failure = tuple[str, str, int]
"""Kind of an error, its words, and when it was, in nanoseconds."""

OUTCOMES = ("cancelled", "timeout")
"""Errors that are outcomes by their own names; any other is "failed"."""


class Invocation:
    """A directive under way. It is answered where at least one of its samples is; else it ends as the last of them."""

    __slots__ = ("_answered", "_at", "_directive", "_failed", "_last", "_left", "_live", "_samples", "_usage", "whole")

    def __init__(self, live: Live, directive: Directive, whole: Operation) -> None:
        self.whole = whole
        self._live = live
        self._directive = directive
        self._samples: dict[int, Operation] = {}
        self._failed: dict[int, Failure] = {}  # samples whose newest attempt failed, and for which others may be made
        self._left = directive.compute.samples
        self._last: Failure | None = None
        self._answered = 0
        self._at: int | None = None
        self._usage = NO_USAGE

    def sample(self, watcher: Watcher, number: int) -> Operation:
        """What holds the calls for a sample, whichever attempt at it this is."""
        self._failed.pop(number, None)
        if self._directive.compute.samples == 1:
            return self.whole
        found = self._samples.get(number)
        if found is None:
            agent, inside = self._directive.agent, trace.set_span_in_context(self.whole.span, self._live.context)
            told = {"podium.directive": self._directive.id, "podium.sample": number}
            found = watcher.begin(self._live, "sample", agent, told, {AGENT: agent}, context=inside)
            self._samples[number] = found
        return found

    def used(self, usage: Usage) -> None:
        """A call was made for it, or one that failed had used something."""
        self._usage = usage if self._usage is NO_USAGE else self._usage + usage

    def failed(self, number: int, kind: str, what: str) -> None:
        """An attempt at a sample failed; there may be another."""
        self._failed[number] = kind, what, time.time_ns()

    def ended(self, number: int, kind: str = "", what: str = "", at: int | None = None) -> None:
        """A sample is there, or is not to be had: the kind of its error, and what there is to say of that."""
        at = time.time_ns() if at is None else at
        self._at = at if self._at is None else max(self._at, at)
        if kind:
            self._last = kind, what, at
        else:
            self._answered += 1
        if number in self._samples:
            self._samples[number].end(kind, what, at=at)
        self._left -= 1
        if not self._left:
            self._end()

    def settle(self) -> None:
        """Nobody asks any more: what failed has failed, since its last attempt."""
        for number, failure in self._failed.items():
            self.ended(number, *failure)
        if self._left:  # the budget held fewer samples
            self._end()

    def _end(self) -> None:
        self._live.invocations.pop(self._directive.id, None)
        usage, (kind, what, _) = self._usage, self._last or ("cancelled", "", 0)
        if self._answered:
            kind, what = "", ""
        outcome = kind if kind in OUTCOMES else "failed" if kind else "answered"
        told: dict[str, str | int | float] = {
            "podium.outcome": outcome,
            "podium.usage.input_tokens": usage.input_tokens,
            "podium.usage.output_tokens": usage.output_tokens,
            "podium.usage.calls": usage.calls,
            "podium.usage.dollars": usage.dollars,
        }
        if self._directive.compute.samples > 1:
            told["podium.samples.answered"] = self._answered
        self.whole.span.set_attributes(told)
        self.whole.end(kind, what, at=self._at)


class TracedBus:
    """A bus whose requests are spans, of directives and their samples.

    models: what the conventions want to know of an agent's model, by agent.
    """

    def __init__(self, bus: Bus, watcher: Watcher, models: Mapping[str, Labels]) -> None:
        self._bus = bus
        self._watcher = watcher
        self._models = models

    def cards(self) -> tuple[Card, ...]:
        """The agents, as the bus knows them."""
        return self._bus.cards()

    async def request(self, address: str, envelope: Envelope, send: Send) -> str:
        """As the bus. An attempt that failed ends nothing yet: the orchestrator may ask again."""
        live = LIVE.get()
        if live is None:
            return await self._bus.request(address, envelope, send)
        number, instruments = envelope.sample, self._watcher.instruments
        invocation = live.invocations.get(envelope.directive.id) or self._begin(live, address, envelope.directive)
        operation = invocation.sample(self._watcher, number)
        if envelope.attempt > 1:
            operation.span.set_attribute("podium.attempts", envelope.attempt)
            instruments.retries.add(1, {WORKFLOW: self._watcher.team, AGENT: address})
        place = PLACE.set(Place(live.id, address, live.step, live.trace))
        try:
            with operation.current():
                content = await self._bus.request(address, envelope, partial(_counted, invocation, send))
        except ModelError as error:
            kind, what = reason(error)
            instruments.failed.add(1, {WORKFLOW: self._watcher.team, AGENT: address, ERROR: kind})
            invocation.used(error.usage)
            invocation.failed(number, kind, what)
            raise
        except BaseException as error:
            invocation.ended(number, *reason(error, envelope.lease.deadline))
            raise
        finally:
            PLACE.reset(place)
        invocation.ended(number)
        return content

    def _begin(self, live: Live, address: str, directive: Directive) -> Invocation:
        compute = directive.compute
        card = next((card for card in self._bus.cards() if card.name == address), None)
        attributes = {
            **self._models.get(address, {}),
            "podium.directive": directive.id,
            "podium.objective": directive.objective,
            "podium.samples": compute.samples,
            "podium.reduce": compute.reduce,
            "podium.answer": directive.answer,
        }
        if card is not None and card.description:
            attributes["gen_ai.agent.description"] = card.description
        if live.step is not None:
            attributes["podium.step"] = live.step
        labels: Labels = {AGENT: address}
        whole = self._watcher.begin(live, "invoke_agent", address, attributes, labels, context=live.context)
        live.invocations[directive.id] = made = Invocation(live, directive, whole)
        return made


def _counted(invocation: Invocation, send: Send, item: Delta | Call | Begun) -> Awaitable[None] | None:
    """What an agent sends, passed on; what a call used is its directive's."""
    if isinstance(item, Call) and isinstance(item.result, Generation):
        invocation.used(item.result.usage)
    return send(item)
