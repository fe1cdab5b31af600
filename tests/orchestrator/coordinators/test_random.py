"""Random: reproducible, indifferent to the order of the agents, and honest about its probabilities."""

from __future__ import annotations

from math import exp, log

import pytest

from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinators import Random
from podium.orchestrator.engine import Settings
from podium.protocols.events import Result
from podium.protocols.record import ALL, NOTHING, Finish
from tests.orchestrator.stage import Speaker, Stage


def stage(names: str = "abcd", limits: Limits | None = None) -> Stage:
    return Stage(*(Speaker(name, name.upper()) for name in names), limits=limits)


def story(result: Result) -> list[object]:
    """What was decided, with agents by name."""
    return [
        result.nodes[each.action.answer].author
        if isinstance(each.action, Finish)
        else (each.action[0].agent, each.action[0].compute.samples, each.action[0].answer)
        for each in result.decisions
    ]


def test_objectives_and_details_are_drawn_where_there_are_several() -> None:
    open_to = Random(objectives=("propose", "critique"), details=("short", "full"), finish_probability=0.0)
    drawn = {
        (directive.objective, directive.detail)
        for seed in range(20)
        for each in stage().run(open_to, settings=Settings(seed=seed)).decisions
        if not isinstance(each.action, Finish)
        for directive in each.action
    }
    assert drawn == {(objective, detail) for objective in ("propose", "critique") for detail in ("short", "full")}


def test_permuting_the_agents_permutes_nothing() -> None:
    for seed in range(40):
        settings = Settings(seed=seed)
        first, second = stage("abcd").run(Random(), settings=settings), stage("dbca").run(Random(), settings=settings)
        assert story(first) == story(second)
        assert [each.log_prob for each in first.decisions] == [each.log_prob for each in second.decisions]


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    runs = [story(stage().run(Random(), settings=Settings(seed=seed))) for seed in (3, 3, *range(20))]
    assert runs[0] == runs[1]
    assert len({str(run) for run in runs}) > 10


def test_log_prob_is_the_sum_of_the_factors_and_each_is_right() -> None:
    for seed in range(30):
        for each in stage().run(Random(finish_probability=0.4), settings=Settings(seed=seed)).decisions:
            assert each.mode == "sample"
            assert each.seen >= 1
            assert each.log_prob == pytest.approx(sum(f.log_prob for f in each.factors))
            pick = each.factors[0]
            if isinstance(each.action, Finish):
                assert pick.choice == 4
                assert pick.log_prob == pytest.approx(log(0.4))
                assert len(each.factors) == 1
            else:
                share = 0.25 if each.step == 0 else 0.15
                assert exp(pick.log_prob) == pytest.approx(share)
                assert exp(each.factors[1].log_prob) == pytest.approx(1 / 3)
                assert (1, 3, 5)[each.factors[1].choice] == each.action[0].compute.samples
                assert pick.mask == (True,) * 4 + (each.step > 0,)


def test_frequencies_follow_the_probabilities() -> None:
    seen = dict.fromkeys("abcd", 0)
    for seed in range(800):
        action = stage().run(Random(max_steps=1), settings=Settings(seed=seed)).decisions[0].action
        assert not isinstance(action, Finish)
        seen[action[0].agent] += 1
    assert all(150 < count < 250 for count in seen.values())


def test_it_never_asks_more_often_than_max_steps_and_the_last_reply_answers() -> None:
    result = stage().run(Random(max_steps=3, finish_probability=0.0))
    assert result.steps == 3
    assert result.stop == "answered"


def test_an_agent_that_does_not_fit_is_masked() -> None:
    team = Stage(Speaker("a"), Speaker("b", price=(1000.0, 1000.0)), limits=Limits(dollars=0.001))
    for seed in range(20):
        result = team.run(Random(finish_probability=0.2), settings=Settings(seed=seed))
        assert all(each.factors[0].mask[1] is False for each in result.decisions)
    assert team.turns("b") == 0


def test_several_are_asked_at_once_and_nobody_twice() -> None:
    sizes, asked = set[int](), set[str]()
    for seed in range(60):
        result = stage().run(Random(2, finish_probability=0.0, samples=(1,), width=3), settings=Settings(seed=seed))
        assert (result.steps, result.stop) == (2, "answered")
        for each in result.decisions:
            assert not isinstance(each.action, Finish)
            agents = [directive.agent for directive in each.action]
            answers = [directive.answer for directive in each.action]
            assert len(set(agents)) == len(agents) == len({directive.id for directive in each.action})
            assert answers == [False] * (len(agents) - 1) + [each.step == 1]
            picks = [factor for factor in each.factors if factor.head == "pick"]
            shares = [1 / 4, 1 / 4, 1 / 3][: len(picks)]
            assert [exp(pick.log_prob) for pick in picks] == pytest.approx(shares)
            for done, pick in enumerate(picks):
                assert [may for may, name in zip(pick.mask, "abcd", strict=False) if name in agents[:done]] == [
                    False
                ] * done
                assert pick.mask[4] is (done > 0)
            assert each.log_prob == pytest.approx(sum(factor.log_prob for factor in each.factors))
            sizes.add(len(agents))
            asked.update(agents)
    assert sizes == {1, 2, 3}
    assert asked == set("abcd")
    settings = Settings(seed=5)
    wide = Random(width=3, views=(ALL, NOTHING))
    assert stage("abcd").run(wide, settings=settings).answer == stage("dbca").run(wide, settings=settings).answer


def test_what_is_shown_is_drawn_where_it_is_a_choice() -> None:
    shown = {ALL: 0, NOTHING: 0}
    for seed in range(200):
        plain = stage().run(Random(1), settings=Settings(seed=seed)).decisions[0]
        drawn = stage().run(Random(1, views=(ALL, NOTHING)), settings=Settings(seed=seed)).decisions[0]
        assert not isinstance(plain.action, Finish)
        assert not isinstance(drawn.action, Finish)
        assert [factor.head for factor in plain.factors] == ["pick", "samples"]
        assert drawn.factors[:2] == plain.factors
        assert exp(drawn.factors[2].log_prob) == pytest.approx(1 / 2)
        assert plain.action[0].visible == ALL
        shown[drawn.action[0].visible] += 1
    assert min(shown.values()) > 70


def test_each_pick_has_noise_of_its_own() -> None:
    alone = 0
    for seed in range(500):
        action = stage().run(Random(1, width=2), settings=Settings(seed=seed)).decisions[0].action
        assert not isinstance(action, Finish)
        alone += len(action) == 1
    assert 95 < alone < 155  # a quarter: three others or stopping; with the noise of the first pick two fifths
