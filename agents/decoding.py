"""Decoding many requests together with one causal language model: the loop behind `LocalModel`.

Rows join a running batch whenever there is room and are handed back the moment they are done, so a short answer never
waits for a long one (continuous batching, Yu et al., Orca, OSDI 2022). Three things keep the work small:

- a prompt that several rows share (siblings of one directive) is read once, and its keys and values are copied;
- the beginning that all new prompts share (a role's system prompt) is read once, as a batch of one;
- keys and values grow inside buffers with room to spare, instead of being copied at every token.

Shorter rows are padded on the left; positions are explicit, so padding moves nothing. A row's randomness is one uniform
number per token from its own generator, turned into a token by inverting the cumulative distribution: the same seed and
prompt give the same text whatever else is in the batch (up to float rounding at a boundary).

This module imports torch; `podium.agents.local` imports it when the first local model is loaded.
"""
# torch and transformers leave much of their surface without types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from podium.agents.lean_llama import LeanLlama
from podium.protocols.record import Sampling, StopReason

__all__ = ["Decoder", "Row", "claim_thread"]

ROOM_TO_GROW = 64
"""Tokens of spare room in a key/value buffer: one copy per 64 tokens instead of one per token."""
SHORTEST_SHARED_PREFIX = 8
"""Below this many shared tokens, one more forward pass costs more than it saves."""
MOST_IDLE_ROWS = 0.25
"""Part of a batch that may be done before it is compacted: compacting copies all keys and values."""
SMALL_MODEL = 20_000_000
"""Parameters up to which one core per model beats splitting its little matrices over all cores: teams of small models
decode side by side, and a busy second core does not hold up the first (with both cores busy: ten times faster)."""


@dataclass(slots=True, eq=False)
class Row:
    """One request in a batch. prompt_ids: never empty; stopped: looks for stop texts in `ids` after every token."""

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    stopped: Callable[[list[int]], bool] | None = None
    ids: list[int] = field(default_factory=list[int])
    log_probs: list[float] = field(default_factory=list[float])
    finish: StopReason | None = None
    cancelled: bool = False
    uniforms: list[float] = field(default_factory=list[float])

    def draw_uniforms(self) -> None:
        """One uniform number per token to come, from this row's own seed (from the system where there is none)."""
        if self.sampling.temperature > 0:
            seed = None if self.sampling.seed is None else self.sampling.seed & (2**64 - 1)
            self.uniforms = np.random.default_rng(seed).random(self.sampling.max_tokens).tolist()
        else:
            self.uniforms = [0.0] * self.sampling.max_tokens


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer, (rows, heads, tokens, width), inside buffers that are copied only when full."""

    room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Append the keys and values of new tokens; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, heads, added, _ = key_states.shape
        length = self.get_seq_length()
        total = length + added
        if self.room is None or self.room[0].shape[-2] < total:
            buffers = [
                states.new_empty(rows, heads, total + ROOM_TO_GROW, states.shape[-1])
                for states in (key_states, value_states)
            ]
            if self.keys is not None and self.values is not None and length:
                buffers[0][:, :, :length] = self.keys
                buffers[1][:, :, :length] = self.values
            self.room = (buffers[0], buffers[1])
        self.room[0][:, :, length:total] = key_states
        self.room[1][:, :, length:total] = value_states
        self.keys = self.room[0][:, :, :total]
        self.values = self.room[1][:, :, :total]
        return self.keys, self.values

    def replace(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Take these keys and values instead; the next update makes room of its own."""
        self.keys, self.values, self.room = keys, values, None


class Decoder:
    """A batch of rows being decoded by `module`. Not thread-safe: one thread calls `add` and `step`.

    eos: ids that end a row (the id itself is kept, as the sampler's output); pad: any valid id.
    """

    def __init__(self, module: Any, eos: frozenset[int], pad: int) -> None:
        self.module = module
        self._lean = LeanLlama(module) if LeanLlama.fits(module) else None
        self.eos = eos
        self.pad = pad
        self.device: torch.device = module.device
        self._last_position: int = (getattr(module.config, "max_position_embeddings", None) or 1 << 30) - 1
        self.rows: list[Row] = []
        self._cache = Cache(layer_class_to_replicate=GrowingLayer)
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=self.device)
        self._last = torch.zeros(0, 1, dtype=torch.long, device=self.device)

    @torch.inference_mode()
    def add(self, rows: Sequence[Row]) -> list[Row]:
        """Read the prompts of new rows, sample their first tokens, and return those that are already done."""
        for row in rows:
            row.draw_uniforms()
        cache, mask, logits = self._read(rows)
        last, alive = self._sample(rows, logits)
        done = [row for row, lives in zip(rows, alive, strict=True) if not lives]
        keep = [index for index, lives in enumerate(alive) if lives]
        if keep:
            if done:
                chosen = torch.tensor(keep, device=self.device)
                _select(cache, chosen)
                mask, last = mask[chosen], last[chosen]
            self._join([rows[index] for index in keep], cache, mask, last)
        return done

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Decode one token of every row and return the rows that are done now (or were cancelled)."""
        if not self.rows:
            return []
        rows = self.rows
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(rows), 1)], dim=1)
        positions = (self._mask.sum(1, keepdim=True) - 1).clamp(max=self._last_position)  # of rows long done
        logits = self._forward(self._last, self._mask, positions, self._cache)
        running = [row for row in rows if row.finish is None]
        self._last, alive = self._sample(rows, logits)
        if sum(alive) <= len(rows) * (1 - MOST_IDLE_ROWS):
            self._keep([index for index, lives in enumerate(alive) if lives])
        return [row for row in running if row.finish is not None]

    def clear(self) -> list[Row]:
        """Drop all rows, after an error; returns them."""
        rows, self.rows = self.rows, []
        self._cache = Cache(layer_class_to_replicate=GrowingLayer)
        return rows

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Logits after the last token, (rows, vocabulary) float32."""
        if self._lean is not None:
            return self._lean(ids, mask, positions, cache)
        output = self.module(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def _read(self, rows: Sequence[Row]) -> tuple[Cache, torch.Tensor, torch.Tensor]:
        """Cache, mask (rows, tokens) and next-token logits of new rows' prompts; equal prompts are read once."""
        order = {prompt: index for index, prompt in enumerate(dict.fromkeys(row.prompt_ids for row in rows))}
        prompts = list(order)
        cache = Cache(layer_class_to_replicate=GrowingLayer)
        shared = _shared_prefix(prompts)
        if shared:
            prefix = torch.tensor([prompts[0][:shared]], device=self.device)
            self._forward(prefix, torch.ones_like(prefix), torch.arange(shared, device=self.device)[None], cache)
            _select(cache, torch.zeros(len(prompts), dtype=torch.long, device=self.device))
        longest = max(len(prompt) for prompt in prompts) - shared
        ids = torch.full((len(prompts), longest), self.pad, dtype=torch.long)
        mask = torch.ones(len(prompts), shared + longest, dtype=torch.long)
        for index, prompt in enumerate(prompts):
            rest = len(prompt) - shared
            ids[index, longest - rest :] = torch.tensor(prompt[shared:])
            mask[index, shared : shared + longest - rest] = 0
        ids, mask = ids.to(self.device), mask.to(self.device)
        positions = (mask.cumsum(1) - 1)[:, shared:]
        logits = self._forward(ids, mask, positions, cache)
        if len(prompts) < len(rows):
            which = torch.tensor([order[row.prompt_ids] for row in rows], device=self.device)
            _select(cache, which)
            mask, logits = mask[which], logits[which]
        return cache, mask, logits

    def _join(self, rows: list[Row], cache: Cache, mask: torch.Tensor, last: torch.Tensor) -> None:
        if not self.rows:
            self.rows, self._cache, self._mask, self._last = rows, cache, mask, last
            return
        longest = max(mask.shape[1], self._mask.shape[1])
        for ours, theirs in zip(_layers(self._cache), _layers(cache), strict=True):
            ours.replace(
                torch.cat([_left_padded(ours.keys, longest), _left_padded(theirs.keys, longest)]),
                torch.cat([_left_padded(ours.values, longest), _left_padded(theirs.values, longest)]),
            )
        widen = torch.nn.functional.pad
        self._mask = torch.cat([widen(part, (longest - part.shape[1], 0)) for part in (self._mask, mask)])
        self._last = torch.cat([self._last, last])
        self.rows = self.rows + rows

    def _keep(self, indices: list[int]) -> None:
        self.rows = [self.rows[index] for index in indices]
        if not indices:
            self._cache = Cache(layer_class_to_replicate=GrowingLayer)
            return
        chosen = torch.tensor(indices, device=self.device)
        self._mask, self._last = self._mask[chosen], self._last[chosen]
        first = int(self._mask.any(0).to(torch.uint8).argmax())  # columns that only padded rows that left had used
        self._mask = self._mask[:, first:]
        _select(self._cache, chosen, first)

    def _sample(self, rows: Sequence[Row], logits: torch.Tensor) -> tuple[torch.Tensor, list[bool]]:
        """Next tokens (rows, 1), and which rows go on. Fills in the rows' ids, log-probs and finish."""
        uniforms = [row.uniforms[len(row.ids)] if row.finish is None else 0.0 for row in rows]
        tokens, log_probs = choose(logits, [row.sampling for row in rows], uniforms)
        alive: list[bool] = []
        for row, token, log_prob in zip(rows, tokens.tolist(), log_probs.tolist(), strict=True):
            if row.finish is not None:  # done, and still in the batch until enough others are
                alive.append(False)
                continue
            row.ids.append(token)
            row.log_probs.append(log_prob)
            if token in self.eos or (row.stopped is not None and row.stopped(row.ids)):
                row.finish = "stop"
            elif len(row.ids) >= row.sampling.max_tokens:
                row.finish = "length"
            elif row.cancelled:
                row.finish = "cancelled"
            alive.append(row.finish is None)
        return tokens[:, None], alive


def choose(
    logits: torch.Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token per row and its log-prob in nats: (rows,) long and (rows,) float32.

    logits: (rows, vocabulary) float32. Sampled rows report the distribution that was sampled from, after temperature
    and top-p; greedy rows (temperature 0) report the model's own distribution.
    """
    if all(sampling.temperature == 0 for sampling in samplings):
        log_probs = torch.log_softmax(logits, dim=-1)
        tokens = log_probs.argmax(-1)
        return tokens, log_probs.gather(1, tokens[:, None])[:, 0]
    device = logits.device
    temperature = torch.tensor([sampling.temperature for sampling in samplings], device=device)[:, None]
    greedy = temperature == 0
    logits = logits / torch.where(greedy, torch.ones_like(temperature), temperature)
    if any(sampling.top_p < 1 for sampling in samplings):
        kept = torch.tensor([1.0 if s.temperature == 0 else s.top_p for s in samplings], device=device)[:, None]
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        dropped = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, (before >= kept) & (kept < 1))
        logits = logits.masked_fill(dropped, float("-inf"))
    log_probs = torch.log_softmax(logits, dim=-1)
    cumulative = log_probs.double().exp().cumsum(-1)
    uniform = torch.tensor(uniforms, dtype=torch.float64, device=device)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, uniform, right=True).clamp(max=logits.shape[-1] - 1)
    tokens = torch.where(greedy, log_probs.argmax(-1, keepdim=True), drawn)
    return tokens[:, 0], log_probs.gather(1, tokens)[:, 0]


def claim_thread(module: Any) -> None:
    """Prepare the calling thread for decoding with `module`: one core for a small model on a CPU."""
    if module.device.type != "cpu" or module.num_parameters() > SMALL_MODEL:
        return
    others = torch.get_num_threads()
    torch.set_num_threads(1)  # this thread's own number, and the default of threads that start later ...
    reset = threading.Thread(target=torch.set_num_threads, args=(others,))
    reset.start()  # ... which only another thread can put back without changing this thread's
    reset.join()


def _shared_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with, leaving at least one of each; 0 where sharing does not pay."""
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)
    limit = min(len(prompt) for prompt in prompts) - 1
    shared = next((index for index in range(limit) if low[index] != high[index]), limit)
    return shared if shared >= SHORTEST_SHARED_PREFIX else 0


def _select(cache: Cache, rows: torch.Tensor, first: int = 0) -> None:
    """Keep these rows of every layer (rows may repeat), from token `first` on."""
    for layer in _layers(cache):
        layer.replace(layer.keys[rows, :, first:], layer.values[rows, :, first:])


def _layers(cache: Cache) -> Any:
    """The layers of a cache of ours: each is a GrowingLayer."""
    return cache.layers


def _left_padded(states: torch.Tensor, length: int) -> torch.Tensor:
    return torch.nn.functional.pad(states, (0, 0, length - states.shape[-2], 0))
