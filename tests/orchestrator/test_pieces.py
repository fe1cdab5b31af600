"""A task is cut into pieces that can be named, and a decision says which of them it is about."""

from __future__ import annotations

import pytest

from podium.orchestrator.pieces import asked_for, pieces, supplied
from podium.protocols.record import Decision, Directive, Factor, Finish


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Say:\n- the price\n- the owner", ("the price", "the owner")),
        ("1. add  them\n2) halve it\n(c) round it\nThank you", ("add them", "halve it", "round it")),
        ("the price\n\n  the owner \n--", ("the price", "the owner")),
        ("How old is it? Who owns it? How old is it?", ("How old is it?", "Who owns it?")),
        ("- only one item\nand one line", ("- only one item", "and one line")),
        ("What is 3.5 plus 4?", ()),
        ("", ()),
    ],
)
def test_items_else_lines_else_sentences(text: str, found: tuple[str, ...]) -> None:
    assert pieces(text, 8) == found


def test_no_more_than_asked_for() -> None:
    text = "\n".join(f"- part {number}" for number in range(9))
    assert pieces(text, 3) == ("part 0", "part 1", "part 2")
    assert pieces(text, 1) == pieces(text, 0) == ()
    assert len(pieces("- " + "word " * 200 + "\n- b", 2)[0]) <= 240


def test_only_the_task_says_what_a_reply_supplies() -> None:
    assert supplied("the price", {"the price": 0.5}) == 0.5
    assert supplied("the price", {"the owner": 1.0}) is None


def test_what_a_decision_is_about() -> None:
    task = "- a b\n- c d"
    two = tuple(Directive(f"r.0.{pick}", name) for pick, name in enumerate("xy"))
    mask = (True, True, False, True)
    factors = (Factor("pick", 0, 0.0), Factor("about", 1, 0.0, mask), Factor("style", 0, 0.0), Factor("pick", 1, 0.0))
    decision = Decision("r.0", 0, two, "learned", factors=(*factors, Factor("about", 3, 0.0, mask)))
    assert asked_for(decision, task) == ("c d", "")
    assert asked_for(Decision("r.0", 0, two, "vote"), task) == ("", "")
    assert asked_for(Decision("r.1", 1, Finish(1), "learned"), task) == ()
