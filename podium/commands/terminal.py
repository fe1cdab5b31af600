"""What a person is shown on a terminal: amounts in short form, and texts of strangers without control codes.

A model's reply may hold escape sequences that move the cursor, change the title or hide what came before. On a
terminal they are shown as the replacement character; in a file or a pipe a text stays as it is.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from podium.protocols.record import Usage
from podium.protocols.words import counted

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["WIDTH", "amounts", "console", "counted", "dollars", "for_terminal", "harmless", "remaining", "seconds"]

WIDTH = 100
"""Columns that output is made for, where the terminal has as many."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """The text without codes that a terminal would obey; line breaks and tabs stay."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n"))


def for_terminal(text: str) -> str:
    """The text as it may be written to standard output: harmless where that is a terminal."""
    return harmless(text) if sys.stdout.isatty() else text


def console() -> Console:
    """Where tables are printed: as wide as the terminal, and WIDTH columns where there is none."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def dollars(amount: float) -> str:
    """$0.000123, $1.50."""
    return "$0" if amount == 0 else f"${amount:.6f}" if amount < 0.1 else f"${amount:,.2f}"


def seconds(amount: float) -> str:
    """12 ms, 3.4 s."""
    return f"{1000 * amount:.0f} ms" if amount < 1 else f"{amount:.1f} s"


def remaining(seconds: float) -> str:
    """1:05 left."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


def amounts(usage: Usage) -> str:
    """Calls, tokens and dollars of a usage."""
    parts = [counted(usage.calls, "call"), counted(usage.tokens, "token")]
    return ", ".join([*parts, dollars(usage.dollars)] if usage.dollars else parts)
