"""Whether a policy's beliefs are honest: of what it holds for 80 % likely, 80 % should happen.

Four beliefs are put to the test, each with what happened: that an agent's reply passes, as believed before it was
asked; that an answer passes, as believed at the end of the run; that the best answer passes after an agent was asked
alone, as believed before; and that an agent's reply supplies a piece of the task that it is asked for, where the policy
tells pieces apart and the task says which of them a reply supplies. Sources: expected calibration error, Naeini et al.
2015 (AAAI), with bins of equal mass (Nguyen and O'Connor 2015, EMNLP); Brier skill, Brier 1950 against the base rate of
each agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.engine import Settings
from podium.orchestrator.learned.saved import Policy
from podium.orchestrator.learned.survey import Survey
from podium.orchestrator.pieces import asked_for, pieces, supplied
from podium.orchestrator.team import Team
from podium.protocols.events import Result
from podium.protocols.noise import seed_of
from podium.protocols.record import Decision, Finish, Node
from podium.protocols.task import Task
from podium.training.replay import no_parts
from podium.training.rollouts import Rollouts, judged

Kind = Literal["success", "right", "after", "supplies"]
"""Of an agent's next reply, of an answer that is there, of the best answer after one more reply, of a named piece."""

BINS = 10
"""Of a reliability diagram; each holds a tenth of the predictions."""

KINDS: Mapping[Kind, str] = MappingProxyType(
    {
        "success": "the reply of the agent that is asked passes",
        "right": "an answer that is there passes",
        "after": "the best answer passes, once the agent was asked",
        "supplies": "the reply supplies the piece of the task that it is asked for",
    }
)
"""What each belief is about, in words."""

__all__ = ["BINS", "KINDS", "Belief", "Calibration", "Kind", "beliefs", "calibration", "surveyed"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Belief:
    """What was believed, and what happened. agent: whose reply it is about; predicted, happened: 0 to 1."""

    kind: Kind
    agent: str
    predicted: float
    happened: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How honest some beliefs are.

    error: expected calibration error, bins of equal mass. brier: mean squared error; skill: 1 - brier / that of always
    saying the agent's base rate on these very tasks, which is the strictest such rule. predicted, happened: (bins,)
    means of each bin, lowest first. n: how many beliefs.
    """

    n: int
    error: float
    brier: float
    skill: float
    predicted: tuple[float, ...]
    happened: tuple[float, ...]


async def surveyed(
    team: Team, policy: Policy, tasks: Sequence[Task], *, concurrency: int = 512
) -> dict[Kind, Calibration]:
    """How honest a policy is about every agent of a team on every one of some tasks; one run each."""
    results = await Rollouts(team.orchestrator, concurrency=concurrency, scored="replies").run(
        Survey(policy),
        tasks,
        seeds=(0,),
        settings=lambda place, _: Settings(seed_of("survey", tasks[place].text), 0, "greedy"),
    )
    found = beliefs(
        results,
        lambda result, content: judged(result.task, content).score,
        lambda result, content: judged(result.task, content).parts,
    )
    by_kind: dict[Kind, list[Belief]] = {kind: [each for each in found if each.kind == kind] for kind in KINDS}
    return {kind: calibration(each) for kind, each in by_kind.items() if each or kind != "supplies"}


def beliefs(
    results: Sequence[Result],
    worth: Callable[[Result, str], float],
    parts: Callable[[Result, str], Mapping[str, float]] = no_parts,
) -> list[Belief]:
    """All that was believed in some runs of a learned coordinator, or of a survey, and came to a test.

    worth: the score of a reply in a run; parts: the named parts of that verdict.
    """
    return [belief for result in results for belief in _of(result, worth, parts)]


def _of(
    result: Result, worth: Callable[[Result, str], float], parts: Callable[[Result, str], Mapping[str, float]]
) -> list[Belief]:
    out: list[Belief] = []
    replies = {node.directive: node for node in result.nodes if node.kind == "reply"}
    for place, decision in enumerate(result.decisions):
        said = decision.reasons
        if isinstance(decision.action, Finish):
            out += [
                Belief("right", node.author, said[f"right(node {node.id})"], worth(result, node.content))
                for node in result.nodes
                if f"right(node {node.id})" in said
            ]
            continue
        for directive, piece in zip(decision.action, asked_for(decision, result.task.text), strict=True):
            reply, agent = replies.get(directive.id), directive.agent
            if reply is None or f"success({agent})" not in said:
                continue
            out.append(Belief("success", agent, said[f"success({agent})"], worth(result, reply.content)))
            out += _supplies(decision, agent, piece, result.task.text, parts(result, reply.content))
            if len(decision.action) == 1 and f"gain({agent})" in said and place + 1 < len(result.decisions):
                best = _best(result, place + 1)
                if best is not None:
                    after = min(1.0, max(0.0, said["now"] + said[f"gain({agent})"]))
                    out.append(Belief("after", agent, after, worth(result, best.content)))
    return out


def _supplies(decision: Decision, agent: str, asked: str, task: str, parts: Mapping[str, float]) -> list[Belief]:
    """What was believed of the pieces that a reply was asked for: one of them, or all where it was asked for all.

    How many pieces the policy tells apart is read off its reasons.
    """
    belief = "supplies" if asked else "offers"
    said = [value for name, value in decision.reasons.items() if name.startswith(f"{belief}({agent} ")]
    out: list[Belief] = []
    for believed, piece in zip(said, pieces(task, len(said)), strict=False):
        found = supplied(piece, parts)
        if found is not None and asked in ("", piece):
            out.append(Belief("supplies", agent, believed, found))
    return out


def _best(result: Result, place: int) -> Node | None:
    """The answer that a decision believes in most."""
    said = result.decisions[place].reasons
    known = [node for node in result.nodes if f"right(node {node.id})" in said]
    return max(known, key=lambda node: said[f"right(node {node.id})"], default=None)


def calibration(given: Sequence[Belief]) -> Calibration:
    """How honest beliefs are. Raises ValueError when there are none."""
    if not given:
        raise ValueError("no beliefs to calibrate")
    predicted = np.array([each.predicted for each in given])
    happened = np.array([each.happened for each in given])
    agents = np.array([each.agent for each in given])
    base = np.zeros(len(given))
    for agent in set(agents.tolist()):
        base[agents == agent] = happened[agents == agent].mean()
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    means = np.array([(predicted[part].mean(), happened[part].mean()) for part in parts])
    sizes = np.array([len(part) for part in parts]) / len(given)
    brier, plain = float(np.mean((predicted - happened) ** 2)), float(np.mean((base - happened) ** 2))
    return Calibration(
        len(given),
        float(sizes @ np.abs(means[:, 0] - means[:, 1])),
        brier,
        1.0 - brier / plain if plain else 0.0,
        tuple(means[:, 0].tolist()),
        tuple(means[:, 1].tolist()),
    )
