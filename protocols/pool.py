"""Recorded pools: what real models answered to real tasks, so that coordinators can be trained without paying again.

A pool is a JSON-lines file, gzipped when its name ends in .gz. The first line describes it:

    {"pool": {"name": ..., "score": what the number means, "note": ..., "agents": {NAME: {"price": {"output": 24.7}}}}}

and every further line is one task with the reply of every agent:

    {"id": ..., "prompt": ..., "reference"?: ..., "tags"?: [...], "replies": {NAME: {"score": 0..1,
     "completion_tokens": ..., "prompt_tokens"?: ..., "text"?: ..., "more"?: [further samples, each such an object]}}}

Prices are dollars per million tokens. `more` holds further samples of the same agent on the same task. A task that
comes twice (the same id and prompt) is one task: equal replies are dropped, different ones become further samples.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from podium.protocols.errors import TaskError

__all__ = ["Pool", "PoolAgent", "PoolPrice", "PoolReply", "PoolTask", "read_pool", "write_pool"]

Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PoolPrice(_Part):
    """Dollars per million tokens."""

    input: Dollars = 0.0
    output: Dollars = 0.0


class PoolAgent(_Part):
    """One model whose replies were recorded."""

    price: PoolPrice = PoolPrice()


class PoolReply(_Part):
    """One recorded reply. score: 0 to 1; text: None where only the score was kept; more: further samples."""

    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    completion_tokens: Tokens
    prompt_tokens: Tokens = 0
    text: str | None = None
    more: tuple[PoolReply, ...] = ()

    @property
    def samples(self) -> tuple[PoolReply, ...]:
        """All samples of this reply, the first one first."""
        return (self, *self.more)


class PoolTask(_Part):
    """One task and what every agent of the pool replied to it."""

    id: Annotated[str, Field(min_length=1)]
    prompt: Annotated[str, Field(min_length=1)]
    replies: Mapping[str, PoolReply]
    reference: str | None = None
    tags: tuple[str, ...] | Mapping[str, str] = ()


class Pool(_Part):
    """A whole pool. score: what the number means; agents: in the file's order; tasks: in the file's order."""

    name: str = "pool"
    score: str = ""
    note: str = ""
    agents: Annotated[Mapping[str, PoolAgent], Field(min_length=1)]
    tasks: tuple[PoolTask, ...] = ()

    def by_prompt(self) -> dict[str, PoolTask]:
        """Task by its text, without surrounding space. Where two tasks have one text, the first one counts."""
        return {task.prompt.strip(): task for task in reversed(self.tasks)}


class _Header(_Part):
    pool: Pool


HEADER = TypeAdapter(_Header)
TASK = TypeAdapter(PoolTask)


def read_pool(path: str | Path) -> Pool:
    """Read a pool. Raises TaskError, with file and line, for anything that is not one."""
    path = Path(path)
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise TaskError(f'{path}: the pool is empty; its first line describes it: {{"pool": {{"agents": ...}}}}')
    header = _checked(HEADER, first[1], f"{path}:{first[0]}", "the first line of a pool").pool
    names = header.agents.keys()
    tasks: dict[str, PoolTask] = {}
    for number, line in lines:
        where = f"{path}:{number}"
        task = _checked(TASK, line, where, "a task of a pool")
        if task.replies.keys() != names:
            missing = ", ".join(sorted(names - task.replies.keys()))
            extra = ", ".join(sorted(task.replies.keys() - names))
            found = f"has no reply of {missing}" if missing else f"has replies of {extra}, which the first line lacks"
            raise TaskError(f"{where}: task {task.id} {found}; every line has one reply of every agent of the pool")
        known = tasks.get(task.id)
        if known is not None and known.prompt != task.prompt:
            raise TaskError(f"{where}: the id {task.id} was already used for another prompt")
        tasks[task.id] = task if known is None else _merged(known, task)
    if not tasks:
        raise TaskError(f"{path}: the pool has no tasks after its first line")
    return header.model_copy(update={"tasks": tuple(tasks.values())})


def write_pool(pool: Pool, path: str | Path) -> None:
    """Write a pool, whole or not at all; gzipped when the name ends in .gz. The same pool gives the same bytes."""
    path = Path(path)
    header = {"pool": pool.model_dump(exclude={"tasks"}, mode="json")}
    rows = (task.model_dump(exclude_defaults=True, mode="json") for task in pool.tasks)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (header, *rows))
    data = text.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(data)
    os.replace(unfinished, path)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank, from 1."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except FileNotFoundError:
        beside = [other.name for other in path.parent.glob("*.jsonl*") if other.suffix in (".jsonl", ".gz")]
        near = get_close_matches(path.name, beside, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TaskError(f"{path}: there is no such pool{hint}") from None
    except IsADirectoryError:
        raise TaskError(f"{path}: this is a folder; name the file of the pool") from None
    except (OSError, EOFError) as error:
        raise TaskError(f"{path}: cannot read the pool: {error}") from None
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, line


def _checked(adapter: TypeAdapter[Any], line: bytes, where: str, what: str) -> Any:
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        found = "" if problem["type"] in ("missing", "json_invalid") else f", found {str(problem['input'])[:60]!r}"
        raise TaskError(f"{where}: not {what}: {field + ': ' if field else ''}{problem['msg']}{found}") from None


def _merged(first: PoolTask, again: PoolTask) -> PoolTask:
    replies: dict[str, PoolReply] = {}
    for name, reply in first.replies.items():
        known = reply.samples
        fresh = [sample for sample in again.replies[name].samples if sample not in known]
        plain = tuple(sample.model_copy(update={"more": ()}) for sample in fresh)
        replies[name] = reply.model_copy(update={"more": reply.more + plain}) if plain else reply
    return first.model_copy(update={"replies": replies})
