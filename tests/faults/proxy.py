"""A TCP proxy that ill-treats connections: it falls silent, cuts or garbles them, before an answer or in its middle.

Between a real client and a real server, so that what is tested is what a network does, and no model of it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import Literal

from tests.faults.listener import Listener

Harm = Literal["silence", "hang", "reset", "garbage", "cut"]

SHORT = b'HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n{"id"'
"""An answer that is no stream, and of which six bytes of a thousand come."""

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset."""
DRAINED = 0.05
"""Seconds that the client has to read what came before a reset, which would throw it away."""


class Proxy:
    """One address in front of a server.

    harm: what happens to connections, to so many of them (`times`), after so many that are spared. fired: how many were
    hit; spoiled: their ports on the server's side.
    """

    def __init__(self, upstream: int, seed: int = 0) -> None:
        self.harm: Harm = "hang"
        self.times = self.spared = 0
        self.fired = 0
        self.spoiled: set[int] = set()
        self.listener = Listener(self._serve)
        self._upstream = upstream
        self._noise = random.Random(seed)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer, request = await asyncio.open_connection("127.0.0.1", self._upstream)
        asking = asyncio.ensure_future(_pass_on(reader, request))
        try:
            if self.spared:
                self.spared -= 1
                await _pass_on(answer, writer)
            elif self.times:
                self.times -= 1
                self.spoiled.add(request.get_extra_info("sockname")[1])
                await self._hurt(await answer.read(), asking, writer)
            else:
                await _pass_on(answer, writer)
        finally:
            asking.cancel()
            request.close()

    async def _hurt(self, answer: bytes, asking: asyncio.Future[None], writer: asyncio.StreamWriter) -> None:
        """Give on half of an answer, none of it or the beginning of another, and then do harm."""
        if self.harm in ("silence", "cut"):
            writer.write(SHORT if self.harm == "cut" else b"")
            await writer.drain()
            self.fired += 1
            if self.harm == "silence":
                await asking
            return
        head, _, body = answer.partition(b"\r\n\r\n")
        half = body[: len(body) // 2]
        if self.harm == "garbage":
            half += self._noise.randbytes(len(body) - len(half))
        writer.write(head + b"\r\n\r\n" + half)
        await writer.drain()
        self.fired += 1
        if self.harm == "hang":
            await asking  # until the client has enough
        elif self.harm == "reset":
            await asyncio.sleep(DRAINED)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything, until the other side ends."""
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
