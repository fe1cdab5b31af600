"""Paid calls are made once: a cache of whole generations, and a cap on what may be spent.

The key of a call is the model's identity and everything that it is told: messages, tools, response schema and sampling
with the seed. Two runs that ask the same thing at the same time share one call. What a hit costs is said twice: runs
are charged the recorded tokens at today's price (so that budgets and comparisons do not depend on what was cached),
while `spent_dollars` counts only calls that were really made.

Sampling without a seed and with a temperature is meant to differ from call to call, so it is not cached, unless
`by_seed` says that "no seed" is a seed like any other.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from podium.agents.model import Model, Price, Prompt, Wrapped
from podium.protocols.errors import BudgetExceeded, InputError
from podium.protocols.record import Generation, Sampling, ToolCall, Usage

__all__ = ["CachedModel", "ReplyStore", "SpendingCap"]


class SpendingCap:
    """A limit in dollars over any number of models and runs. Thread-safe.

    A call reserves its worst case before it starts and settles what it really cost afterwards, so the sum of what is
    spent and what may still come never passes the limit, however many calls run at once.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.spent = 0.0
        self.reserved = 0.0
        self._lock = threading.RLock()

    def reserve(self, dollars: float) -> None:
        """Set aside the worst case of a call. Raises BudgetExceeded, before anything is spent."""
        with self._lock:
            if self.spent + self.reserved + dollars > self.limit * (1 + 1e-9):
                raise BudgetExceeded(
                    f"the spending cap of ${self.limit:.4f} does not hold this call: ${self.spent:.4f} are spent,"
                    f" ${max(0.0, self.reserved):.4f} are reserved by calls in flight, and it may cost ${dollars:.4f}"
                )
            self.reserved += dollars

    def settle(self, reserved: float, dollars: float) -> None:
        """Give a reservation back and count what the call really cost, in dollars."""
        with self._lock:
            self.reserved -= reserved
            self.spent += dollars


class ReplyStore:
    """Generations by key, in memory and, with a path, in an SQLite file that later processes find. Thread-safe."""

    def __init__(self, path: str | Path | None = None) -> None:
        self._memory: dict[str, Generation] = {}
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        if path is not None:
            try:
                self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
                self._file.execute("PRAGMA journal_mode=WAL")
                self._file.execute("PRAGMA synchronous=NORMAL")
                self._file.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, generation TEXT)")
            except sqlite3.Error as error:
                raise InputError(f"{path} cannot be used as a reply cache: {error}") from None

    def get(self, key: str) -> Generation | None:
        """The stored generation, or None."""
        with self._lock:
            found = self._memory.get(key)
            if found is None and self._file is not None:
                row = self._file.execute("SELECT generation FROM replies WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found = self._memory[key] = _from_json(row[0])
            return found

    def put(self, key: str, generation: Generation) -> None:
        """Store a generation; the first one stored under a key stays."""
        with self._lock:
            if self._memory.setdefault(key, generation) is generation and self._file is not None:
                text = json.dumps(dataclasses.asdict(generation))
                self._file.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class CachedModel(Wrapped):
    """`model`, asked only for what `store` does not hold yet, and only while `cap` lasts.

    hits, misses: calls answered from the store, and calls made. spent_dollars: of the calls made;
    accounted_dollars: of all calls, as runs were charged.
    """

    def __init__(
        self, model: Model, store: ReplyStore | None = None, *, cap: SpendingCap | None = None, by_seed: bool = False
    ) -> None:
        super().__init__(model)
        self.store = store or ReplyStore()
        self.cap = cap
        self.by_seed = by_seed
        self.hits = 0
        self.misses = 0
        self.spent_dollars = 0.0
        self.accounted_dollars = 0.0
        self._in_flight: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Event] = {}

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Yield the stored reply, or the model's. Raises BudgetExceeded and what the model raises."""
        if sampling.temperature > 0 and sampling.seed is None and not self.by_seed:
            async for item in self._call(prompt, sampling):
                yield item
            return
        key = call_key(self.identity, prompt, sampling)
        place = (asyncio.get_running_loop(), key)
        while True:
            stored = self.store.get(key)
            if stored is not None:
                self.hits += 1
                stored = _priced(stored, self.price)
                self.accounted_dollars += stored.usage.dollars
                if stored.text:
                    yield stored.text
                yield stored
                return
            running = self._in_flight.get(place)
            if running is None:
                break
            await running.wait()  # it sets the event however it ends; if it failed, this call is the next to try
        finished = self._in_flight[place] = asyncio.Event()
        try:
            async for item in self._call(prompt, sampling):
                if isinstance(item, Generation):
                    self.store.put(key, item)
                yield item
        finally:
            del self._in_flight[place]
            finished.set()

    async def close(self) -> None:
        """Close the model. The store may serve other models too: whoever opened it closes it."""
        await self.model.close()

    async def _call(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        worst = self._worst_case(prompt, sampling)
        if self.cap is not None:
            self.cap.reserve(worst)
        cost = worst  # a call that breaks off may have been billed in full: nobody tells us
        started = False
        try:
            async for item in self.model.generate(prompt, sampling):
                started = True
                if isinstance(item, Generation):
                    cost = item.usage.dollars
                    self.misses += 1
                    self.spent_dollars += cost
                    self.accounted_dollars += cost
                yield item
        except Exception:
            cost = cost if started else 0.0
            raise
        finally:
            if self.cap is not None:
                self.cap.settle(worst, cost)

    def _worst_case(self, prompt: Prompt, sampling: Sampling) -> float:
        characters = sum(len(message.content) for message in prompt.messages)
        characters += sum(len(json.dumps(tool.parameters)) + len(tool.description) for tool in prompt.tools)
        return self.price.dollars(int(characters / self.chars_per_token) + 1, sampling.max_tokens)


def call_key(identity: str, prompt: Prompt, sampling: Sampling) -> str:
    """The identity of a call: 64 hexadecimal digits over who is told what."""
    told: list[Any] = [
        identity,
        [(each.role, each.content, each.name, each.tool_call_id, each.tool_calls) for each in prompt.messages],
        [tool.as_function() for tool in prompt.tools],
        prompt.response_schema,
        (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed, sampling.stop),
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _priced(generation: Generation, price: Price) -> Generation:
    """The generation at this price, whatever it cost when it was made."""
    usage = generation.usage
    dollars = price.dollars(usage.input_tokens, usage.output_tokens)
    if dollars == usage.dollars:
        return generation
    return dataclasses.replace(generation, usage=dataclasses.replace(usage, dollars=dollars))


def _from_json(text: str) -> Generation:
    data: dict[str, Any] = json.loads(text)
    for name in ("prompt_ids", "ids", "log_probs"):
        data[name] = None if data[name] is None else tuple(data[name])
    data["versions"] = tuple((first, version) for first, version in data["versions"])
    data["usage"] = Usage(**data["usage"])
    data["sampling"]["stop"] = tuple(data["sampling"]["stop"])
    data["sampling"] = Sampling(**data["sampling"])
    data["tool_calls"] = tuple(ToolCall(**call) for call in data["tool_calls"])
    return Generation(**data)
