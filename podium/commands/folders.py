"""Folders that a command writes to: the nearest one is made, and said so; a path that leads nowhere is refused."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from podium.protocols.errors import InputError

__all__ = ["folder_for", "journal_folder"]


def folder_for(file: Path, what: str) -> None:
    """Make sure that a file can be written. Raises InputError where its folder does not exist."""
    if not file.parent.is_dir():
        raise InputError(f"{what} {file}: there is no folder {file.parent}; make it first, or choose another place")


def journal_folder(url: str, *, quiet: bool = False) -> None:
    """Make the folder of a journal's file, and say so once.

    Raises InputError where the folder's parent does not exist either: that is more likely a slip than a wish.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        return  # the journal says what is wrong with it
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return
    file = Path(str(parsed.database))
    folder = file.parent
    if folder.exists():
        for each in (folder, file):
            if each.exists() and not os.access(each, os.W_OK):
                raise InputError(f"journal {file}: {each} cannot be written to; name another place for the journal")
        return
    folder_for(folder, "journal")
    try:
        folder.mkdir()
    except OSError as error:
        raise InputError(f"journal {folder}: the folder cannot be made: {error.strerror}") from None
    if not quiet:
        typer.echo(f"made the folder {folder}, where runs are kept", err=True)
