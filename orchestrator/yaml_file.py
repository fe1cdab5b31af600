"""Strict YAML files: text in, a frozen pydantic model out, or every problem at once.

`load_model` serves any configuration file of Podium. The file is read with positions (`yaml_source`), files it
includes are merged under it, the model validates, and whatever is wrong is told in words of the file
(`yaml_problems`). Types are strict: `calls: "12"` is not a number and `calls: true` is not one. The one exception is a
text that `${...}` was replaced in: it becomes a number, a truth value or nothing where the model asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict, ValidationError, ValidationInfo

from podium.orchestrator.yaml_problems import Problem, explain, nearest, place, translate, value_at
from podium.orchestrator.yaml_source import Document, Mark, Text, Value, Where, read_document, resolve
from podium.protocols.errors import TeamFileError

__all__ = [
    "Check",
    "FilePath",
    "FilePaths",
    "FileUrl",
    "NameOrPath",
    "StrictModel",
    "Words",
    "load_model",
    "parse_model",
]

MAX_FILES = 50
"""Most files that one file may include, directly or not."""

Check = Callable[[Mapping[str, Any]], Iterable[Problem]]
"""What a schema cannot say: the problems of a file's plain data."""
M = TypeVar("M", bound=BaseModel)


class StrictModel(BaseModel):
    """A part of a configuration file: unknown keys refused, types not converted, immutable; docstrings describe it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def _from_file(value: object, info: ValidationInfo) -> object:
    """A path as written -> a path that starts from the folder of the file that states it."""
    if not isinstance(value, str) or info.mode == "json":
        return value
    path = Path(value).expanduser()
    return value.mark.folder / path if isinstance(value, Text) else path


def _list_of(value: object) -> object:
    return [value] if isinstance(value, str | Path) else value


def _name_or_path(value: object) -> object:
    if not isinstance(value, str) or not value:
        return value
    path = Path(value).expanduser()
    base = value.mark.folder if isinstance(value, Text) else Path()
    if value.startswith((".", "/", "~")) or (isinstance(value, Text) and (base / path).exists()):
        return str(base / path)
    return value


def _url_from_file(value: object) -> object:
    head = "sqlite:///"
    if isinstance(value, Text) and value.startswith(head) and value[len(head) :][:1] not in ("", ":", "/"):
        return f"{head}{value.mark.folder / value[len(head) :]}"
    return value


FilePath = Annotated[Path, BeforeValidator(_from_file, json_schema_input_type=str)]
"""A path, relative to the file that states it."""
FilePaths = Annotated[
    tuple[FilePath, ...], BeforeValidator(_list_of, json_schema_input_type=str | list[str]), Strict(False)
]
"""One path or a list of them, each relative to the file that states it."""
NameOrPath = Annotated[str, BeforeValidator(_name_or_path)]
"""A hub name; or a path, when it starts with . / or ~ or when there is such a file beside the one that states it."""
FileUrl = Annotated[str, BeforeValidator(_url_from_file)]
"""A URL; the path of a sqlite URL is relative to the file that states it."""
Words = Annotated[tuple[str, ...], Strict(False)]
"""A list of texts. YAML and JSON give lists, the frozen model keeps a tuple."""


def load_model(path: str | Path, model: type[M], *, check: Check | None = None, include: Sequence[str] = ()) -> M:
    """Read a YAML file as a model.

    check: what the schema cannot say, on the plain data (names that lead nowhere); it has to bear broken shapes.
    include: the top-level keys that files named under `include:` may hold; empty means that files cannot include.
    Raises TeamFileError with every problem, in the order of the file.
    """
    path = Path(path)
    return _validated(_read(path, str(path), None), model, check, include)


def parse_model(
    text: str,
    model: type[M],
    *,
    file: str = "<string>",
    base: Path = Path(),
    check: Check | None = None,
    include: Sequence[str] = (),
) -> M:
    """As `load_model`, from text. file: how errors call it; base: the folder that relative paths start from."""
    return _validated(read_document(text, file, base.resolve()), model, check, include)


def _read(path: Path, label: str, mark: Mark | None) -> Document:
    """Read the file, or say in one line why not, at the place that names it."""
    at = f"{mark}: include" if mark is not None else label
    shown = f"{label}: " if mark is not None else ""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        near = nearest(path.name, [other.name for other in path.parent.glob("*.y*ml")]) if path.parent.is_dir() else ""
        hint = f'; did you mean "{near}"?' if near else ""
        raise TeamFileError([f"{at}: {shown}there is no such file{hint}"]) from None
    except IsADirectoryError:
        raise TeamFileError([f"{at}: {shown}this is a folder; name the file in it"]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise TeamFileError([f"{at}: {shown}cannot be read: {reason}"]) from None
    return read_document(raw, label, path.parent.resolve())


def _validated(document: Document, model: type[M], check: Check | None, include: Sequence[str]) -> M:
    problems: list[Problem] = []
    if include:
        _include(document, model, include, (document.root.folder / Path(document.root.file).name,), [0])
    data = document.data
    try:
        made = model.model_validate(data)
    except ValidationError as first:
        if _retyped(first, data):
            try:
                made = model.model_validate(data)
            except ValidationError as second:
                made, problems = None, translate(second, model, data)
        else:
            made, problems = None, translate(first, model, data)
    if check is not None:
        problems.extend(check(data))
    if made is None or problems or document.problems:
        raise TeamFileError(explain(document, problems) or [f"{document.root}: not accepted"])
    return made


def _retyped(error: ValidationError, data: dict[str, Value]) -> bool:
    """Give texts that `${...}` was replaced in the type they look like, where the text itself was not accepted."""
    changed = False
    for detail in error.errors(include_url=False):
        where = place(detail["loc"], data)
        try:
            value = value_at(data, where)
        except LookupError:
            continue
        if where and isinstance(value, Text) and value.pattern is not None:
            found = resolve(value)
            if not isinstance(found, str):
                holder = cast(Any, value_at(data, where[:-1]))
                holder[where[-1]] = found
                changed = True
    return changed


def _include(
    document: Document, model: type[BaseModel], allowed: Sequence[str], chain: tuple[Path, ...], count: list[int]
) -> None:
    """Merge the files that a document includes under it: its own keys win, of two included ones the later wins."""
    stated = document.data.pop("include", None)
    names = stated if isinstance(stated, list) else [] if stated is None else [stated]
    for index, name in reversed(list(enumerate(names))):
        where: Where = ("include", index) if isinstance(stated, list) else ("include",)
        mark = document.mark(where)
        if not isinstance(name, Text) or not name:
            document.problems.append((mark, "include: expected the path of a YAML file, or a list of them"))
            continue
        path = (document.root.folder / Path(name).expanduser()).resolve()
        shown = name.pattern if name.pattern and where in document.hidden else name
        label = str(Path(document.root.file).parent / shown)
        if path in chain:
            circle = " -> ".join(part.name for part in (*chain[chain.index(path) :], path))
            document.problems.append((mark, f"include: the files include each other in a circle: {circle}"))
            continue
        count[0] += 1
        if count[0] > MAX_FILES:
            raise TeamFileError([f"{mark}: include: more than {MAX_FILES} files are included"])
        try:
            shared = _read(path, label, mark)
        except TeamFileError as error:
            document.problems.extend((mark, line.removeprefix(f"{mark}: ")) for line in error.problems)
            continue
        _include(shared, model, allowed, (*chain, path), count)
        _only(shared, model, allowed)
        document.problems.extend(shared.problems)
        document.secrets |= shared.secrets
        document.hidden |= {path for path in shared.hidden if path not in document.marks}
        _merge(document.data, shared.data)
        document.marks = {**shared.marks, **document.marks}
        document.keys = {**shared.keys, **document.keys}


def _only(shared: Document, model: type[BaseModel], allowed: Sequence[str]) -> None:
    """Take whatever an included file may not hold out of it, and say so."""
    foreign = [key for key in shared.data if key not in allowed]
    whole = [key for key in foreign if key in model.model_fields]
    if whole:
        what = (
            f"{', '.join(whole)}: only the file that includes this one may say that; an included file holds "
            f"{', '.join(allowed)} or include. To share parts of a whole file, move its {' and '.join(allowed)} into a "
            "file of their own, and include that one in both"
        )
        shared.problems.append((shared.mark((whole[0],)), what))
    for key in foreign:
        if key not in whole:
            what = f'{key}: unknown key "{key}" in an included file; allowed: {", ".join(allowed)}, include'
            near = nearest(key, allowed)
            shared.problems.append((shared.mark((key,)), what + (f'; did you mean "{near}"?' if near else "")))
        del shared.data[key]


def _merge(own: dict[str, Value], shared: dict[str, Value]) -> None:
    for key, value in shared.items():
        mine = own.get(key)
        if key not in own:
            own[key] = value
        elif isinstance(mine, dict) and isinstance(value, dict):
            _merge(mine, value)
