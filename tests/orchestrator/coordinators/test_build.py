"""From the team file's words to coordinators that run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from podium.orchestrator.coordinator_spec import CoordinatorSpec
from podium.orchestrator.coordinators import Debate, MixtureOfAgents, build_coordinator
from podium.orchestrator.coordinators.saved_table import save_table
from podium.orchestrator.coordinators.skill_table import Arm, Key, SkillTable, Tally
from podium.protocols.errors import InputError, PolicyError
from tests.orchestrator.stage import Speaker, Stage, authors

SPEC: TypeAdapter[Any] = TypeAdapter(CoordinatorSpec)
NAMES = ("a", "b", "c")


def run(**spec: Any) -> list[str]:
    """Who replied under a coordinator given in the words of the team file."""
    coordinator = build_coordinator(SPEC.validate_python(spec), NAMES)
    result = Stage(*(Speaker(name, name.upper()) for name in NAMES)).run(coordinator)
    assert result.stop == "answered"
    assert coordinator.name == spec["kind"]
    return authors(result)


@pytest.mark.parametrize(
    ("spec", "spoke"),
    [
        ({"kind": "single", "agent": "b"}, "b"),
        ({"kind": "round_robin", "rounds": 2}, "abcabc"),
        ({"kind": "round_robin", "order": ["c", "a"]}, "ca"),
        ({"kind": "sequential"}, "abc"),
        ({"kind": "sequential", "order": ["b", "a"]}, "ba"),
        ({"kind": "pipeline", "steps": [{"agent": "c"}, {"agent": "a", "samples": 3}], "finish": "vote"}, "ca"),
        (
            {"kind": "pipeline", "steps": [{"agent": "c", "beside": [{"agent": "a", "samples": 3}]}, {"agent": "b"}]},
            "cab",
        ),
        ({"kind": "vote"}, "abc"),
        ({"kind": "vote", "agents": ["a", "c"], "samples": 3}, "ac"),
        ({"kind": "self_consistency", "agent": "a", "samples": 3}, "a"),
        ({"kind": "debate", "rounds": 2}, "abcabc"),
        ({"kind": "debate", "rounds": 1, "aggregator": "b"}, "acb"),
        ({"kind": "moa", "layers": 2, "aggregator": "c"}, "ababc"),
        ({"kind": "skill_table"}, "a"),
    ],
)
def test_every_kind_runs_as_the_file_says(spec: dict[str, Any], spoke: str) -> None:
    assert "".join(run(**spec)) == spoke


def test_random_takes_its_settings() -> None:
    assert len(run(kind="random", max_steps=2, finish_probability=0.0)) == 2


def test_the_aggregator_does_not_propose_unless_it_is_listed() -> None:
    moa = build_coordinator(SPEC.validate_python({"kind": "moa", "aggregator": "c"}), NAMES)
    assert isinstance(moa, MixtureOfAgents)
    assert tuple(moa.agents) == ("a", "b")
    listed = {"kind": "debate", "aggregator": "c", "agents": ["b", "c"]}
    debate = build_coordinator(SPEC.validate_python(listed), NAMES)
    assert isinstance(debate, Debate)
    assert debate.agents == ("b", "c")


def test_a_saved_table_is_loaded_with_the_files_settings(tmp_path: Path) -> None:
    arms = {Key(0, 0, "b", 1): Arm(Tally(9, 1)), Key(0, 0, "a", 1): Arm(Tally(1, 9))}
    save_table(SkillTable(arms=arms), tmp_path / "t.json")
    spec = SPEC.validate_python({"kind": "skill_table", "table": str(tmp_path / "t.json"), "cost_weight": 3.0})
    built = build_coordinator(spec, NAMES)
    assert isinstance(built, SkillTable)
    assert built.cost_weight == 3.0
    assert run(kind="skill_table", table=str(tmp_path / "t.json")) == ["b"]


def test_what_cannot_be_built_says_why(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no skill table here"):
        run(kind="skill_table", table=str(tmp_path / "none.json"))
    with pytest.raises(PolicyError, match="no policy here"):
        run(kind="learned", policy=str(tmp_path))
    with pytest.raises(InputError, match="asks model 'm'"):
        run(kind="llm_selector", model="m")
    with pytest.raises(InputError, match="nobody is left to propose"):
        build_coordinator(SPEC.validate_python({"kind": "moa", "aggregator": "a"}), ["a"])
