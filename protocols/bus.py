"""How a directive reaches an agent and a reply comes back.

A bus has one verb: `request` an agent, hear what it sends while it works, and await its reply. An agent holds no budget
and no journal. It gets a lease with each envelope, may not start a call that the lease does not hold, and sends every
completed call back, so that the orchestrator alone owns retries, accounts and the record.

Cancelling the await cancels the request. The bus below stays in this process; another one, with a broker for instance,
would stand behind the same contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any, Protocol

from podium.protocols.errors import AgentLeft, InputError
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
    ask: the way to a person. plan: the newest one that this agent may see, where its directive keeps it.
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
    plan: str = ""


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
    chain; figures are those of the dearest and slowest among them. examples: tasks that it is for.
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
    examples: tuple[str, ...] = ()


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
        """The agents that can be asked now; the same tuple until somebody joins or leaves."""
        ...

    def request(self, address: str, envelope: Envelope, send: Send) -> Coroutine[Any, Any, str]:
        """Ask an agent: its message to the team. Raises ModelError, ToolError, BudgetExceeded, or AgentLeft when it
        leaves meanwhile.
        """
        ...


class MemoryBus:
    """All agents live in this process: a request is a call. They may join and leave at any time, from any thread."""

    def __init__(self, agents: Mapping[str, Answerer]) -> None:
        self._answer = {name: agent.answer for name, agent in agents.items()}
        self._cards = tuple(agent.card for agent in agents.values())
        self._asked: dict[str, set[_Asked]] = {}  # requests under way
        self._lock = Lock()  # for those who join and leave

    def cards(self) -> tuple[Card, ...]:
        """The team's agents, in the order of the team file, then of joining."""
        return self._cards

    def join(self, agent: Answerer) -> None:
        """One agent more. Raises InputError when there is one of its name."""
        name = agent.card.name
        with self._lock:
            if name in self._answer:
                raise InputError(f"agent {name}: the team has one of this name already; it has to leave first")
            self._answer[name] = agent.answer
            self._cards = (*self._cards, agent.card)

    def leave(self, name: str) -> None:
        """One agent less: it is asked no more, and what it is asked just now comes to nothing. Raises InputError when
        it is not there.
        """
        with self._lock:
            if name not in self._answer:
                raise InputError(f"agent {name}: not in the team; there are: {', '.join(self._answer)}")
            self._cards = tuple(card for card in self._cards if card.name != name)
            del self._answer[name]
            asked = tuple(self._asked.pop(name, ()))
        for each in asked:
            with suppress(RuntimeError):  # that loop was closed
                each.loop.call_soon_threadsafe(each.gone)

    def follow(self, other: MemoryBus) -> None:
        """The same agents as another bus has now, in the same order; its own are asked where they are in both."""
        with other._lock:
            there, cards = dict(other._answer), other._cards
        with self._lock:
            self._answer = {name: self._answer.get(name, answer) for name, answer in there.items()}
            own = {card.name: card for card in self._cards}
            self._cards = tuple(own.get(card.name, card) for card in cards)

    async def request(self, address: str, envelope: Envelope, send: Send) -> str:
        """Ask an agent of this process. Raises what it raises, and AgentLeft when it leaves meanwhile, or did."""
        answer = self._answer.get(address)
        if answer is None:
            raise AgentLeft(f"{address} has left the team")
        asked = self._asked.setdefault(address, set())
        mine = _Asked()
        asked.add(mine)
        try:
            return await answer(envelope, send)
        except asyncio.CancelledError:
            if mine.was_it():
                raise AgentLeft(f"{address} has left the team") from None
            raise
        finally:
            mine.task = None
            asked.discard(mine)


class _Asked:
    """A request under way, which ends when its agent leaves: as asyncio.timeout ends one, at a fifth of the cost."""

    __slots__ = ("_before", "_left", "loop", "task")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self._before = self.task.cancelling() if self.task else 0
        self._left = False

    def gone(self) -> None:
        """Its agent has left."""
        if self.task is not None:  # else it has ended
            self._left = True
            self.task.cancel()

    def was_it(self) -> bool:
        """Whether that, and nobody's wish, is why the request was cancelled; it is taken back then."""
        return self._left and self.task is not None and self.task.uncancel() <= self._before
