"""The `python` tool: code that a model wrote, run in a process of its own that starts, computes and is gone.

The process runs in a sandbox (`sandbox.py`). Where the team file says `unsafe: true` it is an ordinary process of this
user instead, with an empty temporary folder, an empty environment and the same limits on memory, processor time and
the length of a file; it can read what the user can read, use the network, make any number of files, which are gone with
the folder where they were made in it, and leave processes of its own sessions behind.

What the code wrote is kept at both ends, because what matters is often the traceback at its end.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from podium.agents import sandbox
from podium.protocols.errors import ToolError
from podium.protocols.record import ToolResult

__all__ = ["LONGEST_END", "MEMORY_MB", "SECONDS", "Python"]

SECONDS = 10.0
MEMORY_MB = 256
"""Enough for the standard library."""
MEGABYTE = 1 << 20
DISK_MB = 64
"""The working folder, which is in memory, and the longest file in it."""
FILES = 64
"""Files that are open at once."""
NAMES = 10_000
"""Files, folders and links that there may be in the working folder: each takes some 700 bytes of the kernel's memory,
which no limit of a process counts, be it empty. Some thousands more may come between two looks."""
LOOK = 0.02
"""Seconds from one look at how many there are to the next."""
FIRST, LAST = 4000, 3000
"""Bytes of the output that are kept at its two ends: with what is said about it, less than a model is shown at most."""
LONGEST_END = 5.0
"""Seconds that a killed process may take to be gone; it takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Python:
    """How code is run. seconds: wall clock, the start (some 50 ms) included; processor time may be one second more.

    memory_mb: address space, in 2^20 bytes. unsafe: not in a sandbox.
    """

    seconds: float = SECONDS
    memory_mb: int = MEMORY_MB
    unsafe: bool = False

    @property
    def description(self) -> str:
        """What a model is told."""
        version = ".".join(map(str, sys.version_info[:2]))
        world = "" if self.unsafe else " Standard library only; no network, no subprocesses, an empty working folder."
        return (
            f"Run Python {version} code; the result is what it prints, and the value of its last line if that is an "
            f"expression. Nothing is kept from call to call.{world} Limits: {self.seconds:g} seconds, "
            f"{self.memory_mb} MB of memory."
        )

    async def run(self, code: str) -> ToolResult:
        """Run some code. Failed when it raises, is stopped, or ends itself with a status other than 0.

        Cancelling kills it with all its processes. Raises ToolError when the process cannot be started.
        """
        output, late = _Output(), False
        async with self._process() as (process, info):
            crowd = asyncio.create_task(_crowd(process, info, output)) if info else None
            try:
                async with asyncio.timeout(self.seconds):
                    await _send(process, json.dumps({"code": code, "limits": self._limits()}).encode())
                    await output.read(process)
                    status = await process.wait()
            except TimeoutError:
                late, status = True, 0
            finally:
                if crowd is not None:
                    crowd.cancel()
        if not output.started and not late:
            raise ToolError(f"the process for the code did not start: {output.text() or f'status {status}'}")
        ending = f"[stopped: it ran longer than {self.seconds:g} seconds]" if late else self._ending(status)
        if status and output.crowded:
            ending = f"[stopped: it made more than {NAMES:,} files]"
        text = output.text()
        if ending and (late or status != 1 or not text):  # status 1 with a text is a traceback, which says it all
            text = f"{text}\n{ending}" if text else ending
        return ToolResult(text or "[no output]", failed=late or status != 0)

    def _limits(self) -> dict[str, int]:
        processor = math.ceil(self.seconds) + 1  # later than the clock, which says more clearly what happened
        memory, disk = self.memory_mb * MEGABYTE, DISK_MB * MEGABYTE
        return {
            "RLIMIT_AS": memory,
            "RLIMIT_CPU": processor,
            "RLIMIT_FSIZE": disk,
            "RLIMIT_NOFILE": FILES,
            "RLIMIT_CORE": 0,
        }

    def _ending(self, status: int) -> str:
        """What is said about a process that ended so. bubblewrap gives 128 + signal, Python the negative signal."""
        number = -status if status < 0 else status - 128 if status > 128 and not self.unsafe else 0
        if number:
            with suppress(ValueError):
                return f"[ended by signal {number}, {signal.Signals(number).name}]"
        return f"[ended with status {status}]" if status else ""

    @asynccontextmanager
    async def _process(self) -> AsyncGenerator[tuple[asyncio.subprocess.Process, BinaryIO | None]]:
        """The process that waits for its code, and what bubblewrap says of it, if it is there.

        At the end it is gone, with all its processes and its folder.
        """
        given: dict[str, Any]
        with ExitStack() as kept:
            info: BinaryIO | None = None
            if self.unsafe:
                folder = kept.enter_context(tempfile.TemporaryDirectory(prefix="podium-", ignore_cleanup_errors=True))
                command = [sys.executable, "-u", "-I", str(sandbox.CHILD)]
                given = {"cwd": folder, "env": {"HOME": folder, "TMPDIR": folder, "PATH": os.defpath}}
            else:
                calls = kept.enter_context(sandbox.filter_file()).fileno()
                info = kept.enter_context(tempfile.TemporaryFile())
                bwrap, told = shutil.which("bwrap") or "bwrap", info.fileno()
                command = sandbox.command(bwrap, calls, DISK_MB * MEGABYTE, told)
                given = {"pass_fds": [calls, told]}
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                    **given,
                )
            except OSError as error:
                raise ToolError(f"the process for the code did not start: {error}") from error
            try:
                yield process, info
            finally:
                await _end(process, info)


class _Output:
    """The first and the last bytes that a process wrote.

    started: the process got as far as running code. crowded: it was killed, as it made too many files.
    """

    def __init__(self) -> None:
        self.started = self.crowded = False
        self._first = bytearray()
        self._last = b""
        self._length = 0

    async def read(self, process: asyncio.subprocess.Process) -> None:
        """Read to the end, however long it is."""
        assert process.stdout is not None
        while data := await process.stdout.read(MEGABYTE):
            if not self.started and not self._length and data[:1] == b"\0":
                self.started, data = True, data[1:]
            self._length += len(data)
            room = FIRST - len(self._first)
            self._first += data[:room]
            self._last = (self._last + data[room:])[-LAST:]

    def text(self) -> str:
        """What is kept of it, with a line in the place of what is not."""
        left = self._length - len(self._first) - len(self._last)
        if not left:
            return (self._first + self._last).decode(errors="replace").rstrip("\n")
        first, last = self._first.decode(errors="replace"), self._last.decode(errors="replace").rstrip("\n")
        return f"{first}\n[cut: {left:,} of {self._length:,} bytes are left out here]\n{last}"


async def _send(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError, ConnectionResetError):  # it ended before it read; its output says why
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.close()


async def _crowd(process: asyncio.subprocess.Process, info: BinaryIO, output: _Output) -> None:
    """Kill the process in the sandbox when it has made too many files, as far as they can be counted.

    A file system in memory counts what it holds, and bubblewrap sets no limit to that.
    """
    while not output.started:  # noqa: ASYNC110 - until then its root may still be that of the machine
        await asyncio.sleep(LOOK)
    inside = _inside(info)
    with suppress(OSError):  # it is gone
        folder = os.open(f"/proc/{inside}/root{sandbox.WORK}", os.O_PATH | os.O_DIRECTORY)
        try:
            while (space := os.statvfs(folder)).f_files - space.f_ffree <= NAMES:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(LOOK)
        finally:
            os.close(folder)
        if inside is not None and process.returncode is None:
            output.crowded = True
            os.kill(inside, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process, info: BinaryIO | None) -> None:
    """Kill a process and its group, and wait until the last that holds its output is gone.

    info: what bubblewrap said. The process in the sandbox is then killed instead, which bubblewrap sees, and ends.
    """
    inside = _inside(info)
    with suppress(ProcessLookupError):
        if inside is None:
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            os.kill(inside, signal.SIGKILL)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LONGEST_END):
            while await process.stdout.read(MEGABYTE):
                pass
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _inside(info: BinaryIO | None) -> int | None:
    """The process in the sandbox, if bubblewrap has started it."""
    if info is None:
        return None
    info.seek(0)
    with suppress(ValueError, KeyError):
        return int(json.loads(info.read())["child-pid"])
    return None
