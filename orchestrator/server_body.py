"""The body of a request, as the server takes it: JSON, and not more of it than it wants to hold."""

from __future__ import annotations

from starlette.requests import Request

from podium.protocols.openai_api import RequestError

__all__ = ["read_body"]


async def read_body(request: Request, most: int) -> bytes:
    """The body, unless it is too large: then not even read to its end. most: bytes.

    Raises RequestError for what is too large or says that it is no JSON, and starlette's ClientDisconnect.
    """
    if (kind := request.headers.get("content-type", "").split(";")[0].strip().lower()) != "application/json":
        found = kind or "none"
        raise RequestError(f"the content-type must be application/json, found {found}", status=415)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise RequestError(f"the request is larger than {most:,} bytes", code="request_too_large", status=413)
    return bytes(body)
