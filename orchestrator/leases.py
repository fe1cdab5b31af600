"""Leases: what one request may use of the budgets it falls under, settled before its prompt exists.

A request of an agent falls under the budget of its run, and where there are such, of its agent in this run and of the
pool that all runs share. It has to fit each of them, and each sets it aside and pays for it.

A prompt's size is bounded from the characters that it will show, so that nothing is rendered to be refused. Numbers of
tokens come from each agent's own characters per token, on the careful side.

Calls that a coordinator makes to decide are leased one by one (`OwnCalls`), from the run's budget and the pool.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from podium.orchestrator.budget import Budget, Hold
from podium.orchestrator.meter import Meter
from podium.protocols.bus import Card, Lease
from podium.protocols.record import NO_USAGE, Call, Generation, Usage

SHORTEST_REPLY = 16
"""A request is refused when fewer tokens than this are left for its reply (or than its own cap, if that is lower)."""

NOTHING: Mapping[str, Sequence[Budget]] = MappingProxyType({})
NO_METERS: Mapping[str, Meter] = MappingProxyType({})


class Leases:
    """Gives the requests of one run their leases.

    task: characters of the conversation that the run works on. within: further budgets that an agent's requests fall
    under; under: all of them, the run's own first. meters: of the seconds that an agent has in this run, where they are
    limited. refused: how many requests the budgets did not hold.
    """

    __slots__ = (
        "_ample",
        "_bounded",
        "_cards",
        "_closed",
        "_everyone",
        "_longest",
        "_plain",
        "_plans",
        "_said",
        "_task",
        "budget",
        "meters",
        "refused",
        "shown",
        "under",
    )

    def __init__(
        self, budget: Budget, cards: Sequence[Card], task: int, within: Mapping[str, Sequence[Budget]] = NOTHING
    ) -> None:
        limits = budget.limits
        self.budget = budget
        self.refused = 0
        self.shown: dict[str, int] = {}  # characters of all replies each agent may see
        self.under: dict[str, tuple[Budget, ...]] = {}
        self._plans: dict[str, int] = {}  # characters of the newest plan each agent may see
        self._cards = cards
        self._closed: frozenset[str] = frozenset()  # agents that left the team
        self._task = task
        self._said = 0  # characters of all replies: a bound on their tokens
        self._longest = 0  # tokens of the largest request that shows no reply
        self._ample = limits.dollars == math.inf
        alone = (budget,)
        for card in cards:  # once for each run: a loop costs half of what expressions do
            self.shown[card.name] = 0
            self.under[card.name] = (budget, *within[card.name]) if card.name in within else alone
            self._longest = max(self._longest, card.overhead + card.max_tokens + task + 1)
            self._ample = self._ample and card.chars_per_token >= 1
        self._bounded = min(limits.tokens, limits.calls, limits.dollars) < math.inf
        self._everyone = (True,) * len(cards)
        self._plain = not any(within.values())
        self.meters = NO_METERS if self._plain else _meters(within)

    def changed(
        self,
        cards: Sequence[Card],
        closed: frozenset[str],
        within: Mapping[str, Sequence[Budget]],
        shown: Mapping[str, int],
        plans: Mapping[str, int],
    ) -> None:
        """Other agents are there now. cards: of the run; closed: those among them that left; within: as at first, for
        those that joined; shown, plans: characters of all replies, and of the newest plan, that each may see.
        """
        self._cards, self._closed = cards, closed
        self._everyone = tuple(card.name not in closed for card in cards)
        for card in cards:
            if card.name not in self.under:
                further = within.get(card.name, ())
                self.under[card.name] = (self.budget, *further)
                if further:
                    self._plain = False
                    self.meters = {**self.meters, **_meters({card.name: further})}
            self.shown[card.name] = shown[card.name]
            self._plans[card.name] = plans[card.name]
            self._longest = max(self._longest, card.overhead + card.max_tokens + self._task + 1)
            self._ample = self._ample and card.chars_per_token >= 1

    @property
    def everyone(self) -> tuple[bool, ...]:
        """For each card, whether its agent is there to be asked, whatever the budgets hold."""
        return self._everyone

    @property
    def there(self) -> bool:
        """Whether any agent is there to be asked, whatever the budgets hold."""
        return any(self._everyone)

    def heard(self, viewers: Iterable[str], characters: int) -> None:
        """A reply of this size is there, for the viewers to be shown."""
        self._said += characters
        for viewer in viewers:
            self.shown[viewer] += characters

    def planned(self, viewers: Iterable[str], characters: int) -> None:
        """A plan of this size is there, for the viewers to be shown instead of any before it."""
        self._said += characters
        for viewer in viewers:
            self._plans[viewer] = characters

    def estimate(self, card: Card, characters: int) -> int:
        """Prompt tokens of a request that shows so many characters besides the task, roughly."""
        return card.overhead + int((self._task + characters) / card.chars_per_token) + 1

    def affordable(self) -> tuple[bool, ...]:
        """For each card, whether one more request fits, with all that the agent may see in its prompt."""
        if self._plain and (not self._bounded or self._holds_any()):
            return self._everyone
        return tuple(
            self._room(card, self.estimate(card, self._most(card.name)), card.max_tokens) > 0
            and card.name not in self._closed
            for card in self._cards
        )

    def pool_is_short(self) -> bool:
        """Whether it is what all runs share that holds no further call, where a run alone would hold one."""
        if any(budget.shared and budget.over for budget in self._any):
            return True
        own = self._fits(lambda budget: not budget.shared)
        return own and not self._fits(lambda budget: True)

    def short_of(self) -> str:
        """What the pool lacks, in words, if it is the pool that ends the run; else nothing."""
        if self._plain or not self.pool_is_short():
            return ""
        pool = next(budget for budget in self._any if budget.shared)
        lacks = "has no seconds left" if pool.over else "does not hold one call more"
        fills = "" if pool.every is None else f" before {datetime.fromtimestamp(pool.fills, UTC):%Y-%m-%d %H:%M} UTC"
        return f"the pool, which all runs of the team share, {lacks}{fills}"

    @property
    def _any(self) -> tuple[Budget, ...]:
        """The budgets that some agent falls under; the pool is under everybody's."""
        return next(iter(self.under.values()), ())

    def lease(self, card: Card, estimate: int, cap: int) -> tuple[Lease, Hold] | None:
        """A lease on a request of so many prompt tokens and at most `cap` reply tokens, held until it is settled.

        None when the budget does not hold one call. An agent with tools gets as many rounds as fit.
        """
        under = self.under[card.name]
        room = self._room(card, estimate, cap)
        if room <= 0:
            self.refused += 1
            return None
        tokens, rounds = estimate + room, card.rounds
        dollars = (estimate * card.price[0] + room * card.price[1]) * 1e-6
        while rounds > 1 and not all(each.admits(tokens * rounds, rounds, dollars * rounds) for each in under):
            rounds -= 1
        hold = (tokens * rounds, rounds, dollars * rounds)
        for budget in under:
            budget.reserve(hold)
        lease = Lease(*hold, self.budget.deadline)
        if rounds > 1:  # what tools return comes on top of the estimate: where nothing is limited, nothing is refused
            lease.tokens = lease.tokens if any(each.limits.tokens < math.inf for each in under) else math.inf
            lease.dollars = lease.dollars if any(each.limits.dollars < math.inf for each in under) else math.inf
        return lease, hold

    def extend(self, agent: str, lease: Lease, hold: Hold, usage: Usage, estimate: int) -> Hold:
        """A failed attempt used something: as much is set aside for the next one, as far as the budgets hold it.

        estimate: tokens of the prompt. The request's hold by then; its lease has lost what they do not hold.
        """
        under = self.under[agent]
        left = [budget.left() for budget in under]
        tokens = max(0, int(min(usage.tokens, *(each.tokens for each in left))))
        calls = max(0, int(min(usage.calls, *(each.calls for each in left))))
        dollars = max(0.0, min(usage.dollars, *(each.dollars for each in left)))
        for budget in under:
            budget.reserve((tokens, calls, dollars))
        lease.pay(usage)
        lease.tokens += tokens
        lease.calls += calls
        lease.dollars += dollars
        if dollars < usage.dollars:  # the next reply may be no longer than what is left of them pays for
            price = next(card.price for card in self._cards if card.name == agent)
            pays = lease.dollars * 1e6 - estimate * price[0]
            lease.tokens = min(lease.tokens, estimate + pays / price[1] if price[1] else math.inf if pays >= 0 else 0)
        return hold[0] + tokens, hold[1] + calls, hold[2] + dollars

    def close(self) -> None:
        """The run has ended. What it still holds, of requests that never began, is free again for other runs."""
        own = self.budget
        if own.held_calls:
            for budget in next(iter(self.under.values())):
                if budget.shared:
                    budget.settle((own.held_tokens, own.held_calls, own.held_dollars), NO_USAGE)

    def spend(self, agent: str, usage: Usage) -> None:
        """What an earlier life of the run used of this agent; the pool paid for that then."""
        for budget in self.under.get(agent, (self.budget,)):
            if not budget.shared:
                budget.spend(usage)

    def lived(self, seconds: Mapping[str, float]) -> None:
        """For how long earlier lives of the run had requests of each agent under way."""
        for agent, meter in self.meters.items():
            meter.spend(seconds.get(agent, 0.0))

    def _most(self, agent: str) -> int:
        """Characters of all that an agent may be shown: replies, and the newest plan."""
        return self.shown[agent] + self._plans.get(agent, 0)

    def _fits(self, counts: Callable[[Budget], bool]) -> bool:
        """Whether a request to some agent fits those of its budgets that count."""
        for card in self._cards:
            if card.name in self._closed:
                continue
            estimate = self.estimate(card, self._most(card.name))
            room = min(budget.room(estimate, card.price) for budget in self.under[card.name] if counts(budget))
            if room > 0 and room >= min(card.max_tokens, SHORTEST_REPLY):
                return True
        return False

    def _holds_any(self) -> bool:
        """Whether the budget holds a request to any agent with ease: a bound that costs less than asking each."""
        budget, limits = self.budget, self.budget.limits
        return (
            self._ample
            and budget.calls + budget.held_calls + 1 <= limits.calls
            and budget.tokens + budget.held_tokens + self._longest + self._said <= limits.tokens
        )

    def _room(self, card: Card, estimate: int, cap: int) -> int:
        """Reply tokens, up to the cap, that a request with this prompt may use; 0 when it does not fit the budgets."""
        room = self.budget.room(estimate, card.price)
        if not self._plain:
            room = min(room, *(budget.room(estimate, card.price) for budget in self.under[card.name]))
        return cap if room >= cap else 0 if room < min(cap, SHORTEST_REPLY) else int(room)


def _meters(within: Mapping[str, Sequence[Budget]]) -> dict[str, Meter]:
    """Of the seconds that each agent has in a run."""
    return {
        agent: budget.meter
        for agent, budgets in within.items()
        for budget in budgets
        if budget.meter is not None and not budget.shared
    }


class OwnCalls:
    """The calls that a coordinator makes to decide, each set aside before it starts and paid for when it ends.

    pool: what all runs share, if there is such. calls: those made since they were last taken, in order, those that
    failed included. write: where a call is written down that another one follows, before it does; the last one is
    written with the decision.
    """

    __slots__ = ("_kept", "_known", "_under", "_unpaid", "_write", "_written", "calls")

    def __init__(self, budget: Budget, pool: Budget | None, write: Callable[[Call], None] | None = None) -> None:
        self._under = (budget,) if pool is None else (budget, pool)
        self._kept: Hold | None = None
        self._write = write
        self._written = 0
        self._known: dict[str, Call] = {}
        self._unpaid = NO_USAGE
        self.calls: list[Call] = []

    def restore(self, calls: Iterable[Call]) -> None:
        """Calls of an earlier life of the run, for a decision that was not made; the pool paid for them then.

        The run pays when the coordinator asks again, so that it is asked with as much left as it was.
        """
        for call in calls:
            if call.error is None:
                self._known[call.id] = call
            else:
                self.calls.append(call)
        self._written = len(self.calls)
        self._unpaid = used((*self.calls, *self._known.values()))

    def _pay(self) -> None:
        self._under[0].spend(self._unpaid)
        self._unpaid = NO_USAGE

    def known(self, id: str) -> Call | None:
        """A call that an earlier life of the run has made; it is not made again."""
        self._pay()
        call = self._known.pop(id, None)
        if call is not None:
            self.calls.append(call)
            self._written = len(self.calls)
        return call

    def keep(self, tokens: int, calls: int = 1, dollars: float = 0.0) -> bool:
        """Set a call aside for whoever is chosen, lest other runs take it while it is asked who; False: there is none.

        The run gives it back when it asks them, unless it is released before. calls, dollars: of all that are chosen,
        where that is known already.
        """
        hold = (tokens, calls, dollars)
        if self._kept is None and all(budget.admits(*hold) for budget in self._under):
            self._kept = hold
            for budget in self._under:
                budget.reserve(hold)
        return self._kept is not None

    def release(self) -> None:
        """What is kept, if anything, is free again."""
        if self._kept is not None:
            for budget in self._under:
                budget.settle(self._kept, NO_USAGE)
            self._kept = None

    def take(self, named: Sequence[Call] = ()) -> tuple[Call, ...]:
        """The calls made for a decision, which now is made or came to nothing; what was kept is given back.

        named: by the decision; those among them that were not leased are paid for now.
        """
        self.release()
        self._pay()
        leased = (*self._known.values(), *self.calls)
        self.calls.clear()
        self._known.clear()
        self._written = 0
        known = {call.id for call in leased}
        unleased = [call for call in named if call.id not in known]
        for budget in self._under:
            budget.spend(used(unleased))
        return (*leased, *unleased)

    def hold(self, estimate: int, cap: int, price: tuple[float, float]) -> Hold | None:
        """Set one call aside; None where the budgets do not hold it. Whoever is given a hold settles it.

        estimate, cap: tokens of the prompt and, at most, of the reply; price: dollars per million of them.
        """
        hold = (estimate + cap, 1, (estimate * price[0] + cap * price[1]) * 1e-6)
        if not all(budget.admits(*hold) for budget in self._under):
            return None
        for budget in self._under:
            budget.reserve(hold)
        if self._write is not None:
            for call in self.calls[self._written :]:
                self._write(call)
        self._written = len(self.calls)
        return hold

    def settle(self, hold: Hold, call: Call | None) -> None:
        """The call ended, or there was none that counts or failed; what it used is paid for."""
        usage, above = NO_USAGE, 0
        if call is not None and isinstance(call.result, Generation):
            self.calls.append(call)
            usage = call.result.usage
            above = max(0, usage.output_tokens - call.result.sampling.max_tokens)
        for budget in self._under:
            budget.settle(hold, usage, above)


def used(calls: Iterable[Call]) -> Usage:
    """What model calls used."""
    return Usage.total(call.result.usage for call in calls if isinstance(call.result, Generation))
