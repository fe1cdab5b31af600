"""Recorded tasks: scores come from the record, answers from the text, in the same way for a whole pool."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from podium.agents.model import Prompt, complete
from podium.agents.recorded import RecordedModel, not_recorded
from podium.protocols.errors import TaskError
from podium.protocols.pool import Pool, PoolAgent, PoolReply, PoolTask, write_pool
from podium.protocols.record import Sampling
from podium.training.tasks import load_tasks
from podium.training.tasks.recorded import tasks_of_pool


def pool(*tasks: PoolTask) -> Pool:
    return Pool(name="tiny", agents={"small": PoolAgent(), "large": PoolAgent()}, tasks=tasks)


def reply(score: float, text: str | None = None, more: tuple[PoolReply, ...] = ()) -> PoolReply:
    return PoolReply(score=score, completion_tokens=3, text=text, more=more)


def task(name: str, replies: Mapping[str, PoolReply], reference: str | None = None, prompt: str = "") -> PoolTask:
    return PoolTask(id=name, prompt=prompt or f"question {name}", replies=replies, reference=reference, tags=("t",))


NUMBERS = pool(
    task("a", {"small": reply(0, "2 + 2 = 5\nA: 5"), "large": reply(1, "2 + 2 = $4.00\n#### $4.00")}, "4"),
    task("b", {"small": reply(1, "It is 1,000."), "large": reply(0, "No idea.")}, "1000"),
)


def test_scores_come_from_the_record() -> None:
    first, second = tasks_of_pool(NUMBERS)
    assert first.score("2 + 2 = 5\nA: 5").score == 0.0
    assert first.score("2 + 2 = $4.00\n#### $4.00\n").passed
    assert second.score("No idea.").score == 0.0
    assert (first.tags["source"], first.tags["tag0"], first.text) == ("tiny", "t", "question a")


def test_other_texts_are_compared_with_the_reference() -> None:
    first, second = tasks_of_pool(NUMBERS)
    assert first.score("I merged both: 4").passed
    assert not first.score("I merged both: 9").passed
    assert second.score("Answer: 1e3").passed


def test_the_record_wins_over_the_reference() -> None:
    strict = tasks_of_pool(pool(task("a", {"small": reply(0, "13.00"), "large": reply(1, "13")}, "13")))[0]
    assert strict.score("13.00").score == 0.0
    assert strict.answer("13.00") == strict.answer("13") == "13"


def test_answers_are_read_as_the_references_ask() -> None:
    first, second = tasks_of_pool(NUMBERS)
    assert first.answer("2 + 2 = $4.00\n#### $4.00") == "4"
    assert second.answer("No idea.") is None
    letters = tasks_of_pool(pool(task("a", {"small": reply(1, "(B) Paris"), "large": reply(0, "C")}, "B")))[0]
    assert letters.answer("(B) Paris") == "B"
    assert letters.score("I pick B").passed
    words = tasks_of_pool(pool(task("a", {"small": reply(1, "Paris."), "large": reply(0, "**Rome**")}, "Paris")))[0]
    assert words.answer("**Rome**") == "rome"


def test_scores_without_texts() -> None:
    only = tasks_of_pool(pool(task("a", {"small": reply(0), "large": reply(0.7)})))[0]
    assert only.score(not_recorded("large")).score == 0.7
    assert not only.score(not_recorded("small")).passed
    assert only.answer(not_recorded("large")) is None
    with pytest.raises(LookupError, match="no reference to compare"):
        only.score("B")


def test_one_text_with_several_scores_gets_their_mean() -> None:
    shared = tasks_of_pool(pool(task("a", {"small": reply(1, "x", (reply(0, "y"),)), "large": reply(0, "x ")}, "x")))[0]
    assert shared.score("x").score == 0.5
    assert shared.score("y").score == 0.0


def test_threshold_of_passing(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl.gz"
    write_pool(pool(task("a", {"small": reply(0.4, "x"), "large": reply(0.6, "y")})), path)
    assert load_tasks(f"recorded:{path}")[0].score("y").passed
    assert not load_tasks(f"recorded:{path}?threshold=0.7")[0].score("y").passed
    assert load_tasks(f"recorded:{path}?threshold=0.4")[0].score("x").passed
    for value, message in (("0", "above 0"), ("x", "must be a number")):
        with pytest.raises(TaskError, match=message):
            load_tasks(f"recorded:{path}?threshold={value}")
    with pytest.raises(TaskError, match="no such pool"):
        load_tasks(f"recorded:{tmp_path}/none.jsonl")


def test_what_a_recorded_model_says_is_what_is_scored(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    twins = (
        task("a", {"small": reply(1, "one", (reply(0, "two"),)), "large": reply(0)}, prompt="same?"),
        task("b", {"small": reply(0, "three"), "large": reply(1)}, prompt="same?"),
    )
    write_pool(pool(*twins), path)
    for each in load_tasks(f"recorded:{path}"):
        for agent, seed, score in (("small", 0, 1.0), ("small", 1, 0.0), ("large", 0, 0.0)):
            prompt = Prompt(agent, each.text, lambda: ())
            said = asyncio.run(complete(RecordedModel("m", path, agent), prompt, Sampling(seed=seed)))
            assert each.score(said.text).score == score
