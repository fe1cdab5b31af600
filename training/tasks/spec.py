"""Task sources, named in one line: `SOURCE:NAME?key=value&key=value`.

    reasoning_gym:chain_sum?size=500&min_terms=2     a generated data set, with its own keyword arguments
    jsonl:tasks.jsonl?verifier=numeric               your own questions, one JSON object a line
    jsonl:tasks.jsonl?verifier=judge&judge=NAME      the same, scored by a model of the team file
    recorded:pool.jsonl.gz                           recorded answers of real models
    embedded:?size=300&split=test                    the tasks of the embedded team; wordings=train: in known words

Every source takes `split=train|test`, `fraction` (of the train side, 0.7), `seed` and `limit`. Join sources with `+`.
Values may be percent-encoded, which is how a value holds `&` or `+`.

The side of a task depends on its id, the fraction and the seed, and on nothing else: not on the order of the file, not
on the other tasks. So the two sides never overlap, a task keeps its side when the file grows, and a bigger fraction
only moves tasks from test to train. `limit` picks by the same kind of hash: a limit of 10 is part of a limit of 20, and
a file sorted by subject gives some tasks of every subject.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar
from urllib.parse import unquote

from podium.protocols.errors import MissingExtra, TaskError
from podium.protocols.task import Task
from podium.training.tasks.judge import Judges

Side = Literal["train", "test"]
Number = TypeVar("Number", int, float)

DEFAULT_FRACTION = 0.7
SPLIT_KEYS = ("split", "fraction", "seed", "limit")
SOURCES = ("embedded", "jsonl", "recorded", "reasoning_gym")
JOINT = re.compile(r"\+(?=[A-Za-z_]+:)")


@dataclass(frozen=True, slots=True)
class Spec:
    """One parsed source. options: what is left of the keys for the source itself.

    seed: of the split and, for generated sources, of the generator; None where the line names none.
    """

    text: str
    source: str
    name: str
    options: Mapping[str, str]
    split: Side | None = None
    fraction: float = DEFAULT_FRACTION
    seed: int | None = None
    limit: int | None = None


def load_tasks(
    spec: str | Sequence[str], *, seed: int = 0, limit: int | None = None, judge: Judges | None = None
) -> list[Task]:
    """The tasks of one spec, of several joined with `+`, or of a list of specs, in the order of their sources.

    seed: generates what a spec without its own `seed=` generates. It never moves a task to the other side: splits use
    the spec's seed, else 0, so training with seed 0 and evaluating with seed 1 do not share tasks.
    limit: at most this many tasks of all sources together. judge: of `verifier=judge`, or a mapping that has the judges
    of `judge=NAME`; closing it is yours.

    Raises TaskError when the spec is wrong, names what does not exist, or gives no task; MissingExtra when the source
    needs a package that is not installed.
    """
    tasks: list[Task] = []
    for text in [spec] if isinstance(spec, str) else spec:
        for part in JOINT.split(text):
            tasks.extend(_load(parse_spec(part), seed, judge))
    if not tasks:
        raise TaskError("no task source was given")
    return tasks if limit is None else pick(tasks, limit, 0)


def parse_spec(text: str) -> Spec:
    """Read one `SOURCE:NAME?key=value`. Raises TaskError."""
    head, _, query = text.strip().partition("?")
    source, colon, name = head.partition(":")
    if not colon or source not in SOURCES:
        raise TaskError(
            f"{text!r} is not a task source: write SOURCE:NAME?key=value with SOURCE one of {', '.join(SOURCES)}"
            + nearest(source, SOURCES)
        )
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise TaskError(f"{text}: {pair!r} is not key=value")
        if key in options:
            raise TaskError(f"{text}: {key} is given twice")
        options[key] = unquote(value)
    split = options.pop("split", None)
    if split not in (None, "train", "test"):
        raise TaskError(f"{text}: split is {split!r}; allowed are train and test")
    fraction = _number(text, options, "fraction", float)
    if fraction is not None and not 0.0 < fraction < 1.0:
        raise TaskError(f"{text}: fraction is {fraction}; it is the share of the train side, between 0 and 1")
    if fraction is not None and split is None:
        raise TaskError(f"{text}: fraction means nothing without split=train or split=test")
    limit = _number(text, options, "limit", int)
    if limit is not None and limit < 1:
        raise TaskError(f"{text}: limit is {limit}; it must be at least 1")
    seed = _number(text, options, "seed", int)
    return Spec(text.strip(), source, name, options, split, fraction or DEFAULT_FRACTION, seed, limit)


def side_of(task_id: str, fraction: float = DEFAULT_FRACTION, seed: int = 0) -> Side:
    """The side of a task. fraction: expected share of the train side."""
    return "train" if _unit(task_id, "split", seed) < fraction else "test"


def pick(tasks: Sequence[Task], limit: int, seed: int) -> list[Task]:
    """At most `limit` tasks, chosen by a hash of their ids, in their own order."""
    chosen = sorted(range(len(tasks)), key=lambda position: (_unit(tasks[position].id, "limit", seed), position))
    return [tasks[position] for position in sorted(chosen[:limit])]


def nearest(name: str, allowed: Collection[str]) -> str:
    """The end of an error message: `; did you mean 'x'?`, or nothing when no name is close."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def check_options(spec: Spec, allowed: Collection[str]) -> None:
    """Raise TaskError when the spec has a key that its source does not know."""
    for key in spec.options:
        if key not in allowed:
            every = (*sorted(allowed), *SPLIT_KEYS)
            raise TaskError(f"{spec.text}: unknown key {key!r}; allowed are {', '.join(every)}" + nearest(key, every))


def whole_number(spec: Spec, key: str, default: int) -> int:
    """An integer option of at least 1. Raises TaskError."""
    value = _number(spec.text, dict(spec.options), key, int)
    if value is not None and value < 1:
        raise TaskError(f"{spec.text}: {key} is {value}; it must be at least 1")
    return default if value is None else value


def _load(spec: Spec, seed: int, judge: Judges | None) -> list[Task]:
    if spec.source == "reasoning_gym":
        from podium.training.tasks.reasoning_gym import reasoning_gym_tasks

        tasks = reasoning_gym_tasks(spec, seed if spec.seed is None else spec.seed)
    elif spec.source == "jsonl":
        from podium.training.tasks.jsonl import jsonl_tasks

        tasks = jsonl_tasks(spec, judge)
    elif spec.source == "recorded":
        from podium.training.tasks.recorded import recorded_tasks

        tasks = recorded_tasks(spec)
    else:
        return _embedded(spec, seed if spec.seed is None else spec.seed)
    found = len(tasks)
    if not found:
        raise TaskError(f"{spec.text}: there are no tasks in it")
    if spec.split is not None:
        tasks = [task for task in tasks if side_of(task.id, spec.fraction, spec.seed or 0) == spec.split]
        if not tasks:
            raise TaskError(f"{spec.text}: none of its {found} tasks is on the {spec.split} side")
    return tasks if spec.limit is None else pick(tasks, spec.limit, spec.seed or 0)


def _embedded(spec: Spec, seed: int) -> list[Task]:
    """The embedded tasks are generated per side (other numbers, other words), so they are not split by id."""
    try:
        from podium.training.tasks.embedded import embedded
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "reasoning_gym":
            raise
        raise MissingExtra("the task source embedded", "train", "reasoning-gym") from None

    check_options(spec, ("size", "wordings"))
    words = spec.options.get("wordings")
    if words not in (None, "train", "test"):
        raise TaskError(f"{spec.text}: wordings is {words!r}; allowed: train, test (left out: those of the split)")
    if spec.name:
        raise TaskError(f"{spec.text}: there is one set of embedded tasks; write embedded:?split=test")
    if spec.fraction != DEFAULT_FRACTION:
        raise TaskError(f"{spec.text}: the embedded tasks have sides of their own, so fraction means nothing")
    tasks = list(embedded(spec.split or "train", whole_number(spec, "size", 500), seed, words))
    return tasks if spec.limit is None else pick(tasks, spec.limit, seed)


def _unit(task_id: str, purpose: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the arguments."""
    digest = hashlib.blake2b(f"{purpose}\0{seed}\0{task_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _number(text: str, options: dict[str, str], key: str, kind: Callable[[str], Number]) -> Number | None:
    value = options.pop(key, None)
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise TaskError(f"{text}: {key} is {value!r}; it must be {expected}") from None
