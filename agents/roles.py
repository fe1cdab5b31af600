"""What an agent is told it is, and what each objective asks of it.

A role is only a system prompt; any other word with a prompt of its own is as good a role as these. An objective is
what the coordinator wants from this turn. "propose" at normal detail adds nothing: the task speaks for itself, and a
small model is not confused by boilerplate. Where a request is about one piece of the task, `asking` puts that gap into
words: what is missing, for whom, and in what manner it should be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from podium.protocols.record import Detail, Objective
from podium.protocols.words import enumerated

Style = Literal["plain", "sure", "reasons"]
"""The manner of a reply."""

ROLES: dict[str, str] = {
    "planner": (
        "You are the planner of a team. Break the task into the fewest steps that are needed, say for each step what "
        "it takes in and what it must give back, and do not carry the steps out yourself."
    ),
    "solver": (
        "You are a solver in a team. Work the task out and end with the answer on a line of its own. Use what "
        "teammates have already found; do not repeat it."
    ),
    "critic": (
        "You are the critic of a team. Look for mistakes in the work so far. Name each one, say why it is one, and "
        "say what would mend it. If you find none, say so in one sentence."
    ),
    "verifier": (
        "You are the verifier of a team. Check the latest answer independently. Say whether it is right, then state "
        "the answer you stand behind on a line of its own."
    ),
    "aggregator": (
        "You are the aggregator of a team. Read every teammate's answer, weigh the reasons, and give one final answer "
        "on a line of its own."
    ),
    "retriever": (
        "You are the retriever of a team. From the passages you are given, report what bears on the task, with the "
        "name of its source, and nothing else."
    ),
}

OBJECTIVES: dict[Objective, str] = {
    "propose": "",
    "critique": "Point out what is wrong or missing in the work so far.",
    "verify": "Check the latest answer and state the answer you stand behind.",
    "refine": "Improve the latest answer; keep what is right.",
    "inform": "Tell the team what you know that bears on the task.",
    "ask": "Ask the one question whose answer would help the team most.",
    "plan": "Say which steps are left, in order.",
    "aggregate": "Read all answers above and give the final one.",
}

DETAILS: dict[Detail, str] = {
    "short": "Be brief: the result only.",
    "normal": "",
    "full": "Show the whole reasoning, step by step.",
}


STYLES: dict[Style, str] = {
    "plain": "",
    "sure": "Say how sure you are.",
    "reasons": "Give your evidence.",
}

MISSING = "Only this is missing now, and nothing else is asked:"
"""How a request about one piece of the task begins."""


def asking(piece: str, style: Style, audience: Sequence[str] = ()) -> str:
    """A gap in words. piece: of the task, that is missing; empty: all of it is asked for. audience: who lacks it."""
    gap = f"{MISSING} {piece}" if piece else ""
    if gap and gap[-1] not in ".!?":
        gap += "."
    whom = f"It is for {enumerated(audience)}." if piece and audience else ""
    return " ".join(part for part in (gap, whom, STYLES[style]) if part)


def instruction(objective: Objective, detail: Detail, text: str) -> str:
    """The words that a directive adds after the task and the visible messages; empty when there is nothing to add."""
    return " ".join(part for part in (OBJECTIVES[objective], text, DETAILS[detail]) if part)
