"""LocalModel on a random Llama: batches change nothing, log-probs are the model's, limits hold."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podium.agents.local import LocalModel
from podium.agents.model import Price, Prompt, complete
from podium.protocols.errors import InputError, ModelError, ModelUnreachable
from podium.protocols.record import Generation, Sampling
from podium.protocols.task import Message
from tests.agents.tiny_llama import make_tiny_llama

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
pytestmark = pytest.mark.timeout(60)

TEXTS = ("2 + 2 = ?", "sort: d a c b", "reverse the word", "2 + 2 = ?", "x", "count the letters of this sentence")


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp(request.param), kind=request.param)


@pytest.fixture
def model(folder: Path) -> Iterator[LocalModel]:
    model = LocalModel("tiny", folder, price=Price(1.0, 10.0), timeout=30.0)
    yield model
    asyncio.run(model.close())


def prompt(text: str) -> Prompt:
    return Prompt("solver", text, lambda: (Message("user", text),))


def samplings(max_tokens: int = 12) -> list[Sampling]:
    return [
        Sampling(
            temperature=(0.0, 1.0, 0.7)[index % 3], top_p=0.8 if index == 4 else 1.0, max_tokens=max_tokens, seed=index
        )
        for index in range(len(TEXTS))
    ]


def together(model: LocalModel, wanted: list[Sampling]) -> list[Generation]:
    async def main() -> list[Generation]:
        calls = (complete(model, prompt(text), one) for text, one in zip(TEXTS, wanted, strict=True))
        return await asyncio.gather(*calls)

    return asyncio.run(main())


def test_a_batch_gives_what_single_calls_give(model: LocalModel) -> None:
    batched = together(model, samplings())
    for text, sampling, generation in zip(TEXTS, samplings(), batched, strict=True):
        single = asyncio.run(complete(model, prompt(text), sampling))
        assert single.text == generation.text
        assert single.ids == generation.ids
        assert single.log_probs == pytest.approx(generation.log_probs, abs=1e-4)


def test_late_comers_join_a_running_batch(model: LocalModel) -> None:
    async def main() -> list[Generation]:
        async def late(index: int) -> Generation:
            await asyncio.sleep(0.004 * index)
            return await complete(model, prompt(TEXTS[index]), samplings(30)[index])

        return await asyncio.gather(*(late(index) for index in range(len(TEXTS))))

    staggered = asyncio.run(main())
    assert [one.ids for one in staggered] == [one.ids for one in together(model, samplings(30))]


def test_log_probs_are_those_of_a_full_forward_pass(model: LocalModel, folder: Path) -> None:
    module = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    for generation in together(model, [Sampling(temperature=t, max_tokens=12, seed=5) for t in (0, 1, 0.5, 2, 1, 0)]):
        assert generation.prompt_ids is not None
        assert generation.ids is not None
        ids = torch.tensor([[*generation.prompt_ids, *generation.ids]])
        with torch.no_grad():
            logits = module(ids).logits[0, len(generation.prompt_ids) - 1 : -1]
        temperature = generation.sampling.temperature or 1.0
        expected = torch.log_softmax(logits / temperature, -1).gather(1, torch.tensor(generation.ids)[:, None])[:, 0]
        assert generation.log_probs == pytest.approx(expected.tolist(), abs=1e-4)
        assert generation.log_prob_kind == ("processed" if generation.sampling.temperature else "raw")


def test_seeds_decide(model: LocalModel) -> None:
    def sample(seed: int | None) -> tuple[int, ...] | None:
        return asyncio.run(complete(model, prompt("x"), Sampling(max_tokens=20, seed=seed))).ids

    assert sample(1) == sample(1)
    assert sample(-1) == sample(-1)
    assert len({sample(seed) for seed in range(5)}) > 1
    assert len({sample(None) for _ in range(5)}) > 1


def test_a_seed_draws_from_the_models_own_distribution(model: LocalModel) -> None:
    async def main() -> list[Generation]:
        draws = (complete(model, prompt("x"), Sampling(max_tokens=1, seed=seed)) for seed in range(2000))
        return await asyncio.gather(*draws)

    counts: dict[int, int] = {}
    expected: dict[int, float] = {}
    for one in asyncio.run(main()):
        assert one.ids is not None
        assert one.log_probs is not None
        counts[one.ids[0]] = counts.get(one.ids[0], 0) + 1
        expected[one.ids[0]] = float(torch.tensor(one.log_probs[0]).exp())
    for token, count in counts.items():
        spread = (expected[token] * (1 - expected[token]) / 2000) ** 0.5
        assert abs(count / 2000 - expected[token]) < 5 * spread + 1e-3


def test_usage_finish_and_ids(model: LocalModel) -> None:
    generation = asyncio.run(complete(model, prompt("hello"), Sampling(temperature=0, max_tokens=3)))
    assert generation.prompt_ids is not None
    assert generation.ids is not None
    assert len(generation.prompt_ids) == len("hello") + 2
    assert generation.usage.input_tokens == len(generation.prompt_ids)
    assert generation.usage.output_tokens == len(generation.ids) <= 3
    assert generation.usage.dollars == pytest.approx((7 + 10 * len(generation.ids)) * 1e-6)
    assert generation.finish == ("stop" if generation.ids[-1] == 1 else "length")
    assert generation.versions == ((0, 0),)


def test_the_end_token_ends_a_row_and_is_kept(model: LocalModel) -> None:
    for generation in together(model, [Sampling(temperature=2.0, max_tokens=40, seed=s) for s in range(6)]):
        assert generation.ids is not None
        assert 1 not in generation.ids[:-1]
        assert (generation.finish == "stop") == (generation.ids[-1] == 1)
        assert "<eos>" not in generation.text


def test_stop_texts_are_cut_off(model: LocalModel) -> None:
    free = asyncio.run(complete(model, prompt("hello"), Sampling(max_tokens=20, seed=3)))
    stop = free.text[4:6]
    cut = asyncio.run(complete(model, prompt("hello"), Sampling(max_tokens=20, seed=3, stop=(stop,))))
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish == "stop"


def test_the_context_is_a_limit(model: LocalModel) -> None:
    generation = asyncio.run(complete(model, prompt("x" * 50), Sampling(temperature=0, max_tokens=500)))
    assert generation.sampling.max_tokens == 64 - 52
    with pytest.raises(ModelError, match="takes 1 to 63"):
        asyncio.run(complete(model, prompt("x" * 80), Sampling()))


def test_weights_are_shared_and_freed(folder: Path) -> None:
    first, second = LocalModel("a", folder), LocalModel("b", str(folder))
    assert first._weights is second._weights  # pyright: ignore[reportPrivateUsage]
    asyncio.run(first.close())
    with pytest.raises(ModelError, match="was closed"):
        asyncio.run(complete(first, prompt("x"), Sampling(max_tokens=2)))
    assert asyncio.run(complete(second, prompt("x"), Sampling(max_tokens=2))).ids
    asyncio.run(second.close())
    third = LocalModel("c", folder)
    assert third._weights is not first._weights  # pyright: ignore[reportPrivateUsage]
    asyncio.run(third.close())


def test_a_cancelled_call_leaves_the_others_alone(model: LocalModel) -> None:
    async def main() -> Generation:
        long = asyncio.create_task(complete(model, prompt("a"), Sampling(max_tokens=60, seed=1)))
        other = asyncio.create_task(complete(model, prompt("b"), Sampling(max_tokens=10, seed=1)))
        await asyncio.sleep(0.01)
        long.cancel()
        return await other

    assert asyncio.run(main()).ids


def test_a_call_has_a_deadline(folder: Path) -> None:
    model = LocalModel("slow", folder, timeout=1e-4)
    with pytest.raises(ModelUnreachable, match="no answer in"):
        asyncio.run(complete(model, prompt("x"), Sampling(max_tokens=50)))
    asyncio.run(model.close())


LEAVE = """
import atexit, asyncio, sys, threading
from podium.agents.model import Prompt, complete
from podium.protocols.record import Sampling
from podium.protocols.task import Message

def told():
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("podium-model")]
    print(started, names)

atexit.register(told)  # what is registered later is called earlier, so this is called after the models' own
from podium.agents.local import LocalModel

async def main():
    global started
    model = LocalModel("tiny", sys.argv[1])
    work = asyncio.ensure_future(complete(model, Prompt("a", "x", lambda: (Message("user", "x"),)), Sampling()))
    await asyncio.sleep(0.2)
    started = [thread.name for thread in threading.enumerate() if thread.name.startswith("podium-model")] != []
    sys.exit(3)

asyncio.run(main())
"""


def test_a_process_that_leaves_in_the_middle_waits_for_the_worker(folder: Path) -> None:
    """Torch aborts the process (134) when the interpreter ends under a thread of it; not each time, so it is the
    thread that is looked for.
    """
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, str(folder)], capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stdout.strip()) == (3, "True []"), done.stderr


def test_characters_per_token_are_counted(model: LocalModel) -> None:
    assert model.chars_per_token == pytest.approx(1.0, abs=0.3)
    assert model.gives_ids


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model in"):
        LocalModel("m", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot load the local model"):
        LocalModel("m", tmp_path)
