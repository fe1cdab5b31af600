"""A run as JSON: versioned, whole as far as it got, and read back without running anything.

What is saved is the record: nodes and decisions. Everything a reader wants to know (who said what, why, at what cost)
is a view of these, so this is the only form a run is ever kept in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from podium.protocols.errors import InputError
from podium.protocols.events import Result, Stop
from podium.protocols.record import Decision, Node, NodeId, Usage

VERSION = 1
"""Of this form; raised when a field changes its meaning."""

Kept = Stop | Literal["unfinished"]
"""Why a kept run ended; "unfinished": no end was written, so it is under way or its process died."""


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run as it is kept. task: what was asked; started: seconds since the epoch; the rest as in `Result`.

    An unfinished run has no answer (node 0); its usage and seconds are those of what was written.

    seed: asked again with it, the coordinator decides the same on the same replies. None where it was not kept.
    why: what a run failed of, or what the pool lacked that ended it, in words; "" where neither was so or kept.
    edges: (author, viewer), who might be shown whose messages, each agent's own included. None: all might see all, or
    it was not kept.
    """

    run: str
    team: str
    task: str
    answer: str
    node: NodeId
    stop: Kept
    usage: Usage
    nodes: tuple[Node, ...]
    decisions: tuple[Decision, ...]
    seconds: float
    started: float = 0.0
    refused: int = 0
    overshoot: int = 0
    seed: int | None = None
    why: str = ""
    edges: tuple[tuple[str, str], ...] | None = None
    overshoot_dollars: float = 0.0
    version: int = VERSION


_adapter = TypeAdapter(SavedRun)


def saved(result: Result, started: float, edges: tuple[tuple[str, str], ...] | None = None) -> SavedRun:
    """A result without what lives only in this process (the task's scorer). edges: of its team's topology."""
    return SavedRun(
        result.run,
        result.team,
        result.task.text,
        result.answer,
        result.node,
        result.stop,
        result.usage,
        result.nodes,
        tuple(_plain(decision) for decision in result.decisions),
        result.seconds,
        started,
        result.refused,
        result.overshoot,
        result.seed,
        why=result.why,
        edges=edges,
        overshoot_dollars=result.overshoot_dollars,
    )


def _plain(decision: Decision) -> Decision:
    """A decision whose reasons JSON can hold: a plain dict, without infinities."""
    return replace(decision, reasons={name: value for name, value in decision.reasons.items() if isfinite(value)})


def to_json(run: SavedRun) -> bytes:
    """One line of UTF-8 JSON."""
    return _adapter.dump_json(run)


def to_data(run: SavedRun) -> dict[str, Any]:
    """Plain data of a run, ready for `json.dumps`."""
    return _adapter.dump_python(run, mode="json")


def from_json(text: bytes | str) -> SavedRun:
    """Read a run back. Raises InputError when it is not one, or of another version."""
    try:
        run = _adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"not a saved run: {where}: {first['msg']}") from None
    if run.version != VERSION:
        raise InputError(f"run {run.run} was saved in form {run.version}; this version of Podium reads form {VERSION}")
    return run
