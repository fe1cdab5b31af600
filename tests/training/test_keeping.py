"""What a comparison fitted is kept so that a team file serves it, with the same decisions."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from podium.agents.model import Model, Price, Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.coordinator_spec import VoteSpec
from podium.orchestrator.coordinators import Pipeline, Step
from podium.orchestrator.coordinators.build import build_coordinator
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.protocols.errors import InputError, ModelError, RunError
from podium.protocols.events import Result
from podium.protocols.record import LAST
from podium.protocols.task import Message, Task, Verdict
from podium.training.baselines import choose_pipeline
from podium.training.candidates import Chosen, Fitting, resolve
from podium.training.evaluate import evaluate
from podium.training.keeping import Kept, keep, room_for
from podium.training.rollouts import Rollouts
from tests.training.school import school

HEAD = """\
name: crew
models:
  adding: {provider: scripted, replies: [unused]}
  doubling: {provider: scripted, replies: [unused]}
  moody: {provider: scripted, replies: [unused]}
agents:
  adder: {role: solver, model: adding}
  doubler: {role: solver, model: doubling}
  picky: {role: solver, model: moody}
"""
ADD, DOUBLE, BOTH = "Add one to the number {}, please.", "Twice {} is how much?", "From {} on: successor, doubled!"
MIXED = (ADD, ADD, DOUBLE, BOTH)


def numbers(prompt: Prompt) -> list[int]:
    """The task's number, and those that others said."""
    said = " ".join(message.content for message in prompt.messages if message.role == "user")
    return [int(each) for each in re.findall(r"\d+", said)]


def crew() -> Mapping[str, Model]:
    """One adds, one doubles, and a dear one is right about two of three, or adds where there is nothing else to see."""

    def moods(prompt: Prompt) -> str:
        seen = numbers(prompt)
        return str(seen[-1] + 1) if len(seen) < 2 and seen[0] % 3 else "hm"

    return {
        "adding": ScriptedModel(lambda prompt: str(numbers(prompt)[-1] + 1), price=Price(1.0, 2.0)),
        "doubling": ScriptedModel(lambda prompt: str(2 * numbers(prompt)[-1]), price=Price(1.0, 3.0)),
        "moody": ScriptedModel(moods, price=Price(10.0, 20.0)),
    }


def tasks(kinds: Sequence[str], count: int = 36, start: int = 10) -> list[Task]:
    def one(kind: str, number: int) -> Task:
        right = {ADD: number + 1, DOUBLE: 2 * number, BOTH: 2 * (number + 1)}[kind]

        def score(text: str) -> Verdict:
            return Verdict(float(text == str(right)), text == str(right))

        return Task(f"t{number}", (Message("user", kind.format(number)),), score)

    return [one(kinds[place % len(kinds)], start + place) for place in range(count)]


def desk(folder: Path, line: str = "coordinator: {kind: random}") -> Team:
    """A team by its file, with models that work."""
    file = folder / "team.yaml"
    file.write_text(f"{HEAD}{line}\n")
    return Team(load_team(file), crew())


def record(team: Team, chosen: Chosen | None, work: Sequence[Task]) -> list[Any]:
    """Decisions and messages of runs, without clocks."""
    runs = asyncio.run(Rollouts(team.orchestrator).run(chosen and chosen.coordinator, work, seeds=(0, 1)))

    def told(run: Result) -> Any:
        said = [(node.kind, node.author, node.content, node.parents, node.usage) for node in run.nodes]
        decided = [(each.action, each.reasons, each.seen) for each in run.decisions]
        return decided, said, run.answer, run.usage, run.stop

    return [told(run) for run in runs]


@pytest.mark.parametrize(
    ("name", "kinds", "kept"),
    [
        ("best_single", MIXED, {"kind": "single", "agent": "adder"}),
        ("best_self_consistency", MIXED, {"kind": "self_consistency", "agent": "adder", "samples": 4}),
        (
            "best_pipeline",
            (BOTH,),
            {"kind": "pipeline", "steps": [{"agent": "adder"}, {"agent": "doubler"}]},
        ),
        ("skill_table", MIXED, {"kind": "skill_table", "table": "kept/skill_table.json"}),
    ],
)
def test_a_team_under_the_line_decides_as_what_was_fitted(
    tmp_path: Path, name: str, kinds: Sequence[str], kept: dict[str, Any]
) -> None:
    folder = tmp_path / "kept"
    with desk(tmp_path) as team:
        fitting = Fitting(team, tasks(kinds), tokens=200.0, preference=0.0007, steps=3, samples=(1, 3))
        chosen = asyncio.run(resolve(name, fitting))
        room_for(folder)
        written = keep(name, chosen, folder, team.spec, 36)
        fitted = record(team, chosen, tasks(MIXED, 24, 500))
    about, line = written.file.read_text().rstrip("\n").rsplit("\n", 1)
    assert f"# {name}, chosen on 36 tasks for the team crew: {chosen.detail}\n" in about
    with desk(tmp_path, line) as served:
        assert served.spec.coordinator.kind == kept["kind"]
        assert record(served, None, tasks(MIXED, 24, 500)) == fitted
    assert written.coordinator.items() >= kept.items()
    assert len({str(decisions[0][0]) for decisions, *_ in fitted}) > (name == "skill_table")


def test_a_vote_that_was_chosen_is_kept_as_one(tmp_path: Path) -> None:
    chosen = Chosen(
        Pipeline([Step("adder")]), "vote of all x3", spec=VoteSpec(kind="vote", agents=("a: b", "c"), samples=3)
    )
    with desk(tmp_path) as team:
        written = keep("best_pipeline", chosen, tmp_path, team.spec, 1)
    assert "coordinator: {kind: vote, agents: ['a: b', c], samples: 3}\n" in written.file.read_text()
    assert "chosen on 1 task for" in written.file.read_text()


def test_a_pipeline_that_shows_the_newest_reply_only_says_so(tmp_path: Path) -> None:
    """The moody one must not see too much; so three steps are best that show only the newest reply."""

    def adds(prompt: Prompt) -> str:
        seen = numbers(prompt)
        return str(seen[-1] + 1) if len(seen) < 3 else "too much"

    def right(text: str, number: int) -> Verdict:
        return Verdict(float(text == str(number + 3)), text == str(number + 3))

    work = [
        Task(str(number), (Message("user", f"After {number}?"),), lambda text, number=number: right(text, number))
        for number in range(10, 14)
    ]
    with desk(tmp_path) as team:
        models = dict(crew()) | {"adding": ScriptedModel(adds)}
        blinkered = Team(team.spec, models)
        choice = asyncio.run(
            choose_pipeline(
                Rollouts(blinkered.orchestrator).run, work, ["adder"], max_len=3, samples=(1,), first=4, kept=4
            )
        )
        assert choice.label == "adder > adder > adder, the last reply in view"
        chosen = Chosen(choice.coordinator, choice.label, spec=choice.spec)
        written = keep("best_pipeline", chosen, tmp_path, team.spec, 4)
    assert written.coordinator["shown"] == "last"
    served = build_coordinator(choice.spec, ["adder"])
    assert isinstance(served, Pipeline)
    assert served.visible == LAST


def test_evaluate_keeps(tmp_path: Path) -> None:
    file, spec = school(tmp_path), f"recorded:{tmp_path}/pool.jsonl"
    names, fit = ["vote", "best_single", "skill_table"], f"{spec}?split=train"
    found = evaluate(file, f"{spec}?split=test", names, fit=fit, keep=tmp_path / "kept")
    assert list(found.kept) == names[1:]
    table = found.kept["skill_table"]
    assert table == Kept(tmp_path / "kept" / "skill_table.yaml", table.coordinator, tmp_path / "kept/skill_table.json")
    told = json.loads(found.to_json())["kept"]
    assert told["best_single"]["coordinator"]["kind"] == "single"
    assert told["skill_table"]["table"] == str(table.table)
    assert sorted(each.name for each in (tmp_path / "kept").iterdir()) == [
        "best_single.yaml",
        "skill_table.json",
        "skill_table.yaml",
    ]
    assert "kept" not in json.loads(evaluate(file, f"{spec}?split=test", names, fit=fit, limit=1).to_json())


def test_elsewhere_a_table_is_named_by_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    file = school(tmp_path / "team")
    spec = f"recorded:{tmp_path}/team/pool.jsonl"
    found = evaluate(file, f"{spec}?split=test", ["skill_table"], fit=f"{spec}?split=train", keep=str(tmp_path))
    assert found.kept["skill_table"].coordinator["table"] == str(tmp_path / "skill_table.json")


def test_where_nothing_can_be_kept_nothing_is_run(tmp_path: Path) -> None:
    file, spec = school(tmp_path), f"recorded:{tmp_path}/pool.jsonl"
    (tmp_path / "file").touch()
    ran: list[str] = []

    def refused(names: Sequence[str], folder: str, **more: Any) -> str:
        with pytest.raises(InputError) as error:
            evaluate(file, f"{spec}?split=test", names, keep=folder, done=ran.append, **more)
        return str(error.value)

    fit = {"fit": f"{spec}?split=train"}
    told = refused(["own", "vote"], f"{tmp_path}/kept", **fit)
    assert told.startswith(f"keep {tmp_path}/kept: nothing is fitted in own, vote; what can be kept is best_single, ")
    assert "--fit" in refused(["best_single"], f"{tmp_path}/kept")
    assert not (tmp_path / "kept").exists()
    names = ["own", "best_single"]
    assert "there is no folder" in refused(names, f"{tmp_path}/no/kept", **fit)
    assert "this is a file; name a folder" in refused(names, f"{tmp_path}/file", **fit)
    assert "nothing can be written there: " in refused(names, "/proc/kept", **fit)
    assert ran == []


def test_what_was_fitted_is_kept_though_its_runs_fail(tmp_path: Path) -> None:
    file, spec = school(tmp_path), f"recorded:{tmp_path}/pool.jsonl"
    (tmp_path / "other.jsonl").write_text('{"prompt": "never recorded", "reference": "1"}\n')
    with pytest.raises(ModelError, match=f"what was fitted is in {tmp_path}/kept") as failed:
        evaluate(file, f"jsonl:{tmp_path}/other.jsonl", ["best_single"], fit=spec, keep=tmp_path / "kept")
    assert failed.value.partial is not None
    assert (tmp_path / "kept" / "best_single.yaml").exists()


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "best_single.yaml").mkdir()
    file, spec = school(tmp_path), f"recorded:{tmp_path}/pool.jsonl"
    with pytest.raises(RunError, match=r"best_single.yaml.*: cannot be written: Is a directory"):
        evaluate(file, f"{spec}?split=test", ["best_single"], fit=f"{spec}?split=train", keep=tmp_path)
