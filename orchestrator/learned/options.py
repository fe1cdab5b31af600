"""What a learned policy may choose from, and how its choices become directives: one place for serving and training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from podium.agents.roles import Style, asking
from podium.orchestrator.learned.facts import Reads
from podium.orchestrator.learned.network import HEADS, Heads
from podium.orchestrator.leases import SHORTEST_REPLY
from podium.orchestrator.pieces import LONGEST
from podium.protocols.record import ALL, LAST, NOTHING, Compute, Detail, Directive, Objective, Plan, View

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
    plans: tuple[Plan, ...] = ("none",)
    """Whether an agent plans anew, keeps to the newest plan, or is told nothing about plans."""
    max_tokens: tuple[int | None, ...] = (None,)
    """How long one reply may be, in tokens; null leaves it to the model. A cap never raises the model's own."""
    styles: tuple[Style, ...] = ("plain",)
    """The manner in which a reply may be asked for: plain; sure, saying how sure it is; reasons, with its evidence."""
    needs: int = Field(default=0, ge=0, le=32)
    """At most so many pieces of a task (its list items, lines or sentences) are told apart, and a request may be about
    one of them alone; 0: none."""
    audience: Literal["unsaid", "lacking"] = "unsaid"
    """Whether a request about one piece says whom the reply is for: lacking, the teammates believed not to know it."""
    width: int = Field(default=1, ge=1, le=8)
    """How many agents may be asked in parallel in one step."""
    max_steps: int = Field(default=6, ge=1, le=200)
    """After this many steps with directives the policy has to finish."""
    finish: Literal["any", "answered"] = "any"
    """With which replies it may finish: any, or only once a reply has an answer that the task tells apart."""
    reads: Reads = True
    """What it reads of tasks and replies: true, their words; figures, only how long they are and what of; false,
    neither. With a few hundred tasks the words are learned by heart, and a policy that goes by figures, by who agrees
    with whom, and at what price, does better on new ones."""

    @field_validator("samples", "context", "objectives", "details", "styles", "plans", "max_tokens")
    @classmethod
    def _distinct(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("needs at least one choice, each only once")
        return value

    @field_validator("needs")
    @classmethod
    def _tells_apart(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one piece is all of the task: write 0, or at least 2")
        return value

    @field_validator("samples")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError("every number of samples must be at least 1")
        return value

    @field_validator("max_tokens")
    @classmethod
    def _holds_a_reply(cls, value: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if any(each is not None and each < SHORTEST_REPLY for each in value):
            raise ValueError(f"every cap must be at least {SHORTEST_REPLY} tokens, or null for the model's own")
        return value

    @property
    def heads(self) -> Heads:
        """The sizes of the network's heads for this action space."""
        words = self.words()
        return Heads(tuple(len(words[head]) for head in HEADS), self.needs)

    @property
    def most_requests(self) -> int:
        """Requests that a run can make at most."""
        return self.max_steps * self.width * max(self.samples)

    def words_tokens(self, agents: Iterable[str]) -> int:
        """Tokens, roughly, of what a request of its says beside objective and detail. agents: names of the team."""
        if not self.needs:
            return 0
        names = list(agents) if self.audience == "lacking" else []
        return max(len(asking("x" * LONGEST, style, names)) for style in self.styles) // 4 + 1

    def mask(self, head: str, replies: int, plan: bool = False) -> tuple[bool, ...]:
        """Which choices of a head mean something now: with no reply yet there is nothing to show.

        Without a plan, keeping to it is as being told nothing: where both may be chosen, only the latter is left, and
        where only keeping may, it is what a policy goes on without a plan by.
        """
        size = len(self.words()[head])
        if head == "plan" and not plan and "none" in self.plans:
            return tuple(each != "keep" for each in self.plans)
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
            "style": self.styles,
            "plan": self.plans,
            "max_tokens": tuple("none" if each is None else str(each) for each in self.max_tokens),
        }

    def affordable(self, step: int, affordable: Sequence[bool]) -> Sequence[bool]:
        """Whom the budget holds, as a policy sees it: once it has to finish, that is no question any more.

        So what it saw can be read off the mask of its pick, where its own limit closes everybody too.
        """
        return affordable if step < self.max_steps else (True,) * len(affordable)

    def directive(
        self, id: str, agent: str, choices: dict[str, int], piece: str = "", audience: Sequence[str] = ()
    ) -> Directive:
        """The directive that a pick and its choices stand for. piece: of the task, that it is about; empty: all of it.

        audience: who lacks the piece.
        """
        samples = self.samples[choices["samples"]]
        return Directive(
            id,
            agent,
            self.objectives[choices["objective"]],
            asking(piece, self.styles[choices["style"]], audience),
            VIEWS[self.context[choices["context"]]],
            self.details[choices["detail"]],
            Compute(
                samples,
                "vote" if samples > 1 else "none",
                self.max_tokens[choices["max_tokens"]],
                plan=self.plans[choices["plan"]],
            ),
        )
