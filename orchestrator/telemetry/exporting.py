"""Where spans and figures go: OpenTelemetry's own providers and exporters, made as the team file says.

Spans leave in batches from a thread of the exporter's own, so a slow or missing receiver holds up no run; what it
cannot take is dropped with a warning in the log.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from podium.orchestrator.telemetry.spec import TelemetrySpec
from podium.protocols.errors import InputError, MissingExtra

try:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SimpleSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.metrics_core import Metric
except ModuleNotFoundError as error:
    raise MissingExtra("telemetry", "telemetry", error.name or "opentelemetry-sdk") from None

__all__ = ["FileSpanExporter", "Scrape", "meter_provider", "scraped", "tracer_provider"]

SERVICE = "podium"
"""The service's name, where OTEL_SERVICE_NAME does not say another."""


class FileSpanExporter(SpanExporter):
    """Appends spans to a file, one JSON object a line. Raises InputError when it cannot be written."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"telemetry.traces: {path} cannot be written: {error.strerror}") from None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write them."""
        self._file.writelines(_line(span) for span in spans)
        self._file.flush()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._file.close()


def _line(span: ReadableSpan) -> str:
    return span.to_json(indent=None) + "\n"


def tracer_provider(spec: TelemetrySpec) -> TracerProvider:
    """A provider that sends spans where the file says: to otlp, the console, or a file."""
    provider = TracerProvider(resource=_resource())
    if spec.traces == "otlp":
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=_at(spec.endpoint, "traces"))))
    elif spec.traces == "console":
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr, formatter=_line)))
    else:
        provider.add_span_processor(BatchSpanProcessor(FileSpanExporter(Path(spec.traces))))
    return provider


def meter_provider(spec: TelemetrySpec) -> tuple[MeterProvider, Scrape | None]:
    """A provider of instruments, and what reads them where Prometheus does."""
    scrape = Scrape() if spec.metrics == "prometheus" else None
    reader = (
        PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=_at(spec.endpoint, "metrics")))
        if scrape is None
        else scrape.reader
    )
    return MeterProvider([reader], _resource()), scrape


class Scrape:
    """Figures of one team, read by Prometheus. It has a registry of its own, so nobody else's figures are in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reader: MetricReader = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self.registry
        )


class _All:
    """Several registries as one: a figure that more than one of them has is told once, with the samples of all."""

    def __init__(self, scrapes: Iterable[Scrape]) -> None:
        self._scrapes = scrapes

    def collect(self) -> Iterable[Metric]:
        found: dict[str, Metric] = {}
        for scrape in self._scrapes:
            for family in scrape.registry.collect():
                if family.name in found:
                    found[family.name].samples.extend(family.samples)
                else:
                    found[family.name] = family
        return found.values()


def scraped(scrapes: Iterable[Scrape], accept: str) -> tuple[bytes, str]:
    """The figures of some teams as Prometheus reads them, and their content type. accept: what the reader takes."""
    encode, kind = choose_encoder(accept)
    return encode(_All(scrapes)), kind


def _resource() -> Resource:
    """Who tells all this: what the environment says, else podium."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    return resource


def _at(endpoint: str | None, signal: str) -> str | None:
    """Where a signal is sent; None leaves it to the environment."""
    return None if endpoint is None else f"{endpoint.rstrip('/')}/v1/{signal}"
