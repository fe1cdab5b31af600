"""What a learned policy may choose from, and how its choices become directives: one place for serving and training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from podium.orchestrator.learned.facts import Reads
from podium.orchestrator.learned.network import HEADS, Heads
from podium.protocols.record import ALL, LAST, NOTHING, Compute, Detail, Directive, Objective, View

Context = Literal["task", "last", "all"]
"""What the asked agent is shown besides the task: nothing, the newest reply, or all replies."""

VIEWS: dict[Context, View] = {"task": NOTHING, "last": LAST, "all": ALL}


class Options(BaseModel):
    """The action space of a learned policy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: tuple[int, ...] = (1,)
    """How many candidates one directive may draw; the majority picks among them."""
    context: tuple[Context, ...] = ("task", "last", "all")
    """What the asked agent may be shown."""
    objectives: tuple[Objective, ...] = ("propose",)
    """What an agent may be asked for."""
    details: tuple[Detail, ...] = ("normal",)
    """How detailed a reply may be asked for."""
    width: int = Field(default=1, ge=1, le=8)
    """How many agents may be asked in parallel in one step."""
    max_steps: int = Field(default=6, ge=1, le=200)
    """After this many steps with directives the policy has to finish."""
    reads: Reads = True
    """What it reads of tasks and replies: true, their words; figures, only how long they are and what of; false,
    neither. With a few hundred tasks the words are learned by heart, and a policy that goes by figures, by who agrees
    with whom, and at what price, does better on new ones."""

    @field_validator("samples", "context", "objectives", "details")
    @classmethod
    def _distinct(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("needs at least one choice, each only once")
        return value

    @field_validator("samples")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError("every number of samples must be at least 1")
        return value

    @property
    def heads(self) -> Heads:
        """The sizes of the network's heads for this action space."""
        words = self.words()
        return Heads(tuple(len(words[head]) for head in HEADS))

    @property
    def most_requests(self) -> int:
        """Requests that a run can make at most."""
        return self.max_steps * self.width * max(self.samples)

    def mask(self, head: str, replies: int) -> tuple[bool, ...]:
        """Which choices of a head mean something now: with no reply yet there is nothing to show."""
        size = len(self.words()[head])
        if head != "context" or replies:
            return (True,) * size
        first = self.context.index("task") if "task" in self.context else 0
        return tuple(place == first for place in range(size))

    def words(self) -> dict[str, tuple[str, ...]]:
        """What the choices of each head stand for, as a directive holds them; of a context, the view's kind."""
        return {
            "context": tuple(VIEWS[each].kind for each in self.context),
            "objective": self.objectives,
            "detail": self.details,
            "samples": tuple(str(each) for each in self.samples),
        }

    def affordable(self, step: int, affordable: Sequence[bool]) -> Sequence[bool]:
        """Whom the budget holds, as a policy sees it: once it has to finish, that is no question any more.

        So what it saw can be read off the mask of its pick, where its own limit closes everybody too.
        """
        return affordable if step < self.max_steps else (True,) * len(affordable)

    def directive(self, id: str, agent: str, choices: dict[str, int]) -> Directive:
        """The directive that a pick and its choices stand for."""
        samples = self.samples[choices["samples"]]
        return Directive(
            id,
            agent,
            self.objectives[choices["objective"]],
            "",
            VIEWS[self.context[choices["context"]]],
            self.details[choices["detail"]],
            Compute(samples, "vote" if samples > 1 else "none"),
        )
