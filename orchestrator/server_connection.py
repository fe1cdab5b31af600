"""A connection of the server, which no client holds for ever.

uvicorn ends a connection on which nothing comes between two requests. It waits without end for the rest of a request's
head, for what is left of a body whose request has its answer already, and for a client to read. Here each of these has
its time. A body that a handler waits for has it in `server_body`.

Source: slowloris (R. Hansen, 2009) and its relatives; nginx's client_header_timeout and send_timeout are such limits.
"""

from __future__ import annotations

import asyncio
import logging
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_SECONDS", "UNREAD_SECONDS", "Connection"]

LOG = logging.getLogger("podium.server")

HEAD_SECONDS = 10.0
"""Seconds for the head of a request, and for what is left of a body when its request has been answered."""

UNREAD_SECONDS = 60.0
"""Seconds without a byte read after which a client is taken to be gone; its run is cancelled then."""

UNSENT = 128 * 1024
"""Bytes that the system may hold for a client, so that what it reads is noticed: Linux asks for more when a third of
them is free, and by itself holds megabytes."""


class Connection(H11Protocol):
    """One client's, as uvicorn's but for the deadlines."""

    _owed: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _left = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn; from here on the transport says at once when the client does not read."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn."""
        super().connection_lost(exc)
        self._owed, self._unread = _cancelled(self._owed), _cancelled(self._unread)

    def data_received(self, data: bytes) -> None:
        """As uvicorn."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """As uvicorn."""
        super().on_response_complete()
        self._watch()

    def shutdown(self) -> None:
        """As uvicorn, but who has not sent a whole request is not waited for: nothing was done for it yet."""
        super().shutdown()
        if self.cycle and self.cycle.more_body and not self.cycle.response_started:
            self.transport.close()

    def pause_writing(self) -> None:
        """Something waits to be read by the client."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """All of it was."""
        self._unread = _cancelled(self._unread)
        super().resume_writing()

    def _watch(self) -> None:
        """Have the time run while the client owes a head, or the rest of a request that nobody waits for."""
        theirs = self.conn.their_state
        unasked = theirs is h11.SEND_BODY and self.cycle and self.cycle.response_complete
        if not unasked and theirs is not h11.IDLE:
            self._owed = _cancelled(self._owed)
        elif self._owed is None and not self.transport.is_closing():
            self._owed = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _too_late(self) -> None:
        LOG.info("a client did not send its request within %g seconds and is cut off", HEAD_SECONDS)
        self.transport.close()

    def _wait_for_reader(self) -> None:
        self._left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._look_for_reader)

    def _look_for_reader(self) -> None:
        if self.transport.get_write_buffer_size() < self._left:
            self._wait_for_reader()
            return
        LOG.info("a client has read nothing for %g seconds and is cut off", UNREAD_SECONDS)
        self.transport.abort()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
