"""The policy's losses in torch: what was decided, how likely it is now, and what the beliefs should have said.

The network itself is `orchestrator.learned.network`, the same functions that serve. Here it runs over whole batches
of replayed runs: beliefs are unrolled reply by reply, every decision reads the beliefs of its moment.

Sources: clipped surrogate, arXiv 1707.06347 eq. 7; beliefs trained on every rollout, failures included (DESIGN.md 4).
"""

from __future__ import annotations

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
        picked = torch.maximum(picked, functional.one_hot(agent, agents).float() * asked[:, None])
    there = (_t(batch.answer) >= 0).float()
    part, spread = _categorical(out.choose, _t(batch.answer_masks), _t(batch.answer))
    return log_prob + part * there, entropy + spread * there


def losses(
    w: dict[str, Tensor],
    batch: Replay,
    options: Options,
    spec: LossSpec,
    advantages: np.ndarray,
    weights: np.ndarray,
    returns: np.ndarray,
    *,
    entropy: float,
    learn_policy: bool = True,
) -> Losses:
    """All losses of a batch.

    advantages, weights, returns: (M,) per decision; the policy loss is the weighted sum, so that a batch cut in
    pieces sums to the whole. entropy: weight of the bonus now. learn_policy: False trains the beliefs alone.
    """
    out = unrolled(w, batch)
    log_prob, spread = decided(w, out, batch, options)
    ratio = torch.exp(log_prob - _t(batch.log_prob))
    advantage, weight = _t(advantages.astype(np.float32)), _t(weights.astype(np.float32))
    clipped = ratio.clamp(1 - spec.clip_low, 1 + spec.clip_high)
    policy = -(torch.minimum(ratio * advantage, clipped * advantage) * weight).sum()
    bonus = (spread * weight).sum()
    value = ((out.value - _t(returns.astype(np.float32))) ** 2 * weight).sum()
    beliefs = _belief_loss(out, batch)
    total = spec.beliefs * beliefs + spec.value * value
    if learn_policy:
        total = total + policy - entropy * bonus
    with torch.no_grad():
        outside = ((ratio - clipped).abs() > 0).float().mean()
    return Losses(total, policy.item(), bonus.item(), beliefs.item(), value.item(), ratio.mean().item(), outside.item())


def _belief_loss(out: network.Out, batch: Replay) -> Tensor:
    """Cross-entropy of predicted successes, per asked agent and per answer, and of gains; squared error of log cost.

    What asking one agent gained is read off the run's next decision: does the answer pass that would be taken there?
    """
    rows = torch.arange(len(batch))
    total = torch.zeros(())
    for turn in range(batch.picks.shape[1]):
        target = _t(batch.success[:, turn])
        asked = target >= 0
        if asked.any():
            agent = _t(batch.picks[:, turn]).clamp(0, out.success.shape[1] - 1)[asked]
            where = rows[asked]
            total = total + functional.binary_cross_entropy_with_logits(out.success[where, agent], target[asked])
            total = total + 0.1 * ((out.cost[where, agent] - _t(batch.tokens[:, turn])[asked]) ** 2).mean()
    target = _t(batch.passes)
    there = target >= 0
    taken = torch.where(_t(batch.answer_masks) & there, out.choose.detach(), torch.full_like(out.choose, network.FAR))
    best = target.gather(-1, taken.argmax(-1, keepdim=True))[:, 0]
    picks, run, agents = _t(batch.picks), _t(batch.run), out.gain.shape[1]
    alone = (picks[:, 0] >= 0) & (picks[:, 0] < agents) & ((picks[:, 1:] < 0) | (picks[:, 1:] == agents)).all(-1)
    where = rows[:-1][alone[:-1] & (run[1:] == run[:-1]) & (best[1:] >= 0)]
    if len(where):
        gain = out.gain[where, picks[where, 0]]
        total = total + functional.binary_cross_entropy_with_logits(gain, best[where + 1])
    if there.any():
        total = total + functional.binary_cross_entropy_with_logits(out.passes[there], target[there])
    return total


def _categorical(logits: Tensor, mask: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of a choice under a mask, and the entropy there; both (M,)."""
    log_probs = torch.log_softmax(torch.where(mask, logits, torch.full_like(logits, network.FAR)), -1)
    probs = log_probs.exp()
    spread = -(probs * torch.where(mask, log_probs, torch.zeros_like(log_probs))).sum(-1)
    return log_probs.gather(-1, choice.clamp(0)[:, None])[:, 0], spread


def _t(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
