"""The command line: `podium COMMAND`.

Every command is a thin layer over the Python API. What a command needs is imported when it runs, so that `podium
--help` answers at once. Exit codes: 0, it worked; 1, the work failed (RunError); 2, the input is wrong (InputError, or
arguments that make no sense). An error is told on standard error in plain lines; `--debug` adds the traceback. Ctrl-C
counts as work that failed.

With `--json` an error is an object on standard output as well, {"error": TEXT, "kind": NAME}, of a file also with the
list of its "problems". Where a command has printed an object of its own before it fails, that is all.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any, TextIO, cast

import typer
from typer.core import TyperGroup

from podium.commands import demo, eval, init, plan, record, run, runs, schema, serve, show, train, validate
from podium.protocols.errors import InputError, PodiumError, RunCancelled, TeamFileError
from podium.version import VERSION

__all__ = ["app", "main"]

FAILED = 1
WRONG_INPUT = 2
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Why output cannot be written. A closed pipe ends a command quietly: typer sees to that."""


STOPPED = "stopped by Ctrl-C"
PREFIX = "Value error, "
"""What typer's own reader of arguments puts before some errors."""


class PodiumGroup(TyperGroup):
    """The group of all commands: turns errors raised on purpose into plain lines and exit codes."""

    # The class of typer's inner context is private, hence Any.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` wherever it stands, so that it can be added to the end of a line that failed."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta["podium.json"] = "--json" in args[:end]
        ctx.meta["podium.debug"] = "--debug" in args[:end]
        return super().parse_args(ctx, [*(arg for arg in args[:end] if arg != "--debug"), *args[end:]])

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with _one_object() if ctx.meta["podium.json"] else nullcontext():
                return self._invoked(ctx)
        except PodiumError as error:
            if ctx.meta["podium.debug"]:
                traceback.print_exc(file=sys.stderr)
            else:
                typer.echo(str(error), err=True)
            raise typer.Exit(WRONG_INPUT if isinstance(error, InputError) else FAILED) from error
        except KeyboardInterrupt:
            typer.echo(STOPPED, err=True)
            raise typer.Exit(FAILED) from None

    def _invoked(self, ctx: Any) -> Any:
        """Run the command, and tell wrong arguments in their own words."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(PREFIX)
            raise


class Heard:
    """Standard output, and whether anything was written to it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.used = False

    def write(self, text: str) -> int:
        """Write a text, and remember that."""
        self.used = True
        return self._out.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


@contextmanager
def _one_object() -> Generator[None]:
    """An error inside is printed as JSON, unless the command has printed something by then."""
    out = Heard(sys.stdout)
    try:
        with redirect_stdout(cast(TextIO, out)):
            yield
    except (Exception, KeyboardInterrupt) as error:
        told = _as_object(error)
        if told and not out.used:
            typer.echo(json.dumps(told, indent=2))
        raise


def _as_object(error: BaseException) -> dict[str, Any]:
    """What a program is told of an error; nothing where it is a defect, or no error but the end."""
    if isinstance(error, KeyboardInterrupt):
        return {"error": STOPPED, "kind": RunCancelled.__name__}
    if isinstance(error, PodiumError):
        told = {"error": str(error), "kind": type(error).__name__}
        return {**told, "problems": error.problems} if isinstance(error, TeamFileError) else told
    if of_typer := getattr(error, "format_message", None):  # its class has another home in every version
        return {"error": of_typer(), "kind": InputError.__name__}
    return {}


app = typer.Typer(
    name="podium",
    cls=PodiumGroup,
    help="A learned coordinator in front of a team of LLM agents: write, run, serve, train.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"podium {VERSION}")
        raise typer.Exit


@app.callback()
def everywhere(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """A learned coordinator in front of a team of LLM agents: write, run, serve, train."""


for command in (init, validate, plan, schema, run, runs, show, serve, record, train, eval, demo):
    command.register(app)


def main() -> None:
    """The `podium` command."""
    try:
        app()
    except OSError as error:
        if error.errno not in FULL or "--debug" in sys.argv:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered has nowhere to go
        sys.exit(f"{error.filename or 'the output'} cannot be written: {error.strerror}")
