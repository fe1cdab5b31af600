"""Plans in front of replies: asked for, taken off, shown again.

Whether an agent plans anew or keeps to the plan it has is decided for it, directive by directive (`Compute.plan`), for
the price of a few words: one told to plan opens its reply with a block between <plan> and </plan>, and then goes on as
ever. What stands between them becomes a node of its own, and the rest is the reply. A later directive may have the
newest plan shown again, instead of a new one being written.

A block that is not closed is no plan: where it was cut off, nobody knows what was meant, so the reply stays as it is.

Source: Learning When to Plan, arXiv 2509.03581 (the decision to plan is the presence of the block).
"""

from __future__ import annotations

from collections.abc import Iterable

from podium.protocols.record import Call, Generation, Plan

__all__ = ["PlanHeld", "parted", "plan_in", "plan_words"]

OPENS, CLOSES = "<plan>", "</plan>"
RENEW = f"Open your reply with a new plan between {OPENS} and {CLOSES}, then go on."
KEEP = "The plan so far:\n{}\nFollow it."


def plan_words(choice: Plan, newest: str) -> str:
    """What a directive tells its agent about plans; empty where nothing. newest: plan that it may see, or nothing."""
    if choice == "renew":
        return RENEW
    return KEEP.format(newest) if choice == "keep" and newest else ""


def parted(text: str) -> tuple[str | None, str]:
    """The plan that a text opens with, and the rest; None and the whole text where it does not open with one."""
    start = text.lstrip()
    if not start.startswith(OPENS):
        return None, text
    plan, closed, rest = start[len(OPENS) :].partition(CLOSES)
    return (plan.strip(), rest.lstrip()) if closed else (None, text)


def plan_in(reply: str, calls: Iterable[Call]) -> tuple[str | None, str]:
    """The plan of a request that had to open with one, and its reply. calls: that were made for it.

    Who uses tools may have planned before the first of them, in a turn that is no part of the reply. Where nothing
    follows the plan, it is the reply, too: an empty one would tell nobody anything.
    """
    plan, rest = parted(reply)
    if plan is None:
        turns = (parted(call.result.text)[0] for call in calls if isinstance(call.result, Generation))
        plan = next((each for each in turns if each is not None), None)
    return plan, rest if rest.strip() else plan or rest


class PlanHeld:
    """Keeps the plan back from a reply that comes in pieces, and what could still become one."""

    def __init__(self) -> None:
        self._held = ""
        self._open = True  # the text so far may be the beginning of a plan, or a plan that is not closed
        self._trims = False  # nothing came behind the plan yet, where space does not count

    def feed(self, piece: str) -> str:
        """What may be passed on now."""
        if self._open:
            self._held += piece
            plan, rest = parted(self._held)
            start = self._held.lstrip()[: len(OPENS)]
            if plan is None and OPENS.startswith(start):
                return ""
            self._open, self._trims, self._held, piece = False, plan is not None, "", rest
        if self._trims:
            piece = piece.lstrip()
            self._trims = not piece
        return piece
