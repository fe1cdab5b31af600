"""Words that all rooms use to people."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """1 step, 2,000 steps."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def enumerated(names: Sequence[str]) -> str:
    """One; one and another; one, another and a third. names: at least one."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
