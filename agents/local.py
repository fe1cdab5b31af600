"""A model in this process: a `transformers` causal language model, with concurrent requests batched together.

Every loaded model has one worker thread. Requests from any event loop land in its queue; the worker takes what is
there, decodes all of it as one batch (see `decoding`), lets late-comers join between two tokens, and hands finished
rows back. Callers just await, so a thousand concurrent runs become a few large batches without anyone planning them.

Two agents that name the same folder share one copy of the weights. torch and transformers are imported when the first
model is loaded, not when this module is.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import json
import queue
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.agents.model import FREE, Price, Prompt, usage_of
from podium.agents.rendering import as_plain_text, merged, without_system
from podium.protocols.errors import InputError, MissingExtra, ModelError, ModelUnreachable
from podium.protocols.record import Generation, Sampling, ToolCall

if TYPE_CHECKING:
    from podium.agents.decoding import Row

__all__ = ["LocalModel"]

GATHER_SECONDS = 0.001
"""An idle worker waits this long for more requests after each one that arrives: the cost of one small batch."""
PIECE_SECONDS = 0.1
"""A row that runs longer streams its text at this pace; shorter ones come as one piece."""
LONGEST_WAIT = 16
"""Tokens that a running batch decodes before it lets in a few late-comers; as many as are running come in at once."""
LEAVING = 5.0
"""Seconds that a worker may take to end when the process does."""
SAMPLE_TEXT = "A train leaves at 9:15 and arrives at 11:40. How long is the trip? Answer in minutes, with one number.\n"
TOOL_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


@dataclass(slots=True, eq=False)
class _Request:
    """A row on its way through the worker. Items for its caller: pieces of text, then the finished row or an error."""

    row: Row
    loop: asyncio.AbstractEventLoop
    items: asyncio.Queue[str | Row | Exception]
    sent: int = 0
    last_piece: float = field(default_factory=time.perf_counter)


class _Weights:
    """One loaded model: weights, tokenizer and worker thread, shared by every LocalModel with the same folder."""

    def __init__(self, path: str, device: str, dtype: str, max_batch: int) -> None:
        self.path = path
        self.users = 0
        self.max_batch = max_batch
        self.module, self.tokenizer = _load(path, device, dtype)
        config = self.module.config
        ends: Any = self.module.generation_config.eos_token_id
        ends = config.eos_token_id if ends is None else ends
        found: list[Any] = [*ends] if isinstance(ends, list) else [ends]  # pyright: ignore[reportUnknownArgumentType]
        self.eos = frozenset(int(end) for end in (*found, self.tokenizer.eos_token_id) if end is not None)
        self.context: int = getattr(config, "max_position_embeddings", None) or 1 << 30
        self.chars_per_token = len(SAMPLE_TEXT) / max(1, len(self.encode(SAMPLE_TEXT)))
        self.encode = lru_cache(maxsize=4096)(self.encode)
        self._talk = lru_cache(maxsize=4096)(self._talk)
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"podium-model-{Path(path).name}", daemon=True)
        _WORKING.add(self)
        self._thread.start()

    def render(self, prompt: Prompt) -> str:
        """The prompt as text, by the model's own chat template where it has one."""
        messages = merged(prompt.messages)
        if self.tokenizer.chat_template is None:
            return as_plain_text(messages)
        if prompt.tools or any(len(message) > 2 for message in messages):
            return self._templated(messages, [tool.as_function() for tool in prompt.tools] or None)
        return self._talk(tuple((message["role"], message["content"]) for message in messages))

    def _talk(self, messages: tuple[tuple[str, str], ...]) -> str:
        """A conversation without tools; cached, since samples of one prompt share it and templates are slow."""
        return self._templated([{"role": role, "content": content} for role, content in messages], None)

    def _templated(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        apply: Callable[..., str] = self.tokenizer.apply_chat_template
        try:
            return apply(messages, tools=tools, tokenize=False, add_generation_prompt=True)
        except Exception:  # a template may refuse in any way it likes; the usual reason is the system role
            return apply(without_system(messages), tools=tools, tokenize=False, add_generation_prompt=True)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a rendered prompt; the template has already put in the special tokens."""
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of completion ids, without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def submit(self, request: _Request) -> None:
        """Queue a request for the worker."""
        self._queue.put(request)

    def stop(self) -> None:
        """End the worker; requests in flight end with an error."""
        self._queue.put(None)

    def join(self) -> None:
        """Wait for the worker's end, but not for ever."""
        self._thread.join(timeout=LEAVING)

    def _work(self) -> None:
        try:
            self._serve()
        finally:
            _WORKING.discard(self)

    def _serve(self) -> None:
        from podium.agents.decoding import Decoder, claim_thread

        claim_thread(self.module)
        decoder = Decoder(self.module, self.eos, self.tokenizer.pad_token_id or 0)
        running: dict[Row, _Request] = {}
        waited = 0
        while True:
            room = self.max_batch - len(running)
            waited += 1
            fresh: list[_Request] | None = []
            if self._queue.qsize() >= len(running) or waited >= LONGEST_WAIT:  # reading prompts one by one is dear
                fresh = self._gather(room, wait=not running)
                waited = 0
            if fresh is None:
                _deliver([(request, ModelError("the model was closed")) for request in running.values()])
                return
            running |= {request.row: request for request in fresh}
            try:
                done = decoder.add([request.row for request in fresh]) if fresh else []
                done += decoder.step()
            except Exception as error:  # out of memory, a broken model: the batch fails, the worker lives on
                decoder.clear()
                problem = ModelError(f"the local model {self.path} failed: {type(error).__name__}: {error}")
                _deliver([(request, problem) for request in running.values()])
                running.clear()
                continue
            items: list[tuple[_Request, str | Row | Exception]] = [(running.pop(row), row) for row in done]
            items += self._pieces(running.values())
            if items:
                _deliver(items)

    def _gather(self, room: int, *, wait: bool) -> list[_Request] | None:
        """Up to `room` waiting requests; with `wait`, at least one. None when the model was closed."""
        found: list[_Request] = []
        while len(found) < room:
            try:
                if wait and not found:
                    request = self._queue.get()
                elif wait:
                    request = self._queue.get(timeout=GATHER_SECONDS)
                else:
                    request = self._queue.get_nowait()
            except queue.Empty:
                break
            if request is None:
                _deliver([(one, ModelError("the model was closed")) for one in found])
                return None
            if not request.row.cancelled:
                found.append(request)
        return found

    def _pieces(self, running: Any) -> list[tuple[_Request, str | Row | Exception]]:
        now = time.perf_counter()
        pieces: list[tuple[_Request, str | Row | Exception]] = []
        for request in running:
            if now - request.last_piece >= PIECE_SECONDS:
                request.last_piece = now
                text = self.decode(request.row.ids)
                if len(text) > request.sent and not text.endswith("\ufffd"):  # half a character: wait for the rest
                    pieces.append((request, text[request.sent :]))
                    request.sent = len(text)
        return pieces


_LOADED: dict[tuple[str, str, str, int], _Weights] = {}
_LOADING = threading.Lock()
_WORKING: set[_Weights] = set()


@atexit.register
def _leave() -> None:
    """End all workers: an interpreter that leaves while one of them is inside torch aborts the process."""
    working = list(_WORKING)
    for each in working:
        each.stop()
    for each in working:
        each.join()


class LocalModel:
    """A causal language model of the transformers library, run in this process.

    path: a folder with config, tokenizer and safetensors weights, or a hub name. device: "auto", "cpu", "cuda", ...
    dtype: "auto" keeps the stored one, except on a CPU, where 16-bit weights are computed in float32 (several times
    faster there). max_batch: most rows decoded together. timeout: seconds for one call.

    Raises InputError when the model cannot be loaded and MissingExtra when torch or transformers is not installed.
    """

    gives_ids = True

    def __init__(
        self,
        name: str,
        path: str | Path,
        *,
        price: Price = FREE,
        max_tokens: int = 512,
        temperature: float = 1.0,
        device: str = "auto",
        dtype: str = "auto",
        max_batch: int = 64,
        timeout: float = 600.0,
    ) -> None:
        self.name = name
        self.price = price
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.timeout = timeout
        self.version = 0
        folder = Path(path)
        self._key = (str(folder.resolve()) if folder.is_dir() else str(path), device, dtype, max_batch)
        written = [f"{file.name} {file.stat().st_mtime_ns}" for file in sorted(folder.glob("*.safetensors"))]
        self.identity = " ".join((self._key[0], dtype, *written))
        self._closed = False
        with _LOADING:
            if self._key not in _LOADED:
                _LOADED[self._key] = _Weights(*self._key)
            self._weights = _LOADED[self._key]
            self._weights.users += 1
        self.chars_per_token = self._weights.chars_per_token

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """Yield text as it comes (short answers in one piece), then the generation with its ids and log-probs.

        The end-of-text token belongs to `ids` and to the output tokens. Raises ModelError when the prompt does not fit
        the model's context or the model fails, ModelUnreachable after `timeout` seconds.
        """
        from podium.agents.decoding import Row

        started = time.perf_counter()
        weights = self._weights
        if self._closed:
            raise ModelError(f"the model {self.name} was closed")
        ids = weights.encode(weights.render(prompt))
        room = weights.context - len(ids)
        if not ids or room < 1:
            raise ModelError(
                f"the prompt has {len(ids)} tokens; the model {self.name} takes 1 to {weights.context - 1}"
                " and needs room for its answer: show the agent fewer messages"
            )
        allowed = sampling if sampling.max_tokens <= room else replace(sampling, max_tokens=room)
        row = Row(ids, allowed, stopped=self._stop_test(allowed.stop))
        request = _Request(row, asyncio.get_running_loop(), asyncio.Queue())
        sent = 0
        try:
            weights.submit(request)
            while True:
                async with asyncio.timeout(self.timeout - (time.perf_counter() - started)):
                    item = await request.items.get()
                if isinstance(item, Exception):
                    raise item
                if not isinstance(item, str):
                    break
                if not allowed.stop:  # a stop text may begin in a piece and must not be shown
                    sent += len(item)
                    yield item
        except TimeoutError:
            raise ModelUnreachable(f"the local model {self.name} gave no answer in {self.timeout:g} s") from None
        finally:
            row.cancelled = True
        text = weights.decode(row.ids)
        cuts = [found for found in (text.find(stop) for stop in allowed.stop) if found >= 0]
        text = text[: min(cuts)] if cuts else text
        if len(text) > sent:
            yield text[sent:]
        calls = _tool_calls(text) if prompt.tools else ()
        seconds = time.perf_counter() - started
        yield Generation(
            text=text,
            usage=usage_of(self.price, len(ids), len(row.ids), seconds),
            sampling=allowed,
            finish="tool" if calls else row.finish or "stop",
            prompt_ids=ids,
            ids=tuple(row.ids),
            log_probs=tuple(row.log_probs),
            log_prob_kind="raw" if allowed.temperature == 0 else "processed",
            versions=((0, self.version),),
            tool_calls=calls,
        )

    async def close(self) -> None:
        """Give the weights back; the last user of a folder ends its worker thread and frees its memory."""
        if self._closed:
            return
        self._closed = True
        with _LOADING:
            self._weights.users -= 1
            if self._weights.users == 0:
                _LOADED.pop(self._key).stop()

    def _stop_test(self, stops: tuple[str, ...]) -> Callable[[list[int]], bool] | None:
        if not stops:
            return None
        window = 2 * max(len(stop) for stop in stops) + 8  # tokens: enough to hold the longest stop text's end
        decode = self._weights.decode
        return lambda ids: any(stop in decode(ids[-window:]) for stop in stops)


def _deliver(items: Sequence[tuple[_Request, str | Row | Exception]]) -> None:
    """Hand items to their callers: one wake-up per event loop, however many rows are done."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Request, str | Row | Exception]]] = {}
    for request, item in items:
        by_loop.setdefault(request.loop, []).append((request, item))
    for loop, batch in by_loop.items():
        try:
            loop.call_soon_threadsafe(_put_all, batch)
        except RuntimeError:  # the loop was closed: nobody waits for these any more
            for request, _ in batch:
                request.row.cancelled = True


def _put_all(batch: list[tuple[_Request, str | Row | Exception]]) -> None:
    for request, item in batch:
        request.items.put_nowait(item)


def _tool_calls(text: str) -> tuple[ToolCall, ...]:
    """Tool calls in the <tool_call> form that open models write (Hermes, Qwen); unreadable ones are left as text."""
    calls: list[ToolCall] = []
    for number, found in enumerate(TOOL_CALL.findall(text)):
        try:
            call = json.loads(found)
            calls.append(ToolCall(f"call-{number}", str(call["name"]), json.dumps(call.get("arguments", {}))))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return tuple(calls)


def _load(path: str, device: str, dtype: str) -> tuple[Any, Any]:
    """Module and tokenizer. Raises InputError that names the path and the reason."""
    try:
        import torch

        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtra(f"the local model {path}", "local", error.name or "torch") from None
    transformers.utils.logging.disable_progress_bar()  # loading is quick, and a server's log is no place for bars
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = Path(path)
    if folder.is_absolute() and not (folder / "config.json").is_file():
        raise InputError(f"no model in {path}: a model folder holds config.json, a tokenizer and safetensors weights")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        module = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        if device == "cpu" and dtype == "auto":
            module = module.float()
        module = module.to(device).eval()
    except Exception as error:  # the library raises many kinds; all mean that this path or device cannot be used
        first_line = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputError(f"cannot load the local model {path} on {device}: {first_line[0]}") from error
    return module, tokenizer
