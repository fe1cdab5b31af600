"""Which fields of a chat completions request Podium sets itself, and which hold a secret.

A model's `extra` may hold any other field: what a vendor or a server offers beyond OpenAI's API needs no word of
Podium's own. What is set from elsewhere cannot be said twice, or records and budgets would tell of another request than
the one that was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["SET_BY_PODIUM", "secrets_in"]

SECRET = re.compile(r"key|secret|token|passw|credential|authorization|signature|\bsig\b", re.I)
"""What the name of a field that holds a secret has in it."""

SET_BY_PODIUM: Mapping[str, str] = {
    "logprobs": "log_probs: true beside extra, or provider: vllm",
    "max_completion_tokens": "max_tokens beside extra",
    "max_tokens": "max_tokens beside extra",
    "messages": "",
    "model": "model beside extra",
    "n": "one completion a request; coordinators draw samples",
    "response_format": "",
    "return_token_ids": "provider: vllm",
    "seed": "",
    "stream": "",
    "stream_options": "",
    "temperature": "temperature beside extra",
    "tools": "tools of an agent",
}
"""The fields, each with what of the team file says the same; empty where nothing does."""


def secrets_in(base_url: str, extra: Mapping[str, Any]) -> Iterator[str]:
    """Texts of an endpoint's address and of further fields that nobody should read in an error, by their names."""
    address = urlsplit(base_url)
    if address.password:
        yield unquote(address.password)
    for name, value in (*parse_qsl(address.query), *_texts(extra)):
        if SECRET.search(name):
            yield value


def _texts(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text in a mapping and the mappings within it, with its name."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _texts(cast(Mapping[str, Any], value))
        elif isinstance(value, str):
            yield name, value
