"""From what the network says of some runs to their decisions: sampled factor by factor, for all runs at once.

First the pick: an agent, or finish. For finish, which reply is the answer. For an agent, the piece of the task that it
is asked for, then a choice of each head that has more than one; then a further agent or nobody else, without
replacement, up to the policy's width. What the network believes becomes the decision's reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import expm1, log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.orchestrator.coordinator import RunState
from podium.orchestrator.learned import network
from podium.orchestrator.learned.drawing import Draws
from podium.orchestrator.learned.facts import MOST, Facts
from podium.orchestrator.learned.needs import Needs
from podium.orchestrator.learned.saved import Policy
from podium.protocols.frozen import slotted
from podium.protocols.record import Decision, Directive, Finish

__all__ = ["Sampler"]

Array = NDArray[np.float32]

LACKS = 0.5
"""Who is less likely than this to supply a piece is believed to lack it."""

Fractions = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Choices:
    """What there is to choose for a request in some states.

    fixed: the choices of heads that have only one now; sampled: the others, with their masks and words; costs: what
    each of their choices adds to the log of a reply's tokens; places: (heads, most) where they stand among all.
    """

    fixed: dict[str, int]
    sampled: tuple[tuple[str, tuple[bool, ...], tuple[str, ...]], ...]
    costs: tuple[list[float], ...]
    places: NDArray[np.int64]


@slotted
class _Run:
    """One of the runs that are decided.

    row: of the batch; supplies: per agent and piece, where pieces are told apart; open: whom the next pick may ask,
    and, last, whether it may be nobody; choice: the agent that is being asked; picked: 1 for each that was asked.
    """

    row: int
    state: RunState
    facts: Facts
    names: tuple[str, ...]
    open: tuple[bool, ...]
    needs: Needs | None
    supplies: list[list[float]]
    reasons: dict[str, float]
    directives: list[Directive]
    choice: int
    picked: list[int]

    @property
    def name(self) -> str:
        """Of the agent that is being asked."""
        return self.names[self.choice]


class Sampler:
    """Draws the decisions of a policy. name: of the coordinator that they are signed with."""

    def __init__(self, policy: Policy, name: str) -> None:
        self.policy = policy
        self.name = name
        self._spans = policy.card.options.heads.spans()
        self._words = policy.card.options.words()
        states = [(heard, plan) for heard in (False, True) for plan in (False, True)]
        self._choices = {state: self._told_apart(*state) for state in states}

    def _told_apart(self, heard: bool, plan: bool) -> _Choices:
        """What there is to choose for a request, by whether somebody has replied, and made a plan."""
        masks = {head: self.policy.card.options.mask(head, heard, plan) for head in self._spans}
        fixed = {head: mask.index(True) for head, mask in masks.items() if sum(mask) == 1}
        sampled = tuple((head, mask, self._words[head]) for head, mask in masks.items() if head not in fixed)
        spans, most = [self._spans[head] for head, _, _ in sampled], max(map(len, masks.values()))
        places = [(start + np.arange(most)).clip(0, end - 1) for start, end in spans]
        costs = tuple(self.policy.weights["cost.options"][start:end].tolist() for start, end in spans)
        return _Choices(fixed, sampled, costs, np.array(places, np.int64).reshape(-1, most))

    def decisions(
        self, states: Sequence[RunState], out: network.Out, needs: Sequence[Needs], left: Sequence[Fractions]
    ) -> list[Decision]:
        """One decision per state. needs: the pieces of each task, where the policy tells them apart, else nothing;
        left: of each state's budget.
        """
        draws, width = Draws(states), self.policy.card.options.width
        names = [tuple(state.memory.facts.index) for state in states]
        masks = [self._open(state) for state in states]
        logits = np.concatenate((out.pick, out.finish[:, None]), -1)
        keys, rows = [(*each, "") for each in names], range(len(states))
        picks, chances = draws.factor(rows, ["pick"] * len(states), 0, logits, masks, keys)
        reasons = _reasons(states, out, names, np.asarray(chances))
        agents = len(names[0])
        runs = [
            _Run(row, state, state.memory.facts, its, mask, None, [], reason, [], choice, [0] * agents)
            for row, (state, its, mask, reason, choice) in enumerate(
                zip(states, names, masks, reasons, picks, strict=True)
            )
        ]
        if needs:
            _name_pieces(runs, needs, out)
        answers = self._answers([run for run in runs if run.choice == agents], out, draws)
        asking = [run for run in runs if run.choice < agents]
        for pick in range(width):
            if pick:
                asking = self._further(asking, out, draws, pick)
            if not asking:
                break
            self._ask(asking, out, draws, pick)
        card = self.policy.card
        return [
            Decision(
                f"{run.state.run}.{run.state.step}",
                run.state.step,
                tuple(run.directives) if run.directives else answers[run.row],
                self.name,
                card.version,
                run.state.mode,
                tuple(factors),
                sum([factor.log_prob for factor in factors]),
                value,
                {**run.reasons, **likelier} if likelier else run.reasons,
                len(run.state.nodes),
                fractions,
            )
            for run, factors, likelier, value, fractions in zip(
                runs, draws.factors, draws.likelier, out.value.tolist(), left, strict=True
            )
        ]

    def _open(self, state: RunState) -> tuple[bool, ...]:
        """Whom the first pick may ask, and, last, whether it may finish."""
        options, said = self.policy.card.options, state.memory.facts.said
        affordable = state.affordable
        can_ask = state.step < options.max_steps and any(affordable)
        can_finish = bool(said)
        if options.finish == "answered" and can_ask:
            can_finish = any(each.answer is not None for each in said)
        if can_ask or not can_finish:
            return (*affordable, can_finish)
        return (*(False for _ in affordable), can_finish)

    def _answers(self, runs: Sequence[_Run], out: network.Out, draws: Draws) -> dict[int, Finish]:
        """The answers that some runs finish with, by row."""
        if not runs:
            return {}
        masks: list[tuple[bool, ...]] = []
        for run in runs:
            said = run.facts.said[-MOST:]
            answered = [each.answer is not None for each in said]
            mask = answered if self.policy.card.options.finish == "answered" and any(answered) else [True] * len(said)
            masks.append((*mask, *(False,) * (MOST - len(said))))
        rows, heads, keys = [run.row for run in runs], ["answer"] * len(runs), [_numbers("", MOST)] * len(runs)
        nodes = [[str(each.node) for each in run.facts.said[-MOST:]] for run in runs]
        places, _ = draws.factor(rows, heads, 0, out.choose[rows], masks, keys, nodes)
        return {run.row: Finish(run.facts.said[-MOST:][place].node) for run, place in zip(runs, places, strict=True)}

    def _further(self, runs: Sequence[_Run], out: network.Out, draws: Draws, pick: int) -> list[_Run]:
        """Of runs that asked somebody, those that ask one more in parallel."""
        for run in runs:
            run.picked[run.choice] = 1
            run.open = (*(may and not asked for may, asked in zip(run.open, run.picked, strict=False)), True)
        runs = [run for run in runs if any(run.open[:-1])]
        if not runs:
            return []
        rows, agents = [run.row for run in runs], len(runs[0].names)
        picked = np.array([run.picked for run in runs], np.float32)
        more, stop = network.again(self.policy.weights, _some(out, rows), picked)
        logits = np.concatenate((more, stop[:, None]), -1)
        keys = [(*run.names, "") for run in runs]
        choices, _ = draws.factor(rows, ["pick"] * len(runs), pick, logits, [run.open for run in runs], keys)
        for run, choice in zip(runs, choices, strict=True):
            run.choice = choice
        return [run for run in runs if run.choice < agents]

    def _ask(self, runs: Sequence[_Run], out: network.Out, draws: Draws, pick: int) -> None:
        """One more directive of each run."""
        pieces = self._about(runs, out, draws, pick)
        open_to = [self._choices[bool(run.facts.said), run.facts.plan is not None] for run in runs]
        made = iter(_chosen(runs, open_to, out, draws, pick))
        for run, choices, (piece, audience) in zip(runs, open_to, pieces, strict=True):
            told, more = dict(choices.fixed), 0.0
            for (head, _, _), costs in zip(choices.sampled, choices.costs, strict=True):
                told[head] = next(made)
                more += costs[told[head]]
            name = f"{run.state.run}.{run.state.step}.{pick}"
            run.directives.append(self.policy.card.options.directive(name, run.name, told, piece, audience))
            if more:  # what the reply is believed to take is counted with what was chosen for it
                tokens = f"tokens({run.name})"
                run.reasons[tokens] = expm1(min(max(log1p(run.reasons[tokens]) + more, 0.0), 12.0))

    def _about(
        self, runs: Sequence[_Run], out: network.Out, draws: Draws, pick: int
    ) -> list[tuple[str, tuple[str, ...]]]:
        """The piece that each agent is asked for, empty for all of the task; and who is believed to lack it.

        Noise is hashed by the piece's text, so that the order of pieces changes nothing.
        """
        told: list[tuple[str, tuple[str, ...]]] = [("", ()) for _ in runs]
        masks = [run.needs.mask() if run.needs else () for run in runs]
        places = [place for place, mask in enumerate(masks) if sum(mask) > 1]
        if not places:
            return told
        some, masks = [runs[place] for place in places], [masks[place] for place in places]
        found = [run.needs.pieces if run.needs else () for run in some]
        size = len(masks[0])
        keys = [
            (*[f"{run.name}/{piece}" for piece in pieces], *[f"{run.name}/"] * (size - len(pieces)))
            for run, pieces in zip(some, found, strict=True)
        ]
        logits = out.about[[run.row for run in some], [run.choice for run in some]]
        words = [(*_numbers("", size - 1), "all")] * len(some)
        made, _ = draws.factor([run.row for run in some], ["about"] * len(some), pick, logits, masks, keys, words)
        for place, run, pieces, choice in zip(places, some, found, made, strict=True):
            if choice < len(pieces):
                told[place] = pieces[choice], self._audience(run, choice)
        return told

    def _audience(self, run: _Run, piece: int) -> tuple[str, ...]:
        """Who is believed to lack a piece, the asked agent aside; nobody where a directive does not say whom for."""
        if self.policy.card.options.audience == "unsaid":
            return ()
        each = zip(run.names, run.supplies, strict=True)
        return tuple(name for name, chances in each if chances[piece] < LACKS and name != run.name)


def _chosen(runs: Sequence[_Run], open_to: Sequence[_Choices], out: network.Out, draws: Draws, pick: int) -> list[int]:
    """What is chosen for the agents that runs ask, of each head that is sampled: all drawn at once, run by run."""
    each = [(run, *head) for run, its in zip(runs, open_to, strict=True) for head in its.sampled]
    if not each:
        return []
    asking, heads, masks, words = zip(*each, strict=True)
    rows = [run.row for run in asking]
    keys = [_numbers(run.name, len(mask)) for run, mask in zip(asking, masks, strict=True)]
    agents, places = [run.choice for run in asking], np.concatenate([its.places for its in open_to])
    logits = out.options[np.array(rows)[:, None], np.array(agents)[:, None], places]
    return draws.factor(rows, heads, pick, logits, masks, keys, words)[0]


def _name_pieces(runs: Sequence[_Run], needs: Sequence[Needs], out: network.Out) -> None:
    """Give runs the pieces of their tasks, and what is believed of who supplies them, and of what is there already."""
    believed = _logistic(out.supplies), _logistic(out.offers), _logistic(out.there)
    for run, its, chances, offers, there in zip(runs, needs, *believed, strict=True):
        count = len(its.pieces)
        run.needs, run.supplies = its, chances[:, :count].tolist()
        for name, row in zip(run.names, run.supplies, strict=True):
            run.reasons |= {f"supplies({name} {place})": chance for place, chance in enumerate(row)}
        for name, row in zip(run.names, offers[:, :count].tolist(), strict=True):
            run.reasons |= {f"offers({name} {place})": chance for place, chance in enumerate(row)}
        run.reasons |= {f"there({place})": chance for place, chance in enumerate(there[:count].tolist())}


def _reasons(
    states: Sequence[RunState], out: network.Out, names: Sequence[tuple[str, ...]], picks: NDArray[np.float64]
) -> list[dict[str, float]]:
    """Why, in scalars: probabilities of the first pick, beliefs, gaps, and what each answer is thought worth.

    now: P(the best answer so far passes); gain(j): by how much asking j is believed to raise that.
    """
    batch, agents = out.success.shape
    beliefs = _logistic(np.concatenate((out.success, out.gain, out.passes), -1))
    rows = np.empty((batch, 2 + 5 * agents + out.passes.shape[-1]))
    rows[:, 0] = picks[:, -1]
    rows[:, 1] = out.now
    each = rows[:, 2 : 2 + 5 * agents].reshape(batch, agents, 5)  # a view
    each[..., 0] = picks[:, :-1]
    each[..., 1] = beliefs[:, :agents]
    each[..., 2] = np.expm1(np.minimum(np.maximum(out.cost, 0), 12))
    each[..., 3] = beliefs[:, agents : 2 * agents] - out.now[:, None]
    each[..., 4] = np.sqrt(np.vecdot(out.gaps, out.gaps) / out.gaps.shape[-1])
    rows[:, 2 + 5 * agents :] = beliefs[:, 2 * agents :]
    return [
        dict(
            zip(
                _named(its) + _rights(tuple([each.node for each in state.memory.facts.said[-MOST:]])), row, strict=False
            )
        )
        for state, its, row in zip(states, names, rows.tolist(), strict=True)
    ]


@lru_cache(maxsize=256)
def _named(names: tuple[str, ...]) -> tuple[str, ...]:
    """What the reasons are called."""
    each = [f"{what}({name})" for name in names for what in ("p", "success", "tokens", "gain", "gap")]
    return ("p(finish)", "now", *each)


@lru_cache(maxsize=1 << 12)
def _rights(nodes: tuple[int, ...]) -> tuple[str, ...]:
    """What the reasons are called that say how good some replies are."""
    return tuple(f"right(node {node})" for node in nodes)


@lru_cache(maxsize=1 << 10)
def _numbers(name: str, count: int) -> tuple[str, ...]:
    """Keys of an agent's choices, by their place; of none, the places."""
    return tuple(f"{name}/{place}" if name else str(place) for place in range(count))


def _some(out: network.Out, rows: Sequence[int]) -> network.Out:
    """Some states of a batch, with what further picks need."""
    nothing: Any = None
    some = network.Out(*(nothing,) * len(network.Out.__dataclass_fields__))
    some.agents, some.state, some.pick = out.agents[rows], out.state[rows], out.pick[rows]
    return some


def _logistic(x: Array) -> Array:
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1.0))
