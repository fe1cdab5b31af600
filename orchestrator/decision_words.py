"""Why a decision was taken, in words, from the scalars that its coordinator left in `Decision.reasons`.

The known names: p(NAME) and p(finish), success(NAME), tokens(NAME), gain(NAME), gap(NAME), supplies(NAME PIECE),
offers(NAME PIECE), there(PIECE), now, right(node K), likelier(PICK HEAD WORD), and template where a model had no words
for a request, from a learned policy; skill, expected, stop, go_on from a skill table; agree, ballots from a vote;
invalid, repaired, nearest, turn from a selector; invalid, repaired, fallback, unasked, only from a model that leads,
whose own words stand in its call. A coordinator without reasons follows a schedule, which is then what is said.

What a learned policy drew after its first pick (what each agent is shown, what it is asked for, how many samples; who
is asked beside it; which reply is the answer) is told from `Decision.factors`, each with its probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from podium.agents.roles import MISSING, STYLES
from podium.orchestrator.coordinators.decision_form import why_in
from podium.orchestrator.last_turn import LAST_TURN
from podium.orchestrator.pieces import pieces
from podium.protocols.record import Decision, Detail, Directive, Factor, Finish, Node, Objective, Plan
from podium.protocols.words import counted

__all__ = ["ASKED", "DETAILED", "PLANNED", "Belief", "beliefs", "percent", "why"]

ASKED: Mapping[Objective, str] = {
    "propose": "to answer",
    "critique": "to say what is wrong or missing",
    "verify": "to check the latest answer",
    "refine": "to improve the latest answer",
    "inform": "to say what it knows",
    "ask": "to ask what would help most",
    "plan": "to plan the steps that are left",
    "aggregate": "to put the answers together",
}
"""What an agent is asked for."""

DETAILED: Mapping[Detail, str] = {
    "short": "briefly",
    "normal": "at normal length",
    "full": "with the whole reasoning",
}
"""In what detail."""

SHOWN: Mapping[str, str] = {"none": "the task only", "last": "the newest reply", "all": "all replies"}
"""What it is shown, by the kind of the view."""

PLANNED: Mapping[Plan, str] = {
    "none": "told nothing of a plan",
    "keep": "keeping to the plan so far",
    "renew": "with a new plan first",
}
"""What becomes of the plan."""

CHOICES: Mapping[str, Mapping[str, str]] = {
    "context": SHOWN,
    "objective": {str(objective): words for objective, words in ASKED.items()},
    "detail": {str(detail): words for detail, words in DETAILED.items()},
    "style": {"plain": "in plain style", "sure": "saying how sure it is", "reasons": "giving its evidence"},
    "plan": {str(plan): words for plan, words in PLANNED.items()},
}
"""The words for the choices of a learned policy's heads, by head."""

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
    """What a learned policy thought of one agent. probability: of being picked first; success, gap: 0 to 1; tokens.

    gain: by how much asking it was believed to raise the chance that the best answer is right, -1 to 1.
    """

    agent: str
    probability: float
    success: float
    tokens: float
    gain: float
    gap: float
    picked: bool


def why(decision: Decision, nodes: Sequence[Node]) -> list[str]:
    """Sentences. nodes: the run's record, for who said what."""
    reasons = decision.reasons
    if decision.policy.startswith(LAST_TURN):
        return ["The run could go on no more; this call was set aside for the best answer so far."]
    if any(name.startswith("p(") for name in reasons):
        return [*_learned(decision, nodes[0].content if nodes else ""), *_rightness(decision, nodes)]
    if "skill" in reasons:
        return [_table(reasons)]
    if decision.policy == "llm":
        return _led(decision)
    if decision.calls or "invalid" in reasons:
        return [_selected(reasons)]
    if "agree" in reasons:
        return [_vote(round(reasons["agree"]), round(reasons["ballots"]))]
    if decision.policy == "random" and decision.factors:
        return [f"Drawn at random, with probability {percent(exp(decision.log_prob))}."]
    if decision.policy == "llm_selector":
        return ["The model was not asked: there was one option only, or the budget did not hold the question."]
    return [SCHEDULES.get(decision.policy, f"The coordinator {decision.policy} gave no reasons.")]


def _learned(decision: Decision, task: str) -> list[str]:
    """The first pick against its alternatives, then what was drawn after it. task: its text."""
    action = decision.action
    chosen = "finish" if isinstance(action, Finish) else action[0].agent
    chances = {name[2:-1]: value for name, value in decision.reasons.items() if name.startswith("p(")}
    others = sorted(((value, name) for name, value in chances.items() if name != chosen), reverse=True)
    mine = chances.get(chosen, 0.0)
    what = "Finishing" if chosen == "finish" else f"Asking {chosen}"
    rivals = " and ".join(f"{percent(value)} for {_pick(name)}" for value, name in others[:2] if value >= 0.005)
    lines = [f"{what} {_had(decision)} probability {percent(mine)}" + (f", against {rivals}." if rivals else ".")]
    lines += _drawn(decision, task)
    if decision.reasons.get("template"):
        lines.append("The model that words requests gave no words for this one; the template's were taken.")
    if decision.value is not None:
        lines.append(f"The run was expected to be worth {decision.value:.2f} from here on.")
    return lines


def _drawn(decision: Decision, task: str) -> list[str]:
    """What was drawn after the first pick, in its order. Decisions of before this was kept say less."""
    action, had, likelier = decision.action, _had(decision), _likelier(decision.reasons)
    lines: list[str] = []
    pick, parts = -1, list[str]()
    for factor in decision.factors:
        if factor.head == "pick":
            pick += 1
        also = likelier.get((pick, factor.head))
        chance = percent(exp(factor.log_prob))
        if isinstance(action, Finish):
            if factor.head == "answer":
                lines.append(_taken(action.answer, factor, had, chance, also))
        elif factor.head == "about":
            parts.append(_about(decision, action[pick].agent, factor, chance, also, task))
        elif factor.head != "pick":
            with_ = "" if parts else "probability "
            rather = "" if also is None else f" ({_choice(factor.head, also[0])} had {percent(also[1])})"
            parts.append(f"{_told(factor.head, action[pick])} with {with_}{chance}{rather}")
        elif pick:
            lines += _asked(action[pick - 1], parts)
            parts = []
            lines.append(_beside(action, pick, had, chance, also))
    if not isinstance(action, Finish):
        lines += _asked(action[min(pick, len(action) - 1)], parts)
    return lines


def _asked(directive: Directive, parts: Sequence[str]) -> list[str]:
    """How an agent is asked; nothing where there was no choice."""
    return [f"{directive.agent}: {', '.join(parts)}."] if parts else []


def _beside(action: tuple[Directive, ...], pick: int, had: str, chance: str, also: tuple[str, float] | None) -> str:
    """A further pick: another agent, or nobody."""
    what = f"Asking {action[pick].agent}, too," if pick < len(action) else "Asking nobody else"
    rather = "" if also is None else f", against {percent(also[1])} for {also[0] or 'nobody else'}"
    return f"{what} {had} probability {chance}{rather}."


def _taken(node: int, factor: Factor, had: str, chance: str, also: tuple[str, float] | None) -> str:
    """Which reply is the answer."""
    if sum(factor.mask) == 1:
        return f"Node {node} was the only reply there was to take."
    rather = "" if also is None else f", against {percent(also[1])} for node {also[0]}"
    return f"Taking node {node} {had} probability {chance}{rather}."


def _about(
    decision: Decision, agent: str, factor: Factor, chance: str, also: tuple[str, float] | None, task: str
) -> str:
    """The piece of the task that a request is about, and whether the agent is believed to supply it."""
    named = pieces(task, len(factor.mask) - 1)

    def piece(place: str) -> str:
        at = int(place) if place.isdigit() else len(named)
        return f'"{named[at]}"' if at < len(named) else "all of the task"

    rather = "" if also is None else f" ({piece(also[0])} had {percent(also[1])})"
    believed = decision.reasons.get(f"supplies({agent} {factor.choice})")
    supplies = "" if believed is None else f", which it is thought to supply with {percent(believed)}"
    return f"about {piece(str(factor.choice))} with probability {chance}{rather}{supplies}"


def _told(head: str, directive: Directive) -> str:
    """A choice as its directive holds it."""
    told = directive.instruction
    match head:
        case "context":
            return f"shown {_choice(head, directive.visible.kind)}"
        case "objective":
            return f"asked {_choice(head, directive.objective)}"
        case "detail":
            return _choice(head, directive.detail)
        case "samples":
            return _choice(head, str(directive.compute.samples))
        case "style":
            if told and not told.startswith(MISSING) and told not in STYLES.values():
                return "in the manner that its words say"  # a model's own
            return _choice(head, next((each for each, words in STYLES.items() if words and words in told), "plain"))
        case "plan":
            return _choice(head, directive.compute.plan)
        case "max_tokens":
            return _choice(head, str(directive.compute.max_tokens or "none"))
        case _:
            return head


def _choice(head: str, word: str) -> str:
    """A choice of a head in words."""
    if head == "samples":
        return counted(int(word), "sample")
    if head == "max_tokens":
        return "at any length" if word == "none" else f"in at most {word} tokens"
    return CHOICES.get(head, {}).get(word, word)


def _likelier(reasons: Mapping[str, float]) -> dict[tuple[int, str], tuple[str, float]]:
    """What was likelier than what was drawn, by pick and head: the choice's word, empty for nobody, and how likely."""
    found: dict[tuple[int, str], tuple[str, float]] = {}
    for name, value in reasons.items():
        if name.startswith("likelier("):
            pick, head, *word = name[len("likelier(") : -1].split(" ")
            found[int(pick), head] = " ".join(word), value
    return found


def _had(decision: Decision) -> str:
    return "was drawn with" if decision.mode == "sample" else "had"


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
            *(reasons.get(f"{figure}({name})", 0.0) for figure in ("p", "success", "tokens", "gain", "gap")),
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


def _vote(agree: int, ballots: int) -> str:
    if not agree:
        return f"None of {counted(ballots, 'answer')} could be compared with another; the newest was taken."
    if agree == 1 and ballots > 1:
        return f"No two of {ballots} answers agree; the earliest was taken."
    return f"The most frequent answer: {agree} of {ballots} agree."


def _selected(reasons: Mapping[str, float]) -> str:
    if reasons.get("turn"):
        return "The selecting model named nobody twice, so the next in turn was taken."
    if reasons.get("nearest"):
        return "The selecting model named nobody twice; the nearest name was taken."
    if reasons.get("repaired"):
        return "The selecting model named nobody at first, and this when asked again."
    return "The selecting model named this."


def _led(decision: Decision) -> list[str]:
    """What a model that leads said, and what it took."""
    reasons = decision.reasons
    if reasons.get("only"):
        return ["There was one thing to do, so the model was not asked."]
    finished = isinstance(decision.action, Finish)
    rule = "the most frequent answer, else the newest," if finished else "the first agent"
    if reasons.get("unasked"):
        return [f"The budget did not hold the question to the model; by rule {rule} was taken."]
    wrong = round(reasons.get("invalid", 0.0))
    tried = "its only reply was" if wrong == 1 else f"none of its {wrong} replies was"
    if reasons.get("fallback"):
        negated = "no decision" if wrong == 1 else "a decision"
        return [f"The model decided nothing: {tried} {negated}; by rule {rule} was taken."]
    said = next((call.result.text for call in reversed(decision.calls) if call.error is None), "")
    lines = [f'The model: "{told}"'] if (told := why_in(said)) else ["The model gave no reason."]
    if wrong:
        lines.append(f"It took {counted(wrong, 'repair')} until that was a decision.")
    if reasons.get("cut"):
        lines.append("Not all that was said fitted what it is shown.")
    return lines


def _pick(name: str) -> str:
    return "finishing" if name == "finish" else name


def percent(value: float) -> str:
    """A fraction in whole percent."""
    return f"{100 * value:.0f} %"
