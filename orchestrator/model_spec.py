"""What a team file may say about a model: six providers, one shape each.

A discriminated union on `provider`, so that an editor and an error message know which keys belong to which provider.
Prices are dollars per million tokens, as every vendor's price list states them. Keys are secrets: they are kept as
`SecretStr`, which prints as stars, and they are no part of a team's digest.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, SecretStr, StringConstraints

from podium.agents.model import Price
from podium.orchestrator.yaml_file import FilePath, NameOrPath, StrictModel, Words
from podium.protocols.people import A_DAY

__all__ = [
    "REMOTE",
    "HumanModel",
    "ModelSpec",
    "OpenAIModel",
    "PriceSpec",
    "RecordedModel",
    "ScriptedModel",
    "TransformersModel",
    "VllmModel",
]

Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
"""A number of things, at least one."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A name: letters, digits, dot, dash and underscore, at most 64, starting with a letter or digit."""


class PriceSpec(StrictModel):
    """What a model's tokens cost, in dollars per million tokens."""

    input: Dollars = 0.0
    """Dollars per million input (prompt) tokens."""
    output: Dollars = 0.0
    """Dollars per million output (completion) tokens."""

    def to_price(self) -> Price:
        """The same as the `Price` that models carry."""
        return Price(self.input, self.output)


class _Speaker(StrictModel):
    """What every provider may say."""

    max_tokens: Count = 512
    """Longest completion, in tokens, where a directive does not say otherwise."""
    fallback: Words = ()
    """Models that are asked in its place when it fails for good, in this order; their own are not followed."""


class _Generator(_Speaker):
    """What every provider of a machine may say."""

    temperature: Temperature = 1.0
    """Sampling temperature where a directive does not say otherwise; 0 is greedy."""


def _with_port(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("no host and port can be read from this URL; write http://HOST:PORT/v1, PORT from 1 to 65535")
    return url


def _sendable(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        json.dumps(fields, allow_nan=False)
    except ValueError:
        raise ValueError("a request cannot hold .inf or .nan, which JSON has no words for") from None
    return fields


class _Endpoint(_Generator):
    """What every served model may say."""

    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+"), AfterValidator(_with_port)]
    """Where the endpoint answers, up to and including /v1, for instance http://localhost:8000/v1."""
    model: Annotated[str, Field(min_length=1)]
    """The model's name at that endpoint, for instance Qwen/Qwen3-4B."""
    api_key: SecretStr = SecretStr("none")
    """The key, best given as ${NAME} from the environment. It is never printed."""
    price: PriceSpec = PriceSpec()
    """What its tokens cost; left out: nothing."""
    timeout: Seconds = 60.0
    """Seconds to wait for one answer."""
    idle_timeout: Seconds | None = None
    """Seconds without a new piece of an answer after which it is given up; left out: as long as timeout."""
    context: Count | None = None
    """Longest prompt and completion together, in tokens, that the model takes: podium plan counts no call as longer."""
    log_prob_kind: Literal["raw", "processed"] = "raw"
    """Log-probs: raw, the model's own, or processed, after temperature (vLLM --logprobs-mode processed_logprobs)."""
    extra: Annotated[dict[str, JsonValue], AfterValidator(_sendable)] = Field(default_factory=dict[str, JsonValue])
    """Further fields of each request, passed on as they are, for instance {reasoning_effort: low, top_k: 20}."""


class OpenAIModel(_Endpoint):
    """Any endpoint that speaks the OpenAI chat completions API."""

    provider: Literal["openai"]
    """Any OpenAI-compatible endpoint: a vendor, vLLM, Ollama, llama.cpp."""
    log_probs: bool = False
    """Ask for the log-probs of the tokens of a reply. Some endpoints refuse that, some leave them out."""


class VllmModel(_Endpoint):
    """A model served by vLLM: as openai, and it is asked for token ids and log-probs."""

    provider: Literal["vllm"]
    """A vLLM server, by URL."""


REMOTE = (OpenAIModel, VllmModel)
"""What is reached over a network."""


class TransformersModel(_Generator):
    """A local model, run in this process by the transformers library."""

    provider: Literal["transformers"]
    """A local model, run in this process."""
    model: Annotated[NameOrPath, Field(min_length=1)]
    """A hub name, or the path of a folder (relative to this file) that holds config, tokenizer and weights."""
    price: PriceSpec = PriceSpec()
    """What its tokens cost; left out: nothing."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")] = "auto"
    """Where it runs: auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights."""
    max_batch: Count = 64
    """Most requests that are generated together."""


class RecordedModel(_Generator):
    """Answers that were recorded earlier: a pool file. Asking costs nothing, and is billed at the recorded price."""

    provider: Literal["recorded"]
    """A recorded pool."""
    path: FilePath
    """The pool file (JSON lines, gzipped or not), relative to this file."""
    agent: Annotated[str, Field(min_length=1)] | None = None
    """Whose replies of the pool are played; left out: those of the pool agent named as the team's agent."""
    price: PriceSpec | None = None
    """What its tokens count as; left out: the pool's own price."""


class ScriptedModel(_Generator):
    """Replies written in the file, for tests and first steps. No network, no weights."""

    provider: Literal["scripted"]
    """Replies written in this file."""
    replies: Annotated[Words, Field(min_length=1)] | Annotated[dict[str, str], Field(min_length=1)]
    """A list of replies, given one after another; or a mapping from a text that the question contains to its reply."""
    price: PriceSpec = PriceSpec()
    """What its tokens cost; left out: nothing."""
    cycle: bool = True
    """Begin the list again after its last reply; false: asking once more is an error."""


class HumanModel(_Speaker):
    """A person, who is asked by the console, the command line or HTTP, and may answer days later."""

    provider: Literal["human"]
    """A person."""
    wait: Seconds = A_DAY
    """Seconds that an answer may take; the run's own seconds stand still meanwhile. Left out: a day."""
    price: PriceSpec = PriceSpec()
    """What the words of a person cost, four characters counted as a token; left out: nothing."""


ModelSpec = Annotated[
    OpenAIModel | VllmModel | TransformersModel | RecordedModel | ScriptedModel | HumanModel,
    Field(discriminator="provider"),
]
"""One model of a team file."""
