"""Reward channels: what a run earned, decision by decision, one named figure at a time.

A channel is a pure function of a finished run: an array with one number for each of its decisions. Channels say what
happened; what it is worth, compared with what and on which runs is `credit`'s to say, so that a channel is written
once and serves every estimator. Only the channels that a training's credit names are computed.

Milestones are potentials' differences, gamma * phi(next state) - phi(state), with phi = 0 once the run has ended.
Whatever phi is, their discounted sum over a run is -phi(first state), which no decision changes: the best policy stays
the best one, and a phi that knows something only makes it easier to find (Ng, Harada and Russell, ICML 1999).

Sources: `talk` and `gap` arXiv 2509.04876 (OSC's C_comm and r_shape); `plans` 2509.03581; `parallel` and `finish`, to
be used with a weight that falls to 0, PARL (Kimi K2.5 report); milestones also 2603.19685.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.pieces import asked_for, supplied
from podium.protocols.events import Result
from podium.protocols.record import Directive, Finish, Node
from podium.protocols.task import Verdict

Channel = Literal[
    "outcome",
    "cost",
    "price",
    "tokens",
    "talk",
    "plans",
    "parallel",
    "finish",
    "milestone_belief",
    "milestone_best",
    "milestone_parts",
    "gap",
]
"""Names of the reward channels, as a training file calls them."""
MILESTONES: Collection[Channel] = ("milestone_belief", "milestone_best", "milestone_parts")
"""Channels that are differences of a potential."""

Rewards = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Earned:
    """A finished run, as its rewards see it. T decisions.

    verdict: on its answer. knob: dollars that one passed answer is worth. worth: the verdict on any reply's text.
    gamma: discount per decision of the milestones; the streams that are credited have the same.
    """

    result: Result
    verdict: Verdict
    knob: float
    worth: Callable[[str], Verdict]
    gamma: float = 1.0


def rewards_of(run: Earned, channels: Collection[Channel]) -> dict[str, Rewards]:
    """The rewards of a run in the channels asked for: name -> (T,) float64."""
    return {channel: CHANNELS[channel](run) for channel in channels}


def outcome(run: Earned) -> Rewards:
    """The score of the answer, at the last decision."""
    out = np.zeros(len(run.result.decisions))
    if len(out):
        out[-1] = run.verdict.score
    return out


def cost(run: Earned) -> Rewards:
    """Dollars in units of one passed answer, at the decision that caused them."""
    return _caused(run, lambda node: node.usage.dollars / run.knob)


def price(run: Earned) -> Rewards:
    """The cost of a run that passed, nothing of one that did not.

    Less the outcome's, its sum is what evaluation calls the gain of a run at its knob.
    """
    return cost(run) * run.verdict.passed


def tokens(run: Earned) -> Rewards:
    """Tokens read and written by the agents, as they are billed."""
    return _caused(run, lambda node: float(node.usage.tokens))


def talk(run: Earned) -> Rewards:
    """Tokens that the agents wrote. The paper's weight for each is -0.001."""
    return _caused(run, lambda node: float(node.usage.output_tokens))


def plans(run: Earned) -> Rewards:
    """How many plans a decision renewed."""
    return _asked(run, lambda directive, _: float(directive.compute.plan == "renew"))


def parallel(run: Earned) -> Rewards:
    """How many agents a decision asked beside the first."""
    return np.maximum(_asked(run, lambda directive, count: 1.0) - 1.0, 0.0)


def finish(run: Earned) -> Rewards:
    """Share of the asked agents that came back with an answer, 0 where nobody was asked."""
    answered = {node.directive for node in run.result.nodes if node.kind == "reply" and node.answer is not None}
    return _asked(run, lambda directive, count: (directive.id in answered) / count)


def milestone_belief(run: Earned) -> Rewards:
    """Of the policy's own belief that the best answer so far passes."""
    return _shaped(run, [decision.reasons.get("now", 0.0) for decision in run.result.decisions])


def milestone_best(run: Earned) -> Rewards:
    """Of the best score among the replies so far."""
    return _shaped(run, _so_far(run, lambda verdict: {"score": verdict.score}))


def milestone_parts(run: Earned) -> Rewards:
    """Of the named parts of the verdict: for each the best that a reply so far reached, and their mean."""
    return _shaped(run, _so_far(run, lambda verdict: verdict.parts))


def gap(run: Earned) -> Rewards:
    """Gaps closed: the piece of the task that a directive was about was missing, and its reply supplies it.

    How far a reply supplies a piece is for the task to say, by the part of its verdict that is named as the piece. This
    is no potential's difference: it pays for asking piece by piece, whatever that does for the answer, so it is to be
    used with a weight that is small (the paper's is 0.05) or that falls to 0. Source: OSC, r_shape.
    """
    result = run.result
    out, before = np.zeros(len(result.decisions)), defaultdict[str, float](float)
    replies = {node.directive: node for node in result.nodes if node.kind == "reply"}
    for step, decision in enumerate(result.decisions):
        if isinstance(decision.action, Finish):
            continue
        asked = asked_for(decision, result.task.text)
        for directive, piece in zip(decision.action, asked, strict=True):
            reply = replies.get(directive.id)
            if reply is None:
                continue
            parts = run.worth(reply.content).parts
            if piece:
                out[step] += max(0.0, (supplied(piece, parts) or 0.0) - before[piece])
            for name, value in parts.items():
                before[name] = max(before[name], value)
    return out


CHANNELS: Mapping[Channel, Callable[[Earned], Rewards]] = {
    "outcome": outcome,
    "cost": cost,
    "price": price,
    "tokens": tokens,
    "talk": talk,
    "plans": plans,
    "parallel": parallel,
    "finish": finish,
    "milestone_belief": milestone_belief,
    "milestone_best": milestone_best,
    "milestone_parts": milestone_parts,
    "gap": gap,
}
"""Every channel by its name."""


def _caused(run: Earned, value: Callable[[Node], float]) -> Rewards:
    """The sum of a figure over the nodes that each decision caused."""
    step_of = {
        directive.id: step
        for step, decision in enumerate(run.result.decisions)
        if not isinstance(decision.action, Finish)
        for directive in decision.action
    }
    out = np.zeros(len(run.result.decisions))
    for node in run.result.nodes:
        if node.directive in step_of:
            out[step_of[node.directive]] += value(node)
    return out


def _asked(run: Earned, value: Callable[[Directive, int], float]) -> Rewards:
    """The sum of a figure over each decision's directives. value: of a directive, and how many there are."""
    return np.array(
        [
            0.0
            if isinstance(decision.action, Finish)
            else sum(value(directive, len(decision.action)) for directive in decision.action)
            for decision in run.result.decisions
        ]
    )


def _shaped(run: Earned, potential: list[float]) -> Rewards:
    """What a potential pays. potential: (T,), of the state before each decision; after the last one it is 0."""
    phi = np.array([*potential, 0.0])
    return run.gamma * phi[1:] - phi[:-1]


def _so_far(run: Earned, of: Callable[[Verdict], Mapping[str, float]]) -> list[float]:
    """The mean of the best values so far, before each decision; 0 before the first reply."""
    best: dict[str, float] = defaultdict(float)
    out: list[float] = []
    seen = 0
    for decision in run.result.decisions:
        for node in run.result.nodes[seen : decision.seen]:
            if node.kind == "reply":
                for name, value in of(run.worth(node.content)).items():
                    best[name] = max(best[name], value)
        seen = decision.seen
        out.append(float(np.mean(list(best.values()))) if best else 0.0)
    return out
