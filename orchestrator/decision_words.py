"""Why a decision was taken, in words, from the scalars that its coordinator left in `Decision.reasons`.

The known names: p(NAME) and p(finish), success(NAME), tokens(NAME), gap(NAME), right(node K) from a learned policy;
skill, expected, stop, go_on from a skill table; invalid, repaired, nearest, turn from a selector. A coordinator
without reasons follows a schedule, which is then what is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from podium.orchestrator.last_turn import LAST_TURN
from podium.protocols.record import Decision, Finish, Node

__all__ = ["Belief", "beliefs", "percent", "why"]

SCHEDULES: Mapping[str, str] = {
    "single": "One agent answers everything; there was nothing to choose.",
    "self_consistency": "One agent answers several times, and the most frequent answer wins; settled beforehand.",
    "round_robin": "The agents speak in a fixed turn.",
    "sequential": "A fixed chain: each works on what was said before it.",
    "pipeline": "The next step of a fixed list.",
    "vote": "Everybody answers at once without seeing the others, and the majority wins; settled beforehand.",
    "debate": "Everybody answers, then revises after reading the others; a fixed number of rounds.",
    "moa": "Layers of proposers, then one who puts their answers together; settled beforehand.",
    "random": "Drawn at random.",
    "router": "A hand-written route for this kind of task.",
    "oracle": "The oracle knows which reply is right; it exists for comparison only.",
}
"""Why a coordinator without reasons decided as it did, by its name."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What a learned policy thought of one agent. probability: of being picked first; success, gap: 0 to 1; tokens."""

    agent: str
    probability: float
    success: float
    tokens: float
    gap: float
    picked: bool


def why(decision: Decision, nodes: Sequence[Node]) -> list[str]:
    """Sentences. nodes: the run's record, for who said what."""
    reasons = decision.reasons
    if decision.policy.startswith(LAST_TURN):
        return ["The run could go on no more; this call was set aside for the best answer so far."]
    if any(name.startswith("p(") for name in reasons):
        return [*_learned(decision), *_rightness(decision, nodes)]
    if "skill" in reasons:
        return [_table(reasons)]
    if decision.calls or "invalid" in reasons:
        return [_selected(reasons)]
    if decision.policy == "random" and decision.factors:
        return [f"Drawn at random, with probability {percent(exp(decision.log_prob))}."]
    if decision.policy == "llm_selector":
        return ["The model was not asked: there was one option only, or the budget did not hold the question."]
    return [SCHEDULES.get(decision.policy, f"The coordinator {decision.policy} gave no reasons.")]


def _learned(decision: Decision) -> list[str]:
    """The first pick against its alternatives."""
    action = decision.action
    chosen = "finish" if isinstance(action, Finish) else action[0].agent
    chances = {name[2:-1]: value for name, value in decision.reasons.items() if name.startswith("p(")}
    others = sorted(((value, name) for name, value in chances.items() if name != chosen), reverse=True)
    mine = chances.get(chosen, 0.0)
    what = "Finishing" if chosen == "finish" else f"Asking {chosen}"
    rivals = " and ".join(f"{percent(value)} for {_pick(name)}" for value, name in others[:2] if value >= 0.005)
    drawn = f"{what} was drawn with" if decision.mode == "sample" else f"{what} had"
    lines = [f"{drawn} probability {percent(mine)}" + (f", against {rivals}." if rivals else ".")]
    if decision.value is not None:
        lines.append(f"The run was expected to be worth {decision.value:.2f} from here on.")
    return lines


def _rightness(decision: Decision, nodes: Sequence[Node]) -> list[str]:
    """What each reply so far is thought worth, as an answer."""
    thought = [
        (int(name[len("right(node ") : -1]), value)
        for name, value in decision.reasons.items()
        if name.startswith("right(node ")
    ]
    if not thought:
        return []
    told = [f"node {node} by {nodes[node].author} {percent(value)}" for node, value in thought if node < len(nodes)]
    return [f"Chance that an answer is right: {', '.join(told)}."]


def beliefs(decision: Decision) -> tuple[Belief, ...]:
    """What a learned policy thought of each agent; empty for other coordinators."""
    reasons, action = decision.reasons, decision.action
    picked = set[str]() if isinstance(action, Finish) else {directive.agent for directive in action}
    names = [name[len("success(") : -1] for name in reasons if name.startswith("success(")]
    return tuple(
        Belief(
            name,
            *(reasons.get(f"{figure}({name})", 0.0) for figure in ("p", "success", "tokens", "gap")),
            picked=name in picked,
        )
        for name in names
    )


def _table(reasons: Mapping[str, float]) -> str:
    skill = f"skill {reasons['skill']:.0f}"
    if "stop" in reasons:
        more = f"{percent(reasons['go_on'])} after asking on" if reasons["go_on"] >= 0 else "no record of asking on"
        return f"For tasks of {skill} the newest reply was right {percent(reasons['stop'])} of the time; {more}."
    return f"The best record at tasks of {skill}: expected {percent(reasons.get('expected', 0.0))} right."


def _selected(reasons: Mapping[str, float]) -> str:
    if reasons.get("turn"):
        return "The selecting model named nobody twice, so the next in turn was taken."
    if reasons.get("nearest"):
        return "The selecting model named nobody twice; the nearest name was taken."
    if reasons.get("repaired"):
        return "The selecting model named nobody at first, and this when asked again."
    return "The selecting model named this."


def _pick(name: str) -> str:
    return "finishing" if name == "finish" else name


def percent(value: float) -> str:
    """A fraction in whole percent."""
    return f"{100 * value:.0f} %"
