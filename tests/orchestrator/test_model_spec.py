"""What a team file says of an endpoint is what the endpoint is asked, and what it says comes back into the record."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from podium.orchestrator.team import Team
from podium.orchestrator.team_schema import team_schema
from podium.protocols.errors import ModelError
from podium.protocols.record import Generation
from tests.agents.endpoint_server import KEY, chunk, listening, token

pytestmark = pytest.mark.timeout(30)

FILE = """
name: desk
models:
  small:
    base_url: {base_url}
    model: qwen-small
    api_key: {key}
    {fields}
agents: {{ann: {{role: solver, model: small}}}}
coordinator: {{kind: single, agent: ann}}
"""

IDS = [chunk({"content": ""}, prompt_token_ids=[1, 2, 3]), token("4", -0.5, 7), token(".", -0.1, 8, "stop")]
NO_IDS = [token("4", -0.5), token(".", -0.1, finish="stop")]


def ran(folder: Path, fields: str, parts: list[Any], status: int = 200) -> tuple[Generation, list[dict[str, Any]]]:
    """The generation of a run of the team, out of its record; and what the endpoint was asked."""

    async def main() -> tuple[Generation, list[dict[str, Any]]]:
        async with listening() as (server, base_url):
            server.parts = parts
            if status != 200:
                server.status, server.kind = status, "application/json"
            file = folder / "desk.yaml"
            file.write_text(FILE.format(base_url=base_url, key=KEY, fields=fields))
            async with Team.load(file) as desk:
                result = await desk.arun("What is 2 + 2?")
            generation = result.nodes[-1].calls[0].result
            assert isinstance(generation, Generation)
            return generation, server.requests

    return asyncio.run(main())


def test_vllm_is_asked_for_ids_and_log_probs(tmp_path: Path) -> None:
    fields = "provider: vllm\n    log_prob_kind: processed\n    extra: {top_k: 20}"
    generation, (request,) = ran(tmp_path, fields, IDS)
    assert (request["return_token_ids"], request["logprobs"], request["top_k"]) == (True, True, 20)
    assert (generation.prompt_ids, generation.ids) == ((1, 2, 3), (7, 8))
    assert (generation.log_probs, generation.log_prob_kind) == ((-0.5, -0.1), "processed")


def test_an_openai_endpoint_is_asked_for_log_probs_where_the_file_says_so(tmp_path: Path) -> None:
    fields = (
        "provider: openai\n    log_probs: true\n    extra: {reasoning_effort: low, nested: {list: [1, true, null]}}"
    )
    generation, (request,) = ran(tmp_path, fields, NO_IDS)
    assert (request["logprobs"], request["reasoning_effort"]) == (True, "low")
    assert request["nested"] == {"list": [1, True, None]}
    assert "return_token_ids" not in request
    assert (generation.ids, generation.log_probs, generation.log_prob_kind) == (None, (-0.5, -0.1), "raw")


def test_it_is_asked_for_nothing_by_default(tmp_path: Path) -> None:
    generation, (request,) = ran(tmp_path, "provider: openai", [chunk({"content": "4"}, "stop")])
    assert not {"logprobs", "return_token_ids", "extra", "top_k"} & set(request)
    assert generation.log_probs is None


def test_a_refusal_is_told_once_with_its_remedy(tmp_path: Path) -> None:
    said = json.dumps({"error": {"message": "logprobs are not supported with reasoning models"}})
    with pytest.raises(
        ModelError, match=r"gives no log-probs \(HTTP 400\).*leave models.small.log_probs out"
    ) as caught:
        ran(tmp_path, "provider: openai\n    log_probs: true", [said], 400)
    assert KEY not in str(caught.value)


def test_the_schema_says_what_goes_with_which_provider() -> None:
    parts = team_schema()["$defs"]
    openai, vllm, human = (parts[name]["properties"] for name in ("OpenAIModel", "VllmModel", "HumanModel"))
    assert {"log_probs", "log_prob_kind", "extra"} <= set(openai)
    assert {"log_prob_kind", "extra"} <= set(vllm)
    assert "log_probs" not in vllm  # it is always asked for them
    assert "temperature" not in human
    assert "reasoning_effort" in openai["extra"]["description"]
