"""A model that plays back what a real model once answered: training on real replies without paying for them again.

The task's own text finds the recorded line, whatever the agent was told besides: a recording cannot react to
directives. Where a pool keeps several samples of one reply, the sampling seed picks one (seed modulo their number), so
siblings with different seeds are different samples; without a seed it is the first. Where a pool kept only scores, the
content says so, and the task's scorer looks the score up by agent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path

from podium.agents.model import Price, Prompt, usage_of
from podium.protocols.errors import ModelError, TaskError
from podium.protocols.pool import Pool, PoolTask, read_pool
from podium.protocols.record import Generation, Sampling

__all__ = ["RecordedModel", "load_pool", "not_recorded"]


class RecordedModel:
    """The replies of one agent of a pool. agent: None plays the pool agent that is named as the asking agent.

    price: None takes the pool's. Raises TaskError when the pool cannot be read or has no such agent.
    """

    gives_ids = False
    chars_per_token = 4.0
    max_tokens = 512
    temperature = 1.0

    def __init__(
        self,
        name: str,
        pool: Pool | str | Path,
        agent: str | None = None,
        *,
        price: Price | None = None,
        max_tokens: int = 512,
        temperature: float = 1.0,
    ) -> None:
        self.pool, self._tasks = (pool, pool.by_prompt()) if isinstance(pool, Pool) else _indexed(pool)
        self.name = name
        self.identity = f"{self.pool.name} {agent}"
        self.agent = agent
        self.max_tokens = max_tokens
        self.temperature = temperature
        if agent is not None:
            self._check(agent)
        self._prices = {who: Price(card.price.input, card.price.output) for who, card in self.pool.agents.items()}
        self._own_price = price
        dearest = max(self._prices.values(), key=lambda one: one.output)
        self.price = price or (self._prices[agent] if agent is not None else dearest)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Yield the recorded reply. Raises ModelError when the task is not in the pool.

        The recorded reply comes whole, whatever `sampling` says: it cannot be shortened to `max_tokens`.
        """
        agent = self.agent if self.agent is not None else prompt.agent
        if self.agent is None:
            self._check(agent)
        task = self._tasks.get(prompt.task.strip())
        if task is None:
            raise ModelError(
                f"the pool {self.pool.name} has no task {prompt.task[:80]!r};"
                " a recorded model answers only the tasks that were recorded"
            )
        samples = task.replies[agent].samples
        reply = samples[(sampling.seed or 0) % len(samples)]
        text = not_recorded(agent) if reply.text is None else reply.text
        yield text
        price = self._own_price or self._prices[agent]
        yield Generation(text, usage_of(price, reply.prompt_tokens, reply.completion_tokens), sampling)

    async def close(self) -> None:
        """Nothing to free: the pool is shared by the whole process."""

    def _check(self, agent: str) -> None:
        if agent not in self.pool.agents:
            names = ", ".join(self.pool.agents)
            raise TaskError(f"the pool {self.pool.name} has no agent {agent}; it has: {names}")


def not_recorded(agent: str) -> str:
    """The content of a reply of which only the score was kept."""
    return f"({agent}'s reply to this task was not recorded, only its score)"


def load_pool(path: str | Path) -> Pool:
    """Read a pool once per process. Raises TaskError."""
    return _indexed(path)[0]


def _indexed(path: str | Path) -> tuple[Pool, dict[str, PoolTask]]:
    resolved = Path(path).resolve()
    try:
        changed = resolved.stat().st_mtime_ns
    except OSError:
        changed = 0
    return _read_once(resolved, changed)


@lru_cache(maxsize=8)
def _read_once(path: Path, changed: int) -> tuple[Pool, dict[str, PoolTask]]:
    pool = read_pool(path)
    return pool, pool.by_prompt()
