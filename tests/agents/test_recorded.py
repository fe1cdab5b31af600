"""RecordedModel: lookups, samples, prices, and what is not in the pool."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from podium.agents.model import Price, Prompt, complete
from podium.agents.recorded import RecordedModel, load_pool, not_recorded
from podium.protocols.errors import ModelError, TaskError
from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, write_pool
from podium.protocols.record import Generation, Sampling

REPLY = PoolReply(score=1, completion_tokens=10, text="4", more=(PoolReply(score=0, completion_tokens=20, text="5"),))
POOL = Pool(
    name="sums",
    agents={"cheap": PoolAgent(price=PoolPrice(output=1.0)), "dear": PoolAgent(price=PoolPrice(output=10.0))},
    tasks=(
        PoolTask(id="1", prompt="2 + 2? ", replies={"cheap": REPLY, "dear": PoolReply(score=1, completion_tokens=7)}),
    ),
)


def ask(model: RecordedModel, task: str = "2 + 2?", agent: str = "solver", seed: int | None = None) -> Generation:
    return asyncio.run(complete(model, Prompt(agent, task, tuple), Sampling(seed=seed)))


def test_the_recorded_text_and_usage() -> None:
    generation = ask(RecordedModel("m", POOL, "cheap"))
    assert generation.text == "4"
    assert (generation.usage.input_tokens, generation.usage.output_tokens) == (0, 10)
    assert generation.usage.dollars == pytest.approx(10e-6)


def test_seeds_choose_among_samples() -> None:
    model = RecordedModel("m", POOL, "cheap")
    assert [ask(model, seed=seed).text for seed in (0, 1, 2)] == ["4", "5", "4"]


def test_a_reply_without_text_says_so() -> None:
    assert ask(RecordedModel("m", POOL, "dear")).text == not_recorded("dear")
    assert not_recorded("dear") == "(dear's reply to this task was not recorded, only its score)"


def test_without_an_agent_the_asking_agents_name_counts() -> None:
    model = RecordedModel("m", POOL)
    assert ask(model, agent="dear").usage.dollars == pytest.approx(70e-6)
    assert ask(model, agent="cheap").usage.dollars == pytest.approx(10e-6)
    assert model.price == Price(0.0, 10.0)
    with pytest.raises(TaskError, match="no agent solver; it has: cheap, dear"):
        ask(model)


def test_an_own_price_replaces_the_recorded_one() -> None:
    assert ask(RecordedModel("m", POOL, "cheap", price=Price(0, 3.0))).usage.dollars == pytest.approx(30e-6)


def test_what_was_not_recorded_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"has no task '3 . 3"):
        ask(RecordedModel("m", POOL, "cheap"), "3 + 3?")
    with pytest.raises(TaskError, match="no agent other"):
        RecordedModel("m", POOL, "other")


def test_a_file_is_read_once(tmp_path: Path) -> None:
    write_pool(POOL, tmp_path / "p.jsonl")
    first = RecordedModel("m", tmp_path / "p.jsonl", "cheap")
    assert RecordedModel("n", str(tmp_path / "p.jsonl"), "dear").pool is first.pool
    assert load_pool(tmp_path / "p.jsonl") is first.pool
    with pytest.raises(TaskError, match="no such pool"):
        RecordedModel("m", tmp_path / "q.jsonl")
