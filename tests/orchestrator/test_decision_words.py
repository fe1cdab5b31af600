"""Why a learned decision was taken: each factor of it in words, with its probability."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_args

from podium.agents.roles import asking
from podium.orchestrator.decision_words import ASKED, DETAILED, PLANNED, SHOWN, percent, why
from podium.orchestrator.learned.options import VIEWS
from podium.protocols.events import Result
from podium.protocols.record import (
    Compute,
    Decision,
    Detail,
    Directive,
    Factor,
    Finish,
    Node,
    Objective,
    Plan,
    View,
)
from tests.orchestrator.learned.parts import loud, play, task

TASK = Node(0, (), "task", "user", "how much?")
CHANCES: Mapping[str, float] = {"p(finish)": 0.2, "p(ann)": 0.5, "p(bob)": 0.3}


def factor(head: str, probability: float, *, open: int = 3) -> Factor:
    return Factor(head, 0, math.log(probability), (True,) * open)


def words(action: Any, *factors: Factor, mode: Any = "sample", **reasons: float) -> list[str]:
    named = {name.replace("__", " "): value for name, value in reasons.items()}
    likelier = {f"likelier({name})": value for name, value in named.items()}
    decision = Decision("r.0", 0, action, "learned", 0, mode, factors, reasons={**CHANCES, **likelier})
    return why(decision, [TASK])


def test_how_an_agent_is_asked_is_told_with_the_probability_of_each_choice() -> None:
    told = words(
        (Directive("d", "ann", "verify", "", View("last"), "short", Compute(3, "vote")),),
        factor("pick", 0.5),
        factor("context", 0.58),
        factor("objective", 0.4),
        factor("detail", 0.9),
        factor("samples", 0.19),
    )
    assert told == [
        "Asking ann was drawn with probability 50 %, against 30 % for bob and 20 % for finishing.",
        "ann: shown the newest reply with probability 58 %, asked to check the latest answer with 40 %, briefly with "
        "90 %, 3 samples with 19 %.",
    ]


def test_what_was_likelier_is_told_where_a_choice_went_against_the_odds() -> None:
    told = words(
        (Directive("d", "bob", compute=Compute(3, "vote")),),
        *(factor("pick", 0.3), factor("context", 0.2), factor("objective", 0.2), factor("detail", 0.2)),
        factor("samples", 0.19),
        **{"0__context__none": 0.6, "0__objective__refine": 0.7, "0__detail__full": 0.75, "0__samples__1": 0.55},
    )
    assert told[1] == (
        "bob: shown all replies with probability 20 % (the task only had 60 %), asked to answer with 20 % (to improve "
        "the latest answer had 70 %), at normal length with 20 % (with the whole reasoning had 75 %), 3 samples with "
        "19 % (1 sample had 55 %)."
    )


def test_each_further_agent_is_told_with_its_own_pick() -> None:
    pair = (Directive("d", "ann", compute=Compute(5, "vote")), Directive("e", "bob"), Directive("f", "cy"))
    picks = [factor("pick", 0.5), factor("samples", 0.6), factor("pick", 0.4), factor("samples", 0.7)]
    told = words(pair, *picks, factor("pick", 0.1), **{"1__pick": 0.45, "2__pick__dan": 0.8})
    assert told[1:] == [
        "ann: 5 samples with probability 60 %.",
        "Asking bob, too, was drawn with probability 40 %, against 45 % for nobody else.",
        "bob: 1 sample with probability 70 %.",
        "Asking cy, too, was drawn with probability 10 %, against 80 % for dan.",
    ]


def test_stopping_there_is_told_as_well() -> None:
    picks = [factor("pick", 0.5), factor("context", 0.6), factor("pick", 0.4)]
    alone = words((Directive("d", "ann"),), *picks, mode="greedy")
    assert alone[0].startswith("Asking ann had probability 50 %")
    assert alone[1:] == [
        "ann: shown all replies with probability 60 %.",
        "Asking nobody else had probability 40 %.",
    ]
    assert words((Directive("d", "ann"),), *picks, **{"1__pick__bob": 0.6})[-1] == (
        "Asking nobody else was drawn with probability 40 %, against 60 % for bob."
    )


def test_the_node_that_is_the_answer_is_told_with_its_probability() -> None:
    told = words(Finish(4), factor("pick", 0.2), factor("answer", 0.3), **{"0__answer__2": 0.6})
    assert told == [
        "Finishing was drawn with probability 20 %, against 50 % for ann and 30 % for bob.",
        "Taking node 4 was drawn with probability 30 %, against 60 % for node 2.",
    ]
    greedy = words(Finish(4), factor("pick", 0.2), factor("answer", 0.7), mode="greedy")
    assert greedy[1] == "Taking node 4 had probability 70 %."
    only = words(Finish(1), factor("pick", 0.2), factor("answer", 1.0, open=1))
    assert only[1] == "Node 1 was the only reply there was to take."


def test_a_record_without_factors_still_says_the_first_pick() -> None:
    assert len(words((Directive("d", "ann"), Directive("e", "bob")))) == 1


def test_plans_and_caps_are_told() -> None:
    new, kept = Compute(max_tokens=64, plan="renew"), Compute(plan="keep")
    pair = (Directive("d", "ann", compute=new), Directive("e", "bob", compute=kept))
    picks = [factor("pick", 0.5), factor("plan", 0.3), factor("max_tokens", 0.6)]
    picks += [factor("pick", 0.4), factor("plan", 0.2), factor("max_tokens", 0.1)]
    told = words(pair, *picks, **{"0__plan__keep": 0.6, "1__plan__none": 0.7, "1__max_tokens__64": 0.8})
    assert told[1] == (
        "ann: with a new plan first with probability 30 % (keeping to the plan so far had 60 %), in at most 64 tokens "
        "with 60 %."
    )
    assert told[3] == (
        "bob: keeping to the plan so far with probability 20 % (told nothing of a plan had 70 %), at any length with "
        "10 % (in at most 64 tokens had 80 %)."
    )


def test_every_choice_has_words() -> None:
    assert set(get_args(Plan)) == set(PLANNED)
    assert set(get_args(Objective)) == set(ASKED)
    assert set(get_args(Detail)) == set(DETAILED)
    assert {view.kind for view in VIEWS.values()} == set(SHOWN)


def test_every_factor_of_a_real_run_is_told() -> None:
    results: list[Result] = play(loud(), [task(number) for number in range(12)])
    told = 0
    for result in results:
        for decision in result.decisions:
            said = why(decision, result.nodes)
            text = " ".join(said[: [line.startswith("The run was") for line in said].index(True)])
            counts = [percent(math.exp(each.log_prob)) for each in decision.factors if sum(each.mask) > 1]
            told += len(counts)
            for chance in set(counts):
                assert text.count(chance) >= counts.count(chance), (text, decision.factors)
            asked = () if isinstance(decision.action, Finish) else decision.action
            assert all(each.agent in text for each in asked)
            likelier = [name for name in decision.reasons if name.startswith("likelier(") and "(0 pick" not in name]
            assert text.count("(") + text.count("against") == len(likelier) + said[0].count("against")
    assert told > 100


def test_the_piece_that_is_asked_for_is_named() -> None:
    task = Node(0, (), "task", "user", "Say:\n- the price\n- the owner")
    told = (Directive("d", "ann", instruction=asking("the owner", "sure")), Directive("e", "bob"))
    factors = (
        factor("pick", 0.5),
        Factor("about", 1, math.log(0.4), (True, True, False, True)),
        factor("style", 0.6),
        factor("pick", 0.3),
        Factor("about", 3, math.log(0.2), (True, True, False, True)),
        factor("style", 0.7),
    )
    more = {"supplies(ann 1)": 0.83, "likelier(0 about all)": 0.5, "likelier(1 about 0)": 0.7}
    reasons: dict[str, float] = {**CHANCES, **more}
    decision = Decision("r.0", 0, told, "learned", factors=factors, reasons=reasons)
    lines = why(decision, [task])
    assert lines[1] == (
        'ann: about "the owner" with probability 40 % (all of the task had 50 %), which it is thought to supply with '
        "83 %, saying how sure it is with 60 %."
    )
    assert lines[3] == (
        'bob: about all of the task with probability 20 % ("the price" had 70 %), in plain style with 70 %.'
    )
    worded = (dataclasses.replace(told[0], instruction="Who owns it?"), told[1])
    assert "in the manner that its words say with 60 %" in why(dataclasses.replace(decision, action=worded), [task])[1]
    short = dataclasses.replace(decision, reasons=reasons | {"template": 1.0})
    assert any("the template's were taken" in line for line in why(short, [task]))
