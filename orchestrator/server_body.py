"""The body of a request, as the server takes it: JSON, not more of it than it wants to hold, and not too slowly."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from podium.protocols.openai_api import RequestError

__all__ = ["BODY_SECONDS", "read_body"]

BODY_SECONDS = 30.0
"""Seconds that a client has for a whole body; the largest that is taken then needs 2 Mbit/s."""


async def read_body(request: Request, most: int) -> bytes:
    """The body, unless it is too large: then not even read to its end. most: bytes.

    Raises RequestError for what is too large, takes too long or says that it is no JSON, and starlette's
    ClientDisconnect.
    """
    if (kind := request.headers.get("content-type", "").split(";")[0].strip().lower()) != "application/json":
        found = kind or "none"
        raise RequestError(f"the content-type must be application/json, found {found}", status=415)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    said = f"the request is larger than {most:,} bytes"
                    raise RequestError(said, code="request_too_large", status=413)
    except TimeoutError:
        said = f"the request was not sent within {BODY_SECONDS:g} seconds; {len(body):,} bytes of it came"
        raise RequestError(said, code="request_timeout", status=408) from None
    return bytes(body)
