"""Secrets are masked wherever telemetry may repeat them: error texts of endpoints, contents, log lines.

What is known is taken out by value: the keys of the team's models, the password of its journal. What only looks like a
secret is taken out by form: `Bearer ...`, `sk-...`, `api_key=...`, `"password": "..."`, a password in a URL.

Texts are long and anybody's, and all of this happens on the event loop: no form may try the same characters again from
each place that they hold, or its time grows with their square.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from podium.agents.request_fields import secrets_in
from podium.orchestrator.team_file import TeamSpec
from podium.orchestrator.yaml_problems import MASK, SECRET_KEYS, SHORTEST_SECRET

__all__ = ["Mask", "looks_secret", "mask_of", "masking"]

Mask = Callable[[str], str]
"""The same text without secrets."""

SECRET_NAME = (
    r"[\w-]*(?:api[-_]?key|secret|password|passwd|authorization|credential|(?:access|auth|id|refresh)[-_]token)"
)
NAMED = rf"""(?<![\w-])({SECRET_NAME}\\?["']?\s*[:=]\s*\\?["']?(?:(?:bearer|basic)\s+)?)[^\s"'\\,;&}})\]]+"""
FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(bearer)\s+[\w.~+/-]{6,}=*", re.I), rf"\1 {MASK}"),
    # "basic" is an English word, too: what follows has to look like base64
    (re.compile(r"\b(basic)\s+(?=[\w+/-]*[\d=])[\w+/-]{6,}=*", re.I), rf"\1 {MASK}"),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|hf|xox[abp])[-_][\w-]{8,}"), MASK),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{MASK}@"),
    (re.compile(NAMED, re.I), rf"\1{MASK}"),
)


def masking(values: Iterable[str]) -> Mask:
    """A mask for these values and for what looks like a secret. Values shorter than six characters hide nothing."""
    known = sorted({value for value in values if len(value) >= SHORTEST_SECRET}, key=len, reverse=True)

    def mask(text: str) -> str:
        for value in known:
            text = text.replace(value, MASK)
        for form, shown in FORMS:
            text = form.sub(shown, text)
        return text

    return mask


def mask_of(*specs: TeamSpec) -> Mask:
    """The mask of some teams: the keys of their models, and the passwords of their journals."""
    return masking(value for spec in specs for value in _values(spec))


def looks_secret(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return name.lower() in SECRET_KEYS or re.fullmatch(SECRET_NAME, name, re.I) is not None


def _values(spec: TeamSpec) -> Iterable[str]:
    for model in spec.models.values():
        key: Any = getattr(model, "api_key", None)
        if key is not None:
            yield key.get_secret_value()
        yield from secrets_in(str(getattr(model, "base_url", None) or ""), getattr(model, "extra", None) or {})
    if spec.journal:
        from sqlalchemy.engine import make_url

        yield str(make_url(spec.journal).password or "")
