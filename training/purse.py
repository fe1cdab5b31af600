"""What models may cost outside of serving: a reply cache in front of them, and one cap over the real endpoints.

Equal requests (same prompt, same seed) are paid once. Where figures are taken, a cache would make seconds look better
than they are: there, what a coordinator asks is kept apart, unless it is a file that was asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podium.agents.endpoint import EndpointModel
from podium.agents.model import Model
from podium.agents.recorded import RecordedModel
from podium.agents.reply_cache import CachedModel, ReplyStore
from podium.protocols.errors import BudgetExceeded
from podium.training.rollouts import Cap, Patient

__all__ = ["Allowance", "Allowed", "Purse"]


class Allowance(Protocol):
    """What may be spent, and where replies are kept; a training file is one."""

    @property
    def dollars(self) -> float | None:
        """Most that endpoints may cost; None does not limit it."""
        ...

    @property
    def cache(self) -> Path | None:
        """The file of the replies; None keeps them in memory."""
        ...


@dataclass(frozen=True, slots=True)
class Allowed:
    """An allowance that stands in no file."""

    dollars: float | None = None
    cache: Path | None = None


class Purse:
    """A team's models and its judges' behind one reply cache, and the real endpoints among them under one cap.

    models: to build the team with; spent: dollars of earlier sessions. Repeated prompts with the same seed are answered
    from the cache, whatever the provider; only endpoints cost real dollars. free: whether models that are no endpoints
    are put behind the cache as well.
    """

    def __init__(
        self, models: Mapping[str, Model], allowed: Allowance, *, spent: float = 0.0, free: bool = True
    ) -> None:
        self.cap = None if allowed.dollars is None else Cap(allowed.dollars)
        if self.cap:
            self.cap.spent = spent
        self.keeps = allowed.cache is not None
        self._before = spent
        self._free = free
        self._store = ReplyStore(allowed.cache)
        self._paid: list[CachedModel] = []
        self.models = {name: self._behind(model) for name, model in models.items()}

    def outside(self, model: Model) -> Model:
        """A further model behind the cache and the cap, for whoever is asked outside of runs."""
        behind = self._behind(model)
        return behind if self.cap is None else Patient(behind, self.cap)

    def _behind(self, model: Model) -> Model:
        paid = isinstance(model, EndpointModel)
        if isinstance(model, RecordedModel) or not (paid or self._free):  # a recording is a cache itself
            return model
        cached = CachedModel(model, self._store, cap=self.cap if paid else None)
        if paid:
            self._paid.append(cached)
        return cached

    @contextmanager
    def apart(self) -> Generator[None]:
        """Meanwhile the team's models know no reply of before, and what they reply is forgotten; not with a file."""
        cached = [] if self.keeps else [model for model in self.models.values() if isinstance(model, CachedModel)]
        store = ReplyStore()
        for model in cached:
            model.store = store
        try:
            yield
        finally:
            for model in cached:
                model.store = self._store

    @property
    def paid(self) -> bool:
        """Whether some models are endpoints, which may cost real dollars."""
        return bool(self._paid)

    @property
    def hits(self) -> int:
        """How often the team's models were spared by the cache."""
        return sum(model.hits for model in self.models.values() if isinstance(model, CachedModel))

    @property
    def spent(self) -> float:
        """Dollars that endpoints really cost so far, in earlier sessions of this training too."""
        return self._before + sum(model.spent_dollars for model in self._paid)

    @property
    def refusal(self) -> BudgetExceeded | None:
        """The first call that the cap refused."""
        return self.cap.refusal if self.cap else None

    def close(self) -> None:
        """Close the cache; the models are closed by their team."""
        self._store.close()
