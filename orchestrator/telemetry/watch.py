"""Telemetry of one team: where its spans and figures go, and the wraps that make them.

The providers are the team's own, never OpenTelemetry's global ones: a library that sets those would take them from
the application, and one that uses them unasked would send a team's traces where its file does not say. An application
that has set them says `traces: application`, or `metrics: application`, and gets the team's in its own. Either way a
run that is started inside a span of the application is a child of that span.

OpenTelemetry's environment variables hold for what the file leaves open: where otlp goes and with which headers,
sampling, the service's name ("podium", unless they say otherwise).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from podium.agents.breaker import Breaker
from podium.agents.model import Model
from podium.agents.tools import Tool
from podium.orchestrator.engine import DEFAULTS, Orchestrator, Settings
from podium.orchestrator.journal import ResumeState
from podium.orchestrator.model_spec import REMOTE, ModelSpec
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.team_file import TeamSpec
from podium.orchestrator.telemetry.logs import PLACE, Place
from podium.orchestrator.telemetry.secrets import mask_of
from podium.protocols.errors import MissingExtra, RunError
from podium.protocols.events import Event, Result
from podium.protocols.task import Task

try:
    from opentelemetry import context, metrics, propagate, trace
    from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
    from opentelemetry.trace import NoOpTracerProvider, TracerProvider
except ModuleNotFoundError as error:
    raise MissingExtra("telemetry", "telemetry", error.name or "opentelemetry-sdk") from None

from podium.orchestrator.telemetry.contents import reply_json, said_json
from podium.orchestrator.telemetry.exporting import Scrape, meter_provider, tracer_provider
from podium.orchestrator.telemetry.instruments import AGENT, MODEL, PROVIDER, WORKFLOW, Instruments, Labels
from podium.orchestrator.telemetry.invocations import TracedBus
from podium.orchestrator.telemetry.operations import LIVE, Live, Operation, Watcher, reason
from podium.orchestrator.telemetry.traced import TracedCoordinator, TracedModel, TracedTool

__all__ = ["Telemetry", "Watched"]

LOG = logging.getLogger("podium.telemetry")
SENDING = 2.5
"""Seconds in which a team that is closed sends what it has not sent yet: a receiver that is down may take minutes."""


class Telemetry:
    """What a team's spans and figures are made with. scrape: its figures for Prometheus, where the file wants them.

    tracers, meters: providers to use instead of what the file says. Raises MissingExtra without OpenTelemetry, and
    InputError for a file of spans that cannot be written.
    """

    def __init__(
        self, spec: TeamSpec, *, tracers: TracerProvider | None = None, meters: MeterProvider | None = None
    ) -> None:
        self.scrape: Scrape | None = None
        self._spec = spec
        self._closing: list[Callable[[], object]] = []
        self._breakers: dict[tuple[str, str], Breaker] = {}
        tracers = tracers or self._tracers()
        meters = meters or self._meters()
        self.watcher = Watcher(
            spec.name,
            tracers.get_tracer("podium", version("podium")),
            Instruments(meters.get_meter("podium", version("podium")), spec.name, self._open),
            spec.telemetry.content,
            mask_of(spec),
        )

    def _tracers(self) -> TracerProvider:
        spec = self._spec.telemetry
        if spec.traces == "none":
            return NoOpTracerProvider()
        if spec.traces == "application":
            return trace.get_tracer_provider()
        provider = tracer_provider(spec)
        self._closing.append(provider.shutdown)
        return provider

    def _meters(self) -> MeterProvider:
        spec = self._spec.telemetry
        if spec.metrics == "none":
            return NoOpMeterProvider()
        if spec.metrics == "application":
            return metrics.get_meter_provider()
        provider, self.scrape = meter_provider(spec)
        self._closing.append(partial(provider.shutdown, timeout_millis=800 * SENDING))  # so that it ends by itself
        return provider

    def model(self, name: str, model: Model) -> Model:
        """A model of the team, watched."""
        spec = self._spec.models[name]
        return TracedModel(model, self.watcher, _labels(name, spec), _server(spec), remote=isinstance(spec, REMOTE))

    def tool(self, tool: Tool, agent: str) -> Tool:
        """A tool of an agent of the team, watched."""
        self.breaker(tool.breaker, tool.name, agent)
        return TracedTool.of(tool, self.watcher)

    def breaker(self, breaker: Breaker, name: str, agent: str = "") -> None:
        """A circuit breaker, whose state is one of the figures. name: of its model, or of an agent's tool."""
        self._breakers[name, agent] = breaker

    def watched(self, orchestrator: Orchestrator) -> Watched:
        """The team's orchestrator, watched."""
        models = {
            name: _labels(agent.model, self._spec.models[agent.model]) for name, agent in self._spec.agents.items()
        }
        return Watched(orchestrator, self.watcher, models)

    async def close(self) -> None:
        """Send what has not been sent yet, as far as that goes within a few seconds."""
        closing, self._closing = self._closing, []
        if closing:
            await asyncio.to_thread(_closed, closing)

    def _open(self) -> Iterable[tuple[Labels, bool]]:
        for (name, agent), breaker in self._breakers.items():
            whose: Labels = {AGENT: agent} if agent else {}
            yield {"podium.breaker": name, **whose}, breaker.open


def _closed(closing: Sequence[Callable[[], object]]) -> None:
    """Close all at once. Threads that have to wait for longer are left behind, and keep no process alive."""
    failed: list[Exception] = []

    def one(close: Callable[[], object]) -> None:
        try:
            close()
        except Exception as error:  # an exporter may raise anything
            failed.append(error)

    threads = [threading.Thread(target=one, args=(close,), name="podium-telemetry", daemon=True) for close in closing]
    for thread in threads:
        thread.start()
    until = time.monotonic() + SENDING
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        LOG.warning("telemetry: not all of it could be sent within %g seconds", SENDING)
    if failed:
        raise failed[0]


class Watched:
    """An orchestrator whose runs are watched; what it is made from stays as it is."""

    def __init__(self, orchestrator: Orchestrator, watcher: Watcher, models: Mapping[str, Labels]) -> None:
        self._watcher = watcher
        self._runs: dict[str, Live] = {}
        self._orchestrator = orchestrator.led_by(TracedCoordinator(orchestrator.coordinator, watcher, self._runs))
        self._orchestrator.bus = TracedBus(orchestrator.bus, watcher, models)

    async def run(
        self,
        task: Task,
        settings: Settings = DEFAULTS,
        *,
        id: str,
        emit: Callable[[Event], None] | None = None,
        log: RunLog | None = None,
        before: ResumeState | None = None,
    ) -> Result:
        """As `Orchestrator.run`, in a span."""
        live = Live(id)
        if before is not None and before.decisions:
            live.step = before.decisions[-1].step
        watcher = self._watcher
        told = {"gen_ai.input.messages": watcher.mask(said_json(task.messages))} if watcher.content else {}
        operation = watcher.begin(live, "invoke_workflow", watcher.team, {**told, "podium.resumed": bool(before)}, {})
        with operation.current():
            live.context = context.get_current()
            if operation.span.is_recording():
                live.trace = trace.format_trace_id(operation.span.get_span_context().trace_id)
            tokens = LIVE.set(live), PLACE.set(Place(id, trace=live.trace))
            self._runs[id] = live
            try:
                result = await self._orchestrator.run(task, settings, id=id, emit=emit, log=log, before=before)
            except BaseException as error:
                kind, what = reason(error)
                found = error.partial if isinstance(error, RunError) else next(iter(error.args), None)
                self._ended(live, operation, found, kind, what)
                raise
            finally:
                del self._runs[id]
                LIVE.reset(tokens[0])
                PLACE.reset(tokens[1])
            self._ended(live, operation, result, "", "")
        return result

    def _ended(self, live: Live, operation: Operation, result: object, kind: str, what: str) -> None:
        """The last that is told of a run: why it ended, and what all of it used."""
        watcher, instruments = self._watcher, self._watcher.instruments
        live.settle()
        stop = {"cancelled": "cancelled", "RunPaused": "paused"}.get(kind, "failed")
        if isinstance(result, Result):
            stop, usage = result.stop, result.usage
            operation.span.set_attributes(
                {
                    "podium.stop": stop,
                    "podium.steps": result.steps,
                    "podium.refused": result.refused,
                    "podium.overshoot": result.overshoot,
                    "podium.overshoot_dollars": result.overshoot_dollars,
                    "podium.usage.input_tokens": usage.input_tokens,
                    "podium.usage.output_tokens": usage.output_tokens,
                    "podium.usage.calls": usage.calls,
                    "podium.usage.dollars": usage.dollars,
                    "podium.answered_by": result.nodes[result.node].author if result.node else "",
                }
            )
            if result.refused:
                instruments.refused.add(result.refused, {WORKFLOW: watcher.team})
            if watcher.content and result.node:
                operation.span.set_attribute("gen_ai.output.messages", watcher.mask(reply_json(result.answer)))
        instruments.runs.add(1, {WORKFLOW: watcher.team, "podium.stop": stop})
        operation.end(kind, what)
        live.close()


@contextmanager
def joined(headers: Mapping[str, str]) -> Generator[None]:
    """What begins inside belongs to the trace that a request names in its headers (W3C Trace Context), if any."""
    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


def _labels(name: str, spec: ModelSpec) -> Labels:
    """What the conventions call a model: its provider, and its name there (of local weights, the folder's)."""
    known = str(getattr(spec, "model", name))
    return {PROVIDER: spec.provider, MODEL: Path(known).name if known.startswith("/") else known}


def _server(spec: ModelSpec) -> Labels:
    """Where a model is reached."""
    parts = urlsplit(str(getattr(spec, "base_url", "")))
    if not parts.hostname:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or (443 if parts.scheme == "https" else 80)}
