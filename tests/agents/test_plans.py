"""Plans in front of replies: what is one, what is not, and that nobody sees half of one."""

from __future__ import annotations

import pytest

from podium.agents.plans import RENEW, PlanHeld, parted, plan_in, plan_words
from podium.protocols.record import NO_USAGE, Call, Generation, Sampling, ToolResult

REPLIES = {
    "<plan>left, right</plan>\n\nI go left.": ("left, right", "I go left."),
    "  \n<plan>\nleft\n</plan>": ("left", ""),
    "<plan></plan>I go.": ("", "I go."),
    "I go left.": (None, "I go left."),
    "  I go. <plan>left</plan>": (None, "  I go. <plan>left</plan>"),
    "<plan>left, and then": (None, "<plan>left, and then"),
    "<planet>": (None, "<planet>"),
    "<pla": (None, "<pla"),
    "": (None, ""),
}


@pytest.mark.parametrize(("text", "parts"), REPLIES.items())
def test_a_plan_is_the_block_that_a_reply_opens_with(text: str, parts: tuple[str | None, str]) -> None:
    assert parted(text) == parts


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(("text", "parts"), REPLIES.items())
def test_what_is_passed_on_of_a_reply_is_the_beginning_of_it(
    text: str, parts: tuple[str | None, str], size: int
) -> None:
    held = PlanHeld()
    passed = "".join(held.feed(text[place : place + size]) for place in range(0, len(text), size))
    assert parts[1].startswith(passed)
    closed = parts[0] is not None or text in ("I go left.", "  I go. <plan>left</plan>", "<planet>")
    assert passed == (parts[1] if closed else "")


def test_a_tool_user_may_plan_before_its_first_tool() -> None:
    def said(text: str) -> Call:
        return Call("c", "m", Generation(text, NO_USAGE, Sampling()))

    calls = (said("<plan>look, then tell</plan> Looking."), Call("t", "look", ToolResult("<plan>no</plan>")), said("4"))
    assert plan_in("4", calls) == ("look, then tell", "4")
    assert plan_in("<plan>tell</plan>4", calls) == ("tell", "4")
    assert plan_in("4", (said("4"),)) == (None, "4")


def test_a_plan_that_nothing_follows_is_the_reply_too() -> None:
    assert plan_in("<plan>left</plan>\n", ()) == ("left", "left")
    assert plan_in("  ", ()) == (None, "  ")


def test_what_an_agent_is_told() -> None:
    assert plan_words("renew", "left") == RENEW
    assert plan_words("keep", "left") == "The plan so far:\nleft\nFollow it."
    assert plan_words("keep", "") == plan_words("none", "left") == ""
