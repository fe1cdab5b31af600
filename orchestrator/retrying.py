"""The retry layer: the only one there is, since clients' own retries are off and agents have none.

What failed in passing (a lost connection, HTTP 429 or 5xx, a broken answer) is asked again after a random, growing
wait, or after as long as the endpoint asked for. What fails for good goes to the next model of the agent's chain. The
first attempt is not made here: a run in which nothing fails pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from podium.protocols.errors import ModelError
from podium.protocols.frozen import frozen

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


@frozen
class Retry:
    """How often and how soon. attempts: of each model, the first one included.

    wait: the second attempt comes within so many seconds, at random; the window doubles with each further one, up to
    `longest`.
    """

    attempts: int = 3
    wait: float = 0.5
    longest: float = 30.0


PATIENT = Retry()


async def recover(
    retry: Retry,
    first: ModelError,
    rungs: int,
    ask: Callable[[int, int], Awaitable[T]],
    failed: Callable[[ModelError, int], None] = lambda error, attempt: None,
) -> T:
    """What asking again gives, after a first attempt that failed. Raises the last error when nothing helped.

    rungs: models in the chain. ask: (attempt from 2, rung) -> result; failed: hears of each failed attempt.
    """
    from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    jitter = wait_random_exponential(multiplier=retry.wait, max=retry.longest)

    def wait(state: RetryCallState) -> float:
        return max(jitter(state), _asked_to_wait(state))

    def in_passing(error: BaseException) -> bool:
        return isinstance(error, ModelError) and error.transient and (error.after or 0.0) <= retry.longest

    attempt, last = 0, first
    for rung in range(rungs):
        again = AsyncRetrying(
            stop=stop_after_attempt(retry.attempts), wait=wait, retry=retry_if_exception(in_passing), reraise=True
        )
        try:
            async for trial in again:
                with trial:
                    attempt += 1
                    if attempt == 1:
                        failed(first, 1)
                        raise first
                    try:
                        return await ask(attempt, rung)
                    except ModelError as error:
                        failed(error, attempt)
                        raise
        except ModelError as error:
            last = error
    raise last


def _asked_to_wait(state: RetryCallState) -> float:
    """Seconds that the endpoint asked to wait."""
    error = state.outcome.exception() if state.outcome else None
    return error.after or 0.0 if isinstance(error, ModelError) else 0.0
