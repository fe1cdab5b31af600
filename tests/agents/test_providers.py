"""Models from the words of a team file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from podium.agents.endpoint import EndpointModel
from podium.agents.model import Price, Prompt, complete
from podium.agents.providers import PROVIDERS, build_model
from podium.agents.recorded import RecordedModel
from podium.protocols.errors import InputError, TaskError
from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, write_pool
from podium.protocols.record import Sampling
from podium.protocols.task import Message

POOL = Pool(
    agents={"a": PoolAgent(price=PoolPrice(output=2.0))},
    tasks=(PoolTask(id="1", prompt="q", replies={"a": PoolReply(score=1, completion_tokens=3, text="yes")}),),
)


def test_endpoints() -> None:
    spec = {"provider": "vllm", "base_url": "http://x/v1", "model": "m", "api_key": "k", "price": {"input": 1.0}}
    model = build_model("small", spec)
    assert isinstance(model, EndpointModel)
    assert (model.name, model.model, model.price, model.gives_ids) == ("small", "m", Price(1.0, 0.0), True)
    assert not build_model("small", {**spec, "provider": "openai"}).gives_ids


def test_recorded(tmp_path: Path) -> None:
    write_pool(POOL, tmp_path / "p.jsonl")
    model = build_model("rec", {"provider": "recorded", "path": "p.jsonl", "agent": "a"}, tmp_path)
    assert isinstance(model, RecordedModel)
    assert model.price == Price(0.0, 2.0)
    with pytest.raises(TaskError, match="no such pool"):
        build_model("rec", {"provider": "recorded", "path": "q.jsonl"}, tmp_path)


def test_scripted() -> None:
    for replies in (["4"], ("4",), {"2 + 2": "4"}):
        model = build_model("s", {"provider": "scripted", "replies": replies, "max_tokens": 9})
        asked = Prompt("a", "2 + 2", lambda: (Message("user", "2 + 2"),))
        assert asyncio.run(complete(model, asked, Sampling())).text == "4"
        assert model.max_tokens == 9


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "weights").mkdir()
    with pytest.raises(InputError, match="no model in"):
        build_model("m", {"provider": "transformers", "model": "weights"}, tmp_path)


def test_an_unknown_provider() -> None:
    with pytest.raises(InputError, match="no provider 'telnet'; choose one of openai, vllm"):
        build_model("m", {"provider": "telnet"})


def test_the_words_are_those_of_the_team_file() -> None:
    from podium.orchestrator.model_spec import ModelSpec

    schema = TypeAdapter(ModelSpec).json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(PROVIDERS)


def test_without_local_models_torch_is_not_imported() -> None:
    program = (
        "import sys\n"
        "from podium.agents import endpoint, local, providers, recorded, scripted, tools, documents, reply_cache\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
