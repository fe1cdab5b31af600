"""Tools: Python functions that a model may call.

A function's type hints become the JSON Schema that the model sees, its docstring the description, and pydantic checks
what the model sends before the function runs. Whatever goes wrong is an answer the model can use, never an exception:
wrong arguments, an error inside the function and a timeout all come back as a failed `ToolResult` that says what to do.

Only functions named in the team file are callable. `load_tool("module:function", folder)` imports a module of the
user's, first from the team file's folder; the built-in tools are in `BUILTIN`. Of those, `python` runs code that the
model writes, in a sandbox; where none can be made it is refused, unless the team file says `unsafe: true`.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from podium.agents import sandbox
from podium.agents.breaker import Breaker
from podium.agents.calculator import calculator
from podium.agents.model import ToolSchema, whole_characters
from podium.agents.python_tool import LONGEST_END, MEMORY_MB, SECONDS, Python
from podium.agents.threads import ThreadsLeftError, in_thread
from podium.protocols.errors import ToolError
from podium.protocols.people import A_DAY
from podium.protocols.record import ToolResult

__all__ = ["BUILTIN", "Tool", "clock", "load_file", "load_module", "load_tool"]

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds a tool may take, where its maker says nothing else."""
LEAVING = 1.0
"""Seconds that a coroutine has to end once it is cancelled; then it is left behind."""
LONGEST_OUTPUT = 8000
"""Characters of a result that a model is shown: about 2,000 tokens."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call. timeout: seconds; longest_output: characters shown to the model.

    idempotent: calling it twice does no harm, so a call that was in flight when a run broke off may be repeated; true
    for the built-in tools, which only compute (python without a sandbox may do more), and false for functions that
    nothing was said about. approve: a person has to say yes before each call. asks: what the function returns is a
    question, and a person's answer is the result. wait: seconds that a person's yes or answer may take.
    breaker: opens when the function takes too long, or cannot reach what it needs (OSError), again and again.
    """

    name: str
    description: str
    function: Callable[..., Any]
    arguments: type[BaseModel]
    timeout: float = TIMEOUT
    longest_output: int = LONGEST_OUTPUT
    idempotent: bool = False
    approve: bool = False
    asks: bool = False
    wait: float = A_DAY
    breaker: Breaker = field(default_factory=Breaker, compare=False)

    @staticmethod
    def from_function(
        function: Callable[..., Any],
        *,
        name: str | None = None,
        timeout: float = TIMEOUT,
        longest_output: int = LONGEST_OUTPUT,
        idempotent: bool = False,
    ) -> Tool:
        """A tool from a function with type hints. Raises ToolError when a parameter has none, or is *args."""
        name = name or str(getattr(function, "__name__", type(function).__name__))
        try:
            hints = get_type_hints(function, include_extras=True)
            parameters = inspect.signature(function).parameters.values()
        except (NameError, TypeError, ValueError) as error:
            raise ToolError(f"the tool {name} has type hints that cannot be read: {error}") from None
        fields: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise ToolError(f"the tool {name} takes {parameter}; a tool's parameters are named one by one")
            if parameter.name not in hints:
                raise ToolError(f"the parameter {parameter.name} of the tool {name} has no type hint; models need one")
            default = ... if parameter.default is parameter.empty else parameter.default
            # The alias lets a parameter have a name that pydantic keeps for itself, such as `schema` or `json`.
            fields[f"field_{parameter.name}"] = (hints[parameter.name], Field(default, alias=parameter.name))
        make: Callable[..., type[BaseModel]] = create_model
        arguments = make(name, __config__=ConfigDict(extra="forbid", title=name), **fields)
        description = inspect.getdoc(function) or name
        return Tool(name, description, function, arguments, timeout, longest_output, idempotent)

    @property
    def schema(self) -> ToolSchema:
        """The tool as a model sees it."""
        schema = self.arguments.model_json_schema(by_alias=True)
        schema.pop("title", None)
        return ToolSchema(self.name, self.description, schema)

    async def call(self, arguments: str, *, id: str = "") -> ToolResult:
        """Run the tool on the arguments that a model wrote: a JSON object. Never raises; cancelling gives up waiting.

        A function that returns a ToolResult says itself whether it failed. id: the model's own of this call, which is
        only for who watches it.

        A synchronous function runs in a thread of its own. Python cannot end a thread, so one that outlives its
        timeout, or its run, is left behind and goes on, with a warning in the log; it cannot keep the process alive.
        Where too many were (`threads.MOST_OF_ONE` of a function, `threads.MOST` in all) the call fails unmade. What
        may hang should be async, or a process. A coroutine that does not end when it is cancelled is left behind, too.
        One that never awaits holds the event loop, and all that runs in it, for as long as it takes.
        """
        checked = self._checked(arguments)
        if isinstance(checked, ToolResult):
            return checked
        if wait := self.breaker.wait():
            failures = self.breaker.failures
            said = f"{self.name} has failed {failures} times in a row and is not run for another {wait:.0f} s"
            return ToolResult(f"{said}; the last time: {self.breaker.why}\nGo on without it.", failed=True)
        named = {key.removeprefix("field_"): getattr(checked, key) for key in type(checked).model_fields}
        try:
            result = await _within(self.timeout, self._result(named))
        except TimeoutError:
            said = f"{self.name} gave no result within {self.timeout:g} seconds."
            self.breaker.failed(said)
            return ToolResult(said, failed=True)
        except ThreadsLeftError as error:
            return ToolResult(f"{error}\nGo on without it.", failed=True)
        except Exception as error:  # a user's function may raise anything; the model is told
            said = self._short(f"{self.name} failed: {type(error).__name__}: {error}")
            if isinstance(error, OSError):  # what it needs is not there; other errors may be about these arguments
                self.breaker.failed(said)
            else:
                self.breaker.worked()
            return ToolResult(said, failed=True)
        self.breaker.worked()
        if isinstance(result, ToolResult):
            return ToolResult(self._short(result.text), failed=result.failed)
        return ToolResult(self._short(_as_text(result)))

    async def _result(self, named: Mapping[str, Any]) -> Any:
        """What the function returns. Raises what it raises."""
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**named)
        result = await in_thread(self.name, self.function, lambda: self.function(**named))
        return await result if inspect.isawaitable(result) else result

    def wrong(self, arguments: str) -> ToolResult | None:
        """What the model is told of arguments that the function does not take; None: it takes them."""
        checked = self._checked(arguments)
        return checked if isinstance(checked, ToolResult) else None

    def _checked(self, arguments: str) -> BaseModel | ToolResult:
        try:
            return self.arguments.model_validate_json(arguments or "{}", strict=False)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'the arguments'}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            )
            expected = json.dumps(self.schema.parameters.get("properties", {}))
            return ToolResult(f"Wrong arguments for {self.name}: {problems}. It takes {expected}", failed=True)

    def _short(self, text: str) -> str:
        text = whole_characters(text)
        if len(text) <= self.longest_output:
            return text
        return f"{text[: self.longest_output]}\n[cut: the first {self.longest_output} of {len(text)} characters]"


def clock() -> str:
    """The present date and time in UTC, as in 2026-11-21T09:30:00+00:00."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def ask_human(question: str) -> str:
    """Ask the person whom the team works for, about what only they know or decide. They may take long to answer."""
    return question


def _python(python: Python) -> Tool:
    # The process keeps to its seconds itself and then still says what it wrote; being gone may take a little longer.
    timeout, harmless = python.seconds + LONGEST_END, not python.unsafe
    tool = Tool.from_function(python.run, name="python", timeout=timeout, idempotent=harmless)
    return replace(tool, description=python.description)


BUILTIN: dict[str, Tool] = {
    "calculator": Tool.from_function(calculator, timeout=5.0, idempotent=True),
    "clock": Tool.from_function(clock, timeout=5.0, idempotent=True),
    "ask_human": replace(Tool.from_function(ask_human, idempotent=True), asks=True),
    "python": _python(Python()),
}
"""Tools that a team file may name without a module."""


def load_tool(
    name: str,
    folder: Path,
    *,
    seconds: float | None = None,
    idempotent: bool | None = None,
    approve: bool = False,
    wait: float | None = None,
    memory_mb: int | None = None,
    unsafe: bool = False,
) -> Tool:
    """A built-in tool by name, or `module:function` with the module looked for in `folder` first.

    seconds: its timeout; idempotent, approve, wait: as in `Tool`. memory_mb: megabytes of 2^20 bytes, and unsafe:
    without a sandbox, both of the tool `python` only. None leaves a setting as it is. Raises ToolError when there is no
    such tool, or no sandbox for it.
    """
    if name == "python":
        if not unsafe and (problem := sandbox.problem()):
            raise ToolError(f"the tool python needs a sandbox: {problem}; or accept what code may do: unsafe: true")
        tool = _python(Python(seconds or SECONDS, memory_mb or MEMORY_MB, unsafe))
    else:
        tool = BUILTIN.get(name) or _own(name, folder)
        tool = tool if seconds is None else replace(tool, timeout=seconds)
    known = tool.idempotent if idempotent is None else idempotent
    patience = tool.wait if wait is None else wait
    return replace(tool, idempotent=known, approve=tool.approve or approve, wait=patience, breaker=Breaker())


def _own(name: str, folder: Path) -> Tool:
    """A function of the user's. Raises ToolError."""
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        known = ", ".join(sorted(BUILTIN))
        raise ToolError(f"there is no tool {name!r}; use one of {known}, or module:function for your own")
    try:
        module = load_module(module_name, folder)
    except (Exception, SystemExit) as error:  # importing runs the user's code
        raise ToolError(f"the tool {name} cannot be imported: {type(error).__name__}: {error}") from error
    found: Any = module
    for part in function_name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Tool):
        return found
    if not callable(found):
        public = ", ".join(key for key in dir(module) if inspect.isfunction(getattr(module, key)) and key[0] != "_")
        raise ToolError(f"the module {module_name} has no function {function_name}; it has: {public or 'none'}")
    return Tool.from_function(found)


def load_module(name: str, folder: Path) -> Any:
    """A module of the user's, looked for in `folder` first. Raises whatever its code raises."""
    own = folder.joinpath(*name.split(".")).with_suffix(".py")
    return load_file(own) if own.is_file() else importlib.import_module(name)


def load_file(path: Path) -> Any:
    """The module that a file of the user's is. Raises whatever its code raises."""
    # Two team folders may each have a tools.py: the module is known by its path, not by its short name.
    unique = f"podium_own_{abs(hash(str(path.resolve()))):x}_{path.stem}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What work returns or raises. TimeoutError after so many seconds, whatever it does about being cancelled."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_looked_at)  # whoever waits may be cancelled in the moment in which it is done
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=LEAVING)
    if not done:
        raise TimeoutError
    if task.cancelled():
        raise RuntimeError("it was cancelled")
    return task.result()


def _looked_at(task: asyncio.Task[Any]) -> None:
    """What a task ended with is of no interest; unasked, the event loop would complain of an error in it."""
    if not task.cancelled():
        task.exception()


def _as_text(result: Any) -> str:
    if isinstance(result, str):
        return result
    if isinstance(result, BaseModel):
        return result.model_dump_json()
    try:
        return json.dumps(result, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(result)
