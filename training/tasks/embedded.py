"""The embedded task source: small tasks that no single member of the embedded team can do well.

Every task is made and judged by reasoning-gym's own generators and scorers, but asked in one short line. Three
families make coordination matter:

- single: one skill, which one specialist has and the others lack (whom to ask?);
- two_step: the second step needs the first step's answer, and no agent has both skills (in which order?);
- unreliable: the only agents with the skill are often wrong in scattered ways, so a majority of samples beats one
  sample (how much compute?).

A task's type (its data set, or two of them joined by +) stands in its tags, for reports, and never in its text: each
type has several wordings, some of them held out for the test split. The splits are also disjoint by content: the
operands of a task, in any order and of any type, belong to one split.
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

from reasoning_gym import factory
from reasoning_gym.algorithmic.caesar_cipher import CaesarCipherDataset
from reasoning_gym.algorithmic.word_sorting import TextTransformation

from podium.protocols.task import Message, Task, Verdict
from podium.training.tasks.embedded_wordings import HELD_OUT, WORDINGS

_create = cast("Callable[..., Any]", factory.create_dataset)

Split = Literal["train", "test"]
Entry = Mapping[str, Any]
"""What a reasoning-gym dataset yields: question, answer, metadata."""

PASS: Final = 1.0
"""The reasoning-gym score of a right answer. Anything below is partial credit: spell_backward gives the right letters
with more behind them up to 0.9999999999999999."""
TEST_SHARE: Final = 5
"""One content in this many belongs to the test split."""
SHORT: Final = frozenset({3, 4})
"""Lengths of the words in lists."""

_PLAIN_WORD: Final = re.compile(r"[a-z]+")

_DATASETS: Final[Mapping[str, Mapping[str, object]]] = {
    "products": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    "caesar_cipher": {"min_words": 1, "min_rotation": 1, "max_rotation": 1},
    "word_sequence_reversal": {"min_words": 3, "max_words": 3},
    "spell_backward": {"min_word_len": 3, "max_word_len": 6},
    "number_sorting": {
        "min_numbers": 3,
        "max_numbers": 3,
        "min_decimals": 0,
        "max_decimals": 0,
        "min_value": 10,
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
class Chain:
    """A second step put onto a skill. then: the first step's result -> the final one; second: whose scorer judges."""

    first: str
    then: Callable[[str], str]
    second: str


def _operands(wording: str, entry: Entry, parts: list[str], **fields: str) -> Operands | None:
    if any(part in reserved_words() for part in parts):
        return None
    return Operands(wording, fields, " ".join(sorted(parts)), entry)


def _multiply(entry: Entry) -> Operands | None:
    expression = str(entry["metadata"]["expression"])
    a, b = expression.split(" * ")
    return _operands("products", entry, [a, b], a=a, b=b) if "0" not in (a, b) else None


def _shift(entry: Entry) -> Operands | None:
    w = str(entry["metadata"]["cipher_text"]).lower()
    return _operands("caesar_cipher", entry, [w], w=w)


def _flip(entry: Entry) -> Operands | None:
    words = cast("list[str]", entry["metadata"]["words"])
    plain = all(word.islower() and len(word) in SHORT for word in words) and len(set(words)) == len(words)
    return _operands("word_sequence_reversal", entry, words, items=" ".join(words)) if plain else None


def _reverse(entry: Entry) -> Operands | None:
    w = str(entry["metadata"]["word"])
    return _operands("spell_backward", entry, [w], w=w) if _PLAIN_WORD.fullmatch(w) else None


def _sort(entry: Entry) -> Operands | None:
    numbers = [str(int(float(number))) for number in entry["metadata"]["original_numbers"]]
    wording = "number_sorting up" if entry["metadata"]["direction"] == "ascending" else "number_sorting down"
    return _operands(wording, entry, numbers, items=" ".join(numbers)) if len(set(numbers)) == len(numbers) else None


def _order(entry: Entry) -> Operands | None:
    words = cast("list[str]", entry["metadata"]["transformed_words"])
    wording = "word_sorting up" if entry["metadata"]["direction"] == "ascending" else "word_sorting down"
    plain = "".join(words).isalpha() and len(set(words)) == len(words)
    return _operands(wording, entry, words, items=" ".join(words)) if plain else None


def _backwards(text: str) -> str:
    return text[::-1]


def _one_back(word: str) -> str:
    return "".join(chr((ord(letter) - ord("a") - 1) % 26 + ord("a")) for letter in word)


SKILLS: Final[Mapping[str, Callable[[Entry], Operands | None]]] = {
    "products": _multiply,
    "caesar_cipher": _shift,
    "word_sequence_reversal": _flip,
    "spell_backward": _reverse,
    "number_sorting": _sort,
    "word_sorting": _order,
}
"""Dataset -> how an entry of it is read (None: this entry does not suit, take the next)."""

CHAINS: Final[Mapping[str, Chain]] = {
    f"{chain.first}+{chain.second}": chain
    for chain in (
        Chain("word_sorting", lambda words: _backwards(words.split()[0]), "spell_backward"),
        Chain("word_sorting", lambda words: _one_back(words.split()[0]), "caesar_cipher"),
        Chain("number_sorting", lambda numbers: _backwards(numbers.split()[-1]), "spell_backward"),
        Chain("spell_backward", _one_back, "caesar_cipher"),
    )
}

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "single": ("spell_backward", "caesar_cipher", "number_sorting", "word_sorting"),
    "two_step": tuple(CHAINS),
    "unreliable": ("products", "word_sequence_reversal"),
}
SHARES: Final[Mapping[str, int]] = {"single": 4, "two_step": 4, "unreliable": 2}
"""How often each family comes up, in tenths; types of one family are equally likely."""


@cache
def _words() -> tuple[str, ...]:
    """The plain words that spell_backward draws from; caesar_cipher is given them in place of its long sentences."""
    entries = _create("spell_backward", **_DATASETS["spell_backward"])
    return tuple(word for word in entries.words if _PLAIN_WORD.fullmatch(word))


@cache
def reserved_words() -> frozenset[str]:
    """The words of all wordings: never operands, so that no operand can be read as an instruction."""
    wordings = " ".join(wording for wordings in WORDINGS.values() for wording in wordings)
    return frozenset(re.findall(r"[a-z]{2,}", re.sub(r"{\w+}", "", wordings)))


def normal(content: str) -> str | None:
    """The text that votes compare: single spaces, no commas, nothing around it; None when nothing is left."""
    return " ".join(content.replace(",", " ").split()) or None


def _as_scored(dataset: str, answer: str) -> str:
    """An answer in the form that the dataset's scorer reads."""
    if dataset == "number_sorting":
        return repr(answer.split())
    if dataset == "caesar_cipher":
        return answer.upper()
    return ", ".join(answer.split()) if dataset in ("word_sorting", "word_sequence_reversal") else answer


@cache
def _judge(dataset: str) -> Callable[[str | None, Entry], float]:
    return cast("Callable[[str | None, Entry], float]", factory.get_score_answer_fn(dataset))


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
    answer = str(entry["answer"])
    return answer.lower() if dataset == "caesar_cipher" else answer.replace(",", "")


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

    def _draw(self, dataset: str) -> Operands:
        for entry in self._entries[dataset]:
            operands = SKILLS[dataset](entry)
            if operands is not None and self._contents in (None, split_of(operands.content)):
                return operands
        raise AssertionError("reasoning-gym datasets do not end")

    def _text(self, wording: str, fields: Mapping[str, str]) -> str:
        wordings = WORDINGS[wording]
        if self._wordings is not None:
            wordings = wordings[:-HELD_OUT] if self._wordings == "train" else wordings[-HELD_OUT:]
        return self._rng.choice(wordings).format_map(fields)

    def of(self, type: str) -> Exercise:
        """The next exercise of one type. Raises KeyError: no such type."""
        if type in SKILLS:
            operands = self._draw(type)
            text = self._text(operands.wording, operands.fields)
            return Exercise(
                type, text, operands.content, (_result(type, operands.entry),), _scorer(type, operands.entry)
            )
        chain = CHAINS[type]
        while True:
            operands = self._draw(chain.first)
            first = _result(chain.first, operands.entry)
            last = chain.then(first)
            if first != last and not operands.wording.endswith(" down"):
                break
        score = _scorer(chain.second, {**operands.entry, "answer": _as_scored(chain.second, last)})
        return Exercise(type, self._text(type, operands.fields), operands.content, (first, last), score)

    def any(self) -> Exercise:
        """The next exercise of the mixture: a family by its share, then one of its types."""
        family = self._rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        return self.of(self._rng.choice(FAMILIES[family]))


def _entries(dataset: str, seed: int) -> Iterator[Entry]:
    entries = _create(dataset, seed=seed, **_DATASETS[dataset])
    if isinstance(entries, CaesarCipherDataset):
        entries.valid_sentences = [word.upper() for word in _words()]
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


def embedded(split: Split, size: int, seed: int, wordings: Split | None = None) -> list[Task]:
    """`size` tasks of the mixture; the same arguments give the same tasks.

    wordings: of which split they are; left out: of that of the contents.

    A verdict's score is 1 or 0: reasoning-gym's partial credit (for letters in place, words in place) would reward
    guesses, so it is kept as the part "reasoning_gym" only.
    """
    exercises = Exercises(seed, contents=split, wordings=wordings or split)
    return [_task(exercises.any(), f"embedded-{split}-{seed}-{index}") for index in range(size)]
