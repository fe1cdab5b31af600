"""Telemetry by options of the command line, where the team file does not ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from podium.protocols.errors import InputError

if TYPE_CHECKING:
    from podium.orchestrator.team_file import TeamSpec

__all__ = ["Form", "Trace", "begin_logs", "told_to"]


class Form(StrEnum):
    """How log records look."""

    text = "text"
    json = "json"


Trace = Annotated[
    str | None,
    typer.Option("--trace", metavar="WHERE", help="Send spans to: console, otlp, or a file that ends in .jsonl."),
]


def told_to(spec: TeamSpec, asked: Mapping[str, str | None]) -> TeamSpec:
    """The team with these settings of its telemetry; None leaves one as the file says. Raises InputError."""
    from pydantic import ValidationError

    from podium.orchestrator.telemetry.spec import TelemetrySpec

    given = {name: value for name, value in asked.items() if value is not None}
    if not given:
        return spec
    try:
        telemetry = TelemetrySpec.model_validate({**spec.telemetry.model_dump(), **given})
    except ValidationError:
        what = "choose console, otlp, or a file that ends in .jsonl"
        raise InputError(f"--trace {given.get('traces')}: there is no such place; {what}") from None
    return spec.model_copy(update={"telemetry": telemetry})


def begin_logs(specs: Sequence[TeamSpec]) -> None:
    """Set up logging: as JSON lines where a team asks for them, without the secrets of any."""
    from podium.orchestrator.telemetry.logs import begin
    from podium.orchestrator.telemetry.secrets import mask_of

    begin("json" if any(spec.telemetry.logs == "json" for spec in specs) else "text", mask_of(*specs))
