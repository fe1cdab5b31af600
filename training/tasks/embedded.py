"""The embedded task source: small tasks that no single member of the embedded team can do well.

Every task is made and judged by reasoning-gym's own generators and scorers, but asked in one short line. Three
families make coordination matter:

- single: one skill, which one specialist has and the others lack (whom to ask?);
- two_step: the second step needs the first step's answer, and no agent has both skills (in which order?);
- unreliable: the only agents with the skill are often wrong in scattered ways, so a majority of samples beats one
  sample (how much compute?).

A task's type stands in its tags, for reports, and never in its text: each type has several wordings, some of them
held out for the test split. The splits are also disjoint by content: the operands of a task, in any order and of any
type, belong to one split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from random import Random
from typing import Any, Final, Literal, cast
from zlib import crc32

from reasoning_gym.algorithmic.word_sorting import TextTransformation
from reasoning_gym.arithmetic.leg_counting import ANIMALS
from reasoning_gym.factory import create_dataset, get_score_answer_fn

from podium.protocols.task import Message, Task, Verdict
from podium.training.tasks.embedded_wordings import HELD_OUT, WORDINGS

Split = Literal["train", "test"]
Entry = Mapping[str, Any]
"""What a reasoning-gym dataset yields: question, answer, metadata."""

PASS: Final = 0.99
"""A reasoning-gym score from which an answer counts as right; below it lies only partial credit."""
TEST_SHARE: Final = 5
"""One content in this many belongs to the test split."""
LONGEST_ANIMAL: Final = 8

_DATASETS: Final[Mapping[str, Mapping[str, object]]] = {
    "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2},
    "products": {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1},
    "leg_counting": {"min_animals": 2, "max_animals": 2, "max_instances": 5},
    "base_conversion": {"min_base": 2, "max_base": 10, "min_value": 4, "max_value": 255},
    "spell_backward": {"min_word_len": 3, "max_word_len": 6},
    "number_sorting": {
        "min_numbers": 3,
        "max_numbers": 3,
        "min_decimals": 0,
        "max_decimals": 0,
        "min_value": 1,
        "max_value": 99,
    },
    "word_sorting": {
        "min_words": 3,
        "max_words": 3,
        "min_word_length": 3,
        "max_word_length": 4,
        "transformation": TextTransformation.LOWERCASE,
    },
}


@dataclass(frozen=True, slots=True)
class Operands:
    """What one dataset entry asks. fields: what the wordings need; content: decides the split; wording: which list."""

    wording: str
    fields: Mapping[str, str]
    content: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Exercise:
    """One worked task. results: the right answer of each step, the last one final; score: 0 to 1, of a final answer."""

    type: str
    text: str
    content: str
    results: tuple[str, ...]
    score: Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Skill:
    """A single skill: its dataset, and how an entry is read (None: this entry does not suit, take the next)."""

    dataset: str
    read: Callable[[Entry], Operands | None]


@dataclass(frozen=True, slots=True)
class Chain:
    """A second step put onto a skill. then: the first step's result -> the final one; dataset: whose scorer judges."""

    first: str
    then: Callable[[str], str]
    dataset: str


def _operands(wording: str, entry: Entry, parts: list[str], **fields: str) -> Operands | None:
    if any(part in reserved_words() for part in parts):
        return None
    return Operands(wording, fields, " ".join(sorted(parts)), entry)


def _add(entry: Entry) -> Operands | None:
    a, sign, b = str(entry["metadata"]["expression"]).split()
    return _operands("add", entry, [a, b], a=a, b=b) if sign == "+" else None


def _multiply(entry: Entry) -> Operands | None:
    expression = str(entry["metadata"]["expression"])
    *some, last = expression.split(" * ")
    if "0" in (*some, last):
        return None
    return _operands("multiply", entry, [*some, last], stars=expression, numbers=f"{', '.join(some)} and {last}")


def _legs(entry: Entry) -> Operands | None:
    animals = cast("Mapping[str, int]", entry["metadata"]["animals"])
    if any(" " in name or len(name) > LONGEST_ANIMAL for name in animals):
        return None
    x, y = (f"{number} {name}" for name, number in animals.items())
    return Operands("legs", {"x": x, "y": y}, " ".join(sorted((x, y))), entry)


def _binary(entry: Entry) -> Operands | None:
    facts = entry["metadata"]
    if (facts["source_base"], facts["target_base"]) != (10, 2):
        return None
    n = str(facts["source_repr"])
    return _operands("binary", entry, [n], n=n)


def _reverse(entry: Entry) -> Operands | None:
    w = str(entry["metadata"]["word"])
    return _operands("reverse", entry, [w], w=w) if w.isascii() and w.isalpha() and w.islower() else None


def _sort(entry: Entry) -> Operands | None:
    numbers = [str(int(float(number))) for number in entry["metadata"]["original_numbers"]]
    wording = "sort up" if entry["metadata"]["direction"] == "ascending" else "sort down"
    return _operands(wording, entry, numbers, items=" ".join(numbers)) if len(set(numbers)) == len(numbers) else None


def _order(entry: Entry) -> Operands | None:
    words = cast("list[str]", entry["metadata"]["transformed_words"])
    wording = "order up" if entry["metadata"]["direction"] == "ascending" else "order down"
    plain = "".join(words).isalpha() and len(set(words)) == len(words)
    return _operands(wording, entry, words, items=" ".join(words)) if plain else None


def _to_binary(number: str) -> str:
    return format(int(number), "b")


def _backwards(text: str) -> str:
    return text[::-1]


def _ends(numbers: str) -> str:
    first, *_, last = numbers.split()
    return str(int(first) + int(last))


SKILLS: Final[Mapping[str, Skill]] = {
    "add": Skill("chain_sum", _add),
    "multiply": Skill("products", _multiply),
    "legs": Skill("leg_counting", _legs),
    "binary": Skill("base_conversion", _binary),
    "reverse": Skill("spell_backward", _reverse),
    "sort": Skill("number_sorting", _sort),
    "order": Skill("word_sorting", _order),
}

CHAINS: Final[Mapping[str, Chain]] = {
    "add_binary": Chain("add", _to_binary, "base_conversion"),
    "add_reverse": Chain("add", _backwards, "spell_backward"),
    "sort_add": Chain("sort", _ends, "chain_sum"),
    "sort_binary": Chain("sort", lambda numbers: _to_binary(numbers.split()[-1]), "base_conversion"),
    "order_reverse": Chain("order", lambda words: _backwards(words.split()[0]), "spell_backward"),
    "binary_reverse": Chain("binary", _backwards, "spell_backward"),
}

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "single": ("add", "binary", "reverse", "sort", "order"),
    "two_step": tuple(CHAINS),
    "unreliable": ("multiply", "legs"),
}
SHARES: Final[Mapping[str, int]] = {"single": 4, "two_step": 4, "unreliable": 2}
"""How often each family comes up, in tenths; types of one family are equally likely."""


@cache
def reserved_words() -> frozenset[str]:
    """The words of all wordings, and the animals: never operands, so that no operand can be read as an instruction."""
    wordings = " ".join(wording for wordings in WORDINGS.values() for wording in wordings)
    animals = (name for name in ANIMALS if " " not in name and len(name) <= LONGEST_ANIMAL)
    return frozenset({*re.findall(r"[a-z]{2,}", re.sub(r"{\w+}", "", wordings)), *animals})


def normal(content: str) -> str | None:
    """The text that votes compare: single spaces, no commas, nothing around it; None when nothing is left."""
    return " ".join(content.replace(",", " ").split()) or None


def _as_scored(dataset: str, answer: str) -> str:
    """An answer in the form that the dataset's scorer reads."""
    if dataset == "number_sorting":
        return repr(answer.split())
    return ", ".join(answer.split()) if dataset == "word_sorting" else answer


@cache
def _judge(dataset: str) -> Callable[[str | None, Entry], float]:
    return cast("Callable[[str | None, Entry], float]", get_score_answer_fn(dataset))


def _scorer(dataset: str, entry: Entry) -> Callable[[str], float]:
    """The dataset's own score of a text against an entry."""
    judge = _judge(dataset)

    def score(content: str) -> float:
        answer = normal(content)
        return 0.0 if answer is None else float(judge(_as_scored(dataset, answer), entry))

    return score


def _result(dataset: str, entry: Entry) -> str:
    """A dataset's own answer, written the way the team's agents write it."""
    if dataset == "number_sorting":
        return " ".join(str(int(float(number))) for number in entry["metadata"]["sorted_numbers"])
    return " ".join(entry["metadata"]["sorted_words"]) if dataset == "word_sorting" else str(entry["answer"])


def split_of(content: str) -> Split:
    """The split that a content belongs to."""
    return "test" if crc32(content.encode()) % TEST_SHARE == 0 else "train"


class Exercises:
    """An endless, deterministic supply of exercises.

    seed: decides everything. contents, wordings: of which split they are; None: of any.
    """

    def __init__(self, seed: int, contents: Split | None, wordings: Split | None) -> None:
        self._contents = contents
        self._wordings = wordings
        self._rng = Random(f"embedded {seed} {contents} {wordings}")
        self._entries = {name: _entries(name, self._rng.getrandbits(40)) for name in _DATASETS}

    def _draw(self, skill: Skill, up: bool) -> Operands:
        for entry in self._entries[skill.dataset]:
            operands = skill.read(entry)
            if operands is None or (up and operands.wording.endswith(" down")):
                continue
            if self._contents in (None, split_of(operands.content)):
                return operands
        raise AssertionError("reasoning-gym datasets do not end")

    def _text(self, wording: str, fields: Mapping[str, str]) -> str:
        wordings = WORDINGS[wording]
        if self._wordings is not None:
            wordings = wordings[:-HELD_OUT] if self._wordings == "train" else wordings[-HELD_OUT:]
        return self._rng.choice(wordings).format_map(fields)

    def of(self, type: str) -> Exercise:
        """The next exercise of one type. Raises KeyError: no such type."""
        chain = CHAINS.get(type)
        skill = SKILLS[chain.first if chain else type]
        operands = self._draw(skill, up=chain is not None)
        first = _result(skill.dataset, operands.entry)
        if chain is None:
            text = self._text(operands.wording, operands.fields)
            return Exercise(type, text, operands.content, (first,), _scorer(skill.dataset, operands.entry))
        last = chain.then(first)
        score = _scorer(chain.dataset, {**operands.entry, "answer": last})
        return Exercise(type, self._text(type, operands.fields), operands.content, (first, last), score)

    def any(self) -> Exercise:
        """The next exercise of the mixture: a family by its share, then one of its types."""
        family = self._rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        return self.of(self._rng.choice(FAMILIES[family]))


def _entries(dataset: str, seed: int) -> Iterator[Entry]:
    entries = create_dataset(dataset, seed=seed, **_DATASETS[dataset])
    return (cast("Entry", entries[index]) for index in count())


def _task(exercise: Exercise, id: str) -> Task:
    family = next(family for family, types in FAMILIES.items() if exercise.type in types)

    def verdict(content: str) -> Verdict:
        score = exercise.score(content)
        return Verdict(float(score >= PASS), score >= PASS, {"reasoning_gym": score})

    tags = {
        "type": exercise.type,
        "family": family,
        "steps": str(len(exercise.results)),
        "content": exercise.content,
    }
    return Task(id, (Message("user", exercise.text),), verdict, normal, tags=tags)


def embedded(split: Split, size: int, seed: int) -> list[Task]:
    """`size` tasks of the mixture; the same arguments give the same tasks.

    A verdict's score is 1 or 0: reasoning-gym's partial credit (for letters in place, words in place) would reward
    guesses, so it is kept as the part "reasoning_gym" only.
    """
    exercises = Exercises(seed, contents=split, wordings=split)
    return [_task(exercises.any(), f"embedded-{split}-{seed}-{index}") for index in range(size)]
