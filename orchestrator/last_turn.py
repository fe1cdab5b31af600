"""The last turn of a run that can go on no more: a call, set aside from the beginning, that writes the best answer.

What is set aside is one call of one agent: its longest reply, and a prompt that holds the task and some replies, never
more than a quarter of any limit; and a tenth of the time, also of the agent's own in the run and of the pool's. When
the turn comes, the agent is shown as many of the newest replies as fit.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from podium.orchestrator.budget import Hold, Limits
from podium.orchestrator.clock import Clock
from podium.orchestrator.leases import SHORTEST_REPLY, Leases
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Card, Lease
from podium.protocols.record import NO_USAGE, Directive, Node, View

__all__ = ["LAST_TURN", "LastTurn", "last_turn"]

INSTRUCTION = "No further step is possible. Give the best final answer to the task now, from what has been said so far."

TIME = 0.1
"""Share of a run's seconds that is kept for it."""

LAST_TURN = "last turn: "
"""Whose decision it is, in the record; behind it stands why the run could not go on."""


@dataclass(frozen=True, slots=True)
class LastTurn:
    """What is set aside for it.

    estimate: tokens of its prompt; room: characters of replies that the prompt holds; seconds: off the run's deadline.
    """

    card: Card
    leases: Leases
    lease: Lease
    hold: Hold
    estimate: int
    room: int
    seconds: float

    def directive(self, id: str, nodes: Sequence[Node], topology: Topology) -> Directive:
        """What the agent is told, with the newest replies that fit. id: of the directive."""
        count, room = 0, self.room
        for node in reversed(nodes):
            if node.kind == "reply" and topology.may_see(self.card.name, node.author):
                room -= len(node.content) + len(node.author) + 4
                if room < 0:
                    break
                count += 1
        view = View("last", count) if count else View("none")
        return Directive(id, self.card.name, "aggregate", INSTRUCTION, view, answer=True)

    def release(self) -> None:
        """Its agent has left: what was set aside is free again."""
        for budget in self.leases.under[self.card.name]:
            budget.settle(self.hold, NO_USAGE)
            if budget.meter is not None:
                budget.meter.kept = 0.0
        self.leases.budget.deadline += self.seconds

    def timeout(self, clock: Clock) -> asyncio.Timeout:
        """Its time begins: what was kept for it, and what the run has left. clock: of the run, whose end this is."""
        budget = self.leases.budget
        budget.deadline += self.seconds
        clock.release()
        left = budget.deadline - time.monotonic()
        for each in self.leases.under[self.card.name]:
            if each.meter is not None and each.shared:
                left = min(left, each.meter.left + each.meter.kept)
            elif each.meter is not None:
                each.meter.kept = 0.0
        self.lease.deadline = time.monotonic() + left
        return asyncio.timeout(left if left < math.inf else None)


def last_turn(agent: str, cards: Sequence[Card], leases: Leases) -> LastTurn | None:
    """Set a last turn of an agent aside; None where a quarter of some limit does not hold it. cards: of the team."""
    card = next(card for card in cards if card.name == agent)
    own = leases.estimate(card, len(INSTRUCTION))
    cap = card.max_tokens
    wanted = own + sum(each.max_tokens for each in cards) + cap
    tokens = int(min(wanted, *(_quarter(budget.limits, card) for budget in leases.under[card.name])))
    cap = min(cap, tokens - own)
    if cap < min(card.max_tokens, SHORTEST_REPLY):
        return None
    leased = leases.lease(replace(card, rounds=1), tokens - cap, cap)
    if leased is None:
        return None
    limit = leases.budget.limits.seconds
    seconds = limit * TIME if limit < math.inf else 0.0
    leases.budget.deadline -= seconds
    for budget in leases.under[card.name]:
        if budget.meter is not None:
            kept = budget.meter.limit * TIME
            budget.meter.kept = min(kept, seconds or kept) if budget.shared else kept
    return LastTurn(card, leases, *leased, tokens - cap, int((tokens - cap - own) * card.chars_per_token), seconds)


def _quarter(limits: Limits, card: Card) -> float:
    """Tokens that a quarter of some limits holds; none where they hold fewer than two calls."""
    dearest = max(card.price) * 1e-6
    dollars = limits.dollars / 4 / dearest if dearest else math.inf
    return min(limits.tokens / 4, dollars) if limits.calls >= 2 else 0
