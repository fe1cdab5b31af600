"""What is read of an endpoint's words that are no answer: bodies of errors and of redirects, the list of its models.

The openai client reads these to their ends, before anybody else sees them; a body that does not end would fill the
memory, or hold the call until its timeout, in place of the error that it belongs to. Here they end by themselves, after
so many bytes and so many seconds, and so does one that breaks off: what has come by then is what was said. Bytes are
counted as they are after unpacking.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

__all__ = ["keep_short"]

MOST_OF_AN_ERROR = 64 * 1024
"""Bytes; vendors' errors have hundreds, and web pages of proxies a few thousand."""
MOST_OF_A_LIST = 4 * 1024 * 1024
"""Bytes: those who resell others' models list thousands of them."""
SECONDS = 5.0
"""How long either may take from its head to its end."""


async def keep_short(response: Any) -> None:
    """Have little read of a response that answers no question; others are left as they are.

    A hook of the client (`event_hooks`), called when the head is there and nothing of the body is read. response: an
    httpx.Response, or what the openai client has in its place.
    """
    if not response.is_success:
        response.aiter_bytes = partial(_short, response, response.aiter_bytes, MOST_OF_AN_ERROR)
    elif response.request.method == "GET":
        response.aiter_bytes = partial(_short, response, response.aiter_bytes, MOST_OF_A_LIST)


async def _short(
    response: Any, read: Callable[..., AsyncGenerator[bytes]], room: int, chunk_size: int | None = None
) -> AsyncGenerator[bytes]:
    """The beginning of a body."""
    until = asyncio.get_running_loop().time() + SECONDS
    try:
        async with aclosing(read(chunk_size)) as parts:
            while room > 0:
                try:
                    async with asyncio.timeout_at(until):
                        part = await anext(parts, None)
                except Exception:  # too late, cut off, badly packed: whatever the client's own library calls that
                    break
                if part is None:
                    break
                yield part[:room]
                room -= len(part)
    finally:
        await response.aclose()  # what is left of it is in nobody's way: the connection is not used again
