"""Weights that are used on the same input, side by side: one product instead of many small ones.

For one team of eight a product costs what it takes to call it, whatever its size. Where a policy is served its weights
are joined once (`joined`); where it is trained they are joined whenever they are used (`product`), so that gradients
reach each of them. As in `network`, `xp` is the array module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Weights = Mapping[str, Any]
Tensor = Any

__all__ = ["JOINTS", "joined", "product"]


def _of_event(xp: Any, w: Weights) -> tuple[Tensor, Tensor]:
    """Of a reply, as all see it: inputs of the belief's unit, and of the transcript's."""
    weight = w["transcript.in.w"]
    both = xp.concatenate((w["belief.in.w"][: weight.shape[0]], weight), -1)
    return both, xp.concatenate((w["belief.in.b"], w["transcript.in.b"]), -1)


def _of_state(xp: Any, w: Weights) -> tuple[Tensor, Tensor]:
    """Of a state: keys and values of what is needed; its part of every agent, of every answer, and of the whole."""
    names = ("needs.key", "needs.value", "agent.state", "answer.state")
    whole = w["whole.w"][: w["state.b"].shape[0]]
    weight = xp.concatenate((*(w[f"{name}.w"] for name in names), whole), -1)
    return weight, xp.concatenate((*(w[f"{name}.b"] for name in names), w["whole.b"]), -1)


def _of_holder(xp: Any, w: Weights) -> tuple[Tensor, Tensor]:
    """Of an agent's belief and card: what it asks for among the gaps, its own part, and its part of named needs."""
    size = w["gap.query.w"].shape[0]
    weights, biases = [w["gap.query.w"], w["agent.w"][:size]], [w["gap.query.b"], w["agent.b"]]
    if "need.agent.w" in w:
        weights.append(w["need.agent.w"])
        biases.append(w["need.agent.b"])
    return xp.concatenate(weights, -1), xp.concatenate(biases, -1)


def _of_agent(xp: Any, w: Weights) -> tuple[Tensor, Tensor]:
    """Of an agent in a state: its part of an answer that it wrote, and that it backs; of the whole; then its heads.

    Those are success, cost, gain, pick, options and, of policies that tell pieces apart, about all.
    """
    size, state = w["success.w"].shape[0], w["state.b"].shape[0]
    answer, whole, gain = w["answer.w"], w["whole.w"], w["gain.w"]
    weights = [answer[:size], 0.5 * answer[size : 2 * size], whole[state : state + size]]
    weights += [w["success.w"], w["cost.w"], gain[:size], w["pick.w"], w["options.w"]]
    nothing = 0.0 * w["answer.b"], 0.0 * w["answer.b"], 0.0 * w["whole.b"]  # they have theirs elsewhere
    biases = [*nothing, w["success.b"], w["cost.b"], w["gain.b"], w["pick.b"], w["options.b"]]
    if "about.all.w" in w:
        weights.append(w["about.all.w"])
        biases.append(w["about.all.b"])
    return xp.concatenate(weights, -1), xp.concatenate(biases, -1)


def _of_answer(xp: Any, w: Weights) -> tuple[Tensor, Tensor]:
    """Of an answer: whether it passes, and whether to choose it."""
    return xp.concatenate((w["passes.w"], w["choose.w"]), -1), xp.concatenate((w["passes.b"], w["choose.b"]), -1)


def _of_whole(xp: Any, w: Weights) -> tuple[Tensor, Tensor]:
    """Of the whole: finishing, and its value."""
    return xp.concatenate((w["finish.w"], w["value.w"]), -1), xp.concatenate((w["finish.b"], w["value.b"]), -1)


JOINTS: dict[str, Callable[[Any, Weights], tuple[Tensor, Tensor]]] = {
    "of.event": _of_event,
    "of.state": _of_state,
    "of.holder": _of_holder,
    "of.agent": _of_agent,
    "of.answer": _of_answer,
    "of.whole": _of_whole,
}
"""Matrix (inputs, outputs) and bias (outputs,) by the name of their input."""


def joined(xp: Any, w: Weights) -> Weights:
    """The weights as they are, and beside them the joints: copies, that do not follow if a weight is changed."""
    return {**w, **{name: join(xp, w) for name, join in JOINTS.items()}}


def product(xp: Any, w: Weights, name: str, x: Tensor) -> Tensor:
    """An input through a joint: (..., inputs) -> (..., outputs)."""
    joint = w.get(name)
    weight, bias = JOINTS[name](xp, w) if joint is None else joint
    return x @ weight + bias
