"""The policy's network, written once: numpy runs it when a team is served, torch when it is trained.

Every function takes `xp`, the array module (numpy or torch; only names both have are used), and `w`, the weights by
name. So there is no second implementation to keep equal, and serving needs no torch.

Agents enter as a set: they share all weights, and whatever is computed per agent is equivariant under permutation.
    belief z_j   a GRU per agent, fed by every reply of the run, seen from that agent (arXiv 2509.04876, CKM)
    gap g_j      attention of an agent (belief and card) over slots of what the task still needs (same paper, f_gap)
    needs        attention of each agent over the named pieces of the task, where they are told apart: P(j supplies k)
    heads        pointer over agents and finish; samples, context, objective, detail per agent; pointer over answers;
                 predicted success, cost and gain per agent, predicted success per answer, value of the state

Dimensions in names: B runs, N agents, R answers (`facts.MOST`), E, C, Z, H, G, S, U the widths below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.learned import facts, needs, text
from podium.orchestrator.learned.joined import Tensor, Weights, product

E = 48
"""Width of a text's embedding."""
C = 32
"""Width of a card's embedding."""
I = 8  # noqa: E741
"""Width of a learned identity."""
Z = 48
"""Width of a belief."""
H = 48
"""Width of the transcript's state."""
G = 32
"""Width of a gap; also of attention's keys and values."""
SLOTS = 4
"""What the task still needs is kept in this many slots."""
S = 64
"""Width of a state."""
U = 64
"""Width of an agent in a state."""
V = 48
"""Width of a candidate answer."""
D = 24
"""Width of an agent beside one piece of the task."""

RELUCTANCE = 1.2
"""How much less likely, in nats, a fresh policy draws the next larger number of samples: trying costs real calls."""
NEED_TRUST = (3.0, 1.5, 0.0)
"""How much, in nats, a fresh policy goes by a gap that an agent is believed to close, when it chooses the piece and
when it chooses the agent; and by what is believed to be missing, when it finishes."""
TRUST = (0.3, 0.3, 1.0)
"""How far a fresh policy goes by what it believes of an agent, by what it believes of an answer, and by prices."""
FAR = -1e9
"""The logit of what is not allowed."""


HEADS = ("context", "objective", "detail", "samples", "style", "plan", "max_tokens")
"""Choices made for each asked agent, in the order they are sampled."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Sizes of the choices made per asked agent, in the order of HEADS; needs: pieces of a task that are told apart."""

    sizes: tuple[int, ...]
    needs: int = 0

    @property
    def total(self) -> int:
        """All choices side by side."""
        return sum(self.sizes)

    def spans(self) -> dict[str, tuple[int, int]]:
        """Where each head's choices stand among all of them."""
        ends = list(accumulate(self.sizes))
        return {name: (end - size, end) for name, size, end in zip(HEADS, self.sizes, ends, strict=True)}


def shapes(heads: Heads, identities: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight. identities: how many agents have a learned identity (row 0: unknown)."""
    event = E + facts.EVENT + facts.VIEW + C
    out: dict[str, tuple[int, ...]] = {
        "text.w": (text.WIDTH, E),
        "text.f": (text.SHAPE, E),
        "text.b": (E,),
        "identity": (identities + 1, I),
    }

    def dense(name: str, inputs: int, outputs: int) -> None:
        out[f"{name}.w"] = (inputs, outputs)
        out[f"{name}.b"] = (outputs,)

    dense("card", E + facts.CARD + I, C)
    dense("belief.start", C + E, Z)
    dense("belief.in", event, 3 * Z)
    dense("belief.back", Z, 3 * Z)
    dense("transcript.start", E, H)
    dense("transcript.in", E + facts.EVENT + C, 3 * H)
    dense("transcript.back", H, 3 * H)
    dense("state", E + H + facts.STATE, S)
    dense("needs.key", S, SLOTS * G)
    dense("needs.value", S, SLOTS * G)
    dense("gap.query", Z + C, G)
    dense("gap", 2 * G, G)
    dense("agent", Z + C + G + facts.AGENT, U)
    dense("agent.state", S, U)
    dense("answer", 2 * U + facts.NODE, V)
    dense("answer.state", S, V)
    dense("success", U, 1)
    dense("cost", U, 1)
    dense("gain", U + 2, 1)
    dense("passes", V, 1)
    dense("choose", V, 1)
    dense("pick", U, 1)
    dense("pick.again", U, U)
    dense("stop", S + U, 1)
    dense("whole", S + U + 2, S)
    dense("finish", S, 1)
    dense("value", S, 1)
    dense("options", U, heads.total)
    out["cost.options"] = (heads.total,)
    out["trust"] = (3,)
    if heads.needs:
        dense("need.piece", E + needs.PIECE, 2 * D)
        dense("need.agent", Z + C, 2 * D)
        out["need.pair.w"] = (needs.PAIR, D)
        out["need.read.w"] = (D, 1)
        out["need.gap.w"] = (D, G)
        out["need.answer.w"] = (needs.COVER, V)
        dense("supplies", D, 2)
        dense("there", D, 1)
        dense("about", D, 1)
        dense("about.all", U, 1)
        out["need.trust"] = (3,)
    return out


def initial(heads: Heads, identities: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Fresh weights: scaled normal matrices, zero biases, small heads so that the first policy is near uniform."""
    random = np.random.default_rng(seed)
    small = {"success.w", "cost.w", "gain.w", "passes.w", "choose.w", "options.w"}
    small |= {"supplies.w", "there.w", "about.w", "about.all.w"}
    small |= {"pick.w", "pick.again.w", "stop.w", "finish.w", "value.w"}
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes(heads, identities).items():
        if len(shape) == 1:
            weights[name] = np.zeros(shape, np.float32)
            continue
        scale = 0.5 if name == "text.w" else 1.0 / np.sqrt(shape[0])
        scale *= 0.1 if name in small or name == "identity" else 1.0
        weights[name] = (random.standard_normal(shape) * scale).astype(np.float32)
    weights["identity"][0] = 0
    first, last = heads.spans()["samples"]
    weights["options.b"][first:last] = -RELUCTANCE * np.arange(last - first, dtype=np.float32)
    weights["trust"][:] = TRUST
    if heads.needs:
        weights["need.trust"][:] = NEED_TRUST
    return weights


def _dense(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.w"] + w[f"{name}.b"]


def _cut(x: Tensor, *widths: int) -> list[Tensor]:
    """The outputs of a joint one by one; last, what is left."""
    ends = (0, *accumulate(widths))
    return [*(x[..., start:end] for start, end in pairwise(ends)), x[..., ends[-1] :]]


def _relu(x: Tensor) -> Tensor:
    return x * (x > 0)


def _sigmoid(xp: Any, x: Tensor) -> Tensor:
    return 0.5 * (xp.tanh(0.5 * x) + 1.0)


def _softmax(xp: Any, x: Tensor) -> Tensor:
    e = xp.exp(x - xp.amax(x, -1)[..., None])
    return e / e.sum(-1)[..., None]


def _gru(xp: Any, w: Weights, name: str, a: Tensor, h: Tensor) -> Tensor:
    """One step of a gated recurrent unit (arXiv 1406.1078), the candidate's reset applied after its matrix.

    a: the input, through its matrix already.
    """
    size = h.shape[-1]
    b = _dense(w, f"{name}.back", h)
    gates = _sigmoid(xp, a[..., : 2 * size] + b[..., : 2 * size])
    n = xp.tanh(a[..., 2 * size :] + gates[..., :size] * b[..., 2 * size :])
    return n + gates[..., size:] * (h - n)


def embed(xp: Any, w: Weights, vector: Tensor, figures: Tensor) -> Tensor:
    """Embeddings of texts: (..., WIDTH) and (..., SHAPE) -> (..., E)."""
    return xp.tanh(vector @ w["text.w"] + figures @ w["text.f"] + w["text.b"])


def cards(xp: Any, w: Weights, vector: Tensor, shape: Tensor, figures: Tensor, identity: Tensor) -> Tensor:
    """Embeddings of cards: (..., N, C). identity: (..., N, I) rows of the identity table (zeros: unknown)."""
    return xp.tanh(_dense(w, "card", xp.concatenate((embed(xp, w, vector, shape), figures, identity), -1)))


def start(xp: Any, w: Weights, task_BE: Tensor, card_BNC: Tensor) -> tuple[Tensor, Tensor]:
    """Beliefs (B, N, Z) and transcript state (B, H) before the first reply."""
    weight = w["belief.start.w"]
    z = xp.tanh(card_BNC @ weight[:C] + (task_BE @ weight[C:] + w["belief.start.b"])[:, None, :])
    return z, xp.tanh(_dense(w, "transcript.start", task_BE))


def observe(
    xp: Any,
    w: Weights,
    z_BNZ: Tensor,
    h_BH: Tensor,
    reply_BE: Tensor,
    figures: Tensor,
    views: Tensor,
    author_BC: Tensor,
) -> tuple[Tensor, Tensor]:
    """Beliefs and transcript state after one reply.

    figures: (B, EVENT); views: (B, N, VIEW); author_BC: card embedding of who replied.
    """
    common = product(xp, w, "of.event", xp.concatenate((reply_BE, figures, author_BC), -1))
    size = w["transcript.in.w"].shape[0]
    x = common[:, None, : 3 * Z] + views @ w["belief.in.w"][size:]
    return _gru(xp, w, "belief", x, z_BNZ), _gru(xp, w, "transcript", common[:, 3 * Z :], h_BH)


@dataclass(slots=True)
class Wanted:
    """What tasks need, piece by piece, K `Options.needs` of them: `needs.figures`, and the pieces' texts embedded.

    texts: (B, K, E), zeros where there is no piece; there: (B, K), 1 where there is a piece; pieces: (B, K, PIECE);
    pairs: (B, N, K, PAIR); answers: (B, R, COVER).
    """

    texts: Tensor
    there: Tensor
    pieces: Tensor
    pairs: Tensor
    answers: Tensor


@dataclass(slots=True)
class Out:
    """What the network says of a batch of states. Logits are not masked yet.

    agents: (B, N, U) agents in their state; state: (B, S); gaps: (B, N, G); pick: (B, N); finish: (B,);
    options: (B, N, heads.total); choose, passes: (B, R); success, cost, gain: (B, N); now, value: (B,);
    supplies, offers: (B, N, K); there: (B, K); about: (B, N, K + 1), all of the task last; empty without needs.

    Logits of probabilities: success, that j's reply passes; passes, that an answer does; gain, that the best answer
    passes once j was asked; supplies, that j's reply supplies piece k if it is asked for it alone; offers, that it does
    if it is asked for all of the task; there, that some reply so far did. cost: log1p of output tokens, to which
    `cost.options` adds what each choice takes that was made for the request. now: P(the best answer passes), 0 before
    the first; a probability.
    """

    agents: Tensor
    state: Tensor
    gaps: Tensor
    pick: Tensor
    finish: Tensor
    options: Tensor
    choose: Tensor
    passes: Tensor
    success: Tensor
    cost: Tensor
    gain: Tensor
    now: Tensor
    value: Tensor
    supplies: Tensor
    offers: Tensor
    there: Tensor
    about: Tensor


def decide(
    xp: Any,
    w: Weights,
    z_BNZ: Tensor,
    h_BH: Tensor,
    task_BE: Tensor,
    card_BNC: Tensor,
    state_figures: Tensor,
    agent_figures: Tensor,
    node_figures: Tensor,
    author_BRN: Tensor,
    backers_BRN: Tensor,
    stop_gradient: Callable[[Tensor], Tensor] = lambda x: x,
    wanted: Wanted | None = None,
) -> Out:
    """Everything a decision is drawn from.

    state_figures: (B, STATE); agent_figures: (B, N, AGENT); node_figures: (B, R, NODE); author_BRN: who wrote each
    candidate answer, one-hot, zeros behind the last; backers_BRN: who gives that answer, 1 each. Predictions and prices
    steer the policy through `trust`, and the policy's loss does not bend predictions (stop_gradient). wanted: the named
    pieces of the tasks, for policies that tell them apart.
    """
    batch, agents = z_BNZ.shape[0], z_BNZ.shape[1]
    s = xp.tanh(_dense(w, "state", xp.concatenate((task_BE, h_BH, state_figures), -1)))
    slots, s_agent, s_answer, s_whole = _cut(product(xp, w, "of.state", s), 2 * SLOTS * G, U, V)
    slots = slots.reshape(batch, 2, SLOTS, G)
    query, own, holder = _cut(product(xp, w, "of.holder", xp.concatenate((z_BNZ, card_BNC), -1)), G, U)
    read = _softmax(xp, query @ slots[:, 0].swapaxes(-1, -2) * G**-0.5) @ slots[:, 1]
    gap = _dense(w, "gap", xp.concatenate((read, query * read), -1))
    beside = None
    if wanted is not None:
        beside, read = _beside(xp, w, holder, wanted)
        gap = gap + read @ w["need.gap.w"]
    gap = xp.tanh(gap)
    u = _relu(own + s_agent[:, None, :] + xp.concatenate((gap, agent_figures), -1) @ w["agent.w"][Z + C :])
    wrote, backs, u_whole, heads = _cut(product(xp, w, "of.agent", u), V, V, S)
    success, cost, gain, pick = (heads[..., at] for at in range(4))
    options = heads[..., 4 : 4 + w["options.b"].shape[0]]
    there = author_BRN.sum(-1)
    v = author_BRN @ wrote + backers_BRN @ backs + node_figures @ w["answer.w"][2 * U :]
    v = v + (s_answer + w["answer.b"])[:, None, :]
    if wanted is not None:
        v = v + wanted.answers @ w["need.answer.w"]
    of_answer = product(xp, w, "of.answer", _relu(v))
    absent = (1.0 - there) * FAR
    passes, choose = of_answer[..., 0], of_answer[..., 1] + absent
    believed, promised, trust = stop_gradient(passes), stop_gradient(success), w["trust"]
    some = there[:, 0]
    best = xp.amax(believed + absent, -1) * some
    so_far = xp.tanh(best * 0.5)
    now = 0.5 * (so_far + some)
    hopes = xp.tanh(promised * 0.5)
    by_hope, weight = w["gain.w"][U:, 0], w["whole.w"]
    gain = gain + so_far[:, None] * by_hope[0] + hopes * by_hope[1] + promised
    whole = s_whole + u_whole.sum(1) / agents
    whole = _relu(whole + so_far[:, None] * weight[-2] + xp.amax(hopes, -1)[:, None] * weight[-1])
    whole = product(xp, w, "of.whole", whole)
    pick = pick + trust[0] * promised - trust[2] * agent_figures[..., facts.PRICE]
    finish = whole[..., 0] + trust[0] * best
    supplies = offers = about = u[..., :0]
    said = s[..., :0]
    if wanted is not None and beside is not None:
        alone = _dense(w, "supplies", beside)
        supplies, offers, said = alone[..., 0], alone[..., 1], _dense(w, "there", beside.mean(1))[..., 0]
        lacking = _sigmoid(xp, -stop_gradient(said)) * wanted.there
        closes = _sigmoid(xp, stop_gradient(supplies)) * lacking[:, None, :]
        by_need = w["need.trust"]
        each = _dense(w, "about", beside)[..., 0] + by_need[0] * closes
        about = xp.concatenate((each, heads[..., -1:]), -1)
        pick = pick + by_need[1] * xp.amax(closes, -1)
        finish = finish - by_need[2] * lacking.sum(-1)
    choose, value = choose + trust[1] * believed, whole[..., 1]
    beliefs = passes, success, cost, gain, now, value, supplies, offers, said, about
    return Out(u, s, gap, pick, finish, options, choose, *beliefs)


def _beside(xp: Any, w: Weights, agent_BND: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """Each agent beside each piece (B, N, K, D), and what each agent reads off all of them (B, N, D).

    agent_BND: each agent's belief and card, through `need.agent` already, 2 * D wide.
    """
    agent = agent_BND[:, :, None, :]
    piece = _dense(w, "need.piece", xp.concatenate((wanted.texts, wanted.pieces), -1))[:, None, :, :]
    sums = agent[..., :D] + piece[..., :D] + wanted.pairs @ w["need.pair.w"]
    beside = _relu(sums + agent[..., D:] * piece[..., D:])
    score = (beside @ w["need.read.w"])[..., 0] + ((1.0 - wanted.there) * FAR)[:, None, :]
    weight = _softmax(xp, score) * xp.amax(wanted.there, -1)[:, None, None]
    return beside, (weight[..., None] * beside).sum(-2)


def again(w: Weights, out: Out, picked_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of one more parallel pick (B, N) and of stopping (B,), given who was picked already (0 or 1 each)."""
    count = picked_BN.sum(-1)
    chosen = (picked_BN[:, None, :] @ out.agents)[:, 0] / (count + (count == 0))[..., None]
    pick = out.pick + (_dense(w, "pick.again", out.agents) @ chosen[..., None])[..., 0] * U**-0.5
    x = out.state @ w["stop.w"][:S] + chosen @ w["stop.w"][S:] + w["stop.b"]
    return pick, x[..., 0]
