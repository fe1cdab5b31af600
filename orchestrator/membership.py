"""Who can be asked in a run: agents may join and leave the team while it is under way.

What a run knows of its team changes between two steps only. Agents that left stay on its list, closed, as they are
when the budget does not hold them: so their replies stay what somebody said of whom a card is known, and coordinators
need not know of leaving to live with it. Each change is a node of the record, of kind "team", with the cards of who
came and went: with the team that the run began with, that says who was there at each decision, and a resumed run knows
as much as it did before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from pydantic import TypeAdapter

from podium.protocols.bus import Card
from podium.protocols.record import Node

__all__ = ["Change", "Members", "change_in", "change_words"]


@dataclass(frozen=True, slots=True)
class Change:
    """Who came and went between two steps. One that left and is back, at the end of the list now, is in both."""

    joined: tuple[Card, ...] = ()
    left: tuple[Card, ...] = ()

    @property
    def content(self) -> str:
        """Of the node that says so."""
        return msgspec.json.encode({"joined": self.joined, "left": self.left}).decode()


_ADAPTER = TypeAdapter(Change)


def change_in(node: Node) -> Change:
    """What a node of kind "team" says. Raises ValueError where it says nothing of the kind."""
    return _ADAPTER.validate_json(node.content)


def change_words(change: Change) -> str:
    """A change, for people: `ann joined, bob left`."""
    came, went = _by_name(change.joined), _by_name(change.left)
    told = [f"{name} left and joined again" if name in went else f"{name} joined" for name in came]
    return ", ".join([*told, *(f"{name} left" for name in went if name not in came)])


@dataclass(slots=True)
class Members:
    """The agents of one run.

    present: who can be asked, as the bus told; gone: who left in this run, in that order.
    """

    present: tuple[Card, ...]
    gone: tuple[Card, ...] = ()

    @property
    def cards(self) -> tuple[Card, ...]:
        """The run's list of agents."""
        return self.present + self.gone

    @property
    def closed(self) -> frozenset[str]:
        """Names of those that left."""
        return frozenset(card.name for card in self.gone)

    def now(self, cards: tuple[Card, ...]) -> Change:
        """These are there now: what that changes. A card that was changed in place is no change of the team."""
        after = _by_name(cards)
        stayed = _stayed([card.name for card in self.present], list(after))
        joined = tuple(card for card in cards if card.name not in stayed)
        left = tuple(card for card in self.present if card.name not in stayed)
        self.present = cards
        self.gone = tuple(card for card in self.gone + left if card.name not in after)
        return Change(joined, left)

    @staticmethod
    def stayed(name: str, names: Sequence[str], nodes: Iterable[Node]) -> bool:
        """Whether an agent was there at each step of an earlier life of a run. names, nodes: as `restored` takes them.

        One that left and was back before the next step was.
        """
        changes = [change_in(node) for node in nodes if node.kind == "team"]
        return name in names and all(
            name in _by_name(change.joined) for change in changes if name in _by_name(change.left)
        )

    @staticmethod
    def restored(names: Sequence[str], nodes: Iterable[Node], known: Mapping[str, Card]) -> Members:
        """The members as an earlier life of a run left them.

        names: who was there when it began; nodes: its record; known: cards of agents. Of one that was there then and
        has no card among them, only the name is known.
        """
        present = {name: known.get(name, Card(name, "")) for name in names}
        gone: dict[str, Card] = {}
        for node in nodes:
            if node.kind == "team":
                change = change_in(node)
                for card in change.left:
                    present.pop(card.name, None)
                    gone[card.name] = card
                for card in change.joined:
                    gone.pop(card.name, None)
                    present[card.name] = known.get(card.name, card)
        return Members(tuple(present.values()), tuple(gone.values()))


def _stayed(before: Sequence[str], after: Sequence[str]) -> frozenset[str]:
    """Who has been there all the time, as far as the order tells: whoever joins goes to the end."""
    places = {name: place for place, name in enumerate(before)}
    stayed: list[str] = []
    for name in after:
        if name not in places or (stayed and places[name] < places[stayed[-1]]):
            break
        stayed.append(name)
    return frozenset(stayed)


def _by_name(cards: Iterable[Card]) -> dict[str, Card]:
    return {card.name: card for card in cards}
