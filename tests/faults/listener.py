"""A free port of this machine, with something behind it. asyncio tells nobody what goes wrong there; this does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Serves connections, and closes each. That the other side goes away is nothing wrong.

    broken: the first thing that went wrong.
    """

    def __init__(self, serve: Serve) -> None:
        self.port = 0
        self.broken: Exception | None = None
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and leave no connection."""
        if self._server is not None:
            self._server.close()
        for task, writer in tuple(self._open.items()):
            writer.transport.abort()
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))

    def check(self) -> None:
        """Raise what went wrong, if anything."""
        if self.broken is not None:
            raise self.broken

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._open[task] = writer
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the last: it is all over
            pass
        except Exception as error:
            self.broken = self.broken or error
        finally:
            writer.close()
            del self._open[task]
