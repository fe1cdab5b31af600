"""The process in which the code of a model runs: it limits itself, runs the code, and shows the value of its end.

The standard library only, and nothing of Podium: in the sandbox there is nothing else. What to do comes as one JSON
object on standard input: `code`, and `limits`, a mapping from names such as RLIMIT_AS to numbers. The first byte that
goes out is NUL, which says that the process got this far. The exit status says whether the code failed, as for any
Python script, and everything else that goes out is the output of the code.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import resource
import sys
import traceback
import types
from typing import Any

FILE = "<code>"
"""How tracebacks call the code."""


def run(code: str) -> int:
    """Run some code as `__main__`; the exit status. The value of a last expression is written, as a prompt does."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    linecache.cache[FILE] = (len(code), None, code.splitlines(keepends=True), FILE)
    try:
        _run_in(module.__dict__, ast.parse(code, FILE))
    except SystemExit:
        raise
    except BaseException as error:
        if isinstance(error, MemoryError):  # what fills the memory has to go before there is room for a traceback
            module.__dict__.clear()
            traceback.clear_frames(error.__traceback__)
        traceback.print_exception(type(error), error, _of_the_code(error))
        return 1
    return 0


def _run_in(names: dict[str, Any], tree: ast.Module) -> None:
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, FILE, "exec", dont_inherit=True), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), FILE, "eval", dont_inherit=True), names)
        if value is not None:
            sys.stdout.write(f"{value!r}\n")


def _of_the_code(error: BaseException) -> types.TracebackType | None:
    """The traceback without this module's frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
        trace = trace.tb_next
    return trace


def main() -> None:
    """Do what standard input says."""
    asked = json.load(sys.stdin)
    for name, limit in asked["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    os.write(1, b"\0")
    sys.exit(run(asked["code"]))


if __name__ == "__main__":
    main()
