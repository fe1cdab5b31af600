"""A simulated world of hidden profiles: each agent knows a part of the facts that an answer needs, and some rumours.

Everything here is a simulation: the agents are a few lines of Python behind the model interface, and what they know is
drawn by a hash. A task asks for several facts. Each fact belongs to an area, and each agent is at home in two areas, of
which its card names one. On a task an agent may be away (it knows next to nothing then), and every fact is known to
somebody. Who does not know a fact may hold the rumour about it, which is the same wrong figure for everybody, and tells
it as if it were true: so the more agents speak about a piece, the louder the rumour. Asked for the whole task, an agent
thinks of rumours rather than of what it alone knows; asked for one piece, it tells what it holds. Asked to say how sure
it is, an agent that knows mostly says so, and one that repeats a rumour mostly says that it heard it.

Who answers the whole task puts together what it is shown and what it thinks of itself, by weight of the voices for each
fact; of what it is shown it takes in the newest lines only. Task family: Stasser and Titus 1985 (hidden profiles).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from podium.agents.agent import Agent
from podium.agents.model import Price, Prompt
from podium.agents.roles import STYLES
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.team_file import TopologySpec
from podium.orchestrator.topology import Topology
from podium.protocols.bus import MemoryBus
from podium.protocols.noise import seed_of, uniform
from podium.protocols.task import Message, Task, Verdict

AREAS = {
    "harbour": ("crane", "pier", "ferry", "buoy"),
    "mill": ("wheel", "hopper", "flour", "sluice"),
    "school": ("bell", "library", "garden", "stage"),
    "market": ("scales", "awning", "wagon", "cellar"),
    "theatre": ("curtain", "organ", "balcony", "mask"),
    "station": ("signal", "engine", "clock", "platform"),
}
ASPECTS = ("price", "age", "height", "number")
"""A fact is one of these of one of those; its value has two digits."""
HOME, AWAY, ELSEWHERE = 0.9, 0.25, 0.08
"""How likely an agent knows a fact of its areas; how often it is away; how likely it knows any other fact."""
RUMOUR = 0.45
"""How likely an agent that does not know a fact holds the rumour about it."""
SURE, FALSELY_SURE = 0.9, 0.15
"""How often an agent says that it is sure, of what it knows and of a rumour."""
VOLUNTEERS, REPEATS = 0.35, 0.9
"""How likely an agent that is asked for the whole task thinks of a fact that it knows, and of a rumour."""
VOICE = {"sure": 3.0, "": 1.5, "heard": 0.5}
"""Weight of a voice that is sure, that does not say how sure it is, and that only heard it."""
TAKEN_IN = 10
"""Lines of what it is shown that an agent takes in: the newest."""
UNKNOWN = "not known to me"
PRICE = Price(input=1.0, output=10.0)
"""Of every agent, in dollars per million tokens."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What one task is about. pieces: as they stand in its text; values, rumours: of each, in the same order."""

    pieces: tuple[str, ...]
    areas: tuple[str, ...]
    values: tuple[int, ...]
    rumours: tuple[int, ...]


class World:
    """Tasks and agents. agents: how many; size: facts of a task."""

    def __init__(self, agents: int, size: int) -> None:
        self.size = size
        self.names = tuple(f"agent{number}" for number in range(agents))
        self.profiles: dict[str, Profile] = {}
        self.held: dict[tuple[str, str], tuple[tuple[int | None, bool], ...]] = {}
        model = ScriptedModel(self._say, "simulated", price=PRICE, max_tokens=120)
        self.agents = {
            name: Agent(name, "solver", model, prompt="", description=f"knows the {self._homes(place)[0]}")
            for place, name in enumerate(self.names)
        }

    def _homes(self, place: int) -> tuple[str, str]:
        """The areas of an agent; its card names the first one."""
        first, second = ((place + step) % len(AREAS) for step in (0, 2))
        return tuple(AREAS)[first], tuple(AREAS)[second]

    def team(self, coordinator: Coordinator) -> Orchestrator:
        """The agents under a coordinator; everybody may be shown what the coordinator passes on."""
        return Orchestrator(
            "hidden profile",
            MemoryBus(self.agents),
            coordinator,
            Topology(TopologySpec(kind="star"), self.names),
            Limits(),
        )

    def tasks(self, split: str, size: int) -> list[Task]:
        """So many tasks of a split; those of different splits are drawn apart."""
        return [self._task(split, number) for number in range(size)]

    def _task(self, split: str, number: int) -> Task:
        chosen: dict[str, str] = {}
        for attempt in count():
            draw = seed_of("fact", split, number, attempt)
            area = tuple(AREAS)[draw % len(AREAS)]
            thing = AREAS[area][draw // 31 % 4]
            chosen[f"the {ASPECTS[draw // 7 % len(ASPECTS)]} of the {thing} at the {area}"] = area
            if len(chosen) == self.size:
                break
        pieces, areas = tuple(chosen), tuple(chosen.values())
        values = tuple(10 + seed_of("value", split, number, piece) % 90 for piece in pieces)
        rumours = tuple(
            10 + (value - 10 + 1 + seed_of("rumour", split, number, piece) % 89) % 90
            for piece, value in zip(pieces, values, strict=True)
        )
        text = f"Report {split} {number}. State:\n" + "\n".join(f"- {piece}" for piece in pieces)
        self.profiles[text] = profile = Profile(pieces, areas, values, rumours)

        def score(reply: str) -> Verdict:
            parts = {piece: float(_figure(reply, piece) == value) for piece, value in zip(pieces, values, strict=True)}
            right = all(parts.values())
            return Verdict(sum(parts.values()) / len(parts), right, parts)

        self._deal(text, profile)
        return Task(f"{split}-{number}", (Message("user", text),), score, lambda reply: _whole(reply, pieces))

    def knows(self, task: str, agent: str) -> tuple[bool, ...]:
        """Which facts of a task an agent knows."""
        return tuple(known for _, known in self.held[task, agent])

    def _deal(self, text: str, profile: Profile) -> None:
        """What each agent holds of each fact: a figure, if any, and whether it is the fact or the rumour."""
        known: dict[str, list[bool]] = {}
        for place, name in enumerate(self.names):
            away = uniform("away", text, name) < AWAY
            homes = self._homes(place)
            chances = [HOME if area in homes and not away else ELSEWHERE for area in profile.areas]
            known[name] = [uniform("knows", text, name, at) < chance for at, chance in enumerate(chances)]
        for at in range(len(profile.pieces)):
            if not any(row[at] for row in known.values()):
                known[self.names[seed_of("holder", text, at) % len(self.names)]][at] = True
        for name, row in known.items():
            held: list[tuple[int | None, bool]] = []
            for at, knows in enumerate(row):
                rumour = profile.rumours[at] if uniform("hears", text, name, at) < RUMOUR else None
                held.append((profile.values[at] if knows else rumour, knows))
            self.held[text, name] = tuple(held)

    def _say(self, prompt: Prompt) -> str:
        """What an agent replies: about one piece what it holds; about the whole task what it makes of everything."""
        messages, profile = prompt.messages, self.profiles[prompt.task]
        asked = messages[-1].content if messages[-1].content != prompt.task and messages[-1].name is None else ""
        held = self.held[prompt.task, prompt.agent]
        says = STYLES["sure"] in asked
        about = [at for at, piece in enumerate(profile.pieces) if f"{piece}." in asked]
        if about:
            return "\n".join(self._line(prompt, at, held[at], says) for at in about)
        lines = [
            (message.name, line)
            for message in messages
            if message.name is not None
            for line in message.content.split("\n")
        ][-TAKEN_IN:]
        out: list[str] = []
        for at, piece in enumerate(profile.pieces):
            voices: dict[int, float] = defaultdict(float)
            own, knows = held[at]
            heard: dict[tuple[str, int], str] = {}
            for author, line in lines:
                found = _figure(line, piece)
                if found is not None:
                    heard[author, found] = _manner(line)
            said = any(author == prompt.agent for author, _ in heard)
            if own is not None and not said and self._comes_to_mind(prompt, at, knows):
                voices[own] += VOICE["sure" if self._is_sure(prompt, at, knows) else "heard"]
            for (_, found), manner in heard.items():
                voices[found] += VOICE[manner]
            best = max(voices, key=lambda found: (voices[found], seed_of("tie", prompt.task, at, found)), default=None)
            manner = ""
            if says and best is not None:
                manner = ", sure" if 2 * voices[best] > sum(voices.values()) + VOICE["heard"] else ", heard"
            out.append(f"{piece}: {UNKNOWN if best is None else best}{manner}")
        return "\n".join(out)

    def _line(self, prompt: Prompt, at: int, held: tuple[int | None, bool], says: bool) -> str:
        figure, knows = held
        piece = self.profiles[prompt.task].pieces[at]
        if figure is None:
            return f"{piece}: {UNKNOWN}"
        manner = "" if not says else ", sure" if self._is_sure(prompt, at, knows) else ", heard"
        return f"{piece}: {figure}{manner}"

    def _comes_to_mind(self, prompt: Prompt, at: int, knows: bool) -> bool:
        """Whether an agent thinks of what it holds without being asked for it."""
        return uniform("mind", prompt.task, prompt.agent, at) < (VOLUNTEERS if knows else REPEATS)

    def _is_sure(self, prompt: Prompt, at: int, knows: bool) -> bool:
        return uniform("sure", prompt.task, prompt.agent, at) < (SURE if knows else FALSELY_SURE)


def stated(reply: str, pieces: Sequence[str]) -> dict[str, int]:
    """The figures that a reply states, by piece."""
    found = ((piece, _figure(reply, piece)) for piece in pieces)
    return {piece: figure for piece, figure in found if figure is not None}


def _figure(text: str, piece: str) -> int | None:
    """The figure that a text states for a piece; None where it states none."""
    for line in text.split("\n"):
        before, colon, after = line.partition(": ")
        if colon and before == piece:
            word = after.split(",")[0]
            return int(word) if word.isdigit() else None
    return None


def _manner(line: str) -> str:
    return "sure" if line.endswith(", sure") else "heard" if line.endswith(", heard") else ""


def _whole(reply: str, pieces: Sequence[str]) -> str | None:
    """The answer that a reply gives: all figures, where it has them all."""
    found = stated(reply, pieces)
    return " ".join(str(found[piece]) for piece in pieces) if len(found) == len(pieces) else None
