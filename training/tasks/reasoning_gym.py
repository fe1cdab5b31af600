"""Tasks from reasoning-gym: about a hundred generated data sets, each with its own scorer.

`reasoning_gym:NAME?size=500&min_terms=2` takes the keyword arguments of the data set, typed by its configuration class.
Two more: `threshold`, and `partial=true`. Source: https://github.com/open-thought/reasoning-gym

The scorers were written for shaping: they pay 0.01 for an answer in the wrong format, pay for a long text that contains
the right answer, and pay the share of right cells of a grid. None of that is an answer a user could use, and a policy
that is paid for it learns to collect it. So `score` is 1 when the scorer's own number reaches the threshold, else 0,
and that number is kept as `parts["raw"]`; `partial=true` makes it the score instead. The threshold is full credit (but
for rounding): 0.99 would pass a ten-by-ten grid with one wrong cell.

What is given to the scorer is the marked part of the reply (see podium.training.tasks.answers), else, in a data set
whose answers have several lines, the last block of lines, else the last line; and of that, in a data set whose answers
are all numbers, the last number. Both facts are read from the first tasks of the data set, never from the single task,
so that an answer's form says nothing about its reference.

Tasks are named after a hash of their question: a question that comes twice is kept once (so there may be fewer tasks
than `size`), and it is on the same side of a split whatever seed generated it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import re
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from podium.protocols.errors import MissingExtra, TaskError
from podium.protocols.task import Message, Task, Verdict
from podium.training.tasks.answers import final_part, last_line, number, plain, without_thought
from podium.training.tasks.spec import SPLIT_KEYS, Spec, nearest

FULL_CREDIT = 1.0 - 1e-6
"""One data set's scorer adds shares up to 0.9999999999999998."""
LOOKED_AT = 20
"""Tasks from which the form of a data set's answers is read."""
MAX_CHARACTERS = 10_000
"""Longer answers are not given to a scorer; the longest right ones, moves of a tower of Hanoi, have about 4,000."""
DANGEROUS = re.compile(r"__|\*\*[\s(+-]*\w+[\s)]*\*\*|\*\*[\s(+-]*\d{4,}|\d{4,}\s*!|!\s*!")
"""Some scorers evaluate the answer as an expression: names with double underscores and towers of powers score 0."""


class Exercises:
    """A generated data set with its scorer. entries: reasoning-gym's own records, by task id."""

    def __init__(self, name: str, dataset: Any, threshold: float, partial: bool) -> None:
        self.name = name
        self.threshold = threshold
        self.partial = partial
        self._scorer = dataset.score_answer
        self.entries: dict[str, dict[str, Any]] = {}
        for entry in dataset:
            digest = hashlib.blake2b(entry["question"].encode(), digest_size=6).hexdigest()
            self.entries.setdefault(f"{name}-{digest}", entry)
        known = [
            str(entry["answer"]) for entry in list(self.entries.values())[:LOOKED_AT] if entry["answer"] is not None
        ]
        self.numeric = bool(known) and all(re.fullmatch(r"-?\d+(?:\.\d+)?", answer) for answer in known)
        self.many_lines = not known or any("\n" in answer.strip() for answer in known)
        self.words = {plain(answer) for answer in known} if name == "game_of_life_halting" else set[str]()

    def raw_answer(self, text: str) -> str | None:
        """What of a reply is given to the scorer, None where the reply is empty."""
        part = final_part(text)
        if part is None:
            body = re.sub(r"^```\w*$", "", without_thought(text), flags=re.MULTILINE).strip()
            part = re.split(r"\n{2,}", body)[-1].strip("\n") if self.many_lines else last_line(body)
        part = part.strip() if self.many_lines else part.strip().strip("*`").strip()
        if self.numeric and not re.fullmatch(r"[-+]?[\d.]+", part):
            part = number(part) or part
        return part or None

    def answer(self, text: str) -> str | None:
        """What votes compare: numbers in one form, other answers without case, spacing and markdown."""
        raw = self.raw_answer(text)
        if raw is None:
            return None
        return (number(raw) or plain(raw)) if self.numeric else plain(raw) or None

    def score(self, text: str, entry: Mapping[str, Any]) -> Verdict:
        """The scorer's opinion of a reply. A scorer that raises on a strange answer gives 0."""
        answer = self.raw_answer(text)
        raw = 0.0
        if answer is not None and len(answer) <= MAX_CHARACTERS and not DANGEROUS.search(answer):
            try:
                raw = min(1.0, max(0.0, float(self._scorer(answer, entry))))
            except Exception:
                raw = 0.0
        if self.words and plain(answer or "") not in {"true", "false"}:
            raw = 0.0
        passed = raw >= self.threshold
        return Verdict(raw if self.partial else float(passed), passed, {"raw": raw})


def reasoning_gym_tasks(spec: Spec, seed: int) -> list[Task]:
    """The tasks of `reasoning_gym:NAME?...`. seed: of the generator.

    Raises TaskError for an unknown data set or keyword, or a value that the data set refuses; MissingExtra.
    """
    try:
        factory: Any = importlib.import_module("reasoning_gym.factory")  # it comes without type information
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "reasoning_gym":
            raise
        raise MissingExtra("the task source reasoning_gym", "train", "reasoning-gym") from None
    datasets: Mapping[str, tuple[type[Any], type[Any]]] = factory.DATASETS
    if spec.name not in datasets:
        raise TaskError(
            f"{spec.text}: reasoning-gym has no data set {spec.name!r}"
            + (nearest(spec.name, datasets) or f"; it has {len(datasets)}, from ab to zebra_puzzles")
        )
    options = dict(spec.options)
    threshold = _convert(spec, "threshold", float, options.pop("threshold", str(FULL_CREDIT)))
    partial = _convert(spec, "partial", bool, options.pop("partial", "false"))
    keywords = _keywords(spec, datasets[spec.name][1], options)
    try:
        dataset = factory.create_dataset(spec.name, seed=seed, **keywords)
        exercises = Exercises(spec.name, dataset, threshold, partial)
    except (AssertionError, ValueError, TypeError, IndexError, KeyError) as error:
        raise TaskError(f"{spec.text}: the data set refuses this: {error}") from error
    return [_task(exercises, task_id, entry) for task_id, entry in exercises.entries.items()]


def _task(exercises: Exercises, task_id: str, entry: dict[str, Any]) -> Task:
    def score(text: str) -> Verdict:
        return exercises.score(text, entry)

    messages = (Message("user", entry["question"]),)
    return Task(task_id, messages, score=score, answer=exercises.answer, tags={"source": exercises.name})


def _keywords(spec: Spec, config: type[Any], options: Mapping[str, str]) -> dict[str, Any]:
    types = typing.get_type_hints(config)
    allowed = [field.name for field in dataclasses.fields(config) if field.init and field.name != "seed"]
    keywords: dict[str, Any] = {}
    for key, value in options.items():
        if key not in allowed:
            every = (*allowed, "threshold", "partial", *SPLIT_KEYS)
            what = f"{spec.text}: {spec.name} has no {key!r}; allowed are {', '.join(every)}"
            raise TaskError(what + nearest(key, every))
        keywords[key] = _convert(spec, key, types[key], value)
    return keywords


def _convert(spec: Spec, key: str, kind: Any, value: str) -> Any:
    """A value as the type it is declared with: text, then JSON, then a list written with commas."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    tries: list[object] = [value]
    try:
        tries.append(json.loads(value))
    except ValueError:
        tries.append(None if value.lower() == "none" else [part.strip() for part in value.split(",")])
    for candidate in tries:
        try:
            return adapter.validate_python(candidate)
        except ValidationError:
            continue
    shown = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind).replace("typing.", "")
    raise TaskError(f"{spec.text}: {key} is {value!r}; it must be {shown}")
