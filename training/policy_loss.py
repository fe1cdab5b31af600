"""The policy's losses in torch: what was decided, how likely it is now, and what the beliefs should have said.

The network itself is `orchestrator.learned.network`, the same functions that serve. Here it runs over whole batches
of replayed runs: beliefs are unrolled reply by reply, every decision reads the beliefs of its moment.

Sources: clipped surrogate, arXiv 1707.06347 eq. 7; beliefs trained on every rollout, failures included (DESIGN.md 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from podium.orchestrator.learned import network
from podium.orchestrator.learned.network import HEADS
from podium.orchestrator.learned.options import Options
from podium.training.replay import Replay
from podium.training.train_file import LossSpec

WORTH = 5.0
"""Weight of what choices are worth, in passed answers, beside the beliefs, in a supervised start."""


@dataclass(slots=True)
class Losses:
    """Scalars of one batch: total has a gradient, the rest are for reports."""

    total: Tensor
    policy: float
    entropy: float
    beliefs: float
    value: float
    ratio: float
    clipped: float


def unrolled(w: dict[str, Tensor], batch: Replay) -> network.Out:
    """The network's view of every decision of a batch."""
    texts = network.embed(torch, w, _t(batch.texts), _t(batch.shapes))
    identity = w["identity"][_t(batch.identity)] * (_t(batch.identity) > 0)[:, None]
    card_NC = torch.tanh(
        torch.cat((texts[_t(batch.card_text)], _t(batch.card_figures), identity), -1) @ w["card.w"] + w["card.b"]
    )
    runs, agents = len(batch.task), card_NC.shape[0]
    card_RNC = card_NC.expand(runs, agents, card_NC.shape[1])
    task_RE = texts[_t(batch.task)]
    z, h = network.start(torch, w, task_RE, card_RNC)
    beliefs, transcripts = [z], [h]
    events = _t(batch.events)
    for at in range(batch.event_text.shape[1]):
        z_next, h_next = network.observe(
            torch,
            w,
            z,
            h,
            texts[_t(batch.event_text[:, at])],
            _t(batch.event_figures[:, at]),
            _t(batch.event_views[:, at]),
            card_NC[_t(batch.event_author[:, at])],
        )
        there = (events > at).float()
        z = torch.where(there[:, None, None] > 0, z_next, z)
        h = torch.where(there[:, None] > 0, h_next, h)
        beliefs.append(z)
        transcripts.append(h)
    run, seen = _t(batch.run), _t(batch.seen)
    wanted = None
    if batch.needs.shape[1]:
        piece = _t(batch.needs)[run]
        there = (piece >= 0).to(z.dtype)
        parts = _t(batch.pieces), _t(batch.pairs), _t(batch.covers)
        wanted = network.Wanted(texts[piece.clamp(0)] * there[..., None], there, *parts)
    return network.decide(
        torch,
        w,
        torch.stack(beliefs)[seen, run],
        torch.stack(transcripts)[seen, run],
        task_RE[run],
        card_RNC[run],
        _t(batch.state),
        _t(batch.agents),
        _t(batch.answers),
        (_t(batch.authors)[..., None] == torch.arange(agents)).to(z.dtype),
        _t(batch.backers),
        torch.detach,
        wanted,
    )


def decided(w: dict[str, Tensor], out: network.Out, batch: Replay, options: Options) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (M,) of the decisions that were taken, in nats."""
    rows = torch.arange(len(batch))
    picks, masks = _t(batch.picks), _t(batch.pick_masks)
    agents = out.pick.shape[1]
    log_prob, entropy = torch.zeros(len(batch)), torch.zeros(len(batch))
    picked = torch.zeros(len(batch), agents)
    spans = options.heads.spans()
    for turn in range(picks.shape[1]):
        chosen = picks[:, turn]
        if turn == 0:
            logits, last = out.pick, out.finish
        else:
            logits, last = network.again(w, out, picked)
        there = (chosen >= 0).float()
        part, spread = _categorical(torch.cat((logits, last[:, None]), -1), masks[:, turn], chosen)
        log_prob, entropy = log_prob + part * there, entropy + spread * there
        agent = chosen.clamp(0, agents - 1)
        asked = ((chosen >= 0) & (chosen < agents)).float()
        for number, head in enumerate(HEADS):
            start, end = spans[head]
            choice = _t(batch.choices[:, turn, number])
            there = (choice >= 0).float()
            if end - start == 1 or not there.any():
                continue
            part, spread = _categorical(
                out.options[rows, agent, start:end], _t(batch.choice_masks[:, turn, start:end]), choice
            )
            log_prob, entropy = log_prob + part * there, entropy + spread * there
        about = _t(batch.about[:, turn])
        there = (about >= 0).float()
        if there.any():
            part, spread = _categorical(out.about[rows, agent], _t(batch.about_masks[:, turn]), about)
            log_prob, entropy = log_prob + part * there, entropy + spread * there
        picked = torch.maximum(picked, functional.one_hot(agent, agents).float() * asked[:, None])
    there = (_t(batch.answer) >= 0).float()
    part, spread = _categorical(out.choose, _t(batch.answer_masks), _t(batch.answer))
    return log_prob + part * there, entropy + spread * there


def losses(
    w: dict[str, Tensor],
    batch: Replay | Sequence[Replay],
    options: Options,
    spec: LossSpec,
    advantages: np.ndarray,
    weights: np.ndarray,
    returns: np.ndarray,
    *,
    entropy: float,
    learn_policy: bool = True,
    values: np.ndarray | None = None,
) -> Losses:
    """All losses of a batch; of several teams, one replay for each, and the arrays in the same order.

    advantages, weights, returns: (M,) per decision; the policy loss is the weighted sum, so that a batch cut in
    pieces sums to the whole. entropy: weight of the bonus now. learn_policy: False trains the beliefs alone. values:
    (M,) what the critic said when the runs were made, where its steps are clipped.
    """
    batches = [batch] if isinstance(batch, Replay) else batch
    outs = [unrolled(w, each) for each in batches]
    drawn = [decided(w, out, each, options) for out, each in zip(outs, batches, strict=True)]
    log_prob, spread = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    ratio = torch.exp(log_prob - _t(np.concatenate([each.log_prob for each in batches])))
    advantage, weight = _t(advantages.astype(np.float32)), _t(weights.astype(np.float32))
    clipped = ratio.clamp(1 - spec.clip_low, 1 + spec.clip_high)
    policy = -(torch.minimum(ratio * advantage, clipped * advantage) * weight).sum()
    bonus = (spread * weight).sum()
    value = (_value_error(torch.cat([out.value for out in outs]), returns, values, spec.value_clip) * weight).sum()
    errors = [_belief_errors(w, out, each, options) for out, each in zip(outs, batches, strict=True)]
    beliefs = _mean_of_each(errors)
    total = spec.beliefs * beliefs + spec.value * value
    if learn_policy:
        total = total + policy - entropy * bonus
    with torch.no_grad():
        outside = ((ratio - clipped).abs() > 0).float().mean()
    return Losses(total, policy.item(), bonus.item(), beliefs.item(), value.item(), ratio.mean().item(), outside.item())


def worths(w: dict[str, Tensor], batch: Replay, temperature: float) -> tuple[Tensor, Tensor, network.Out]:
    """What a policy's own numbers say that its choices are worth: Q(s, a) = V(s) + temperature log pi(a | s), without
    masks, the values that a softmax policy and its critic stand for together (arXiv 1702.08892, eq. 10).

    (M, N + 1), of asking every agent in the best way and, last, of finishing; (M,), the score of the answer that it
    would take, -1 where there is none; and all that the network said.
    """
    out = unrolled(w, batch)
    likely = torch.log_softmax(torch.cat((out.pick, out.finish[:, None]), -1), -1)
    return out.value[:, None] + temperature * likely, _best(out, batch), out


def fitted(
    w: dict[str, Tensor],
    batch: Replay,
    options: Options,
    spec: LossSpec,
    targets: np.ndarray,
    temperature: float,
) -> Tensor:
    """What a supervised start minimises: the beliefs' losses, and how far what choices are worth is from its targets.

    targets: (M, N + 1), NaN where nothing is known.
    """
    worth, _, out = worths(w, batch, temperature)
    asked = functional.one_hot(_t(batch.asked[:, 0]).clamp(0), worth.shape[1])
    worth = worth + temperature * asked * _worse(out, batch, options)[:, None]
    known = torch.where(_t(np.isfinite(targets)), worth - _t(np.nan_to_num(targets).astype(np.float32)), 0.0)
    return WORTH * (known**2).sum(-1).mean() + spec.beliefs * _mean_of_each([_belief_errors(w, out, batch, options)])


def _worse(out: network.Out, batch: Replay, options: Options) -> Tensor:
    """(M,): how much less likely than the likeliest way the first agent was asked in, in nats, 0 or less."""
    agent, rows = _t(batch.asked[:, 0]).clamp(0), torch.arange(len(batch))
    total = torch.zeros(len(batch))
    for number, (start, end) in enumerate(options.heads.spans().values()):
        choice, mask = _t(batch.choices[:, 0, number]), _t(batch.choice_masks[:, 0, start:end])
        logits = torch.where(mask, out.options[rows, agent, start:end], network.FAR)
        chosen = logits.gather(-1, choice.clamp(0)[:, None])[:, 0]
        total = total + torch.where(choice >= 0, chosen - logits.amax(-1), 0.0)
    return total


def _mean_of_each(errors: Sequence[dict[str, Tensor]]) -> Tensor:
    """Means of the beliefs' losses by what they are about, summed: means over all, however teams cut them."""
    total = torch.zeros(())
    for kind in dict.fromkeys(kind for each in errors for kind in each):
        total = total + torch.cat([each[kind] for each in errors if kind in each]).mean()
    return total


def _value_error(said: Tensor, returns: np.ndarray, before: np.ndarray | None, clip: float | None) -> Tensor:
    """The critic's squared error, (M,); clipped, the larger of those with and without a step that is too long.

    Source: the value loss of OpenAI's PPO (baselines, ppo2), which stands in no paper.
    """
    target = _t(returns.astype(np.float32))
    plain = (said - target) ** 2
    if clip is None or before is None:
        return plain
    old = _t(before.astype(np.float32))
    return torch.maximum(plain, (old + (said - old).clamp(-clip, clip) - target) ** 2)


def _belief_errors(w: dict[str, Tensor], out: network.Out, batch: Replay, options: Options) -> dict[str, Tensor]:
    """Cross-entropy of predicted successes, per asked agent and per answer, of gains, of the pieces that a reply
    supplies, as far as it was asked for them, and of those that are there; squared error of log cost.

    By what they are about, (n,) each; nothing where there was nothing to see.

    What asking one agent gained is read off the run's next decision: does the answer pass that would be taken there?
    """
    rows = torch.arange(len(batch))
    found: dict[str, Tensor] = {}
    for turn in range(batch.asked.shape[1]):
        target = _t(batch.success[:, turn])
        asked = target >= 0
        if asked.any():
            agent, where = _t(batch.asked[:, turn])[asked], rows[asked]
            found[f"success {turn}"] = _surprise(out.success[where, agent], target[asked])
            cost = out.cost[where, agent] + _cost_of_choices(w, batch, options, turn)[asked]
            found[f"cost {turn}"] = 0.1 * (cost - _t(batch.tokens[:, turn])[asked]) ** 2
        target = _t(batch.supplied[:, turn])
        known = target >= 0
        if known.any():
            agent = _t(batch.asked[:, turn]).clamp(0)
            alone = (_t(batch.about[:, turn]) >= 0) & (_t(batch.about[:, turn]) < target.shape[1])
            said = torch.where(alone[:, None], out.supplies[rows, agent], out.offers[rows, agent])
            found[f"supplies {turn}"] = _surprise(said[known], target[known])
    target = _t(batch.there)
    known = target >= 0
    if known.any():
        found["there"] = _surprise(out.there[known], target[known])
    target, best = _t(batch.passes), _best(out, batch)
    there = target >= 0
    who, run = _t(batch.asked), _t(batch.run)
    alone = (who[:, 0] >= 0) & (who[:, 1:] < 0).all(-1)
    where = rows[:-1][alone[:-1] & (run[1:] == run[:-1]) & (best[1:] >= 0)]
    if len(where):
        gain = out.gain[where, who[where, 0]]
        found["gain"] = _surprise(gain, best[where + 1])
    if there.any():
        found["passes"] = _surprise(out.passes[there], target[there])
    return found


def _best(out: network.Out, batch: Replay) -> Tensor:
    """(M,): the score of the answer that would be taken in each state, -1 where there is none."""
    target = _t(batch.passes)
    there = _t(batch.answer_masks) & (target >= 0)
    taken = torch.where(there, out.choose.detach(), torch.full_like(out.choose, network.FAR))
    return target.gather(-1, taken.argmax(-1, keepdim=True))[:, 0]


def _cost_of_choices(w: dict[str, Tensor], batch: Replay, options: Options, turn: int) -> Tensor:
    """(M,): what the choices made for the turn's request add to the log of its tokens: a plan, a cap, samples."""
    total = torch.zeros(len(batch))
    for number, (start, end) in enumerate(options.heads.spans().values()):
        choice = _t(batch.choices[:, turn, number])
        total = total + w["cost.options"][start:end][choice.clamp(0, end - start - 1)] * (choice >= 0)
    return total


def _surprise(logits: Tensor, happened: Tensor) -> Tensor:
    """Cross-entropy of probabilities with what happened, (n,) nats."""
    return functional.binary_cross_entropy_with_logits(logits, happened, reduction="none")


def _categorical(logits: Tensor, mask: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of a choice under a mask, and the entropy there; both (M,)."""
    log_probs = torch.log_softmax(torch.where(mask, logits, torch.full_like(logits, network.FAR)), -1)
    probs = log_probs.exp()
    spread = -(probs * torch.where(mask, log_probs, torch.zeros_like(log_probs))).sum(-1)
    return log_probs.gather(-1, choice.clamp(0)[:, None])[:, 0], spread


def _t(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
