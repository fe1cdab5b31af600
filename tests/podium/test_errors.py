"""The error tree: its drawing is true, and its two homes offer the same."""

from __future__ import annotations

import inspect
import re

import podium.errors
from podium.protocols import errors

DRAWN = re.compile(r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>[A-Z][A-Za-z]+)\b", re.MULTILINE)
HOME = "podium.protocols.errors"
INDENT = 4
"""Characters that each level of the drawing is indented by."""


def classes() -> dict[str, type[object]]:
    return {name: each for name, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == HOME}


def drawing() -> dict[str, str | None]:
    """Each error of the drawing, with its parent."""
    drawn: dict[str, str | None] = {}
    above: list[str] = []
    for line in DRAWN.finditer(errors.__doc__ or ""):
        level = len(line["branch"]) // INDENT
        above[level:] = [line["name"]]
        drawn[line["name"]] = above[level - 1] if level else None
    return drawn


def test_the_drawing_is_the_tree() -> None:
    parents = {name: each.__base__.__name__ if each.__base__ else "" for name, each in classes().items()}
    assert drawing() == {**parents, "PodiumError": None}
    assert errors.PodiumError.__base__ is Exception


def test_every_error_says_what_it_means() -> None:
    for name, each in classes().items():
        assert each.__dict__.get("__doc__"), f"{name} has no docstring"


def test_all_is_complete_and_sorted() -> None:
    assert errors.__all__ == sorted(classes())


def test_the_front_door_offers_the_same() -> None:
    assert podium.errors.__all__ == errors.__all__
    for name in errors.__all__:
        assert getattr(podium.errors, name) is getattr(errors, name)


def test_a_run_error_says_where_and_what_was_kept() -> None:
    error = errors.ModelUnreachable("no answer", run="r1", agent="solver", kept="2 replies kept in the record")
    assert str(error) == "run r1, agent solver: no answer (2 replies kept in the record)"


def test_a_missing_extra_names_the_command() -> None:
    error = errors.MissingExtra("training", "train", "torch")
    assert str(error) == 'training needs the package torch; install it with: pip install "podium[train]"'
