"""A run as server-sent events: the answer while it is being written, then why it ended and what it cost.

Of all that a team says only the answer goes to the client. Where the coordinator marks a directive as the answer, the
reply is passed on piece by piece; where it settles on a reply afterwards (a vote, a finish), the whole answer is one
piece at the end. Nothing is sent before there is something to say, so that a run which fails early is an HTTP error
like any other; after `QUIET` seconds of silence the stream is opened anyway, and then kept open with comments, which
clients skip and proxies count as life. An error in mid-stream is an event of its own, and the end without [DONE].

Source: the HTML standard, "Server-sent events"; OpenAI API reference, "The chat completion chunk object".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from podium.orchestrator.server_replies import Failure, extension, finish_reason, token_usage
from podium.protocols.events import Decided, Ended, Event, Piece, Result, Started
from podium.protocols.openai_api import Chunk, ChunkChoice, Delta
from podium.protocols.record import Decision

__all__ = ["QUIET", "Cut", "answer_events"]

QUIET = 10.0
"""Seconds without an event after which a comment is sent; proxies commonly give up after 30 or 60."""

COMMENT = ": working\n\n"
DONE = "data: [DONE]\n\n"


class Cut:
    """Ends a text before the first of some stop texts, although it arrives in pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._ended = False

    def feed(self, piece: str) -> str:
        """What may be passed on now; what could still become a stop text is held back."""
        if self._ended:
            return ""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self._ended, self._held = True, ""
            return text[: min(places)]
        hold = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def whole(text: str, stops: Sequence[str]) -> str:
        """A text that is there already, cut."""
        cut = Cut(stops)
        return cut.feed(text) + cut.rest()


def _overlap(text: str, stop: str) -> int:
    """The longest end of the text that is a beginning of the stop text."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


async def answer_events(
    events: AsyncGenerator[Event],
    *,
    model: str,
    created: int,
    fingerprint: str,
    stops: Sequence[str],
    include_usage: bool,
    failed: Callable[[Exception], Failure],
    ended: Callable[[Result], None],
    quiet: float = QUIET,
) -> AsyncGenerator[str]:
    """The stream of one run, event by event. events: of the run; closed at the end, which cancels the run.

    failed: puts an error in OpenAI's form. ended: is told the result. Raises what the run raises as long as nothing
    was sent.
    """
    run, speaker, passed, opened = "", "", "", False
    cut = Cut(stops)

    def chunk(delta: Delta, **more: Any) -> str:
        choices = (ChunkChoice(delta=delta, finish_reason=more.pop("finish_reason", None)),)
        return data(choices=choices, **more)

    def data(**fields: Any) -> str:
        made = Chunk(id=f"chatcmpl-{run}", created=created, model=model, system_fingerprint=fingerprint, **fields)
        return f"data: {made.to_json()}\n\n"

    def role() -> str:
        nonlocal opened
        opened = True
        return chunk(Delta(role="assistant", content=""))

    paced = _paced(events, quiet)
    try:
        async for event in paced:
            text = ""
            match event:
                case None:
                    yield COMMENT if opened else role()
                case Started():
                    run = event.run
                case Decided():
                    speaker = _speaker(event.decision)
                case Piece(answer=True) if event.agent == speaker:
                    passed += event.text
                    text = cut.feed(event.text)
                case Ended() if event.result.stop not in ("failed", "cancelled"):
                    result = event.result
                    ended(result)
                    text = cut.feed(_unsaid(result.answer, passed)) + cut.rest()
                    if not opened:
                        yield role()
                    if text:
                        yield chunk(Delta(content=text))
                    about = {} if include_usage else {"podium": extension(result)}
                    yield chunk(Delta(), finish_reason=finish_reason(result), **about)
                    if include_usage:
                        yield data(choices=(), usage=token_usage(result), podium=extension(result))
                    yield DONE
                    return
                case _:
                    pass
            if text:
                if not opened:
                    yield role()
                yield chunk(Delta(content=text))
    except Exception as error:
        if not opened:
            raise
        yield _error(failed(error).body)
    finally:
        await paced.aclose()


def _speaker(decision: Decision) -> str:
    """Whose pieces are the answer; empty where no one agent's are, and the answer comes whole at the end."""
    if not isinstance(decision.action, tuple):
        return ""
    marked = [directive.agent for directive in decision.action if directive.answer]
    alone = len(marked) == 1 and sum(directive.agent == marked[0] for directive in decision.action) == 1
    return marked[0] if alone else ""


def _unsaid(answer: str, passed: str) -> str:
    """What of the answer the client does not have yet.

    Pieces of a turn that ended in a tool call were passed on before the answer itself; a run that its deadline ended
    may have settled on another reply than the one being written. What was sent cannot be taken back, so such an
    answer follows after a blank line.
    """
    if answer.startswith(passed):
        return answer[len(passed) :]
    return "" if passed.endswith(answer) else f"\n\n{answer}"


def _error(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


async def _paced(events: AsyncGenerator[Event], seconds: float) -> AsyncGenerator[Event | None]:
    """The events, and None whenever none came for so many seconds."""
    coming: asyncio.Future[Event] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({coming}, timeout=seconds)
            if not done:
                yield None
                continue
            ready, coming = coming, None
            try:
                event = ready.result()
            except StopAsyncIteration:
                return
            yield event
    finally:
        if coming is not None:
            coming.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await coming
        await events.aclose()
