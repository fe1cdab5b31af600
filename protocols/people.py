"""What a person is asked in the middle of a run, and what comes back.

A request asks through its envelope; who waits, and where question and answer are kept, is not its business. The id of a
question comes from the model or tool call that waits for it. So whoever asks again, because an attempt failed or a
process died, asks under the same id, and where the question is the same too, an answer that is there already is the
answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from podium.protocols.errors import NobodyAnswered
from podium.protocols.frozen import frozen

A_DAY = 86_400.0
"""Seconds that a person is waited for, where nothing else is said."""


@frozen
class Question:
    """run, id: together they name it; id is that of the call that waits, with `.said` where a tool itself asks.

    agent: who asks. text: what the person reads. approval: a tool call needs a yes; otherwise any text is an answer.
    wait: seconds.
    """

    run: str
    id: str
    agent: str
    text: str
    approval: bool = False
    wait: float = A_DAY


@frozen
class Word:
    """What a person said. approved: whether a call that needs a yes has it; the text is then why, or empty."""

    text: str
    approved: bool = True


AskPerson = Callable[[Question], Awaitable[Word]]
"""Waits for a person's word.

Raises NobodyAnswered when none came in time or nobody can be asked, RunPaused when the process stops meanwhile.
"""


WayToPeople = Callable[[Question, Callable[[], None]], Awaitable[Word]]
"""The same for the engine, which hears when the question has been put: from then on it can be answered."""


async def nobody(question: Question) -> Word:
    """Where no way leads to a person. Raises NobodyAnswered."""
    raise NobodyAnswered("there is nobody to ask", run=question.run, agent=question.agent)
