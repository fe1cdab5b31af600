"""Teams that a policy meets in training: some of the agents, in another order, under other names and at other prices.

A policy that always sees the same team learns it by heart: who stands where, what each one is called, what it costs.
One that meets a new team with each group of runs can only go by what it is told of each agent (its card) and by what it
sees of it in the run. Sources: random subsets and prices of tools, arXiv 2511.21689 (ToolOrchestra); random subsets of
workers, arXiv 2512.04388 (Conductor).

A variant is a bus in front of the team's own. Cards show the other names and prices, and runs pay those prices; the
agents behind it are the same and read their own names, so that they answer as they always do. Everything is hashed from
what the caller names, so that there is no random state.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from podium.orchestrator.engine import Orchestrator
from podium.protocols.bus import Bus, Card, Delta, Envelope, Lease, Send
from podium.protocols.errors import ModelError
from podium.protocols.noise import seed_of, uniform
from podium.protocols.record import Begun, Call, Generation, Node, Usage
from podium.training.train_file import TeamsSpec

__all__ = ["Member", "Variant", "draw", "own_name", "varied"]

STRANGER = "stranger"
"""What agents are called that a policy is not told the name of."""


@dataclass(frozen=True, slots=True)
class Member:
    """One agent of a variant. agent: who answers; shown: what it is called there; price: factor of its prices.

    unknown: its description stands among its examples, so that a policy does not know it again.
    """

    agent: str
    shown: str
    price: float = 1.0
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """A team made of some agents of another one, in the order in which they are shown."""

    members: tuple[Member, ...]

    @property
    def agents(self) -> dict[str, str]:
        """Who answers, by the name that is shown."""
        return {each.shown: each.agent for each in self.members}


def draw(spec: TeamsSpec, agents: Sequence[str], *parts: object, always: str | None = None) -> Variant:
    """A variant of a team. parts: everything random comes from them. always: an agent that is never left out.

    The number of agents is drawn evenly from `least` (or all, if they are fewer) to all of them, then who they are.
    """
    random = np.random.default_rng(seed_of("team", *parts))
    size = int(random.integers(min(spec.least, len(agents)), len(agents) + 1))
    order = [agents[int(place)] for place in random.permutation(len(agents))]
    chosen = order[:size] if always is None or always in order[:size] else [*order[: size - 1], always]
    members: list[Member] = []
    for agent in chosen:
        unknown = spec.names and uniform("name", *parts, agent) < 0.5
        spread = math.log(spec.prices) * (2.0 * uniform("price", *parts, agent) - 1.0)
        shown = _stranger(agents, agents.index(agent)) if unknown else agent
        members.append(Member(agent, shown, math.exp(spread), unknown))
    return Variant(tuple(members))


def _stranger(agents: Sequence[str], place: int) -> str:
    """A name that says nothing, and is nobody's."""
    name = f"{STRANGER} {place + 1}"
    while name in agents:
        name += "'"
    return name


def varied(team: Orchestrator, variant: Variant) -> Orchestrator:
    """A team as a variant of it. Raises KeyError for an agent that the team does not have."""
    shown = {each.agent: each.shown for each in variant.members}
    return Orchestrator(
        team.name,
        VariedBus(team.bus, variant),
        team.coordinator,
        team.topology.renamed(shown),
        team.limits,
        mode=team.mode,
        preference=team.preference,
        retry=team.retry,
        shares={shown[agent]: limits for agent, limits in team.shares.items() if agent in shown},
        pool=team.pool,
        timeouts={shown[agent]: seconds for agent, seconds in team.timeouts.items() if agent in shown},
        people=team.people,
        wind_down=None if team.wind_down is None else shown.get(team.wind_down),
    )


def own_name(bus: Bus, shown: str) -> str:
    """What an agent is called in the team itself; bus: where it is called what is shown."""
    return bus.agents.get(shown, shown) if isinstance(bus, VariedBus) else shown


class VariedBus:
    """The agents of another bus, under the names and at the prices of a variant. agents: their own names, by those.

    Raises KeyError for an agent that the other bus does not have.
    """

    def __init__(self, bus: Bus, variant: Variant) -> None:
        own = {card.name: card for card in bus.cards()}
        self._bus = bus
        self._members = {each.shown: each for each in variant.members}
        self.agents = variant.agents
        self._cards = tuple(_card(own[each.agent], each) for each in variant.members)

    def cards(self) -> tuple[Card, ...]:
        """The variant's agents, as they are shown."""
        return self._cards

    def request(self, address: str, envelope: Envelope, send: Send) -> Coroutine[Any, Any, str]:
        """Ask an agent by the name that is shown. Raises as the bus behind."""
        return self._request(self._members[address], envelope, send)

    async def _request(self, member: Member, envelope: Envelope, send: Send) -> str:
        price = member.price
        try:
            return await self._bus.request(
                member.agent, _inside(envelope, member, self.agents), _at_price(price, envelope.lease, send)
            )
        except ModelError as error:
            error.usage = _times(error.usage, price)
            raise


def _card(card: Card, member: Member) -> Card:
    price = card.price[0] * member.price, card.price[1] * member.price
    shown = replace(card, name=member.shown, price=price)
    if not member.unknown or not card.description:
        return shown
    return replace(shown, description="", examples=(card.description, *card.examples))


def _inside(envelope: Envelope, member: Member, agents: Mapping[str, str]) -> Envelope:
    """An envelope as the agent knows it: in its own name and those of the others, and in its own dollars."""
    lease, directive = envelope.lease, envelope.directive
    words = _by_own_names(directive.instruction, agents) if directive.instruction else ""
    return replace(
        envelope,
        directive=replace(directive, agent=member.agent, instruction=words),
        visible=_named(envelope.visible, agents),
        lease=Lease(lease.tokens, lease.calls, lease.dollars / member.price, lease.deadline),
        done=tuple(_priced(call, 1.0 / member.price) for call in envelope.done),
    )


def _by_own_names(text: str, agents: Mapping[str, str]) -> str:
    """A text in which agents are called by their own names instead of those that are shown."""
    other = sorted((shown for shown, own in agents.items() if shown != own), key=len, reverse=True)
    if not other:
        return text
    return re.sub(rf"\b(?:{'|'.join(map(re.escape, other))})(?![\w'])", lambda found: agents[found[0]], text)


def _named(visible: Callable[[], tuple[Node, ...]], agents: Mapping[str, str]) -> Callable[[], tuple[Node, ...]]:
    """The replies that an agent is shown, by their authors' own names."""
    return lambda: tuple(replace(node, author=agents.get(node.author, node.author)) for node in visible())


def _at_price(price: float, lease: Lease, send: Send) -> Send:
    """What an agent sends, at the price of the variant, and off the lease as the run gave it."""

    def sent(what: Delta | Call | Begun) -> Any:
        if isinstance(what, Call):
            what = _priced(what, price)
            if isinstance(what.result, Generation) and what.error is None:
                lease.pay(what.result.usage)
        return send(what)

    return sent


def _priced(call: Call, price: float) -> Call:
    if price == 1.0 or not isinstance(call.result, Generation):
        return call
    return replace(call, result=replace(call.result, usage=_times(call.result.usage, price)))


def _times(usage: Usage, price: float) -> Usage:
    return usage if price == 1.0 else replace(usage, dollars=usage.dollars * price)
