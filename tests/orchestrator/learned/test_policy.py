"""The learned coordinator decides within its limits, by what it may know, and the same whenever it is asked again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from podium.orchestrator.budget import Left, Limits
from podium.orchestrator.coordinator import RunState
from podium.orchestrator.learned import LearnedCoordinator, Policy, network
from podium.orchestrator.learned.options import VIEWS, Options
from podium.protocols.bus import Card
from podium.protocols.events import Result
from podium.protocols.record import Decision, Finish, Node
from podium.protocols.task import Message
from tests.orchestrator.learned.parts import NAMES, WIDE, loud, play, reply, state_of, story, task, told

TASKS = [task(number) for number in range(24)]


@pytest.fixture(scope="module")
def runs() -> list[Result]:
    return play(loud(), TASKS)


def decisions(results: Sequence[Result]) -> list[Decision]:
    return [decision for result in results for decision in result.decisions]


def test_decisions_keep_to_the_options(runs: list[Result]) -> None:
    widths, samples, shown = set[int](), set[int](), set[object]()
    for result in runs:
        assert result.stop == "answered"
        for decision in result.decisions:
            if isinstance(decision.action, Finish):
                assert decision is result.decisions[-1]
                assert result.nodes[decision.action.answer].kind == "reply"
                continue
            assert decision.step < WIDE.max_steps
            asked = [directive.agent for directive in decision.action]
            assert len(set(asked)) == len(asked) <= WIDE.width
            widths.add(len(asked))
            for directive in decision.action:
                assert directive.compute.reduce == ("vote" if directive.compute.samples > 1 else "none")
                assert directive.objective in WIDE.objectives
                assert directive.detail in WIDE.details
                samples.add(directive.compute.samples)
                if decision.step:
                    shown.add(directive.visible)
                else:
                    assert directive.visible == VIEWS["task"]
    assert widths == {1, 2, 3}
    assert samples == {1, 2, 3}
    assert shown == set(VIEWS.values())


def test_a_decision_says_how_it_was_made(runs: list[Result]) -> None:
    for result in runs:
        for step, decision in enumerate(result.decisions):
            assert decision.id == f"{result.run}.{step}"
            assert decision.log_prob == pytest.approx(sum(factor.log_prob for factor in decision.factors))
            assert decision.mode == "sample"
            assert decision.seen == 1 if step == 0 else decision.seen > result.decisions[step - 1].seen
            assert decision.value is not None
            for factor in decision.factors:
                assert factor.mask[factor.choice]
                assert factor.log_prob <= 0
            names = [*(f"p({name})" for name in NAMES), "p(finish)"]
            assert sum(decision.reasons[name] for name in names) == pytest.approx(1)
            assert all(isinstance(reason, float) for reason in decision.reasons.values())
    assert any("right(node 1)" in decision.reasons for decision in decisions(runs))


def test_a_choice_against_the_odds_says_what_was_likelier(runs: list[Result]) -> None:
    pairs: dict[str, Sequence[str]] = {"objective": WIDE.objectives, "detail": WIDE.details, "style": WIDE.styles}
    pairs["max_tokens"] = ("none", "16")
    heads = set[str]()
    for decision in decisions(runs):
        likelier: dict[tuple[str, str], tuple[str, float]] = {}
        for name, value in decision.reasons.items():
            if name.startswith("likelier("):
                pick, head, *word = name[len("likelier(") : -1].split(" ")
                likelier[pick, head] = " ".join(word), value
        pick = -1
        for factor in decision.factors:
            pick += factor.head == "pick"
            drawn = math.exp(factor.log_prob)
            word, value = likelier.pop((str(pick), factor.head), ("", 0.0))
            heads |= {factor.head} if value else set()
            assert not value or drawn < value < 1
            assert value or drawn >= 1 / sum(factor.mask) - 1e-6
            if factor.head in pairs:  # of two choices the other one is known
                assert (value > 0) == (drawn < 0.5)
                assert not value or (word, value) == (pairs[factor.head][1 - factor.choice], pytest.approx(1 - drawn))
            elif value and factor.head == "pick" and not pick:
                assert value == decision.reasons[f"p({word or 'finish'})"]
            elif value and factor.head == "samples":
                assert int(word) in WIDE.samples
            elif value and factor.head == "answer":
                assert f"right(node {word})" in decision.reasons
            elif value and factor.head == "about":
                assert word == "all" or int(word) < WIDE.needs
            elif value and factor.head == "plan":
                assert word in WIDE.plans
            elif value and factor.head == "context":
                assert word in {view.kind for view in VIEWS.values()}
        assert not likelier
    assert heads == {"pick", "about", "answer", *network.HEADS}
    greedy = play(loud(), TASKS[:3], mode="greedy")
    assert not any(name.startswith("likelier(") for made in decisions(greedy) for name in made.reasons)


def test_the_budget_that_was_left_is_logged() -> None:
    limited = play(loud(), TASKS[:4], limits=Limits(calls=6))
    for decision in decisions(limited):
        calls = decision.budget_left[1]
        assert decision.budget_left[0] == 1.0
        assert calls == 1.0 if decision.step == 0 else 0 <= calls < 1


def test_finishing_needs_a_reply_and_agents_need_a_budget() -> None:
    coordinator = LearnedCoordinator(loud())
    said = [reply(1, "ann", "so it is 1", "1")]
    for seed in range(40):
        first = coordinator.decide([state_of(coordinator, TASKS[0], seed=seed)])[0]
        assert not isinstance(first.action, Finish)
        assert first.factors[0].mask == (True, True, True, False)
        poor = state_of(coordinator, TASKS[0], said, step=1, seed=seed, affordable=(False, True, False))
        second = coordinator.decide([poor])[0]
        assert second.factors[0].mask == (False, True, False, True)
        assert isinstance(second.action, Finish) or [each.agent for each in second.action] == ["bob"]
        late = state_of(coordinator, TASKS[0], said, step=WIDE.max_steps, seed=seed)
        last = coordinator.decide([late])[0]
        assert last.action == Finish(1)
        assert last.factors[0].mask == (False, False, False, True)


def test_the_newest_twelve_replies_can_be_the_answer() -> None:
    coordinator = LearnedCoordinator(loud(volume=1.0))
    said = [reply(number, NAMES[number % 3], f"it is {number}", str(number)) for number in range(1, 18)]
    chosen: set[int] = set()
    for seed in range(60):
        made = coordinator.decide([state_of(coordinator, TASKS[0], said, step=WIDE.max_steps, seed=seed)])[0]
        assert isinstance(made.action, Finish)
        chosen.add(made.action.answer)
    assert chosen <= set(range(6, 18))
    assert len(chosen) > 8


def test_greedy_takes_the_likeliest_whatever_the_seed() -> None:
    coordinator = LearnedCoordinator(loud())
    made = coordinator.decide([state_of(coordinator, TASKS[3], seed=seed, mode="greedy") for seed in range(5)])
    assert len({str(told(decision)) for decision in made}) == 1
    reasons = made[0].reasons
    action = made[0].action
    assert not isinstance(action, Finish)
    assert reasons[f"p({action[0].agent})"] == max(reasons[f"p({name})"] for name in NAMES)
    sampled = coordinator.decide([state_of(coordinator, TASKS[3], seed=seed) for seed in range(30)])
    assert len({str(told(decision)) for decision in sampled}) > 3


def test_a_replayed_record_leads_to_the_same_decision(runs: list[Result]) -> None:
    coordinator = LearnedCoordinator(loud())
    longest = max(runs, key=lambda result: len(result.decisions))
    assert len(longest.decisions) > 2
    place = runs.index(longest)
    for decision in longest.decisions:
        nodes = longest.nodes[1 : decision.seen]
        state = replace(_state(longest, coordinator, nodes), step=decision.step, seed=place)
        again = coordinator.decide([state, replace(state, seed=place + 1)])[0]  # in other company
        assert again.action == decision.action
        assert again.log_prob == pytest.approx(decision.log_prob, abs=1e-6)
        assert again.value == pytest.approx(decision.value, abs=1e-6)


def _state(result: Result, coordinator: LearnedCoordinator, nodes: Sequence[Node]) -> RunState:
    from tests.orchestrator.learned.parts import stage

    cards = stage().led_by(coordinator).bus.cards()
    memory = coordinator.begin(result.task.messages, cards)
    for node in nodes:
        memory = coordinator.observe(memory, node)
    inf = float("inf")
    record = result.nodes[: len(nodes) + 1]
    left = Left(inf, inf, inf, inf)
    return RunState(result.run, result.task.messages, cards, record, 0, left, (True,) * 3, memory, 0, "sample")


def test_id_tags_and_scorer_are_invisible(runs: list[Result]) -> None:
    disguised = [
        replace(each, id=f"other{place}", tags={"type": "secret"}, score=task(place, right=2).score)
        for place, each in enumerate(TASKS)
    ]
    assert story(play(loud(), disguised)) == story(runs)
    reworded = [replace(each, messages=(Message("user", each.text + " Hurry!"),)) for each in TASKS]
    assert story(play(loud(), reworded)) != story(runs)


def test_the_knob_and_the_budget_are_inputs() -> None:
    policy = loud()
    policy.weights["state.w"] *= np.float32(3)
    coordinator = LearnedCoordinator(policy)
    said = [reply(1, "ann", "so it is 1", "1")]

    def value(preference: float | None = None, left: Left | None = None) -> float | None:
        return coordinator.decide([state_of(coordinator, TASKS[0], said, step=1, preference=preference, left=left)])[
            0
        ].value

    assert len({value(1e-6), value(1e-3), value(1.0), value()}) == 4
    half = Left(50, 5, 9, 0.5, Limits(100, 10, 10, 1.0))
    assert len({value(left=half), value(left=replace(half, tokens=10)), value(left=replace(half, dollars=0.1))}) == 3
    assert value(left=half) == value(left=replace(half, seconds=1))  # a clock would make decisions unrepeatable
    policy.card.preference = 1e-3
    assert value() == value(1e-3)
    assert value(1.0) != value(1e-3)


def test_the_knob_changes_what_is_decided() -> None:
    policy = loud()
    policy.weights["state.w"] *= np.float32(3)
    low, high = (play(policy, TASKS, mode="greedy", preference=knob) for knob in (1e-9, 1e3))
    assert story(low) != story(high)


def test_unknown_agents_and_other_teams_work() -> None:
    policy = loud()
    known = play(policy, TASKS[:6])
    for names in (("eve", "ann", "bob", "cy"), ("bob", "cy"), ("nobody", "anybody")):
        results = play(policy, TASKS[:6], names=names)
        asked = {
            directive.agent
            for each in results
            for d in each.decisions
            if not isinstance(d.action, Finish)
            for directive in d.action
        }
        assert asked <= set(names)
        assert all(result.node for result in results)
    coordinator = LearnedCoordinator(policy)
    mixed = [state_of(coordinator, TASKS[0], names=names) for names in (NAMES, ("eve", "ann"), NAMES)]
    one, two, three = coordinator.decide(mixed)  # teams of different sizes in one batch
    assert told(one) == told(three)
    assert "p(eve)" in two.reasons
    assert known


def test_teams_that_are_no_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.orchestrator.learned.policy.TEAMS", 2)
    coordinator = LearnedCoordinator(Policy.fresh(Options(), NAMES, seed=1))
    for name in "abcd":
        coordinator.begin((Message("user", "what?"),), (Card(name, "solver"),))
    assert [cards[0].name for cards in coordinator._cards] == ["c", "d"]  # pyright: ignore[reportPrivateUsage]


def test_a_name_counts_only_where_it_is_known() -> None:
    plain = Policy.fresh(WIDE, (), seed=3)
    assert [d.value for d in LearnedCoordinator(plain).decide([state_of(LearnedCoordinator(plain), TASKS[0])])]
    knowing = loud()
    coordinator = LearnedCoordinator(knowing)
    before = coordinator.decide([state_of(coordinator, TASKS[0])])[0].value
    knowing.weights["identity"][1] += 1
    other = LearnedCoordinator(knowing)
    assert other.decide([state_of(other, TASKS[0])])[0].value != before
    stranger = LearnedCoordinator(loud(names=("x", "y", "z")))
    renamed = LearnedCoordinator(loud(names=("u", "v", "w")))
    assert (
        stranger.decide([state_of(stranger, TASKS[0])])[0].value
        == renamed.decide([state_of(renamed, TASKS[0])])[0].value
    )


def test_memory_is_immutable(runs: list[Result]) -> None:
    coordinator = LearnedCoordinator(loud())
    state = state_of(coordinator, TASKS[0])
    before = coordinator.decide([state])[0]
    coordinator.observe(state.memory, reply(1, "ann", "so it is 1", "1"))
    assert coordinator.decide([state])[0] == before


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"samples": (0,)}, "at least 1"),
        ({"samples": (1, 1)}, "only once"),
        ({"context": ()}, "at least one"),
        ({"width": 0}, "greater than or equal to 1"),
        ({"depth": 2}, "Extra inputs"),
    ],
)
def test_impossible_options_are_refused(bad: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Options.model_validate(bad)
