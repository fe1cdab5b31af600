"""How a directive reaches an agent and a reply comes back.

A bus has one verb: `request` an agent, hear what it sends while it works, and await its reply. An agent holds no budget
and no journal. It gets a lease with each envelope, may not start a call that the lease does not hold, and sends every
completed call back, so that the orchestrator alone owns retries, accounts and the record.

Cancelling the await cancels the request. The bus below stays in this process; another one, with a broker for instance,
would stand behind the same contract.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from podium.protocols.frozen import frozen, slotted
from podium.protocols.people import AskPerson, nobody
from podium.protocols.record import Begun, Call, Directive, Node, Usage
from podium.protocols.task import Message


@slotted
class Lease:
    """What one request may use at most. tokens and calls: counts; dollars; deadline: `time.monotonic()` seconds."""

    tokens: float
    calls: float
    dollars: float
    deadline: float

    def pay(self, usage: Usage) -> None:
        """A call was made: what it used is no longer there."""
        self.calls -= usage.calls
        self.tokens -= usage.tokens
        self.dollars -= usage.dollars


@slotted
class Envelope:
    """One request to an agent.

    task: the conversation that the run works on. visible: the replies this agent is shown, made when first asked for.
    estimate: size of the prompt in tokens, roughly. sample: which of the directive's samples this is, from 0.
    seed: of the model's sampling, None leaves it to the model. attempt: how often this was asked, from 1; rung: which
    model of the agent's chain is asked, 0 is its own. done: calls that earlier attempts completed: their results stand.
    ask: the way to a person.
    """

    id: str
    run: str
    task: tuple[Message, ...]
    directive: Directive
    visible: Callable[[], tuple[Node, ...]]
    lease: Lease
    estimate: int = 0
    sample: int = 0
    seed: int | None = None
    stream: bool = False
    attempt: int = 1
    rung: int = 0
    done: tuple[Call, ...] = ()
    ask: AskPerson = nobody


@frozen
class Delta:
    """A piece of a reply, as it is generated."""

    text: str


Send = Callable[[Delta | Call | Begun], Awaitable[None] | None]
"""Takes what an agent sends while it works: completed calls, pieces of its reply where the envelope wants them, and
word of a tool that is about to run and must not run twice. What it returns for the last is awaited before it runs."""


@frozen
class Card:
    """What everybody may know of an agent: who it is, not how it works.

    price: dollars per million (input, output) tokens. max_tokens: of one reply. overhead: tokens that its own system
    prompt, tools and passages add to each request, roughly. rounds: calls of one request at most. rungs: models in its
    chain; figures are those of the dearest and slowest among them.
    """

    name: str
    role: str
    description: str = ""
    price: tuple[float, float] = (0.0, 0.0)
    tools: tuple[str, ...] = ()
    max_tokens: int = 512
    overhead: int = 0
    chars_per_token: float = 4.0
    rounds: int = 1
    rungs: int = 1


class Answerer(Protocol):
    """Whoever answers envelopes: an agent in this process, or a stand-in for one elsewhere."""

    @property
    def card(self) -> Card:
        """Who this is."""
        ...

    def answer(self, envelope: Envelope, send: Send) -> Coroutine[Any, Any, str]:
        """Work the directive; the reply. Raises as `Bus.request`."""
        ...


class Bus(Protocol):
    """The way to the agents of one team."""

    def cards(self) -> tuple[Card, ...]:
        """The agents that can be asked now."""
        ...

    def request(self, address: str, envelope: Envelope, send: Send) -> Coroutine[Any, Any, str]:
        """Ask an agent: its message to the team. Raises ModelError, ToolError or BudgetExceeded."""
        ...


class MemoryBus:
    """All agents live in this process: a request is a call."""

    def __init__(self, agents: Mapping[str, Answerer]) -> None:
        self._answer = {name: agent.answer for name, agent in agents.items()}
        self._cards = tuple(agent.card for agent in agents.values())

    def cards(self) -> tuple[Card, ...]:
        """The team's agents, in the order of the team file."""
        return self._cards

    def request(self, address: str, envelope: Envelope, send: Send) -> Coroutine[Any, Any, str]:
        """Ask an agent of this process."""
        return self._answer[address](envelope, send)
