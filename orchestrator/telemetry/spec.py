"""What a team file may say about telemetry. Everything is off by default, and nothing is sent where it does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from podium.orchestrator.yaml_file import StrictModel
from podium.orchestrator.yaml_source import Text

__all__ = ["TelemetrySpec"]


def _destination(value: object) -> object:
    """The path of a file of spans starts from the file that states it; words stay as they are."""
    if not isinstance(value, str) or not value.endswith(".jsonl"):
        return value
    path = Path(value).expanduser()
    return str(value.mark.folder / path if isinstance(value, Text) else path)


Destination = Annotated[
    str, Field(pattern=r"^(none|console|otlp|application|.+\.jsonl)$"), BeforeValidator(_destination)
]
"""Where spans go."""


class TelemetrySpec(StrictModel):
    """What is told of runs while they go on, by OpenTelemetry's conventions for generative AI."""

    traces: Destination = "none"
    """none, console (standard error), otlp, a file that ends in .jsonl, or application (its tracer): where spans go."""
    metrics: Literal["none", "prometheus", "otlp", "application"] = "none"
    """none, prometheus (/metrics of podium serve), otlp, or application (its meter): where figures go."""
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    """Where otlp is sent, as in http://localhost:4318; left out: OTEL_EXPORTER_OTLP_ENDPOINT and its relatives."""
    content: bool = False
    """Also tell what was said: tasks, prompts, replies, and the arguments and results of tools."""
    logs: Literal["none", "text", "json"] = "none"
    """Log what happens in runs (podium.run), as text or as JSON lines where podium runs or serves the team."""

    @property
    def watches(self) -> bool:
        """Whether spans or figures are wanted, which need OpenTelemetry."""
        return (self.traces, self.metrics) != ("none", "none")
