"""The walker as a model, and the tasks, team and fixed periods that go with it: all of it simulated.

The model is asked as any other and knows nothing but its prompt: where it has been stands in the replies that it is
shown, the way it was to go in the plan that it is told to keep. Told to plan anew, it opens its reply with a way of
places between <plan> and </plan> and takes the first step of it. Only what a place looks like comes from the world,
which is drawn from the number of the search.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import lru_cache
from random import Random

from graph_search import MOVES, Known, World, drawn, plan, wander

from podium.agents.agent import Agent
from podium.agents.model import Model, Price, Prompt, usage_of
from podium.agents.plans import CLOSES, KEEP, OPENS, RENEW
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinator import RunState, Stateless, ask, decision, latest
from podium.orchestrator.engine import Orchestrator
from podium.orchestrator.topology import Topology
from podium.protocols.bus import MemoryBus
from podium.protocols.record import Action, Compute, Decision, Generation, Node, Plan, Sampling
from podium.protocols.task import Message, Task, Verdict

WALKER = "walker"
PLAN_TOKENS, MOVE_TOKENS = 200, 5
"""Output tokens of a plan and of a move: a model that plans writes its thoughts down, one that walks does not."""
PRICE = Price(0.0, 1.0)
"""Of the walker's model; what it reads is free, so that a decision's price is its plan's and little else."""
PLAN_DOLLARS = PRICE.dollars(0, PLAN_TOKENS)
FOUND = "found"

TASK = """\
Search {number} from {start}. Replies are short: where the walker is; open, where a way leads on that is new, or \
stuck; goal, where that is in sight; ahead, where the plan goes on, or over."""
SITUATIONS = ("start", "goal", "lost", "stuck, plan over", "stuck, no plan", "plan goes on", "plan over", "no plan")
"""What the walker's newest reply said; goal before anything else, lost if only the reply before it said so, and a plan
that goes on before being stuck."""
_AT = re.compile(r"^(\d+)\b")
_PLAN = re.compile("^" + re.escape(KEEP).replace(r"\{\}", r"([\d ]+)") + "$")


@lru_cache(maxsize=1 << 12)
def world_of(text: str) -> World:
    """The world of a task."""
    return drawn(int(text.split()[1].rstrip(":")))


def search(number: int) -> Task:
    """One task: the search in the graph of this number."""

    def score(text: str) -> Verdict:
        return Verdict(float(FOUND in text), FOUND in text)

    def answer(text: str) -> str | None:
        return FOUND if FOUND in text else None

    text = TASK.format(number=number, start=drawn(number).start)
    return Task(f"search-{number}", (Message("user", text),), score, answer)


class Walker:
    """The simulated model: one move a call, with a plan before it where that is asked for."""

    name = identity = "simulated walker"
    price = PRICE
    max_tokens = 1000
    temperature = 1.0
    gives_ids = False
    chars_per_token = 4.0

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        """One move in words."""
        said = [message.content for message in prompt.messages]
        world, random = world_of(prompt.task), Random(sampling.seed)
        way = [world.start, *(int(found[1]) for text in said if (found := _AT.search(text)))]
        here, known = way[-1], Known.of(world, way)
        text, tokens, kept = "", MOVE_TOKENS, ""
        ahead: Sequence[int] = ()
        if RENEW in said:
            ahead = plan(known, here, world.goal, random)
            text = f"{OPENS}{' '.join(map(str, [here, *ahead]))}{CLOSES}\n"
            tokens += PLAN_TOKENS
        elif kept := next((found[1] for each in said if (found := _PLAN.match(each))), ""):
            places = list(map(int, kept.split()))
            used_up = places[-1] in way  # a plan leads to where nobody has been
            ahead = () if used_up or here not in places else places[places.index(here) + 1 :]
        there = ahead[0] if ahead else wander(world, here, way, random)
        text += _told(world, there, way, bool(text or kept), len(ahead) > 1)
        yield Generation(text, usage_of(PRICE, prompt.estimate, tokens), sampling)

    async def close(self) -> None:
        """Nothing to free."""


def _told(world: World, there: int, way: Sequence[int], follows: bool, goes_on: bool) -> str:
    """What the walker says of a move. follows: it has a plan; goes_on: which is not used up."""
    if there == world.goal:
        return f"{there} {FOUND}"
    new = any(place not in way for place in world.passages[there])
    words = [str(there), "open" if new else "stuck"]
    if world.goal in world.seen(there):
        words.append("goal")
    if follows:
        words.append("ahead" if goes_on else "over")
    return " ".join(words)


def team(model: Model | None = None) -> Orchestrator:
    """A team of one walker. model: instead of the simulated one."""
    agents = {WALKER: Agent(WALKER, "walker", model or Walker(), description="walks one passage a turn")}
    limits = Limits(repeats=MOVES)
    return Orchestrator("search", MemoryBus(agents), Period(None), Topology.full((WALKER,)), limits)


class Period(Stateless):
    """Plans anew every so many moves, beginning with the first, and keeps to the plan between; None: never plans."""

    def __init__(self, moves: int | None) -> None:
        self.moves = moves
        self.name = "never" if moves is None else f"every {moves}"

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The next move of each search, or its end."""
        return [decision(self.name, state, self._action(state)) for state in states]

    def _action(self, state: RunState) -> Action:
        if over(state):
            return latest(state)
        return move("renew" if self.moves is not None and state.step % self.moves == 0 else "keep", state)


class Rule(Stateless):
    """Plans anew where the walker is stuck with its plan used up, and where the goal came in sight after it planned.

    What somebody who knows the world would write; how close to it a policy comes that was told nothing is the question.
    """

    name = "rule"

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """The next move of each search, or its end."""
        return [decision(self.name, state, self._action(state)) for state in states]

    def _action(self, state: RunState) -> Action:
        if over(state):
            return latest(state)
        newest, towards_goal = "", False
        for node in state.nodes[1:]:
            if node.kind == "plan":
                towards_goal = "goal" in newest
            else:
                newest = node.content
        stuck = "stuck" in newest and "ahead" not in newest
        return move("renew" if stuck or ("goal" in newest and not towards_goal) else "keep", state)


def moves(nodes: Sequence[Node]) -> Iterator[tuple[str, bool]]:
    """Of each move of a search: in which of SITUATIONS it was asked for, and whether with a plan."""
    situation, planned = SITUATIONS[0], False
    for node in nodes[1:]:
        if node.kind == "plan":
            planned = True
        elif node.kind == "reply":
            yield situation, planned
            words, planned = node.content.split(), False
            plan = "plan over" if "over" in words else "no plan"
            if "goal" in words:
                situation = "goal"
            elif situation == "goal":
                situation = "lost"
            elif "ahead" in words:
                situation = "plan goes on"
            else:
                situation = f"stuck, {plan}" if "stuck" in words else plan


def over(state: RunState) -> bool:
    """Whether a search has ended: the goal is found, or all moves are made."""
    return state.step >= MOVES or (state.step > 0 and FOUND in state.nodes[-1].content)


def move(plan: Plan, state: RunState) -> Action:
    """One move more."""
    return ask(state, (WALKER,), compute=Compute(plan=plan))
