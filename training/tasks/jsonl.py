"""Your own tasks: a file with one JSON object a line (`.gz` is read too).

    {"prompt": "What is 6 x 7?", "reference": 42}
    {"id": "geo-7", "messages": [{"role": "user", "content": "Capital of France?"}], "reference": "Paris",
     "verifier": "exact", "tags": ["geography"]}

One of `prompt` and `messages` is needed. `id` is made from the prompt where it is left out, so a task keeps its side of
a split when lines move. Lines that repeat an earlier prompt and reference are dropped. The verifier is the line's, else
the spec's (`jsonl:PATH?verifier=numeric`), else numeric, choice or exact, whichever fits all references of the file;
tasks without reference and verifier can be worked on, and cannot be scored.

A data file cannot name code: `verifier=python:...` is taken from the spec only. Nor can it name what costs money: which
model judges is said by the spec, `judge=NAME`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from podium.protocols.errors import TaskError
from podium.protocols.task import Message, Task
from podium.training.tasks import answers, verifiers
from podium.training.tasks.judge import Judge, Judges, JudgeVerifier
from podium.training.tasks.spec import Spec, check_options, nearest

OPTIONS = ("judge", "pattern", "threshold", "tolerance", "verifier")
OPTION_OF = {"pattern": ("regex",), "tolerance": ("numeric",), "threshold": ("python", "judge"), "judge": ("judge",)}


def _as_text(value: object) -> object:
    """A reference or a tag may be written as a number."""
    return json.dumps(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_as_text)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LineMessage(_Strict):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = Field(min_length=1)
    name: str | None = None


class Line(_Strict):
    """One line of a task file."""

    id: Text | None = None
    prompt: str | None = Field(default=None, min_length=1)
    messages: list[LineMessage] | None = Field(default=None, min_length=1)
    reference: Text | None = None
    verifier: str | None = None
    tags: list[Text] | dict[str, Text] = []


def jsonl_tasks(spec: Spec, judge: Judges | None = None) -> list[Task]:
    """The tasks of `jsonl:PATH?verifier=...`, in the order of the file. judge: who may judge.

    Raises TaskError with file and line.
    """
    check_options(spec, OPTIONS)
    path = Path(spec.name)
    lines = _unique(path, _lines(path))
    default = spec.options.get("verifier")
    if default is not None:
        check_name(f"{spec.text}: verifier", default, code=True)
    default = default or _fitting(line for _, line in lines)
    used = {(line.verifier or default or "").partition(":")[0] for _, line in lines}
    for option, names in OPTION_OF.items():
        if option in spec.options and not used.intersection(names):
            raise TaskError(f"{spec.text}: {option} is for the verifier {' or '.join(names)}, and no task uses that")
    factory = VerifierFactory(spec, _named(spec, judge) if "judge" in used else None)
    tasks: list[Task] = []
    for number, line in lines:
        try:
            tasks.append(_task(path, line, line.verifier or default, factory))
        except TaskError as error:
            raise TaskError(f"{path}:{number}: {error}") from None
    return tasks


class VerifierFactory:
    """Makes the verifier of each line, with the options of one spec. Raises TaskError."""

    def __init__(self, spec: Spec, judge: Judge | None) -> None:
        self.judge = judge
        self.folder = Path(spec.name).parent
        self.threshold = _option(spec, "threshold", verifiers.THRESHOLD)
        self.tolerance = _option(spec, "tolerance", verifiers.RELATIVE_TOLERANCE)
        self.pattern = verifiers.compiled(spec.options["pattern"]) if "pattern" in spec.options else None
        self._functions: dict[str, verifiers.ScoreFunction] = {}

    def make(self, name: str, task: str, reference: str | None) -> verifiers.Verifier:
        """The verifier `name` for one task."""
        if name == "judge":
            if self.judge is None:
                raise TaskError("the verifier judge needs a model: load_tasks(..., judge=Judge(model))")
            return JudgeVerifier(self.judge, task, reference, self.threshold)
        kind, _, function = name.partition(":")
        if kind == "python":
            if function not in self._functions:
                self._functions[function] = verifiers.load_function(function, self.folder)
            return verifiers.PythonFunction(name, self._functions[function], reference, self.threshold)
        if reference is None:
            raise TaskError(f"there is no reference, which the verifier {name} needs")
        if name == "numeric":
            return verifiers.Numeric(reference, self.tolerance)
        if name == "choice":
            return verifiers.Choice(reference)
        if name == "regex":
            return verifiers.Regex(reference, self.pattern)
        return verifiers.Exact(reference)


def check_name(where: str, name: str, *, code: bool) -> None:
    """Raise TaskError unless this names a verifier. code: a Python function may be named here."""
    kind, colon, _ = name.partition(":")
    if kind == "python" and not code:
        raise TaskError(
            f"{where}: a data file cannot name code to run; name the function in the spec, verifier=python:..."
        )
    if kind not in verifiers.NAMES or (bool(colon) != (kind == "python")):
        allowed = [f"{known}:module:function" if known == "python" else known for known in verifiers.NAMES]
        raise TaskError(
            f"{where}: unknown verifier {name!r}; allowed are {', '.join(allowed)}" + nearest(kind, allowed)
        )


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not empty, from a plain or gzipped file. Raises TaskError."""
    if not path.is_file():
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        what = "this is a folder, not a file" if path.is_dir() else "there is no such file"
        raise TaskError(f"{path}: {what}" + nearest(path.name, beside))
    number = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as lines
        ):
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}:{number + 1}: cannot be read: {error}") from error


def _lines(path: Path) -> Iterator[tuple[int, Line]]:
    for number, text in read_lines(path):
        where = f"{path}:{number}"
        try:
            line = Line.model_validate(json.loads(text))
        except json.JSONDecodeError as error:
            raise TaskError(f"{where}: not JSON at character {error.pos + 1}: {error.msg}") from None
        except ValidationError as error:
            raise TaskError(f"{where}: " + "; ".join(_sentence(problem) for problem in error.errors())) from None
        if (line.prompt is None) == (line.messages is None):
            found = "neither" if line.prompt is None else "both"
            raise TaskError(f"{where}: give one of prompt and messages; found {found}")
        if line.messages and line.messages[-1].role != "user":
            role = line.messages[-1].role
            raise TaskError(f"{where}: the last message is what is asked, so its role is user, not {role}")
        if line.verifier is not None:
            check_name(f"{where}: verifier", line.verifier, code=False)
        yield number, line


def _sentence(problem: ErrorDetails) -> str:
    name = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown field {name!r}; allowed are {', '.join(Line.model_fields)}" + nearest(name, Line.model_fields)
    return f"{name}: {problem['msg']}, found {problem['input']!r:.60}" if name else str(problem["msg"])


def _unique(path: Path, lines: Iterator[tuple[int, Line]]) -> list[tuple[int, Line]]:
    """The lines with their ids filled in and repeated ones left out. Raises TaskError when an id means two tasks."""
    kept: list[tuple[int, Line]] = []
    seen: dict[str, tuple[int, Line]] = {}
    stem = path.name.split(".")[0]
    for number, line in lines:
        content = line.prompt or "\0".join(f"{message.role}\0{message.content}" for message in line.messages or ())
        if line.id is None:
            line.id = f"{stem}-{hashlib.blake2b(content.encode(), digest_size=5).hexdigest()}"
        if line.id not in seen:
            seen[line.id] = number, line
            kept.append((number, line))
        elif seen[line.id][1] != line:
            raise TaskError(
                f"{path}:{number}: the id {line.id!r} (made from the prompt where none is given) is that of line"
                f" {seen[line.id][0]}, which is another task"
            )
    return kept


def _fitting(lines: Iterator[Line]) -> str | None:
    references = [line.reference for line in lines if line.reference is not None]
    return answers.kind_of(references) if references else None


def _task(path: Path, line: Line, name: str | None, factory: VerifierFactory) -> Task:
    messages = tuple(Message(message.role, message.content, message.name) for message in line.messages or ())
    messages = messages or (Message("user", line.prompt or ""),)
    tags = line.tags if isinstance(line.tags, dict) else {f"tag{place}": tag for place, tag in enumerate(line.tags)}
    tags = {"source": path.name, **tags}
    if name is None:
        return Task(line.id or "", messages, tags=tags)
    verifier = factory.make(name, messages[-1].content, line.reference)
    ahead = verifier.ahead if isinstance(verifier, JudgeVerifier) else None
    return Task(line.id or "", messages, score=verifier.score, answer=verifier.answer, tags=tags, ahead=ahead)


def _named(spec: Spec, judges: Judges | None) -> Judge | None:
    """The judge that a spec names. Raises TaskError."""
    if judges is None or isinstance(judges, Judge):
        return judges
    name = spec.options.get("judge", "")
    if name in judges:
        return judges[name]
    allowed = ", ".join(judges) or "none; add one to the models of the team file"
    if not name:
        raise TaskError(f"{spec.text}: the verifier judge needs a model: add judge=NAME; allowed are {allowed}")
    raise TaskError(f"{spec.text}: no model {name!r} can judge; allowed are {allowed}" + nearest(name, list(judges)))


def _option(spec: Spec, key: str, default: float) -> float:
    try:
        value = float(spec.options.get(key, default))
    except ValueError:
        raise TaskError(f"{spec.text}: {key} is {spec.options[key]!r}; it must be a number") from None
    if not 0.0 <= value <= 1.0:
        raise TaskError(f"{spec.text}: {key} is {value}; it must be between 0 and 1")
    return value
