"""From a team file's words about a model to the model: one function per provider, imported only when it is used.

The words arrive as a plain mapping, because the team file lives upstairs in the orchestrator and agents do not import
upwards. Its fields are those of `podium.orchestrator.model_spec`, where they were checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from podium.agents.model import Model, Price
from podium.protocols.errors import InputError
from podium.protocols.people import A_DAY

__all__ = ["PROVIDERS", "build_model"]


def build_model(name: str, spec: Mapping[str, Any], folder: Path | None = None) -> Model:
    """The model that `spec` describes. name: as the team calls it; folder: where relative paths begin (None: here).

    Raises InputError (unknown provider, model that cannot be loaded), TaskError (pool that cannot be read) or
    MissingExtra. Nothing is sent to an endpoint yet.
    """
    provider = str(spec.get("provider"))
    build = PROVIDERS.get(provider)
    if build is None:
        raise InputError(f"model {name}: there is no provider {provider!r}; choose one of {', '.join(PROVIDERS)}")
    return build(name, spec, folder or Path())


def _endpoint(name: str, spec: Mapping[str, Any], folder: Path) -> Model:
    from podium.agents.endpoint import EndpointModel

    return EndpointModel(
        name,
        spec["model"],
        base_url=str(spec["base_url"]),
        api_key=_secret(spec.get("api_key", "none")),
        key_setting=f"models.{name}.api_key",
        timeout=spec.get("timeout", 60.0),
        idle_timeout=spec.get("idle_timeout"),
        vllm=spec["provider"] == "vllm",
        log_probs=spec.get("log_probs", False),
        log_prob_kind=spec.get("log_prob_kind", "raw"),
        extra=spec.get("extra"),
        **_common(spec),
    )


def _transformers(name: str, spec: Mapping[str, Any], folder: Path) -> Model:
    from podium.agents.local import LocalModel

    path = Path(str(spec["model"])).expanduser()
    local = path if path.is_absolute() else folder / path
    return LocalModel(
        name,
        local.resolve() if local.is_dir() or path.is_absolute() else str(spec["model"]),
        device=spec.get("device", "auto"),
        dtype=spec.get("dtype", "auto"),
        max_batch=spec.get("max_batch", 64),
        **_common(spec),
    )


def _recorded(name: str, spec: Mapping[str, Any], folder: Path) -> Model:
    from podium.agents.recorded import RecordedModel

    common = _common(spec)
    price: Price = common.pop("price")
    own = price if price != Price() else None  # a price in the team file replaces the recorded one
    return RecordedModel(name, folder / str(spec["path"]), spec.get("agent"), price=own, **common)


def _scripted(name: str, spec: Mapping[str, Any], folder: Path) -> Model:
    from podium.agents.scripted import ScriptedModel

    replies = spec["replies"]
    script = dict(replies) if isinstance(replies, Mapping) else list(replies)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return ScriptedModel(script, name, cycle=spec.get("cycle", True), **_common(spec))  # pyright: ignore[reportUnknownArgumentType]


def _human(name: str, spec: Mapping[str, Any], folder: Path) -> Model:
    from podium.agents.human import HumanModel

    common = _common(spec)
    return HumanModel(name, wait=spec.get("wait", A_DAY), price=common["price"], max_tokens=common["max_tokens"])


def _common(spec: Mapping[str, Any]) -> dict[str, Any]:
    price: Any = spec.get("price") or {}
    if not isinstance(price, Price):
        price = Price(price.get("input", 0.0), price.get("output", 0.0))
    return {"price": price, "max_tokens": spec.get("max_tokens", 512), "temperature": spec.get("temperature", 1.0)}


def _secret(value: Any) -> str:
    """The text of a pydantic SecretStr, or of a plain string."""
    reveal: Callable[[], str] | None = getattr(value, "get_secret_value", None)
    return reveal() if reveal is not None else str(value)


PROVIDERS: dict[str, Callable[[str, Mapping[str, Any], Path], Model]] = {
    "openai": _endpoint,
    "vllm": _endpoint,
    "transformers": _transformers,
    "recorded": _recorded,
    "scripted": _scripted,
    "human": _human,
}
"""Builders by the team file's word for them."""
