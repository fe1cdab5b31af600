"""What a run's journal consists of: one head, then nodes, decisions and calls as they happen, then one end.

Each entry is one row of versioned JSON, dumped from the frozen dataclass itself. No entry repeats another, so a step
costs the same however long the run is. Fields that have their default may be left out, which halves an entry. A number
that JSON lacks (an infinite limit) is written as a string.

msgspec writes them, in a tenth of the time that pydantic takes. Pydantic reads them, whose errors say where; and it
writes what msgspec does not know: infinite numbers, of which that makes null, numpy's, and integers above 64 bits.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, cast

import msgspec
from pydantic import ConfigDict, TypeAdapter, ValidationError

from podium.orchestrator.budget import Limits
from podium.protocols.errors import InputError
from podium.protocols.events import Stop
from podium.protocols.frozen import plain
from podium.protocols.record import Begun, Call, Decision, Node, NodeId, Usage
from podium.protocols.task import Message

FORM = 1
"""Of an entry's JSON; raised when a field changes its meaning or its default."""


@plain
class Head:
    """How a run began: all that is needed, besides the team, to go on with it.

    started: seconds since the epoch. seed: of the coordinator's sampling, None where it was not kept. The next four
    are the run's own settings, None where it used those of the team. digest: of the team file. edges: as in `SavedRun`.
    agents: who was in the team, None where those were the agents of its file.
    """

    run: str
    team: str
    messages: tuple[Message, ...]
    started: float
    seed: int | None = None
    reply_seed: int | None = None
    mode: Literal["sample", "greedy"] | None = None
    preference: float | None = None
    limits: Limits | None = None
    digest: str = ""
    edges: tuple[tuple[str, str], ...] | None = None
    agents: tuple[str, ...] | None = None


@plain
class Completed:
    """A call of a request that is still under way, so that a resumed run does not make it again.

    directive: its request's; of a coordinator's own call, the decision that it is made for.
    """

    directive: str
    call: Call
    sample: int = 0


@plain
class End:
    """How a run ended; the rest as in `Result`. usage: of the whole run, what has no node included.

    why: what a run failed of, or what the pool lacked that ended it, in words.
    """

    stop: Stop
    node: NodeId
    usage: Usage
    seconds: float
    refused: int = 0
    overshoot: int = 0
    why: str = ""
    overshoot_dollars: float = 0.0


Entry = Head | Node | Decision | Completed | Begun | End

KINDS: dict[str, type[Entry]] = {
    "head": Head,
    "node": Node,
    "decision": Decision,
    "completed": Completed,
    "begun": Begun,
    "end": End,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Reads and writes one kind: "or None", as pydantic takes settings only for what cannot have any of its own."""
    return TypeAdapter[Any](cast(Any, kind | None), config=ConfigDict(ser_json_inf_nan="strings"))


_adapters = {name: _adapter(kind) for name, kind in KINDS.items()}


def _hook(value: object) -> object:
    """What msgspec does not know, as something it does. Raises TypeError."""
    if isinstance(value, MappingProxyType):
        return dict(cast("MappingProxyType[str, float]", value))
    raise TypeError(f"a {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_hook)


def encode(entry: Entry) -> tuple[str, str]:
    """Kind and JSON of an entry. Raises ValueError for text that is not Unicode, such as half a character."""
    name = NAMES[type(entry)]
    try:
        body = _encoder.encode(entry)
    except (TypeError, OverflowError):
        body = None
    if body is None or b"null" in body:
        if isinstance(entry, Decision):
            entry = replace(entry, reasons=dict(entry.reasons))  # JSON knows no read-only mapping
        body = _adapters[name].dump_json(entry, exclude_defaults=True)
    return name, body.decode()


def decode(kind: str, form: int, text: str) -> Entry:
    """The entry of a row. Raises InputError when it is not one, or of a later form."""
    if form > FORM or kind not in _adapters:
        raise InputError(f"a {kind} in form {form}; this version of Podium reads form {FORM}: install a newer one")
    try:
        entry = _adapters[kind].validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"not a {kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return entry if not isinstance(entry, Decision) or entry.reasons else replace(entry, reasons={})
