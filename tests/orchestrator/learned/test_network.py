"""One network for numpy and torch: equal outputs, equivariant over agents, indifferent to batching, and small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from podium.orchestrator.learned import LearnedCoordinator, Policy, facts, needs, network, text
from podium.orchestrator.learned.joined import JOINTS, joined
from podium.orchestrator.learned.options import Options
from tests.orchestrator.learned.parts import NAMES, WIDE, loud, play, state_of, story, task


def through(xp: Any, w: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Everything the network computes: cards, two replies, a decision, and two further picks."""
    card = network.cards(
        xp, w, data["card_vector"], data["card_shape"], data["card_figures"], w["identity"][data["identity"]]
    )
    task_BE = network.embed(xp, w, data["task_vector"], data["task_shape"])
    z, h = network.start(xp, w, task_BE, card)
    for turn in range(2):
        author = card[data["run"], data["author"][turn]]
        reply = network.embed(xp, w, data["reply_vector"][turn], data["reply_shape"][turn])
        z, h = network.observe(xp, w, z, h, reply, data["event"][turn], data["views"][turn], author)
    seen = (data[name] for name in ("state", "agents", "answers", "authors", "backers"))
    piece = network.embed(xp, w, data["piece_vector"], data["piece_shape"])
    wanted = network.Wanted(piece, *(data[name] for name in ("there", "pieces", "pairs", "covers")))
    out = network.decide(xp, w, z, h, task_BE, card, *seen, wanted=wanted)
    pick, stop = network.again(w, out, data["picked"])
    found = {name: getattr(out, name) for name in network.Out.__dataclass_fields__}
    return found | {"belief": z, "transcript": h, "again": pick, "stop": stop}


def random_data(kind: Any, runs: int = 5, agents: int = 4, seed: int = 3) -> dict[str, Any]:
    draw = np.random.default_rng(seed)

    def normal(*shape: int) -> Any:
        return draw.standard_normal(shape).astype(kind)

    authors: Any = np.zeros((runs, facts.MOST, agents), kind)
    for run in range(runs):
        for answer in range(run):  # run 0 has no answer yet: all padding
            authors[run, answer, (run + answer) % agents] = 1
    return {
        "card_vector": normal(runs, agents, text.WIDTH) * 0.03,
        "card_shape": normal(runs, agents, text.SHAPE),
        "card_figures": normal(runs, agents, facts.CARD),
        "identity": draw.integers(0, 3, (runs, agents)),
        "task_vector": normal(runs, text.WIDTH) * 0.03,
        "task_shape": normal(runs, text.SHAPE),
        "reply_vector": normal(2, runs, text.WIDTH) * 0.03,
        "reply_shape": normal(2, runs, text.SHAPE),
        "run": np.arange(runs),
        "author": draw.integers(0, agents, (2, runs)),
        "event": normal(2, runs, facts.EVENT),
        "views": normal(2, runs, agents, facts.VIEW),
        "state": normal(runs, facts.STATE),
        "agents": np.abs(normal(runs, agents, facts.AGENT)),
        "answers": normal(runs, facts.MOST, facts.NODE),
        "authors": authors,
        "backers": np.maximum(authors, authors[:, :, ::-1]),
        "piece_vector": normal(runs, WIDE.needs, text.WIDTH) * 0.03,
        "piece_shape": normal(runs, WIDE.needs, text.SHAPE),
        "there": (np.arange(WIDE.needs)[None] < np.arange(runs)[:, None]).astype(kind),  # run 0 has none
        "pieces": np.abs(normal(runs, WIDE.needs, needs.PIECE)),
        "pairs": np.abs(normal(runs, agents, WIDE.needs, needs.PAIR)),
        "covers": np.abs(normal(runs, facts.MOST, needs.COVER)),
        "picked": (normal(runs, agents) > 0.5).astype(kind),
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, as the trainer runs it; two would cut the long sum over a text in two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def probabilities(found: dict[str, Any]) -> dict[str, Any]:
    """What is drawn from: the first pick, a further one, each head of an agent's options, and the answer; float64."""
    logits = {
        "pick": np.concatenate((found["pick"], found["finish"][:, None]), -1),
        "again": np.concatenate((found["again"], found["stop"][:, None]), -1),
        "choose": found["choose"],
    }
    logits["about"] = found["about"]
    for name, (first, last) in WIDE.heads.spans().items():
        logits[name] = found["options"][..., first:last]
    powers = {name: np.exp(each.astype(float) - each.max(-1, keepdims=True)) for name, each in logits.items()}
    return {name: each / each.sum(-1, keepdims=True) for name, each in powers.items()}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("agents", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("kind", "tolerance", "rounding"), [(np.float32, 1e-6, 5), (np.float64, 1e-12, 1)])
def test_the_twins_are_equal(kind: Any, tolerance: float, rounding: float, agents: int) -> None:
    """Probabilities to the tolerance, and all else, absolute for what is below 1 and relative above it.

    rounding: how many times the tolerance what is no probability may be off. A sum of hundreds of terms is rounded
    otherwise by every processor's own kernels, which in float32 is as much as the tolerance itself.
    """
    for seed in range(8):
        policy = loud(names=("a", "b"), seed=seed)
        weights: dict[str, Any] = {name: weight.astype(kind) for name, weight in policy.weights.items()}
        data = random_data(kind, agents=agents, seed=seed)
        numpy = through(np, weights, data)
        told = through(
            torch,
            {name: torch.from_numpy(weight) for name, weight in weights.items()},
            {name: torch.from_numpy(array) for name, array in data.items()},
        )
        twin: dict[str, Any] = {name: array.numpy() for name, array in told.items()}
        for name, found in numpy.items():
            assert found.dtype == kind, name
            far = found < network.FAR / 2  # logits of what is not there
            np.testing.assert_array_equal(far, twin[name] < network.FAR / 2, err_msg=name)
            kept, other = np.where(far, 0, found), np.where(far, 0, twin[name])
            np.testing.assert_allclose(kept, other, rounding * tolerance, rounding * tolerance, err_msg=name)
        others = probabilities(twin)
        for name, found in probabilities(numpy).items():
            np.testing.assert_allclose(found, others[name], 0, tolerance, err_msg=name)


def test_joined_weights_say_the_same() -> None:
    weights = loud(names=("a", "b")).weights
    ready = joined(np, weights)
    assert set(ready) == {*weights, *JOINTS}
    assert all(ready[name] is weight for name, weight in weights.items()), "nothing else is copied"
    data = random_data(np.float32)
    before, after = through(np, weights, data), through(np, ready, data)
    for name, found in before.items():
        np.testing.assert_array_equal(found, after[name], err_msg=name)


def test_every_weight_matters() -> None:
    data = random_data(np.float64)
    weights = {name: weight.astype(np.float64) for name, weight in loud(names=("a", "b")).weights.items()}
    before, draw = through(np, weights, data), np.random.default_rng(0)
    for name, weight in weights.items():
        if name == "cost.options":
            continue  # it is added to the cost of what was chosen: test_policy
        changed = through(np, weights | {name: weight + 0.05 * draw.standard_normal(weight.shape)}, data)
        assert any(np.abs(changed[key] - before[key]).max() > 1e-12 for key in before), name


def test_agents_are_a_set() -> None:
    weights = loud(names=("a", "b")).weights
    data = random_data(np.float32)
    order = [2, 0, 3, 1]
    axes = {"card_vector": 1, "card_shape": 1, "card_figures": 1, "identity": 1, "agents": 1, "picked": 1}
    axes |= {"views": 2, "authors": 2, "backers": 2, "pairs": 1}
    moved = {name: np.take(array, order, axes[name]) if name in axes else array for name, array in data.items()}
    moved["author"] = np.argsort(order)[data["author"]]
    first, second = through(np, weights, data), through(np, weights, moved)
    for name, found in first.items():
        mine = (
            found[:, order]
            if name not in {"state", "finish", "choose", "passes", "now", "value", "transcript", "stop", "there"}
            else found
        )
        np.testing.assert_allclose(mine, second[name], 1e-4, 1e-4, err_msg=name)
    assert np.abs(first["pick"] - second["pick"]).max() > 1e-2


@pytest.mark.parametrize("mode", ["sample", "greedy"])
def test_the_order_of_the_agents_changes_no_decision(mode: Any) -> None:
    tasks = [task(number) for number in range(12)]
    first = play(loud(), tasks, mode=mode)
    assert len({str(each) for each in story(first)}) > (1 if mode == "greedy" else 3)
    for names in (("cy", "ann", "bob"), ("bob", "cy", "ann")):
        again = play(loud(), tasks, mode=mode, names=names)
        assert story(again) == story(first)
        for one, other in zip(first, again, strict=True):
            assert [d.log_prob for d in one.decisions] == pytest.approx([d.log_prob for d in other.decisions], abs=1e-5)


def test_greedy_breaks_ties_by_name() -> None:
    policy = Policy.fresh(Options(), ())  # nobody is known, and the twins below have one card
    names = ("twin2", "twin1", "twin3")
    for order in (names, names[::-1]):
        asked = play(policy, [task(1)], mode="greedy", names=order)[0].decisions[0].action
        assert isinstance(asked, tuple)
        assert asked[0].agent == "twin1"


@pytest.mark.parametrize("mode", ["sample", "greedy"])
def test_a_batch_decides_as_each_alone(mode: Any) -> None:
    tasks = [task(number) for number in range(32)]
    alone = play(loud(seed=2), tasks, mode=mode, together=False)
    batch = play(loud(seed=2), tasks, mode=mode)
    assert story(batch) == story(alone)
    steps = [step.step for result in batch for step in result.decisions]
    assert max(steps) >= 2


def test_it_is_small() -> None:
    policy = Policy.fresh(WIDE, tuple(f"agent{number}" for number in range(50)))
    assert 100_000 < policy.parameters <= 300_000
    assert {name: weight.shape for name, weight in policy.weights.items()} == network.shapes(WIDE.heads, 50)


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    one, same, other = (Policy.fresh(WIDE, NAMES, seed=seed).weights for seed in (4, 4, 5))
    assert all((one[name] == same[name]).all() for name in one)
    assert (one["card.w"] != other["card.w"]).any()


def test_samples_follow_the_probabilities() -> None:
    coordinator = LearnedCoordinator(loud())
    states = [state_of(coordinator, task(1), seed=seed) for seed in range(1500)]
    decisions = coordinator.decide(states)
    names = [card.name for card in states[0].cards]
    said = decisions[0].reasons
    counts = Counter(names[decision.factors[0].choice] for decision in decisions)
    squares = sum((counts[name] - 1500 * said[f"p({name})"]) ** 2 / (1500 * said[f"p({name})"]) for name in names)
    assert squares < 13.8  # chi-square with 2 degrees of freedom, p = 0.001
    assert max(said[f"p({name})"] for name in names) > 0.34
    for decision in decisions[:50]:
        chosen = names[decision.factors[0].choice]
        assert np.exp(decision.factors[0].log_prob) == pytest.approx(said[f"p({chosen})"])
