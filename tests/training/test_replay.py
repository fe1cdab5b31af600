"""A finished record becomes the arrays that served it: logged and replayed probabilities are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from podium.orchestrator.budget import Limits
from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator, Policy
from podium.orchestrator.learned.network import HEADS
from podium.orchestrator.pieces import asked_for
from podium.protocols.events import Result
from podium.protocols.record import Finish
from podium.protocols.task import Message, Task
from podium.training.policy_loss import decided, unrolled
from podium.training.replay import Replay, replay
from tests.orchestrator.learned.parts import NAMES, WIDE, loud, play, stage, task

TASKS = [task(number) for number in range(16)]
CARDS = stage().led_by(None).bus.cards()  # type: ignore[arg-type]


def arrays(
    results: Sequence[Result],
    policy: Policy,
    knobs: Sequence[float | None] | None = None,
    cards: tuple[object, ...] = (),
) -> Replay:
    given = [None] * len(results) if knobs is None else knobs
    return replay(results, given, CARDS, policy.card, lambda run, said: run.task.score(said).score)


def weights_of(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(weight) for name, weight in policy.weights.items()}


def replayed(policy: Policy, whole: Replay) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and values of all decisions."""
    weights = weights_of(policy)
    out = unrolled(weights, whole)
    return decided(weights, out, whole, WIDE)[0].numpy(), out.value.numpy()


def test_a_policy_that_tells_some_words_apart_is_replayed_as_it_served() -> None:
    policy = loud()
    told_apart = policy.card.model_copy(update={"words": ("is", "it", "so")})
    some = Policy(told_apart, policy.weights)
    results = play(some, TASKS)
    decisions = [decision for result in results for decision in result.decisions]
    logged = [decision.log_prob for decision in decisions]
    np.testing.assert_allclose(replayed(some, arrays(results, some))[0], logged, atol=2e-5)
    assert not np.allclose(replayed(some, arrays(results, policy))[0], logged, atol=2e-5)


@pytest.mark.parametrize("limits", [None, Limits(calls=7), Limits(tokens=130), Limits(calls=9, dollars=3e-4)])
@pytest.mark.parametrize("knob", [None, 2e-4])
def test_a_replayed_decision_is_as_likely_as_it_was(limits: Limits | None, knob: float | None) -> None:
    policy = loud()
    results = play(policy, TASKS, limits=limits, preference=knob)
    decisions = [decision for result in results for decision in result.decisions]
    whole = arrays(results, policy, [knob] * len(results))
    log_probs, values = replayed(policy, whole)
    np.testing.assert_allclose(np.exp(log_probs - [decision.log_prob for decision in decisions]), 1, atol=2e-5)
    np.testing.assert_allclose(values, [decision.value or 0.0 for decision in decisions], atol=2e-5)
    widths = {len(d.action) for d in decisions if not isinstance(d.action, Finish)}
    assert widths >= {1, 2, 3} if limits is None else len(widths) > 1
    assert max(decision.step for decision in decisions) >= (3 if limits is None else 1)
    heads = {factor.head for decision in decisions for factor in decision.factors}
    assert heads == {"pick", "answer", "about", *(head for head in HEADS if len(WIDE.words()[head]) > 1)}
    if limits is not None:
        assert any(not all(decision.factors[0].mask[:3]) for decision in decisions if decision.step < WIDE.max_steps)


def test_a_last_turn_is_nobodys_choice() -> None:
    crew = stage(limits=Limits(calls=5))
    crew.wind_down = "ann"
    policy = loud()
    results = [
        crew.run(LearnedCoordinator(policy), each, settings=Settings(place, place, "sample"))
        for place, each in enumerate(TASKS)
    ]
    decisions = [decision for result in results for decision in result.decisions]
    assert any(decision.policy == "last turn: budget" for decision in decisions)
    log_probs, _ = replayed(policy, arrays(results, policy))
    np.testing.assert_allclose(log_probs, [decision.log_prob for decision in decisions], atol=2e-5)


def test_at_the_step_limit_a_poor_run_is_replayed_too() -> None:
    """The step limit closes all agents, affordable or not: what the network saw must not depend on which it was."""
    policy = loud(WIDE.model_copy(update={"max_steps": 2}))
    results = play(policy, TASKS, limits=Limits(calls=4))
    last = [decision for result in results for decision in result.decisions if decision.step == 2]
    assert last
    whole = replay(results, [None] * 16, CARDS, policy.card, _no)
    log_probs, values = replayed(policy, whole)
    logged = [decision for result in results for decision in result.decisions]
    np.testing.assert_allclose(log_probs, [decision.log_prob for decision in logged], atol=2e-5)
    np.testing.assert_allclose(values, [decision.value or 0.0 for decision in logged], atol=2e-5)


def _no(result: Result, said: str) -> float:
    return 0.0


def test_other_weights_other_probabilities() -> None:
    policy = loud()
    results = play(policy, TASKS[:4])
    whole = arrays(results, policy)
    before, _ = replayed(policy, whole)
    policy.weights["options.b"][0] += 1
    after, _ = replayed(policy, whole)
    assert np.abs(before - after).max() > 0.1


def test_the_targets_of_beliefs() -> None:
    policy = loud()
    results = play(policy, TASKS)
    whole = arrays(results, policy)
    row = 0
    for result in results:
        said = [node for node in result.nodes if node.kind == "reply"]
        for decision in result.decisions:
            before = [node for node in said if node.id < decision.seen]
            assert whole.seen[row] == len(before)
            expected = [result.task.score(node.content).score for node in before[-12:]]
            assert whole.passes[row].tolist() == expected + [-1] * (12 - len(expected))
            if isinstance(decision.action, Finish):
                assert (whole.success[row] == -1).all()
                assert whole.answer[row] >= 0
            else:
                for pick, directive in enumerate(decision.action):
                    made = [node for node in result.nodes if node.directive == directive.id]
                    reply = next(node for node in made if node.kind == "reply")
                    assert whole.success[row, pick] == result.task.score(reply.content).score
                    spent = sum(node.usage.output_tokens for node in made)
                    assert whole.tokens[row, pick] == pytest.approx(np.log1p(spent))
                    assert NAMES[whole.picks[row, pick]] == directive.agent
                assert (whole.success[row, len(decision.action) :] == -1).all()
                assert whole.answer[row] == -1
            row += 1
    assert row == len(whole)
    assert set(whole.success.flatten().tolist()) == {-1, 0, 1}


def test_the_targets_of_named_pieces() -> None:
    """Asked for one piece, a reply tells of that one; asked for all of the task, of each that the task judges."""
    text = "Say:\n- the price\n- the owner\n- the age"
    judged = ("the price", "the owner")

    def parts(result: Result, said: str) -> dict[str, float]:
        return {piece: float(said.endswith("1") == (piece == "the price")) for piece in judged}

    policy = loud()
    results = play(policy, [Task(f"t{place}", (Message("user", text),)) for place in range(16)])
    whole = replay(results, [None] * 16, CARDS, policy.card, _no, parts)
    row, seen = 0, set[str]()
    for result in results:
        for decision in result.decisions:
            before = [node for node in result.nodes if node.kind == "reply" and node.id < decision.seen]
            best = [max((parts(result, node.content)[piece] for node in before), default=0.0) for piece in judged]
            assert whole.there[row].tolist() == [*best, -1.0 if before else 0.0]
            asked = asked_for(decision, text)
            for pick, piece in enumerate(asked):
                assert not isinstance(decision.action, Finish)
                directive = decision.action[pick].id
                reply = next(n for n in result.nodes if n.directive == directive and n.kind == "reply")
                its = parts(result, reply.content)
                expected = [its.get(each, -1.0) if piece in ("", each) else -1.0 for each in (*judged, "the age")]
                assert whole.supplied[row, pick].tolist() == expected
                seen.add(piece)
            assert (whole.supplied[row, len(asked) :] == -1).all()
            row += 1
    assert seen == {"", *judged, "the age"}
    assert (replay(results, [None] * 16, CARDS, policy.card, _no).supplied == -1).all()


def test_a_part_is_a_replay_of_its_runs() -> None:
    policy = loud()
    results = play(policy, TASKS)
    whole = arrays(results, policy)
    log_probs, _ = replayed(policy, whole)
    chosen = np.array([11, 2, 7])
    part, rows = whole.part(chosen)
    assert len(part) == len(rows) == sum(len(results[place].decisions) for place in (11, 2, 7))
    np.testing.assert_allclose(replayed(policy, part)[0], log_probs[rows], atol=1e-5)
    assert (whole.run[rows] == chosen[part.run]).all()
    alone = arrays([results[7]], policy)
    np.testing.assert_array_equal(alone.state, part.state[part.run == 2])
    np.testing.assert_array_equal(alone.picks, part.picks[part.run == 2])


def test_texts_are_kept_once() -> None:
    policy = loud()
    results = play(policy, TASKS[:3])
    assert len(arrays([*results, *results], policy).texts) == len(arrays(results, policy).texts)


def test_runs_that_failed_are_replayed_as_far_as_they_came() -> None:
    policy = loud()
    result = max(play(policy, TASKS), key=lambda each: len(each.decisions))
    cut = result.decisions[1].seen
    broken = replace(result, nodes=result.nodes[:cut], decisions=result.decisions[:2], node=0, stop="failed")
    empty = replace(result, nodes=result.nodes[:1], decisions=(), node=0, stop="failed")
    whole = arrays([empty, broken, empty], policy)
    assert whole.run.tolist() == [1, 1]
    assert (whole.success[1] == -1).all()
    log_probs, _ = replayed(policy, whole)
    np.testing.assert_allclose(log_probs, [d.log_prob for d in broken.decisions], atol=2e-5)
