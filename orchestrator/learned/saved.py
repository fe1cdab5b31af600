"""A policy on disk: weights as safetensors, and a card in JSON that says what it may choose, and where it comes from.

Nothing is ever unpickled. A card or weights that do not fit this version, or each other, are refused by name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from podium.orchestrator.learned import network
from podium.orchestrator.learned.options import Options
from podium.protocols.bus import Card
from podium.protocols.errors import PolicyError

FORMAT = 7
"""Version of the card and of the network's layout; raised whenever either changes."""

WEIGHTS = "policy.safetensors"
CARD = "policy.json"


class PolicyCard(BaseModel):
    """What is known of a policy besides its weights."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    kind: Literal["podium-coordinator"] = "podium-coordinator"
    options: Options = Options()
    """The action space."""
    identities: tuple[str, ...] = ()
    """Agents it knows by name, in the order of its identity table; others are told apart by their cards alone."""
    descriptions: tuple[str, ...] = ()
    """What these said that they are for, in the same order: who says the same is known again under any name."""
    words: tuple[str, ...] | None = None
    """Words that it tells apart, in the order of the alphabet; None: all of them."""
    scale: float = Field(default=1e-6, gt=0, allow_inf_nan=False)
    """Dollars of a typical reply in training: the unit of the price knob inside the network."""
    preference: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Dollars that one passed answer is worth, where a run does not say: the middle of what it was trained for."""
    version: int = 0
    """Updates of its weights so far."""
    trained_on: dict[str, Any] = {}
    """Tasks, seeds, settings."""

    def known(self, cards: Sequence[Card]) -> list[int]:
        """Rows of the identity table: by what agents say that they are for, where only one said so; else by name. 0 is
        a stranger.
        """
        often = Counter(self.descriptions)
        described = {text: row for row, text in enumerate(self.descriptions, start=1) if text and often[text] == 1}
        named = {name: row for row, name in enumerate(self.identities, start=1)}
        return [described.get(card.description, named.get(card.name, 0)) for card in cards]

    @field_validator("descriptions")
    @classmethod
    def _one_each(cls, descriptions: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        count = len(info.data.get("identities", ()))
        if descriptions and len(descriptions) != count:
            raise ValueError(f"{len(descriptions)} descriptions for {count} identities: one each, or none")
        return descriptions

    measured: dict[str, Any] = {}
    """What evaluation found: score, tokens, dollars."""


@dataclass(slots=True)
class Policy:
    """Weights with their card. weights: by name, float32."""

    card: PolicyCard
    weights: dict[str, NDArray[np.float32]]

    @property
    def identities(self) -> tuple[str, ...]:
        """Agents that the policy knows by name."""
        return self.card.identities

    @property
    def words(self) -> frozenset[str] | None:
        """Words that the policy tells apart; None: all of them."""
        return None if self.card.words is None else frozenset(self.card.words)

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        return sum(weight.size for weight in self.weights.values())

    @staticmethod
    def fresh(
        options: Options,
        identities: tuple[str, ...] = (),
        *,
        descriptions: tuple[str, ...] = (),
        words: frozenset[str] | None = None,
        scale: float = 1e-6,
        seed: int = 0,
    ) -> Policy:
        """An untrained policy."""
        told_apart = None if words is None else tuple(sorted(words))
        card = PolicyCard(
            options=options, identities=identities, descriptions=descriptions, words=told_apart, scale=scale
        )
        return Policy(card, network.initial(options.heads, len(identities), seed))


def save_policy(policy: Policy, folder: str | Path) -> Path:
    """Write a policy's two files into a folder, each whole or not at all; returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights, card = folder / WEIGHTS, folder / CARD
    parts = [file.with_name(f"{file.name}.part") for file in (weights, card)]
    safetensors.save_file(policy.weights, parts[0])
    parts[1].write_text(json.dumps(policy.card.model_dump(mode="json"), indent=2) + "\n")
    parts[0].replace(weights)
    parts[1].replace(card)
    return folder


def load_policy(folder: str | Path) -> Policy:
    """Read a policy. Raises PolicyError when it is missing, damaged, or of another architecture."""
    folder = Path(folder)
    card_file, weights_file = folder / CARD, folder / WEIGHTS
    for file in (card_file, weights_file):
        if not file.is_file():
            raise PolicyError(f"{folder}: no policy here ({file.name} is missing); train one with: podium train")
    try:
        found = json.loads(card_file.read_text())
        if isinstance(found, dict) and found.get("kind") == "podium-coordinator" and found.get("format") != FORMAT:
            raise PolicyError(
                f"{card_file}: format {found.get('format')} was written by another version of Podium; this one reads "
                f"format {FORMAT}; train the policy again"
            )
        card = PolicyCard.model_validate(found)
    except (OSError, ValueError, RecursionError) as error:
        raise PolicyError(f"{card_file}: not a policy card: {_first(error)}") from None
    try:
        weights: dict[str, NDArray[Any]] = safetensors.load_file(weights_file)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise PolicyError(f"{weights_file}: cannot be read: {error}") from None
    wanted = network.shapes(card.options.heads, len(card.identities))
    for name, shape in wanted.items():
        if name not in weights:
            raise PolicyError(f"{weights_file}: made for another architecture: it has no weight {name!r}")
        if weights[name].shape != shape:
            raise PolicyError(
                f"{weights_file}: made for another architecture: weight {name!r} is {weights[name].shape}, "
                f"this policy needs {shape}"
            )
        if weights[name].dtype != np.float32:
            raise PolicyError(f"{weights_file}: weight {name!r} is {weights[name].dtype}, it must be float32")
        if not np.isfinite(weights[name]).all():
            raise PolicyError(f"{weights_file}: weight {name!r} is not finite: the training that made it diverged")
    strange = sorted(set(weights) - set(wanted))
    if strange:
        raise PolicyError(f"{weights_file}: made for another architecture: unknown weight {strange[0]!r}")
    return Policy(card, {name: weights[name] for name in wanted})


def _first(error: Exception) -> str:
    """What is wrong, in one line; of a card's fields, the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")
