"""Which fields of a chat completions request Podium sets itself.

A model's `extra` may hold any other field: what a vendor or a server offers beyond OpenAI's API needs no word of
Podium's own. What is set from elsewhere cannot be said twice, or records and budgets would tell of another request than
the one that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SET_BY_PODIUM"]

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
