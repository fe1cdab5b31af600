"""A kept run told in words: what was decided, why, what came of it, and what it cost.

Pure functions from the record to structured lines; whoever draws them (a terminal, a web page) adds nothing but looks.
The why of a decision is worded in `decision_words`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from podium.orchestrator.decision_words import ASKED, DETAILED, PLANNED, Belief, beliefs, percent, why
from podium.orchestrator.last_turn import LAST_TURN
from podium.orchestrator.membership import change_in, change_words
from podium.orchestrator.shown import Shown
from podium.protocols.record import (
    NO_USAGE,
    Decision,
    Directive,
    Finish,
    Generation,
    Kind,
    Node,
    ToolResult,
    Usage,
)
from podium.protocols.saved import SavedRun
from podium.protocols.words import counted, enumerated

__all__ = ["Said", "Share", "Step", "Story", "Told", "tell"]

ENDINGS: Mapping[str, str] = {
    "answered": "the coordinator was done",
    "budget": "the budget held no further call, so the best answer so far was taken",
    "deadline": "the time was up, so the best answer so far was taken",
    "loop": "an agent said the same again and again, so the best answer so far was taken",
    "cancelled": "it was cancelled",
    "failed": "it failed; what had arrived is kept",
    "unfinished": "no end was written: it is under way, or its process died",
}

LIMITS = ("tokens", "calls", "seconds", "dollars")


@dataclass(frozen=True, slots=True)
class Told:
    """One directive. asked: what for, and with how much compute; shown: what of the run the agent could read.

    refused: it was decided and not begun, because the budget did not hold it.
    """

    agent: str
    asked: str
    shown: str
    instruction: str
    answer: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a directive.

    kind: "reply", "plan" (what a reply opened with), "candidate" (one of those a reply was picked from), or "failure",
    whose text says why nothing came.
    tools: names of those it used; trouble: what failed before it went on, attempt by attempt.
    """

    node: int
    agent: str
    text: str
    kind: Kind
    usage: Usage
    tools: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One decision and what came of it. left: of the budget; deciding: what the coordinator's own calls used."""

    number: int
    action: str
    why: tuple[str, ...]
    beliefs: tuple[Belief, ...]
    left: str
    told: tuple[Told, ...]
    said: tuple[Said, ...]
    deciding: Usage


@dataclass(frozen=True, slots=True)
class Share:
    """What one agent did and used in all."""

    agent: str
    replies: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Story:
    """A whole run. started: seconds since the epoch; by: whose reply is the answer; notes: what else to know.

    seed: of the run, None where it was not kept.
    """

    run: str
    team: str
    coordinator: str
    task: str
    started: float
    steps: tuple[Step, ...]
    answer: str
    by: str
    ending: str
    shares: tuple[Share, ...]
    usage: Usage
    seconds: float
    notes: tuple[str, ...]
    seed: int | None = None


def tell(run: SavedRun) -> Story:
    """The story of a run."""
    coordinator = run.decisions[0].policy if run.decisions else ""
    return Story(
        run.run,
        run.team,
        coordinator,
        run.task,
        run.started,
        _steps(run),
        run.answer,
        run.nodes[run.node].author if run.node else "",
        _ending(run),
        _shares(run),
        run.usage,
        run.seconds,
        tuple(_notes(run)),
        run.seed,
    )


def _steps(run: SavedRun) -> tuple[Step, ...]:
    """All steps, told from the last one back: what came later says whether a request began, and what was there then."""
    came: dict[str, list[Node]] = {}
    for node in run.nodes:
        if node.directive is not None:
            came.setdefault(node.directive, []).append(node)
    shown = Shown(run.nodes, run.edges)
    # Whoever was asked left a node, unless the run broke off in the middle of this step.
    over = run.stop in {"answered", "budget", "loop"}
    upto = len(run.nodes)
    steps: list[Step] = []
    for decision in reversed(run.decisions):
        ids = dict.fromkeys(directive.id for directive in _directives(decision))
        nodes = sorted((node for each in ids for node in came.get(each, ())), key=lambda node: node.id)
        upto = min(upto, nodes[0].id) if nodes else upto
        lost = {each for each in ids if each not in came} if over else set[str]()
        steps.append(_step(decision, run.nodes, nodes, shown, upto, lost))
        over = over or not decision.policy.startswith(LAST_TURN)
    return tuple(reversed(steps))


def _step(
    decision: Decision, nodes: Sequence[Node], came: Sequence[Node], shown: Shown, upto: int, lost: Set[str]
) -> Step:
    """One step. came: of its directives; upto: how many nodes there were before; lost: directives that never began."""
    return Step(
        decision.step + 1,
        _action(decision.action, nodes),
        tuple(why(decision, nodes)),
        beliefs(decision),
        _left(decision.budget_left),
        tuple(_told(each, shown.words(each, upto), refused=each.id in lost) for each in _directives(decision)),
        tuple(_said(node) for node in came),
        _deciding(decision),
    )


def _directives(decision: Decision) -> tuple[Directive, ...]:
    return () if isinstance(decision.action, Finish) else decision.action


def _action(action: tuple[Directive, ...] | Finish, nodes: Sequence[Node]) -> str:
    if isinstance(action, Finish):
        author = nodes[action.answer].author if action.answer < len(nodes) else "nobody"
        return f"takes node {action.answer}, by {author}, as the answer"
    names = [directive.agent for directive in action]
    return f"asks {enumerated(names)}" + (" at once" if len(names) > 1 else "")


def _told(directive: Directive, shown: str, *, refused: bool) -> Told:
    compute = directive.compute
    parts = [ASKED[directive.objective]]
    if compute.samples > 1:
        parts.append(
            f"{compute.samples} times" + (", the most frequent answer wins" if compute.reduce == "vote" else "")
        )
    if directive.detail != "normal":
        parts.append(DETAILED[directive.detail])
    if compute.max_tokens is not None:
        parts.append(f"in at most {compute.max_tokens} tokens")
    if compute.temperature is not None:
        parts.append(f"at temperature {compute.temperature:g}")
    if compute.plan != "none":
        parts.append(PLANNED[compute.plan])
    return Told(directive.agent, ", ".join(parts), shown, directive.instruction, directive.answer, refused)


def _said(node: Node) -> Said:
    tools = tuple(call.target for call in node.calls if isinstance(call.result, ToolResult))
    trouble = tuple(f"attempt {call.attempt}: {call.error}" for call in node.calls if call.error is not None)
    return Said(node.id, node.author, node.content, node.kind, node.usage, tools, trouble)


def _deciding(decision: Decision) -> Usage:
    usage = NO_USAGE
    for call in decision.calls:
        if isinstance(call.result, Generation):
            usage = usage + call.result.usage
    return usage


def _left(fractions: Sequence[float]) -> str:
    """Of the limits that something was used of; empty where nothing was."""
    used = [f"{name} {percent(fraction)}" for name, fraction in zip(LIMITS, fractions, strict=True) if fraction < 0.995]
    return ", ".join(used)


def _shares(run: SavedRun) -> tuple[Share, ...]:
    """In the order of first speaking; what was used without a reply comes last."""
    replies: dict[str, int] = {}
    usages: dict[str, Usage] = {}
    known = NO_USAGE
    for node in run.nodes:
        if node.kind in ("task", "team"):
            continue
        replies[node.author] = replies.get(node.author, 0) + (node.kind == "reply")
        usages[node.author] = usages.get(node.author, NO_USAGE) + node.usage
        known = known + node.usage
    shares = [Share(name, replies[name], usages[name]) for name in usages]
    lost = run.usage.calls - known.calls
    if lost > 0:
        rest = Usage(
            run.usage.input_tokens - known.input_tokens,
            run.usage.output_tokens - known.output_tokens,
            lost,
            max(0.0, run.usage.dollars - known.dollars),
            max(0.0, run.usage.seconds - known.seconds),
        )
        shares.append(Share("(without a reply)", 0, rest))
    return tuple(shares)


def _ending(run: SavedRun) -> str:
    """Why it ended, and where the answer comes from."""
    if run.why and run.stop == "failed":
        return f"it failed: {run.why}; what had arrived is kept"
    wrote = run.decisions and run.decisions[-1].policy.startswith(LAST_TURN)
    ending = f"{run.why}, so the best answer so far was taken" if run.why else ENDINGS[run.stop]
    return ending.replace("was taken", "was written" if wrote else "was taken")


def _notes(run: SavedRun) -> list[str]:
    notes = [f"Node {node.id}: {change_words(change_in(node))}." for node in run.nodes if node.kind == "team"]
    if run.refused:
        notes.append(f"{run.refused} of the requests decided did not start: the budget did not hold them.")
    above = [counted(run.overshoot, "token")] if run.overshoot else []
    above += [f"${run.overshoot_dollars:.6f}"] if run.overshoot_dollars > 0 else []
    if above:
        notes.append(f"Endpoints billed {' and '.join(above)} more than was reserved.")
    return notes
