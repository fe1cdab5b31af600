"""Named verifiers: how a reply is compared with a reference, chosen per task source.

    exact     the marked answer or the last line, without case, spacing, quotes and markdown, equals the reference
    numeric   the last number equals the reference's within a relative tolerance; 50%, 0.5 and 1/2 are one value where
              either side has a percent sign
    choice    the chosen letter, A to J
    regex     with `pattern=`: what the pattern finds last equals the reference; without: the reference is the pattern
    python    `python:module:function` or `python:file.py:function`, called with (reply, reference) -> float or bool;
              looked for beside the tasks file first
    judge     a model judges the reply (podium.training.tasks.judge)

A verifier belongs to one task and has two methods: `answer(text)`, what votes compare, and `score(text)`. `answer`
never looks at the reference: agents that agree on a wrong answer look exactly like agents that agree on a right one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from podium.agents.tools import load_file, load_module
from podium.protocols.errors import TaskError
from podium.protocols.task import Verdict
from podium.training.tasks import answers

NAMES = ("choice", "exact", "judge", "numeric", "python", "regex")
RELATIVE_TOLERANCE = 1e-6
"""Of `numeric`: far below a rounding that changes an answer, far above what floating point does to a right one."""
THRESHOLD = 0.5
"""From which fractional score an answer counts as correct, where nothing else is said."""

ScoreFunction = Callable[[str, str | None], float | bool]


class Verifier(Protocol):
    """Judges the replies to one task."""

    def answer(self, text: str) -> str | None:
        """The part of a reply that votes compare, None where there is none."""
        ...

    def score(self, text: str) -> Verdict:
        """How good a reply is."""
        ...


@dataclass(frozen=True, slots=True)
class Exact:
    """The answer is the reference, apart from case, spacing, quotes, markdown and a final full stop."""

    reference: str

    def answer(self, text: str) -> str | None:
        """The marked part of the reply, else its last line, as plain text."""
        return answers.text_answer(text)

    def score(self, text: str) -> Verdict:
        """1 when the answer, or the whole reply (a reference may have several lines), is the reference."""
        wanted = answers.plain(self.reference)
        return _binary(wanted in (self.answer(text), answers.plain(answers.without_thought(text))))


@dataclass(frozen=True, slots=True)
class Numeric:
    """The last number of the marked part, else of the reply, is the reference. tolerance: relative, of the reference.

    Raises TaskError when the reference is not a number.
    """

    reference: str
    tolerance: float = RELATIVE_TOLERANCE

    def __post_init__(self) -> None:
        if not answers.is_number(self.reference):
            raise TaskError(f"the reference {self.reference!r} is not a number, which the verifier numeric needs")

    def answer(self, text: str) -> str | None:
        """The number in one form for one value: 1,234.50 gives 1234.5."""
        return answers.number(text)

    def score(self, text: str) -> Verdict:
        """1 when the values are equal within the tolerance."""
        found, wanted = answers.last_number(text), answers.last_number(self.reference)
        if found is None or wanted is None:
            return _binary(False)
        values = [found[0]]
        if found[1] != wanted[1]:
            values.append(found[0] / 100 if found[1] else found[0] * 100)
        return _binary(any(abs(value - wanted[0]) <= self.tolerance * abs(wanted[0]) for value in values))


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen letter is the reference. Raises TaskError when the reference is not a letter A to J."""

    reference: str

    def __post_init__(self) -> None:
        if answers.kind_of([self.reference]) != "choice":
            raise TaskError(f"the reference {self.reference!r} is not a letter A to J, which the verifier choice needs")

    def answer(self, text: str) -> str | None:
        """The letter, upper case."""
        return answers.choice(text)

    def score(self, text: str) -> Verdict:
        """1 when the letter is the reference's."""
        return _binary(self.answer(text) == self.reference.strip("(). ").upper())


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression finds the answer (pattern and reference given) or is the reference (pattern None).

    pattern: its first group, or all of it where it has none, is the answer; the last match counts.
    """

    reference: str
    pattern: re.Pattern[str] | None = None

    def __post_init__(self) -> None:
        if self.pattern is None:
            compiled(self.reference)

    def answer(self, text: str) -> str | None:
        """What the pattern finds last, as plain text; without a pattern, what `exact` takes."""
        if self.pattern is None:
            return answers.text_answer(text)
        found = list(self.pattern.finditer(text))
        if not found:
            return None
        return answers.plain(found[-1].group(1 if self.pattern.groups else 0) or "") or None

    def score(self, text: str) -> Verdict:
        """1 when the found answer is the reference, or the reference is found in the reply."""
        if self.pattern is None:
            return _binary(compiled(self.reference).search(text) is not None)
        return _binary(self.answer(text) == answers.plain(self.reference))


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """A function of yours judges. threshold: of `passed`, for fractional scores."""

    name: str
    function: ScoreFunction
    reference: str | None
    threshold: float = THRESHOLD

    def answer(self, text: str) -> str | None:
        """The marked part of the reply, else its last line, as plain text."""
        return answers.text_answer(text)

    def score(self, text: str) -> Verdict:
        """What the function returned. Raises TaskError when it raises, or returns no number from 0 to 1."""
        try:
            score = float(self.function(text, self.reference))
        except Exception as error:
            raise TaskError(
                f"verifier {self.name} raised {type(error).__name__}: {error} on the reply {text[:80]!r}"
            ) from error
        if math.isnan(score) or not 0.0 <= score <= 1.0:
            raise TaskError(f"verifier {self.name} returned {score} on the reply {text[:80]!r}; allowed are 0 to 1")
        return Verdict(score, score >= self.threshold)


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression. Raises TaskError with the place of the mistake."""
    try:
        return re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise TaskError(f"the regular expression {pattern!r} is broken: {error}") from None


def load_function(name: str, folder: Path = Path()) -> ScoreFunction:
    """The function of `module:function` or `file.py:function`. Raises TaskError. Runs the module's code.

    folder: where the module or file is looked for first.
    """
    place, colon, function_name = name.rpartition(":")
    if not colon or not place or not function_name:
        raise TaskError(f"verifier python:{name}: write python:module:function or python:file.py:function")
    path = folder / place if (folder / place).is_file() else Path(place)
    if place.endswith(".py") and not path.is_file():
        raise TaskError(f"verifier python:{name}: there is no such file")
    try:
        module = load_file(path) if place.endswith(".py") else load_module(place, folder)
    except (Exception, SystemExit) as error:  # importing runs the user's code
        what = f"verifier python:{name}: {place} cannot be imported"
        raise TaskError(f"{what}: {type(error).__name__}: {error}") from error
    function: ScoreFunction | None = getattr(module, function_name, None)
    if not callable(function):
        raise TaskError(f"verifier python:{name}: {place} has no function {function_name!r}")
    return function


def _binary(passed: bool) -> Verdict:
    return Verdict(1.0 if passed else 0.0, passed)
