"""What was said about each piece of a task: read off words in common, whatever the order of pieces and agents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.facts import Facts, Said
from podium.orchestrator.learned.needs import COVER, PAIR, PIECE, figures, needs_of, statements
from podium.orchestrator.learned.options import Options
from podium.protocols.bus import Card
from podium.protocols.record import Finish
from podium.protocols.task import Message, Task
from tests.orchestrator.learned.parts import NAMES, loud, play, reply, state_of

TEXT = "State:\n- the price of the mill\n- the owner of the pier\n- the age of the bell"
CARDS = tuple(Card(name, "solver", about) for name, about in (("ann", "knows the mill"), ("bob", ""), ("cy", "")))
ASKING = Options(context=("task", "all"), styles=("plain", "sure", "reasons"), needs=4, width=2, max_steps=3)


def said(author: int, content: str, node: int = 1) -> Said:
    return Said(node, author, None, content, 1.0, 1, 5)


def test_a_statement_is_the_line_with_most_words_in_common() -> None:
    needs = needs_of(TEXT, 4)
    found = statements("I looked around.\nThe price of the mill: 42. Nobody knows the owner of the pier", needs)
    assert found[0].share == pytest.approx(1)
    assert found[0].new == {"42"}
    assert found[0].number
    assert found[1].share == pytest.approx(1)
    assert not found[1].number
    assert found[2].share < 0.5  # "the" and "of" stand in every piece
    assert statements("Nothing at all", needs)[0].share == 0


def test_the_figures() -> None:
    needs = needs_of(TEXT, 4)
    replies = [
        said(0, "the price of the mill: 42", 1),
        said(1, "the price of the mill: 42\nthe age of the bell: 7", 2),
        said(2, "the price of the mill: unknown", 3),
    ]
    pieces, pairs, covers = figures(needs, replies, CARDS)
    assert pieces.shape == (4, PIECE)
    assert pairs.shape == (3, 4, PAIR)
    assert covers.shape[1] == COVER
    assert pieces[:, 0].tolist() == [1, 1, 1, 0]
    assert pieces[0, 2:6] == pytest.approx([np.log1p(3) / 2, 3 / 4, 2 / 4, 2 / 3])
    assert pieces[0, 8] == 1  # the newest reply is about it
    assert pieces[1, 2] == pieces[1, 3] == 0
    assert pieces[1, 1] < 0.5
    assert pairs[0, 0, 1:5] == pytest.approx([np.log1p(1) / 3, 1, 1 / 4, 1 / 4])  # bob says the same, cy does not
    assert pairs[2, 0, 2:5] == pytest.approx([0, 0, 2 / 4])
    assert (pairs[2, 2, 1:5] == 0).all()
    assert pairs[0, 0, 5] > 0.2 > pairs[1, 0, 5] == 0  # the card
    assert covers[:3] == pytest.approx(np.array([[1 / 3, 1 / 3], [2 / 3, 2 / 3], [1 / 3, 0]]), abs=1e-6)
    assert not covers[3:].any()
    assert not pieces[3].any()
    assert not pairs[:, 3].any()


def test_figures_alone_do_not_read_the_pieces() -> None:
    needs = needs_of(TEXT, 4, "figures")
    assert not needs.texts.any()
    assert needs.shapes.any()
    assert not needs_of(TEXT, 4, reads=False).texts.any()
    assert needs_of(TEXT, 4).texts[0].any()


def moved(text: str) -> str:
    """The same pieces in another order."""
    head, *rest = text.split("\n")
    return "\n".join([head, *rest[::-1]])


def test_pieces_are_a_set() -> None:
    """A policy asks for the same piece when they stand in another order, but for what the order does to the text."""
    policy = loud(ASKING)
    policy.weights["text.w"][1024:] = 0  # trigrams across a line's end
    coordinator = LearnedCoordinator(policy)
    tasks = [Task("t", (Message("user", text),)) for text in (TEXT, moved(TEXT))]
    about = set[str]()
    for seed in range(12):
        nodes = [reply(1, "bob", "the age of the bell: 7")] if seed % 2 else []
        first, second = (coordinator.decide([state_of(coordinator, task, nodes, seed=seed)])[0] for task in tasks)
        assert first.log_prob == pytest.approx(second.log_prob, abs=1e-4)
        if isinstance(first.action, Finish):
            assert first.action == second.action
            continue
        assert isinstance(second.action, tuple)
        assert [each.instruction for each in first.action] == [each.instruction for each in second.action]
        about |= {each.instruction for each in first.action}
        place = {"price": (0, 2), "owner": (1, 1), "age": (2, 0)}
        for one, other in place.values():
            assert first.reasons[f"there({one})"] == pytest.approx(second.reasons[f"there({other})"], abs=1e-5)
            for name in NAMES:
                believed = first.reasons[f"supplies({name} {one})"], second.reasons[f"supplies({name} {other})"]
                assert believed[0] == pytest.approx(believed[1], abs=1e-5)
    assert len(about) > 3


def test_a_directive_names_the_gap_and_the_style() -> None:
    work = Task("t", (Message("user", TEXT),))
    results = play(loud(ASKING), [work] * 8)
    told = [
        (directive.instruction, decision)
        for result in results
        for decision in result.decisions
        if not isinstance(decision.action, Finish)
        for directive in decision.action
    ]
    assert any("the owner of the pier." in words for words, _ in told)
    assert any("Say how sure you are." in words for words, _ in told)
    assert any("Only this is missing" not in words for words, _ in told)  # all of the task
    for words, decision in told:
        heads = [factor.head for factor in decision.factors]
        assert heads.count("about") == heads.count("style") == len(decision.action)  # type: ignore[arg-type]
        assert "It is for" not in words
        for factor in decision.factors:
            if factor.head == "about":
                assert factor.mask == (True, True, True, False, True)


@pytest.mark.parametrize(("bias", "lacking"), [(-50.0, True), (50.0, False)])
def test_whom_the_reply_is_for(bias: float, lacking: bool) -> None:
    """Those who are believed not to know it: everybody but the asked one, or nobody."""
    policy = loud(ASKING.model_copy(update={"audience": "lacking"}))
    policy.weights["supplies.b"] += np.float32(bias)
    policy.weights["need.trust"][:] = 0  # what is believed does not change what is asked for
    results = play(policy, [Task("t", (Message("user", TEXT),))] * 8)
    actions = [decision.action for result in results for decision in result.decisions]
    told = [directive for action in actions if not isinstance(action, Finish) for directive in action]
    named = [directive for directive in told if "Only this is missing" in directive.instruction]
    assert named
    for directive in told:
        others = " and ".join(name for name in NAMES if name != directive.agent)
        assert (f"It is for {others}." in directive.instruction) == (lacking and directive in named)


def test_a_task_of_one_piece_is_asked_for_as_a_whole() -> None:
    results = play(loud(ASKING), [Task("t", (Message("user", "What is 3 plus 4?"),))] * 4)
    for result in results:
        for decision in result.decisions:
            assert "about" not in [factor.head for factor in decision.factors]
            assert not any(name.startswith("supplies") for name in decision.reasons)


def test_off_it_weighs_nothing() -> None:
    off = Options()
    assert off.heads.needs == 0
    policy = loud(off)
    assert not any(name.startswith(("need.", "about", "supplies")) for name in policy.weights)
    decisions = [each for result in play(policy, [Task("t", (Message("user", TEXT),))]) for each in result.decisions]
    assert not any(name.startswith("supplies") for each in decisions for name in each.reasons)
    assert replace(needs_of(TEXT, 0)).pieces == ()


def test_facts_need_nothing_more() -> None:
    """The figures follow from the facts that are kept anyway."""
    facts = Facts.of((Message("user", TEXT),), CARDS)
    facts, _ = facts.after(reply(1, "ann", "the age of the bell: 7"))
    assert figures(needs_of(TEXT, 3), facts.said, CARDS)[0][2, 1] == pytest.approx(1)
