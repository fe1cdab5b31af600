"""The skill table: keys from the text alone, what it decides, and that it survives a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinators.saved_table import load_table, save_table
from podium.orchestrator.coordinators.skill_table import Arm, Key, SkillTable, Tally
from podium.orchestrator.coordinators.skills import Skills
from podium.orchestrator.engine import Settings
from podium.orchestrator.learned.text import LONGEST, encode
from podium.protocols.errors import PolicyError
from podium.protocols.task import Message
from tests.orchestrator.stage import Speaker, Stage, authors

SUMS, WORDS = "What is 12 + 30?", "Spell the word banana backwards."
SKILLS = Skills([dict(enumerate(map(float, encode(text)[0]))) for text in (SUMS, WORDS)])
GOOD, BAD = Tally(90, 10, 0.0), Tally(10, 90, 0.0)


def crew(limits: Limits | None = None) -> Stage:
    return Stage(Speaker("adder", "42"), Speaker("speller", "ananab"), limits=limits)


def table(**settings: Any) -> SkillTable:
    """Adders add, spellers spell; five samples help nobody, and going on was tried and is no good."""
    arms: dict[Key, Arm] = {}
    for skill, expert in enumerate(("adder", "speller")):
        for agent in ("adder", "speller"):
            arms[Key(skill, 0, agent, 1)] = Arm(GOOD if agent == expert else BAD, Tally(30, 70))
    return SkillTable(SKILLS, arms, **settings)


def test_skills_do_not_depend_on_the_numbers() -> None:
    assert SKILLS.of("What is 77 + 2?") == SKILLS.of(SUMS) != SKILLS.of("Spell the word cherry backwards.")
    assert Skills().of("anything") == 0


def test_no_task_is_kept() -> None:
    task, held = f"{SUMS} " * LONGEST, 2  # the name here, and the call's own reference
    for skills in (SKILLS, Skills()):
        skills.of(task)
        assert sys.getrefcount(task) == held


def test_each_skill_goes_to_its_expert_in_one_decision() -> None:
    sums, words = crew().run(table(), "What is 5 + 6?"), crew().run(table(), "Spell the word kiwi backwards.")
    assert authors(sums) == ["adder"]
    assert authors(words) == ["speller"]
    assert sums.steps == 1
    assert sums.decisions[0].reasons["expected"] == pytest.approx((1 + 90 + 4) / (2 + 100 + 8))


def test_it_goes_on_where_going_on_was_better() -> None:
    arms = {
        Key(0, 0, "adder", 1): Arm(BAD, GOOD),
        Key(0, 0, "speller", 1): Arm(BAD, BAD),
        Key(0, 1, "speller", 3): Arm(GOOD),
    }
    result = crew().run(SkillTable(Skills(), arms), SUMS)
    assert authors(result) == ["adder", "speller"]
    assert result.usage.calls == 4
    assert result.steps == 2


def test_a_price_keeps_it_from_going_on() -> None:
    arms = {Key(0, 0, "adder", 1): Arm(Tally(50, 50), Tally(60, 40, dollars=10.0)), Key(0, 1, "speller", 1): Arm(GOOD)}
    assert authors(crew().run(SkillTable(Skills(), arms), SUMS)) == ["adder", "speller"]
    assert authors(crew().run(SkillTable(Skills(), arms, cost_weight=1.0), SUMS)) == ["adder"]
    assert authors(crew().run(SkillTable(Skills(), arms, cost_weight=2.0), SUMS)) == ["adder"]


def test_an_expert_that_does_not_fit_the_budget_is_passed_over() -> None:
    dear = Speaker("adder", "42", price=(1000.0, 1000.0))
    stage = Stage(dear, Speaker("speller", "ananab"), limits=Limits(dollars=0.001))
    assert set(authors(stage.run(table(), SUMS))) == {"speller"}


def test_an_empty_table_works_and_an_agent_it_never_saw_comes_last() -> None:
    assert crew().run(SkillTable(), SUMS).stop == "answered"
    arms = {Key(0, 0, "adder", 1): Arm(BAD)}
    assert authors(crew().run(SkillTable(Skills(), arms), SUMS)) == ["adder"]


def test_exploring_tries_everything_and_is_reproducible() -> None:
    asked = {
        authors(crew().run(SkillTable(exploring=True), f"task {number}"))[0] + str(number % 1) for number in range(40)
    }
    assert len(asked) == 2
    settings = Settings(seed=4, mode="sample")
    first, second = (crew().run(SkillTable(), SUMS, settings=settings) for _ in range(2))
    assert [each.action for each in first.decisions] == [each.action for each in second.decisions]


def test_a_lucky_streak_in_a_rare_skill_does_not_outweigh_experience() -> None:
    arms = {
        Key(0, 0, "adder", 1): Arm(Tally(160, 40)),
        Key(0, 0, "speller", 1): Arm(Tally(40, 160)),
        Key(1, 0, "speller", 1): Arm(Tally(2, 0)),
    }
    assert authors(crew().run(SkillTable(SKILLS, arms), WORDS)) == ["adder"]
    arms[Key(1, 0, "speller", 1)] = Arm(Tally(40, 0))
    assert authors(crew().run(SkillTable(SKILLS, arms), WORDS)) == ["speller"]


def test_the_order_of_its_arms_means_nothing() -> None:
    arms = [(Key(skill, 0, "adder", 1), Arm(Tally(3, 1, 1 / 3 * skill**2))) for skill in range(12)]
    one, other = (SkillTable(SKILLS, dict(each), cost_weight=1.0) for each in (arms, arms[::-1]))
    assert crew().run(one, SUMS).decisions[0].reasons == crew().run(other, SUMS).decisions[0].reasons


def test_with_outcomes_leaves_the_old_table_alone() -> None:
    key, old = Key(0, 0, "adder", 1), SkillTable()
    new = old.with_outcomes([(key, "own", True, 0.5), (key, "own", False, 0.5), (key, "after", True, 2.0)])
    assert old.arms == {}
    assert new.arms[key] == Arm(Tally(1, 1, 1.0), Tally(1, 0, 2.0))
    assert new.arms[key].own.mean == 0.5
    assert new.arms[key].own.cost == 0.5


def test_reasons_are_finite_numbers() -> None:
    arms = {Key(0, 0, "adder", 1): Arm(BAD, GOOD), Key(0, 1, "adder", 1): Arm(BAD)}
    for each in crew().run(SkillTable(Skills(), arms, max_steps=3), SUMS).decisions:
        json.loads(json.dumps(dict(each.reasons), allow_nan=False))


def test_it_survives_a_file(tmp_path: Path) -> None:
    before = table(explore=0.3, cost_weight=2.0, max_steps=3, samples=(1, 7))
    after = load_table(save_table(before, tmp_path / "deep" / "table.json"), ["adder", "other"])
    assert after.arms == before.arms
    assert after.skills.centroids == before.skills.centroids
    assert (after.explore, after.cost_weight, after.max_steps, after.samples) == (0.3, 2.0, 3, (1, 7))
    card = crew()["adder"].card
    for text in (SUMS, WORDS):
        message = (Message("user", text),)
        assert after.begin(message, (card,)) == before.begin(message, (card,))


def broken(found: dict[str, Any], change: str) -> str:
    match change:
        case "kind":
            found["kind"] = "other"
        case "format":
            found["format"] = 99
        case "negative":
            found["rows"][0]["own"][0] = -1
        case "nan":
            found["rows"][0]["own"][0] = float("nan")
        case "extra":
            found["run_this"] = "rm"
        case "feature":
            found["skills"][0]["999999"] = 1.0
        case "missing":
            del found["rows"]
        case "list":
            return json.dumps([found])
        case "cut":
            return json.dumps(found)[:100]
        case _:
            return "\x00\x01"
    return json.dumps(found)


@pytest.mark.parametrize(
    "change", ["kind", "format", "negative", "nan", "extra", "feature", "missing", "list", "cut", "binary"]
)
def test_garbage_is_refused_with_the_file_named(tmp_path: Path, change: str) -> None:
    file = save_table(table(), tmp_path / "table.json")
    file.write_text(broken(json.loads(file.read_text()), change))
    with pytest.raises(PolicyError, match=r"table\.json"):
        load_table(file)


def test_a_missing_file_and_another_teams_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no skill table here"):
        load_table(tmp_path / "none.json")
    file = save_table(table(), tmp_path / "table.json")
    with pytest.raises(PolicyError, match="knows adder, speller; this team has x"):
        load_table(file, ["x"])
