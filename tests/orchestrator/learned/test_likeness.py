"""How much a task is like what each agent says that it is for."""

from __future__ import annotations

import pytest

from podium.orchestrator.learned import facts as features
from podium.orchestrator.learned.facts import Facts
from podium.orchestrator.learned.likeness import likeness
from podium.protocols.bus import Card
from podium.protocols.task import Message

SPELLER = Card("a", "solver", "Spells words backwards.", examples=("spell lamp backwards", "reverse paper"))
DECODER = Card("b", "solver", "Decodes words.", examples=("decode cppl, one letter back",))
SILENT = Card("c", "solver")
TEAM = SPELLER, DECODER, SILENT


def test_the_nearest_text_of_an_agent_counts() -> None:
    speller, decoder, silent = likeness("spell house backwards", TEAM)
    assert speller > 0.4
    assert decoder < 0.2
    assert silent == 0.0
    assert likeness("decode uijt, one letter back", TEAM)[1] > 0.7
    assert likeness("reverse paper", TEAM)[0] == pytest.approx(1.0, abs=1e-5)


def test_words_that_everybody_says_tell_little() -> None:
    team = Card("a", "solver", "please sort them"), Card("b", "solver", "please spell them")
    one, other = likeness("please spell", team)
    assert other > 2 * one
    assert likeness("nothing of the kind", team) == (0.0, 0.0)


def test_agents_are_a_set() -> None:
    task = "spell cppl backwards and decode it"
    assert likeness(task, TEAM[::-1]) == pytest.approx(likeness(task, TEAM)[::-1])


def test_without_any_texts_nothing_is_alike() -> None:
    assert likeness("spell it", (SILENT, SILENT)) == (0.0, 0.0)
    assert likeness("", TEAM) == (0.0, 0.0, 0.0)


def test_words_that_stand_in_no_text_do_not_count() -> None:
    plain = likeness("spell lamp backwards", TEAM)
    assert likeness("spell my dearest lamp backwards to her", TEAM) == pytest.approx(plain, abs=0.1)


def test_it_is_a_figure_of_the_agent_where_words_are_read() -> None:
    task = (Message("user", "spell house backwards"),)
    figures = features.agent_figures(Facts.of(task, TEAM), (True,) * 3, None, 1e-5)
    assert figures[:, -1].tolist() == pytest.approx(likeness(task[0].content, TEAM))
    for reads in (False, "figures"):
        facts = Facts.of(task, TEAM, reads=reads)
        assert not features.agent_figures(facts, (True,) * 3, None, 1e-5)[:, -1].any()


def test_a_name_and_a_description_are_not_read_by_themselves() -> None:
    one, other = Card("a", "solver", "Spells words."), Card("b", "solver", "Sorts numbers.")
    assert (features.card_text(one)[0] == features.card_text(other)[0]).all()
