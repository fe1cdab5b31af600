"""A team that is watched, and what a test needs to read of it: its spans, its figures, and what is still open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from podium.agents.model import Model
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.orchestrator.telemetry.spec import TelemetrySpec
from podium.orchestrator.telemetry.watch import Telemetry
from podium.protocols.events import Result
from podium.protocols.record import Finish, Usage
from tests.orchestrator.teams import team


def awaited(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that awaits."""

    @wraps(test)
    def plain() -> None:
        asyncio.run(test())

    return plain


class _Begun(SpanProcessor):
    """Counts spans that have begun and not ended."""

    def __init__(self) -> None:
        self.open: set[int] = set()

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.open.add(span.get_span_context().span_id)

    def on_end(self, span: ReadableSpan) -> None:
        self.open.remove(span.context.span_id if span.context else 0)


@dataclass
class Watched:
    """A team with its spans and figures in memory."""

    team: Team
    tracers: TracerProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    begun: _Begun

    @property
    def spans(self) -> list[ReadableSpan]:
        """Spans that have ended, by when they began."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def of(self, operation: str) -> list[ReadableSpan]:
        """Those of one operation."""
        return [span for span in self.spans if told(span)["gen_ai.operation.name"] == operation]

    def points(self, name: str) -> list[NumberDataPoint | HistogramDataPoint]:
        """The figures of one instrument."""
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        return [
            point  # pyright: ignore[reportReturnType]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def sums(self, name: str, by: str) -> dict[Any, float]:
        """What an instrument has counted or summed, by one of its attributes."""
        found: dict[Any, float] = {}
        for point in self.points(name):
            key = (point.attributes or {}).get(by)
            value = point.sum if isinstance(point, HistogramDataPoint) else point.value
            found[key] = found.get(key, 0) + value
        return found


def told(span: ReadableSpan) -> Mapping[str, Any]:
    """A span's attributes."""
    return span.attributes or {}


def parents(spans: list[ReadableSpan]) -> dict[str, str]:
    """Names of spans -> names of their parents; "" for those that have none among them."""
    names = {span.context.span_id: span.name for span in spans if span.context}
    return {span.name: names.get(span.parent.span_id, "") if span.parent else "" for span in spans}


def watch(spec: TeamSpec, models: Mapping[str, Model], *, coordinator: Coordinator | None = None) -> Watched:
    """A team of these models, watched in memory."""
    exporter, reader, begun = InMemorySpanExporter(), InMemoryMetricReader(), _Begun()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(begun)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    telemetry = Telemetry(spec, tracers=tracers, meters=meters)
    return Watched(Team(spec, models, coordinator=coordinator, telemetry=telemetry), tracers, exporter, reader, begun)


def watched(
    models: Mapping[str, Model],
    kind: str = "sequential",
    *,
    content: bool = False,
    coordinator: Coordinator | None = None,
    changed: Mapping[str, Any] | None = None,
    **more: Any,
) -> Watched:
    """A team as `teams.team` makes it, watched. changed: parts of its spec to replace, as in a file."""
    plain = team(models, kind, **more)
    data = {**plain.spec.model_dump(), **(changed or {}), "telemetry": TelemetrySpec(content=content).model_dump()}
    return watch(TeamSpec.model_validate(data), models, coordinator=coordinator)


def exact(seen: Watched, result: Result) -> None:
    """Spans and figures of one run say what its result says, in all, for each agent and for each directive."""
    chats = [told(span) for span in seen.of("chat")]
    tokens: dict[tuple[str, str], float] = {}
    dollars: dict[str, float] = {}
    for chat in chats:
        agent = chat["gen_ai.agent.name"]
        for kind in ("input", "output"):
            tokens[agent, kind] = tokens.get((agent, kind), 0) + chat.get(f"gen_ai.usage.{kind}_tokens", 0)
        dollars[agent] = dollars.get(agent, 0) + chat.get("podium.dollars", 0)
    counted: dict[tuple[Any, Any], float] = {}
    for point in seen.points("gen_ai.client.token.usage"):
        assert isinstance(point, HistogramDataPoint)
        labels = point.attributes or {}
        key = labels["gen_ai.agent.name"], labels["gen_ai.token.type"]
        counted[key] = counted.get(key, 0) + point.sum
    spent = seen.sums("podium.dollars", "gen_ai.agent.name")
    assert set(result.by_agent) == {agent for agent, _ in counted}
    for agent, usage in {**result.by_agent, None: result.usage}.items():
        for kind, right in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            for found in (tokens, counted):
                assert sum(n for (who, what), n in found.items() if what == kind and agent in (who, None)) == right
        for found in (dollars, spent):
            close = sum(n for who, n in found.items() if agent in (who, None))
            assert abs(close - usage.dollars) < 1e-12
    run = told(seen.of("invoke_workflow")[-1])
    same = Usage(
        run["podium.usage.input_tokens"],
        run["podium.usage.output_tokens"],
        run["podium.usage.calls"],
        run["podium.usage.dollars"],
        result.usage.seconds,
    )
    assert same == result.usage
    of_directives(seen, result)
    assert seen.begun.open == set()


def of_directives(seen: Watched, result: Result) -> None:
    """Each directive that was carried out has one span, with what its nodes used, and is one in the figures."""
    asked = {
        directive.id: directive
        for decision in result.decisions
        if not isinstance(decision.action, Finish)
        for directive in decision.action
    }
    spans = {told(span)["podium.directive"]: told(span) for span in seen.of("invoke_agent")}
    assert len(spans) == len(seen.of("invoke_agent"))
    assert {node.directive for node in result.nodes if node.directive} == set(spans) <= set(asked)
    for name, span in spans.items():
        directive, nodes = asked[name], [node for node in result.nodes if node.directive == name]
        assert span["gen_ai.agent.name"] == directive.agent
        assert span["podium.objective"] == directive.objective
        assert (span["podium.samples"], span["podium.reduce"]) == (directive.compute.samples, directive.compute.reduce)
        assert (span["podium.outcome"] == "answered") == any(node.kind == "reply" for node in nodes)
        usage = Usage.total(node.usage for node in nodes)
        assert (span["podium.usage.input_tokens"], span["podium.usage.output_tokens"], span["podium.usage.calls"]) == (
            usage.input_tokens,
            usage.output_tokens,
            usage.calls,
        )
        assert abs(span["podium.usage.dollars"] - usage.dollars) < 1e-12
    points = seen.points("gen_ai.invoke_agent.duration")
    assert sum(point.count for point in points if isinstance(point, HistogramDataPoint)) == len(spans)
