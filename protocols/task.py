"""A task: what a team is asked, and how an answer to it is judged.

Policies see the messages and nothing else. Tags, references and scores live on the task object, are used by trainers
and reports, and never enter a coordinator's state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import Literal

from podium.protocols.frozen import frozen, plain


@plain
class Message:
    """One message of a conversation. name: who speaks, where several speakers share a role."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: tuple[object, ...] = ()


@frozen
class Verdict:
    """How good an answer is. score: 0 to 1; passed: what "correct" means; parts: named partial scores."""

    score: float
    passed: bool
    parts: Mapping[str, float] = field(default_factory=dict[str, float])


def no_score(content: str) -> Verdict:
    """The scorer of a task that nobody can judge. Raises LookupError: asking for its score is a mistake."""
    raise LookupError("this task has no scorer; evaluate and train need tasks that can be scored")


def whole_text(content: str) -> str | None:
    """The answer of a text when nothing more is known: all of it, without surrounding space; None when empty."""
    return content.strip() or None


@frozen
class Task:
    """One task.

    messages: the conversation so far; the last one is what is asked.
    score: text of the final node -> Verdict. answer: text of any node -> the part that votes compare, or None.
    forkable: a run of it may be repeated from the middle (no side effects). tags: for reports, hidden from policies.
    ahead: where a score takes long, awaited for many texts at once before they are scored; None: scores come at once.
    """

    id: str
    messages: tuple[Message, ...]
    score: Callable[[str], Verdict] = no_score
    answer: Callable[[str], str | None] = whole_text
    forkable: bool = True
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    ahead: Callable[[str], Awaitable[None]] | None = None

    @property
    def text(self) -> str:
        """The last message: what is asked."""
        return self.messages[-1].content

    @staticmethod
    def of(text: str, id: str = "task") -> Task:
        """A task that is just a question, with no scorer."""
        return Task(id, (Message("user", text),))
