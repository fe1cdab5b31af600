r"""Finding the answer in a reply.

Models are asked one question and answer in a hundred styles. Votes, agreement and scores need the few characters that
are the answer, found the same way for every agent and without looking at the reference. The rules, in this order:

1. what comes before the last `</think>` is thought, not answer;
2. the last `<answer>...</answer>`;
3. the last `\boxed{...}`;
4. what follows the last marker: `####`, `Answer:`, `Final answer:`, `the answer is`, or a line that starts with `A:`
   (unless a line starts with `B:`: then these are choices). It ends with its line; a marker at the end of a line means
   the lines below it;
5. otherwise there is no marked part, and the caller reads the whole reply.

Of that part, `number` takes the last number, `choice` the letter, and `plain` the text without decoration.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

AnswerKind = Literal["numeric", "choice", "exact"]

MARKER = re.compile(
    r"####+|\b(?:final\s+|correct\s+)?answer\b[*_]*\s*(?::|=|is\b:?)[*_]*|^[\s*_>]*A:[*_]*",
    re.IGNORECASE | re.MULTILINE,
)
CHOICE_MARKER = re.compile(MARKER.pattern.rpartition("|")[0], re.IGNORECASE)
OTHER_CHOICES = re.compile(r"^\s*B:", re.MULTILINE)
ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)

MAX_DIGITS = 400
"""Longer runs of digits are not read as numbers: nobody means them, and turning them into integers takes long."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|\.\d+"
NUMBER = re.compile(
    rf"""
    (?<![\w.])(?<!\d/)                                                 # not the tail of a word, number or date
    (?P<sign>(?<![)\]])[-+])? [$€£]? (?P<inner>[-+](?=\d))?            # -5, -$5, $-5
    (?:(?P<whole>\d+)\s+(?=\d+\s*/\s*\d))?                             # the 1 of 1 1/2
    (?P<digits>{_DIGITS})
    (?: \s*/\s* (?P<below>\d+(?:\.\d+)?)(?![\d/])
      | [eE](?P<e>[-+]?\d{{1,3}})(?!\d)
      | \s*(?:×|x|\*|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{{?(?P<power>[-+]?\d{{1,3}})(?!\d)\}}?
    )?
    \s?(?P<percent>%)?
    """,
    re.VERBOSE,
)
LATEX = (
    (re.compile(r"\\[dt]?frac\{([-+]?\d+)\}\{(\d+)\}"), r" \1/\2"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,!]"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile("[−‐‑]"), "-"),
)

_LETTER = r"\(?\s*([A-Ja-j])\b(?!['’])"
CHOICE_START = re.compile(
    r"^[\s*_(\[{$\"'`]*(?:\\text(?:bf)?\{)?\s*(?:(?:option|choice|letter)\s+)?" + _LETTER, re.IGNORECASE
)
CHOICE_SAID = re.compile(r"\b(?:option|choice|letter|choose|pick|select)\s+[*_]*" + _LETTER, re.IGNORECASE)
CHOICE_FORM = re.compile(r"\(([A-Ja-j])\)|\*\*\(?([A-J])\b")
CHOICE_LINE = re.compile(r"^[\s*_]*\(?([A-J])(?:[).:,]|\s*[-–]\s|\s*$)", re.MULTILINE)
CHOICE_LONE = re.compile(r"(?<![\w'’])([B-HJ])(?![\w'’])")


def final_part(text: str, marker: re.Pattern[str] = MARKER) -> str | None:
    """The marked answer of a reply, stripped; None where nothing is marked. marker: what announces an answer."""
    text = without_thought(text)
    tags = [part.strip() for part in ANSWER_TAG.findall(text)]
    if tags and tags[-1]:
        return tags[-1]
    boxed = _boxed(text)
    if boxed is not None:
        return boxed
    for found in reversed(list(marker.finditer(text))):
        if found.group().strip(" *_>\t\n").upper() == "A:" and OTHER_CHOICES.search(text):
            continue
        line, _, below = text[found.end() :].partition("\n")
        part = line.strip() if line.strip(" *_:.") else below.strip()
        if part:
            return part
    return None


def without_thought(text: str) -> str:
    """A reply without what stands before its last `</think>`; empty when the thought never ended."""
    _, closed, after = text.rpartition("</think>")
    if closed:
        return after.strip()
    return text.partition("<think>")[0].strip()


def plain(text: str) -> str:
    """A text as votes compare it: Unicode NFKC, lower case, single spaces, no quotes, markdown or full stop around."""
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text.strip("*_`\"'“”‘’ ").rstrip(".!").strip("*_`\"'“”‘’ ")


def last_line(text: str) -> str:
    """The last line with something in it, stripped; empty when there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def text_answer(text: str) -> str | None:
    """The answer as plain text: the marked part, else the last line. None when the reply is empty."""
    part = final_part(text)
    return plain(part if part is not None else last_line(without_thought(text))) or None


def number(text: str) -> str | None:
    """The last number of the marked part, else of the reply, in one form for one value; None where there is none.

    1,234.50 and $1234.5 give 1234.5; 3/4 and 0.75 give 0.75; 2/3 stays 2/3; 3e5 and 3 x 10^5 give 300000; 50% gives 50.
    """
    found = last_number(text)
    return None if found is None else canonical(found[0])


def last_number(text: str) -> tuple[Fraction, bool] | None:
    """Value of that number, and whether a percent sign follows it."""
    for place in (final_part(text), without_thought(text)):
        for line in reversed((place or "").splitlines()):
            numbers = list(_numbers(line))
            if numbers:
                return numbers[-1]
    return None


def canonical(value: Fraction) -> str:
    """The shortest exact way to write a value: a decimal where it ends within 12 places, else a fraction."""
    for places in range(13):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = f"{abs(scaled.numerator):0{places + 1}d}"
            text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
            return f"-{text}" if value < 0 else text
    return str(value)


def choice(text: str) -> str | None:
    """The chosen letter, A to J; None where the reply names none, or several and none of them last.

    Read in this order: the start of the marked part (`Answer: (B) Paris`); a reply that begins with a letter and a
    bracket, full stop or colon (`B. Paris`) unless several lines do; the last `(B)`, `**B**`, `option B`, `pick B`; the
    last capital letter that stands alone, where A and I do not count because they are words.
    """
    body = without_thought(text)
    part = final_part(text, CHOICE_MARKER)
    for place in (part, body if len(body) <= 3 else None):
        found = CHOICE_START.match(place) if place else None
        if found and place and not _is_word(found.group(1), place[found.end() :]):
            return found.group(1).upper()
    lines = {letter.upper() for letter in CHOICE_LINE.findall(body)}
    if len(lines) == 1 and CHOICE_LINE.match(body):
        return lines.pop()
    said = [
        (found.start(), next(filter(None, found.groups())))
        for pattern in (CHOICE_SAID, CHOICE_FORM)
        for found in pattern.finditer(body)
        if not _is_word(next(filter(None, found.groups())), body[found.end() :])
    ]
    if said:
        return max(said)[1].upper()
    if len(lines) == 1:
        return lines.pop()
    lone = CHOICE_LONE.findall(body)
    return lone[-1] if lone else None


def kind_of(references: Iterable[str]) -> AnswerKind:
    """How answers to a set of tasks are compared, judged from all their references together.

    Numbers when all of them are numbers, choices when all are letters A to J, else text. One decision for the whole
    set, so that the way an answer is read says nothing about a single task's reference.
    """
    given = [reference.strip() for reference in references]
    if given and all(is_number(reference) for reference in given):
        return "numeric"
    if given and all(re.fullmatch(r"\(?[A-Ja-j]\)?\.?", reference) for reference in given):
        return "choice"
    return "exact"


def is_number(text: str) -> bool:
    """Is a text one number and nothing else?"""
    cleaned = _clean(text).strip()
    found = NUMBER.match(cleaned)
    return found is not None and found.end() == len(cleaned) and _value(found) is not None


def _boxed(text: str) -> str | None:
    r"""The inside of the last `\boxed{...}`, braces balanced."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    begin = start + len("\\boxed{")
    for position in range(begin - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position].strip() or None
    return None


def _clean(text: str) -> str:
    for pattern, replacement in LATEX:
        text = pattern.sub(replacement, text)
    return text


def _numbers(text: str) -> Iterable[tuple[Fraction, bool]]:
    for found in NUMBER.finditer(_clean(text)):
        value = _value(found)
        if value is not None:
            yield value, found["percent"] is not None


def _value(found: re.Match[str]) -> Fraction | None:
    if len(found["digits"]) > MAX_DIGITS or len(found["below"] or "") > MAX_DIGITS:
        return None
    value = Fraction(found["digits"].replace(",", ""))
    if found["below"]:
        below = Fraction(found["below"])
        if below == 0:
            return None
        value /= below
    exponent = found["e"] or found["power"]
    if exponent:
        value *= Fraction(10) ** int(exponent)
    if found["whole"]:
        value += int(found["whole"]) if len(found["whole"]) <= MAX_DIGITS else 0
    return -value if (found["sign"] or found["inner"]) == "-" else value


def _is_word(letter: str, rest: str) -> bool:
    """Is this `a`, `A` or `I` a word of a sentence (`a tour`, `I think`) and not a choice?"""
    return letter in "aIi" and re.match(r"\s+[a-z]", rest) is not None
