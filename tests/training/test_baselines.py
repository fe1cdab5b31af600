"""Baselines fitted through the engine: the right one is found, and every candidate's figures are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinators import Step
from podium.orchestrator.coordinators.saved_table import load_table, save_table
from podium.protocols.bus import Envelope
from podium.protocols.events import Result
from podium.protocols.noise import uniform
from podium.protocols.task import Message, Task, Verdict
from podium.training.baselines import Choice, best_single, choose_pipeline, find_oracle
from podium.training.rollouts import Rollouts
from podium.training.skill_fit import fit_skill_table, fit_skills
from tests.orchestrator.stage import Speaker, Stage, authors

T = TypeVar("T")

NAMES = ("adder", "doubler", "waffler")


def question(kind: str, number: int) -> str:
    match kind:
        case "add":
            return f"Add one to the number {number}, please."
        case "double":
            return f"Twice {number} is how much?"
        case "sum":
            return f"A successor and a double, of {number} both, together?"
        case _:
            return f"First a successor, afterwards its double: begin from {number}!"


def task(kind: str, number: int) -> Task:
    """A task whose kind shows in its wording only."""
    right = {"add": number + 1, "double": 2 * number, "both": 2 * (number + 1), "sum": 3 * number + 1}[kind]

    def score(answer: str) -> Verdict:
        return Verdict(float(answer == str(right)), answer == str(right))

    return Task(f"{kind}-{number}", (Message("user", question(kind, number)),), score)


def tasks(count: int, start: int = 0, kinds: Sequence[str] = ("add", "double", "both")) -> list[Task]:
    return [task(kind, 10 + start + number) for number in range(count) for kind in kinds]


def number_in(envelope: Envelope) -> int:
    """What an agent works on: the newest reply that is a number, else the task's number."""
    said = [int(node.content) for node in envelope.visible() if node.content.isdigit()]
    if said:
        return said[-1]
    return int("".join(letter for letter in envelope.task[-1].content if letter.isdigit()))


def flaky(envelope: Envelope) -> str:
    """Doubles, right in three cases of four; the seed decides."""
    lucky = uniform(envelope.seed, envelope.task[-1].content) < 0.75
    return str(2 * number_in(envelope)) if lucky else "hm"


def crew() -> Stage:
    return Stage(
        Speaker("adder", lambda envelope: str(number_in(envelope) + 1)),
        Speaker("doubler", flaky),
        Speaker("waffler", "let me think", tokens=(10, 50)),
    )


class Counting:
    """`Rollouts.run`, counting."""

    def __init__(self, stage: Stage) -> None:
        self.runs = 0
        self.rollouts = Rollouts(stage.led_by(_nobody()))

    async def __call__(self, coordinator: Coordinator, tasks: Sequence[Task], *, seeds: Sequence[int]) -> list[Result]:
        self.runs += len(tasks) * len(seeds)
        return await self.rollouts.run(coordinator, tasks, seeds=seeds)


def _nobody() -> Coordinator:
    from podium.orchestrator.coordinators import Single

    return Single("adder")


def do(work: Callable[[Counting], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(work(Counting(crew())))


def test_the_best_single_agent_is_found_with_everybodys_figures() -> None:
    choice = do(lambda run: best_single(run, tasks(12, kinds=("add", "add", "double")), NAMES))
    assert choice.label == "adder"
    assert [each.runs for each in choice.figures] == [36] * 3
    assert choice.figures[0].score == pytest.approx(2 / 3)
    assert choice.figures[0].tokens == 15
    assert choice.figures[-1].label == "waffler"


def test_the_best_pipeline_is_found_among_all_and_cheaply() -> None:
    counting = Counting(crew())
    work = [*tasks(60, kinds=("both",)), *tasks(30, kinds=("add",))]
    choice = asyncio.run(choose_pipeline(counting, work, NAMES, samples=(1, 5)))
    assert choice.label == "adder > doublerx5"
    assert choice.figures[0].runs == len(work)
    assert choice.figures[0].score == max(f.score for f in choice.figures)
    assert {"vote of all", "adder", "waffler > waffler"} <= {figures.label for figures in choice.figures}
    exhaustive = len(choice.figures) * len(work)
    assert counting.runs < 0.8 * exhaustive


def test_a_pipeline_may_ask_several_at_once_where_the_policy_beside_it_may() -> None:
    """A sum takes two who do not see each other, and a third who is shown both."""

    def unless_shown(reply: Callable[[Envelope], str]) -> Callable[[Envelope], str]:
        return lambda envelope: "no" if envelope.visible() else reply(envelope)

    stage = Stage(
        Speaker("adder", unless_shown(lambda envelope: str(number_in(envelope) + 1))),
        Speaker("doubler", unless_shown(lambda envelope: str(2 * number_in(envelope)))),
        Speaker(
            "waffler", lambda envelope: str(sum(int(n.content) for n in envelope.visible() if n.content.isdigit()))
        ),
    )
    work = [task("add", 3), *tasks(3, kinds=("sum",))]

    def best(width: int) -> Choice:
        return asyncio.run(choose_pipeline(Counting(stage), work, NAMES, samples=(1, 3), width=width))

    assert best(1).label == "adder"
    wide = best(2)
    assert (wide.label, wide.figures[0].score) == ("adder + doubler > waffler", 0.75)
    assert "adder" in {figures.label for figures in wide.figures}
    steps = [{"agent": "adder", "beside": [{"agent": "doubler"}]}, {"agent": "waffler"}]
    assert wide.spec.model_dump(mode="json", exclude_defaults=True) == {"kind": "pipeline", "steps": steps}


def test_of_equal_pipelines_the_one_with_fewer_tokens_wins() -> None:
    choice = do(lambda run: choose_pipeline(run, tasks(6, kinds=("add",)), NAMES))
    assert choice.label == "adder"


def test_choosing_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one task"):
        do(lambda run: choose_pipeline(run, [], NAMES))


def test_the_oracle_finds_the_cheapest_passing_steps_for_each_task() -> None:
    work = [task("add", 3), task("both", 4), task("double", 5)]
    search = do(lambda run: find_oracle(run, work, NAMES, samples=(1, 3, 5)))
    best = {each.text: list(search.oracle.best[each.messages]) for each in work}
    assert search.solved == 1.0
    assert best[work[0].text] == [Step("adder")]
    first, second = best[work[1].text]
    assert first == Step("adder")
    assert second.agent == "doubler"
    stage = crew()
    results = asyncio.run(Rollouts(stage.led_by(search.oracle)).run(None, work, seeds=[0]))
    assert all(each.task.score(each.answer).passed for each in results)


def test_an_unsolvable_task_still_gets_steps() -> None:
    impossible = Task("no", (Message("user", "Add one to 5"),), lambda answer: Verdict(0.0, False))
    search = do(lambda run: find_oracle(run, [impossible], NAMES, samples=(1,)))
    assert search.solved == 0.0
    assert len(search.oracle.best[impossible.messages]) >= 1


def thrice(number: int) -> Task:
    """A task that only adding three times solves."""
    right = str(number + 3)
    return Task(f"thrice-{number}", (Message("user", f"After {number}?"),), lambda text: Verdict(0.0, text == right))


def test_the_oracle_searches_as_deep_as_the_action_space_goes() -> None:
    work = [thrice(number) for number in range(10, 14)]
    shallow = do(lambda run: find_oracle(run, work, NAMES, samples=(1,)))
    assert (shallow.solved, shallow.steps, shallow.longer) == (0.0, 2, 0)
    deep = do(lambda run: find_oracle(run, work, NAMES, samples=(1,), max_len=5))
    assert deep.solved == 1.0
    assert set(deep.oracle.best.values()) == {(Step("adder"),) * 3}
    results = asyncio.run(Rollouts(crew().led_by(deep.oracle)).run(None, work, seeds=[0]))
    assert all(each.task.score(each.answer).passed for each in results)


def test_the_oracle_stops_when_longer_routes_cost_too_much() -> None:
    never = Task("no", (Message("user", "Add one to 5"),), lambda answer: Verdict(0.0, False))
    counting = Counting(crew())
    search = asyncio.run(find_oracle(counting, [never], NAMES, samples=(1, 3), max_len=200))
    short = 6 + 6 * 6
    assert (search.steps, search.longer, search.runs) == (2, short // 2, counting.runs)
    assert counting.runs == short + short // 2
    whole = do(lambda run: find_oracle(run, [never], ["adder"], samples=(1, 3), max_len=3))
    assert (whole.steps, whole.longer, whole.runs) == (2, 3, 9)
    one = do(lambda run: find_oracle(run, [never], ["adder"], samples=(1,), max_len=4))
    assert (one.steps, one.longer, one.runs) == (3, 0, 3)
    alone = do(lambda run: find_oracle(run, [never], NAMES, samples=(1,), max_len=1))
    assert (alone.steps, alone.longer, alone.runs) == (1, 0, 3)


def test_the_skill_table_learns_who_is_good_at_what(tmp_path: Any) -> None:
    table = do(lambda run: fit_skill_table(run, tasks(40), skills=3, passes=4, batch=24, cost_weight=1000.0))
    held_out = tasks(30, start=500)

    def score_of(coordinator: Coordinator) -> float:
        stage = crew()
        results = asyncio.run(Rollouts(stage.led_by(coordinator)).run(None, held_out, seeds=[0]))
        return sum(each.task.score(each.answer).passed for each in results) / len(results)

    learned = score_of(table)
    assert learned >= 0.85
    assert score_of(load_table(save_table(table, tmp_path / "table.json"), NAMES)) == learned
    adding = do(lambda run: run.rollouts.run(table, tasks(1, start=700, kinds=("add",)), seeds=[0]))
    assert authors(adding[0]) == ["adder"]


def test_skills_follow_the_wording() -> None:
    work = tasks(10)
    skills = fit_skills([each.text for each in work], 3)
    keys = {kind: {skills.of(question(kind, n)) for n in range(900, 920)} for kind in ("add", "double", "both")}
    assert all(len(found) == 1 for found in keys.values())
    assert len({key for found in keys.values() for key in found}) == 3
    assert len(fit_skills(["same"] * 5, 4)) == 1


def test_fitting_is_reproducible() -> None:
    first, second = (do(lambda run: fit_skill_table(run, tasks(8), skills=3, passes=1, batch=8)) for _ in range(2))
    assert first.arms == second.arms


def test_rollout_settings_differ_between_tasks() -> None:
    """The skill table's exploration relies on it: runs that share a table must not share their noise."""
    from podium.training.rollouts import repeatable

    seen = {repeatable(each, 0).seed for each in tasks(5)}
    assert len(seen) == 15
