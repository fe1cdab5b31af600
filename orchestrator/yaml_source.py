"""YAML text to plain data that remembers where every value was written.

PyYAML's safe composer gives the tree of nodes with their marks; this module turns it into dicts, lists and scalars,
and keeps the position of each value beside it. It refuses what a configuration file has no honest use for: duplicate
keys (the specification forbids them, most parsers keep the last), custom tags, aliases that unfold into millions of
nodes, nesting without end. Scalars follow the core schema of YAML 1.2, so `no` and `on` are texts, `1e-3` is a number
and `12:30` is not one.

`${NAME}` and `${NAME:-default}` are replaced inside texts, never in keys; `$${` stands for `${`. What came from the
environment may be a secret: its value is marked, and no message of this package shows it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from podium.protocols.errors import TeamFileError

__all__ = ["Document", "Mark", "Text", "Value", "Where", "read_document", "resolve"]

MAX_BYTES = 1 << 20
"""A configuration file beyond a megabyte is a mistake or an attack."""
MAX_DEPTH = 32
"""Deepest nesting; a team file needs six."""
MAX_NODES = 50_000
"""Most values after aliases are unfolded."""
MAX_ALIASES = 200
"""Most aliases of one file."""

Where = tuple[str | int, ...]
"""Path of a value inside a document: keys and list positions."""

Value = dict[str, "Value"] | list["Value"] | str | int | float | bool | None

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$", re.DOTALL)
_INTEGER = re.compile(r"^[-+]?[0-9]+(_[0-9]+)*$")
_BASED = re.compile(r"^0(o[0-7]+|x[0-9a-fA-F]+)$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_SPECIAL = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MOST_DIGITS = 400
"""Longer numbers stay texts: converting them takes quadratic time, and nobody means them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something was written.

    file: as errors name it; folder: where its relative paths start; line, column: from 1.
    """

    file: str
    folder: Path
    line: int
    column: int

    def __str__(self) -> str:
        """As errors print it."""
        return f"{self.file}:{self.line}"


class Text(str):
    """A text of the file, with its mark.

    pattern: what was written, where `${...}` was replaced in it.
    """

    mark: Mark
    pattern: str | None

    @staticmethod
    def of(text: str, mark: Mark, pattern: str | None = None) -> Text:
        """A text with its origin."""
        made = Text(text)
        made.mark, made.pattern = mark, pattern
        return made


@dataclass(slots=True)
class Document:
    """A read file.

    data: its top-level mapping; marks: path -> mark of each value; keys: path -> mark of its key; hidden: paths of
    values that came from the environment; secrets: what came from there; problems: found while reading.
    """

    data: dict[str, Value]
    root: Mark
    marks: dict[Where, Mark] = field(default_factory=dict[Where, Mark])
    keys: dict[Where, Mark] = field(default_factory=dict[Where, Mark])
    hidden: set[Where] = field(default_factory=set[Where])
    secrets: set[str] = field(default_factory=set[str])
    problems: list[tuple[Mark, str]] = field(default_factory=list[tuple[Mark, str]])

    def mark(self, where: Where) -> Mark:
        """The mark of the key at a path, else of the value, else of the nearest thing around it."""
        while where:
            found = self.keys.get(where) or self.marks.get(where)
            if found is not None:
                return found
            where = where[:-1]
        return self.root


def resolve(text: str) -> str | int | float | bool | None:
    """A plain scalar by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _MOST_DIGITS:
        return text
    if _INTEGER.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    return _SPECIAL.get(text.lower(), text)


def read_document(text: str | bytes, file: str, folder: Path, environment: Mapping[str, str] | None = None) -> Document:
    """Read one YAML document whose top level is a mapping.

    file: how errors call it; folder: where its relative paths start; environment: what `${NAME}` looks up, by default
    the process environment. Problems that leave the rest readable (a missing variable, a duplicate key) are collected
    in `Document.problems`; raises TeamFileError for those that do not.
    """
    node = _compose(text, file)
    root = Mark(file, folder, 1, 1)
    if node is None:
        raise TeamFileError([f"{file}:1: the file is empty; expected a mapping such as name: my-team"])
    if not isinstance(node, MappingNode):
        found = "a list" if isinstance(node, SequenceNode) else "a single value"
        line = node.start_mark.line + 1
        raise TeamFileError([f"{file}:{line}: the file holds {found}; expected a mapping such as name: my-team"])
    document = Document({}, root)
    reader = _Reader(document, os.environ if environment is None else environment)
    document.data = reader.mapping(node, ())
    return document


class _Refused(yaml.YAMLError):
    """The text is well formed and still not accepted."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


class _Composer(yaml.SafeLoader):
    """PyYAML's composer with limits, so that neither depth nor aliases can exhaust the reader."""

    depth = 0
    aliases = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        event = cast(Any, self.peek_event())  # pyright: ignore[reportUnknownMemberType]
        line = int(event.start_mark.line) + 1
        if isinstance(event, AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ALIASES:
                raise _Refused(line, f"more than {MAX_ALIASES} aliases (*name) are refused")
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            short = tag.replace("tag:yaml.org,2002:", "!!")
            raise _Refused(line, f"the tag {short} is not allowed; write plain values")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(line, f"nested more than {MAX_DEPTH} levels deep")
        try:
            return super().compose_node(parent, index)  # pyright: ignore
        finally:
            self.depth -= 1


def _compose(text: str | bytes, file: str) -> Node | None:
    size = len(text)
    if size > MAX_BYTES:
        raise TeamFileError([f"{file}:1: the file has {size:,} bytes; at most {MAX_BYTES:,} are accepted"])
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = text[: error.start].count(b"\n") + 1
            raise TeamFileError([f"{file}:{line}: not UTF-8 text (byte {error.start})"]) from None
    loader = None
    try:
        loader = _Composer(text)
        return loader.get_single_node()  # pyright: ignore
    except _Refused as error:
        raise TeamFileError([f"{file}:{error.line}: {error}"]) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        shown = f"U+{ord(text[error.position]):04X}"
        raise TeamFileError([f"{file}:{line}: the character {shown} is not allowed in YAML"]) from None
    except yaml.MarkedYAMLError as error:
        unclosed = (error.problem or "").startswith("could not find expected ':'")
        mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise TeamFileError([f"{file}:{line}: {_plain_syntax(error, text)}"]) from None
    except (ValueError, OverflowError):
        raise TeamFileError([f"{file}:1: a number escape in a quoted text is out of range"]) from None
    finally:
        if loader is not None:
            loader.dispose()  # pyright: ignore


def _plain_syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    """A syntax error in one line, in words of the file rather than of the parser."""
    problem = (error.problem or "cannot be read").strip()
    mark = error.problem_mark
    lines = text.splitlines()
    written = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\\t" in problem or "\t" in written[: len(written) - len(written.lstrip())]:
        return "a tab; YAML is indented with spaces only"
    if "expected a single document" in (error.context or ""):
        return "a second document begins here (---); a file holds one"
    begun = f" (it began in line {error.context_mark.line + 1})" if error.context_mark is not None else ""
    if "but got '{'" in problem and "${" in written:
        return 'inside {...} and [...] a reference needs quotes: "${NAME}"'
    if problem.startswith("expected ','"):
        bracket = "}" if "'}'" in problem else "]"
        return f"a comma or the closing {bracket} is missing" + begun
    if "cannot start any token" in problem:
        return problem.removeprefix("found ") + "; quote texts that begin with it"
    if problem.startswith("mapping values are not allowed"):
        return "a second colon, or wrong indentation; quote texts that hold a colon"
    if problem.startswith("could not find expected ':'"):
        return "a key without a colon"
    if "<block end>" in problem:
        return "wrong indentation: this line fits no level above it" + begun
    if "unexpected end of stream" in problem or "found '<stream end>'" in problem:
        return "the file ends inside a quoted text, a list or a mapping" + begun
    if "undefined alias" in problem:
        return problem.replace("found undefined alias", "unknown alias") + "; there is no anchor (&) of that name above"
    return problem + begun


class _Reader:
    """Turns nodes into data, noting marks and problems."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self.document = document
        self.environment = environment
        self.nodes = 0
        self.open: list[Node] = []

    def value(self, node: Node, where: Where) -> Value:
        """The data of a node."""
        mark = self._mark(node)
        self.document.marks[where] = mark
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise TeamFileError([f"{mark}: aliases unfold into more than {MAX_NODES:,} values"])
        if any(node is outer for outer in self.open):
            raise TeamFileError([f"{mark}: an alias refers to the value it stands in"])
        if isinstance(node, ScalarNode):
            return self._scalar(node, mark, where)
        self.open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self.mapping(node, where)
            return [self.value(child, (*where, index)) for index, child in enumerate(node.value)]
        finally:
            self.open.pop()

    def mapping(self, node: MappingNode, where: Where) -> dict[str, Value]:
        """The data of a mapping; `<<` merges another one, whose keys give way to those written here."""
        data: dict[str, Value] = {}
        merged: list[Value] = []
        for key_node, value_node in node.value:
            mark = self._mark(key_node)
            if not isinstance(key_node, ScalarNode):
                self.document.problems.append((mark, "a list or mapping cannot be a key"))
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                merged.append(self.value(value_node, (*where, key)))
                continue
            place = (*where, key)
            if key in data:
                first = self.document.keys[place].line
                dotted = ".".join(map(str, place))
                self.document.problems.append((mark, f'{dotted}: the key "{key}" was already given in line {first}'))
                continue
            self.document.keys[place] = mark
            data[key] = self.value(value_node, place)
        for extra in merged:
            for part in extra if isinstance(extra, list) else [extra]:
                if isinstance(part, dict):
                    data = {**part, **data}
        return data

    def _scalar(self, node: ScalarNode, mark: Mark, where: Where) -> Value:
        text = node.value
        if any("\ud800" <= char <= "\udfff" for char in text):
            self.document.problems.append((mark, "half of a surrogate pair is not a character"))
            return None
        if "${" in text:
            return self._interpolate(text, mark, where)
        if node.style is None:
            found = resolve(text)
            return Text.of(text, mark) if isinstance(found, str) else found
        return Text.of(text, mark)

    def _interpolate(self, text: str, mark: Mark, where: Where) -> Text:
        def replaced(match: re.Match[str]) -> str:
            if match[1] is None:
                return "${"
            named = _NAME.match(match[1]) if match[0].endswith("}") else None
            if named is None:
                wanted = "expected ${NAME} or ${NAME:-default}; write $${ for the characters themselves"
                self.document.problems.append((mark, f"a reference ${{...}} that cannot be read; {wanted}"))
                return ""
            name, default = named[1], named[2]
            found = self.environment.get(name)
            if found is not None and (found or default is None):
                self.document.hidden.add(where)
                self.document.secrets.add(found)
                return found
            if default is None:
                wanted = f"set it, or write ${{{name}:-default}}"
                self.document.problems.append((mark, f"the environment variable {name} is not set; {wanted}"))
                return ""
            return default

        return Text.of(_REFERENCE.sub(replaced, text), mark, text)

    def _mark(self, node: Node) -> Mark:
        start = node.start_mark
        return Mark(self.document.root.file, self.document.root.folder, start.line + 1, start.column + 1)
