"""Coordinators side by side: rows with intervals, the same tasks for all, and names that are found or explained."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from podium.orchestrator.learned import LearnedCoordinator, Policy, save_policy
from podium.orchestrator.learned.options import Options
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, ModelError, TaskError
from podium.training.baselines import choose_pipeline
from podium.training.candidates import Fitting, resolve
from podium.training.comparison import NAMES, ORACLE, TRAINED, compare, verdicts
from podium.training.evaluate import evaluate
from podium.training.evaluation import Evaluation
from podium.training.skill_fit import fit_skill_table
from podium.training.tasks.scored import tasks_of
from tests.orchestrator.teams import team as team_of
from tests.training.school import models, question, school, task

ALL = "recorded:{}/pool.jsonl"
NO_AGENT = "there is no agent of this name"
AGENTS = "allowed: adder, timer"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return school(tmp_path)


def test_rows_and_intervals(tmp_path: Path, file: Path) -> None:
    counted: list[str] = []
    names = ["single?agent=adder", "pipeline?steps=adder*3+timer,timer", "vote?agents=timer", "own"]
    found = evaluate(file, ALL.format(tmp_path), names, seeds=2, done=counted.append)
    adder, both, timer, own = found.rows
    assert (found.tasks, found.seeds) == (40, 2)
    assert [row.name for row in found.rows] == names
    assert (adder.score, timer.score) == (0.5, 0.5)
    assert adder.low < 0.5 < adder.high
    assert (adder.calls, both.calls) == (1, 5)
    assert (adder.tokens, both.tokens) == (30, 150)
    assert adder.dollars == pytest.approx(40e-6)
    assert 0 < own.score < 1
    assert counted == [name for name in names for _ in range(80)]
    assert found.token_ratio(names[1], names[0]).mean == pytest.approx(5)
    assert found.difference(names[0], names[2]).mean == 0
    data = json.loads(found.to_json())
    assert [row["name"] for row in data["rows"]] == names
    assert data["rows"][0]["score"] == 0.5
    assert evaluate(file, ALL.format(tmp_path), names[:1], limit=7).tasks == 7


def test_what_is_fitted_has_the_action_space_of_the_policy_beside_it(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(samples=(1, 3), context=("task",), max_steps=1, width=2)
    save_policy(Policy.fresh(options, ("adder", "timer")), tmp_path / "policy")
    asked: list[dict[str, Any]] = []

    def spied(*given: Any, **settings: Any) -> Any:
        asked.append(settings)
        return choose_pipeline(*given, **settings)

    monkeypatch.setattr("podium.training.candidates.choose_pipeline", spied)
    spec, names = ALL.format(tmp_path), ["best_pipeline", f"learned:{tmp_path}/policy", "best_self_consistency"]
    beside = evaluate(file, f"{spec}?split=test", names, fit=f"{spec}?split=train")
    evaluate(file, f"{spec}?split=test", names[:1], fit=f"{spec}?split=train")
    assert [tuple(each.values()) for each in asked] == [(1, (1, 3), 2), (2, (1, 3, 5), 1)]
    tokens = {row.name: row.tokens for row in beside.rows}
    assert tokens["best_self_consistency"] == pytest.approx(max(30, tokens[names[1]]), abs=15)


def test_the_oracle_has_the_action_space_of_the_policy_beside_it(tmp_path: Path, file: Path) -> None:
    options = Options(samples=(1,), context=("task",), max_steps=9)
    save_policy(Policy.fresh(options, ("adder", "timer")), tmp_path / "policy")
    (tmp_path / "odd.jsonl").write_text(json.dumps({"prompt": question(1)[0], "reference": "never"}) + "\n")
    names = [f"learned:{tmp_path}/policy", "oracle"]
    found = evaluate(file, f"jsonl:{tmp_path}/odd.jsonl", names)
    tried = "all routes of up to 2 steps and 3 longer ones"
    assert found.details["oracle"] == f"solves 0% with 9 runs; for the others it tried {tried}"


def test_the_learned_coordinator_named_first_shapes_the_baselines(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed: list[float] = []

    def spied(*given: Any, **settings: Any) -> Any:
        weighed.append(settings["cost_weight"])
        return fit_skill_table(*given, **settings)

    monkeypatch.setattr("podium.training.candidates.fit_skill_table", spied)
    for folder, steps in (("short", 1), ("long", 3)):
        policy = Policy.fresh(Options(context=("task",), max_steps=steps), ("adder", "timer"))
        policy.card.preference = 0.5
        save_policy(policy, tmp_path / folder)
    short, long = (f"learned:{tmp_path}/{folder}" for folder in ("short", "long"))
    spec = ALL.format(tmp_path)
    told = "took action space and preference from {}, the learned one named first"

    def both(*names: str) -> Evaluation:
        return evaluate(file, f"{spec}?split=test", names, fit=f"{spec}?split=train")

    found = both(f"{short}?preference=0.002", "random", long, "skill_table")
    assert found.rows[1].calls == 1
    assert found.details["baselines"] == "random, skill_table " + told.format(f"{short}?preference=0.002")
    found = both(long, "random", short, "skill_table")
    assert found.rows[1].calls > 1
    assert found.details["baselines"] == "random, skill_table " + told.format(long)
    assert "baselines" not in both(long, f"{long}?mode=sample", "random").details
    assert "baselines" not in both(long, short, "vote").details
    school(tmp_path, coordinator=f"{{kind: learned, policy: {tmp_path}/short, preference: 0.004}}")
    both("own", "skill_table")
    assert weighed == pytest.approx([1 / 0.002, 1 / 0.5, 1 / 0.004])


@pytest.mark.parametrize("own", ["random", "learned, policy: {}/policy, preference: 0.25, mode: sample"])
def test_a_learned_coordinator_is_run_as_its_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    policy = Policy.fresh(Options(context=("task",), max_steps=1), ("adder", "timer"))
    save_policy(policy, tmp_path / "policy")
    school(tmp_path, coordinator=f"{{kind: {own.format(tmp_path)}}}")
    seen: set[tuple[str, float | None]] = set()
    decide = LearnedCoordinator.decide

    def spied(self: LearnedCoordinator, states: Any) -> Any:
        seen.update((state.mode, state.preference) for state in states)
        return decide(self, states)

    monkeypatch.setattr(LearnedCoordinator, "decide", spied)
    plain, folder = f"learned:{tmp_path}/policy", f"{tmp_path}/policy"
    for name, expected in (
        (plain, ("greedy", None)),
        (f"{plain}?preference=2e-3&mode=sample", ("sample", 0.002)),
        (f"{plain}?mode=sample", ("sample", None)),
        (f"learned?policy={folder}&preference=1", ("greedy", 1)),
        ("own", ("sample", 0.25)),
    ):
        if name == "own" and own == "random":
            continue
        seen.clear()
        found = evaluate(tmp_path / "team.yaml", ALL.format(tmp_path), [name], limit=2)
        assert [row.name for row in found.rows] == [name]
        assert seen == {expected}


def test_fitted_candidates(tmp_path: Path, file: Path) -> None:
    spec = ALL.format(tmp_path)
    found = evaluate(
        file, f"{spec}?split=test", ["best_single", "best_self_consistency", "best_pipeline", "skill_table", "oracle"],
        fit=f"{spec}?split=train",
    )  # fmt: skip
    score = {row.name: row.score for row in found.rows}
    assert score["oracle"] == 1
    assert found.rows[-1].reference
    assert score["skill_table"] >= score["best_single"]
    assert found.details["best_single"] in {"adder", "timer"}
    assert found.details["best_self_consistency"] == f"{found.details['best_single']} x5"
    assert "solves 100%" in found.details["oracle"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("best_singel", 'did you mean "best_single"'),
        ("votes", 'did you mean "vote"'),
        ("own:x", "'own:x' is no coordinator"),
        ("adder", "adder is an agent: to measure it, write single?agent=adder"),
        ("vote?sampels=3", ': unknown key "sampels"; allowed: agents, samples; did you mean "samples"?'),
        ("vote?kind=single", ': unknown key "kind"; allowed: agents, samples'),
        ("vote?samples", ": 'samples' is not key=value"),
        ("vote?samples=", ": 'samples=' is not key=value"),
        ("vote?samples=0", ": samples: expected at least 1; found 0"),
        ("vote?samples=-1", ": samples: expected at least 1; found -1"),
        ("vote?samples=1.5", ": samples: expected a whole number; found 1.5"),
        ("vote?samples=many", ': samples: expected a whole number; found "many"'),
        ("vote?agents=adder,", ': agents.1: must not be empty; found ""'),
        ("vote?agents=adder,tiemr", f': agents.1: {NO_AGENT}; found "tiemr"; {AGENTS}; did you mean "timer"?'),
        ("single?agent=nobody", f': agent: {NO_AGENT}; found "nobody"; {AGENTS}'),
        ("single?agent=adder&agent=timer", ": agent is given twice; give it once"),
        ("vote?agents=adder&agents=timer", ": agents is given twice; give it once, with commas between"),
        ("single", ": it needs agent: write single?agent=NAME; there are: adder, timer"),
        ("pipeline", ": it needs steps: write pipeline?steps=a+b*3,c"),
        ("pipeline?steps=nobody*3", f': steps.0.agent: {NO_AGENT}; found "nobody"'),
        ("pipeline?steps=adder+tiemr*3,timer", f': steps.0.beside.0.agent: {NO_AGENT}; found "tiemr"'),
        ("pipeline?steps=adder*x", ": steps: 'adder*x' is not AGENT or AGENT*SAMPLES; write steps=a+b*3,c: "),
        ("pipeline?steps=timer,adder*", ": steps: 'adder*' is not AGENT or AGENT*SAMPLES; write steps=a+b*3,c: "),
        ("pipeline?steps=adder*0", ": steps.0.samples: expected at least 1; found 0; write steps=a+b*3,c: "),
        ("pipeline?steps=adder&finish=lst", 'found "lst"; allowed: last, vote; did you mean "last"?'),
        ("llm_selector", ": it needs model: write llm_selector?model=NAME; there are: past"),
        ("llm_selector?model=pasd", ': model: there is no model of this name; found "pasd"; allowed: past'),
        ("best_pipeline", "say which with --fit"),
        ("router", "no route for"),
        ("learned", ": it needs policy: write learned:FOLDER"),
        ("learned:", ": it needs the folder of a policy: write learned:FOLDER"),
        ("learned:nowhere", "no policy here"),
        ("learned:x?preference=0", ": preference: expected more than 0; found 0"),
        ("learned:x?preference=inf", ": preference: expected a finite number; found inf"),
        ("learned:x?mode=sampel", ': mode: not one of the choices; found "sampel"; allowed: greedy, sample; did you'),
        (
            "learned:x?preferense=1",
            ': unknown key "preferense"; allowed: preference, mode, words; did you mean "preference"?',
        ),
        ("learned:x?policy=y", ': unknown key "policy"; allowed: preference, mode'),
        ("own?x=1", ": own takes no settings; write own alone"),
    ],
)
def test_names_that_mean_nothing(file: Path, name: str, words: str) -> None:
    with Team.load(file) as team, pytest.raises(InputError) as caught:
        asyncio.run(resolve(name, Fitting(team, None, [task(1)])))
    assert words in str(caught.value)
    if words.startswith(": "):
        assert str(caught.value).startswith(f"coordinator {name}: ")


def test_input_that_makes_no_sense(tmp_path: Path, file: Path) -> None:
    spec = ALL.format(tmp_path)
    with pytest.raises(InputError, match="no coordinator is named"):
        evaluate(file, spec, [])
    with pytest.raises(InputError, match="coordinators: expected a list of names"):
        evaluate(file, spec, "own")
    with pytest.raises(InputError, match="coordinator vote: it is named twice; name it once"):
        evaluate(file, spec, ["vote", "own", "vote"])
    with pytest.raises(InputError, match="seeds: expected a whole number from 1 on, found 0"):
        evaluate(file, spec, seeds=0)
    with pytest.raises(InputError, match="limit: expected a whole number from 1 on, found -1"):
        evaluate(file, spec, limit=-1)
    with pytest.raises(TaskError, match="there are no tasks"):
        evaluate(file, [])
    with pytest.raises(InputError, match="test tasks are fitting tasks too"):
        evaluate(file, spec, ["best_single"], fit=f"{spec}?split=train")
    (tmp_path / "bare.jsonl").write_text('{"prompt": "What?"}\n')
    with pytest.raises(TaskError, match=r"1 of 2 tasks cannot be scored, such as .*What\?"):
        tasks_of([f"jsonl:{tmp_path}/bare.jsonl", f"{spec}?limit=1"], None)


def test_a_coordinator_whose_runs_all_fail(tmp_path: Path, file: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"prompt": "never recorded", "reference": "1"}\n')
    with pytest.raises(ModelError, match="answers only the tasks that were recorded"):
        evaluate(file, f"jsonl:{tmp_path}/other.jsonl", ["single?agent=adder"])
    both = evaluate(file, [task(1), *tasks_of(f"jsonl:{tmp_path}/other.jsonl", None)], ["single?agent=adder"])
    assert both.rows[0].score == 0.5  # a run that fails counts as wrong


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path, file: Path) -> None:
    def moody(agent: str, prompt: Any) -> str:
        if agent == "timer":
            raise ModelError("it is down")
        return "1"

    began: list[str] = []
    names = ["single?agent=adder", "single?agent=timer", "vote"]
    with (
        team_of(models(say=moody)) as desk,
        pytest.raises(ModelError, match=r"single\?agent=timer; those before") as told,
    ):
        evaluate(desk, [task(1), task(2)], names, began=began.append)
    assert isinstance(told.value.partial, Evaluation)
    assert [row.name for row in told.value.partial.rows] == names[:1]
    assert began == names[:2]


def test_a_wrong_name_is_told_before_anything_runs(tmp_path: Path, file: Path) -> None:
    ran: list[str] = []
    for name in ("nobody", "single?agent=nobody", "best_single"):
        with pytest.raises(InputError):
            evaluate(file, ALL.format(tmp_path), ["own", name], done=ran.append)
    assert ran == []


def test_the_comparison(tmp_path: Path, file: Path) -> None:
    policy = Policy.fresh(Options(context=("task",), max_steps=2), ("adder", "timer"))
    save_policy(policy, tmp_path / "policy")
    began: list[str] = []
    with Team.load(file) as team:
        tasks = [task(number) for number in range(24)]
        found = team.wait(compare(team, policy, tasks[:14], tasks[14:], began=began.append))
        learned = evaluate(team, tasks[14:], [f"learned:{tmp_path}/policy"])
    assert [row.name for row in found.rows] == [*NAMES, TRAINED, ORACLE]  # these tasks have no type to tell a router
    assert began[0] == TRAINED
    assert [row.name for row in found.rows if row.reference] == [ORACLE]
    assert learned.rows[0].score == next(row.score for row in found.rows if row.name == TRAINED)
    assert len(verdicts(found)) == 1
    assert "points" in verdicts(found)[0]
