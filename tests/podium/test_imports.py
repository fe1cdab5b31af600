"""What importing costs, and which way imports run.

The costs are measured in fresh interpreters, because this one has imported everything already. The directions are
read from the source, also from imports inside functions and under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import podium

ROOT = Path(__file__).parents[2]
LAYERS = ("protocols", "agents", "orchestrator", "training")
"""The subpackages, lowest first: each may import itself and what stands before it. The front door may import all."""
ELSEWHERE = ("tests", "examples", "benchmarks", "reproductions")

HEAVY = ("torch", "transformers", "tokenizers", "peft", "vllm", "matplotlib", "tensorboard", "reasoning_gym", "sklearn")
"""What serving never needs."""
MIDDLE = ("numpy", "pydantic", "openai", "httpx", "networkx", "sqlalchemy", "starlette", "uvicorn", "safetensors")
"""What only those commands need that do something."""
WATCHING = ("opentelemetry", "prometheus_client")
"""What only telemetry needs, where it is asked for."""

TEAM = """\
name: desk
models: {small: {provider: scripted, replies: ["42"]}}
agents: {planner: {role: planner, model: small}, solver: {role: solver, model: small}}
coordinator: {kind: %s}
"""

SERVE = """
from podium import Team
from podium.orchestrator.server import make_app
team = Team.load(r"{file}")
assert team.run("How much?", seed=1).answer == "42"
make_app({{team.name: team}})
team.close()
"""

POLICY = """
from podium.orchestrator.learned import Policy, save_policy
from podium.orchestrator.learned.options import Options
save_policy(Policy.fresh(Options(max_steps=2)), r"{folder}")
"""


def imported(code: str, folder: Path) -> set[str]:
    """The modules that an interpreter has imported after some code."""
    code += "\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES ")[2].split())


def sources(folder: str) -> Iterator[Path]:
    """The Python files of a folder, links not followed."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if not any(parent.is_symlink() for parent in path.parents):
            yield path


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in a file, wherever it stands. `from a import b` names a.b as well as a."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: write the whole name, from podium.protocols import ..."
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_import_podium_imports_next_to_nothing(tmp_path: Path) -> None:
    found = imported("import podium", tmp_path)
    assert found.isdisjoint((*HEAVY, *MIDDLE, *WATCHING, "typer", "rich"))
    assert {name for name in found if name.startswith("podium")} == {"podium", "podium.version"}


def test_running_and_serving_a_team_imports_nothing_heavy(tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(TEAM % "round_robin")
    assert imported(SERVE.format(file=file), tmp_path).isdisjoint(HEAVY)


def test_a_learned_policy_is_served_by_numpy(tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(TEAM % "learned, policy: policy")
    found = imported(POLICY.format(folder=tmp_path / "policy") + SERVE.format(file=file), tmp_path)
    assert found.isdisjoint(HEAVY)
    assert "numpy" in found


def test_help_imports_few_modules(tmp_path: Path) -> None:
    found = imported("from podium.cli import app\napp(['--help'], standalone_mode=False)", tmp_path)
    assert found.isdisjoint((*HEAVY, *MIDDLE, *WATCHING))
    assert not {name for name in found if name.startswith(("podium.agents", "podium.orchestrator", "podium.training"))}


def test_imports_run_one_way() -> None:
    wrong: list[str] = []
    for height, layer in enumerate(LAYERS):
        allowed = {"podium.version", *(f"podium.{each}" for each in LAYERS[: height + 1])}
        for path in sources(layer):
            for line, name in imports(path):
                if name.partition(".")[0] != "podium" or name == "podium":
                    continue
                if ".".join(name.split(".")[:2]) not in allowed:
                    wrong.append(f"{path.relative_to(ROOT)}:{line}: {layer} must not import {name}")
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_a_bare_folder() -> None:
    wrong: list[str] = []
    for folder in ("podium", *LAYERS, *ELSEWHERE):
        for path in sources(folder):
            for line, name in imports(path):
                if name.partition(".")[0] in LAYERS:
                    wrong.append(f"{path.relative_to(ROOT)}:{line}: import podium.{name} instead of {name}")
    assert not wrong, "\n".join(wrong)


def test_all_names_the_lazy_names_in_order() -> None:
    homes: dict[str, str] = vars(podium)["_HOMES"]
    assert podium.__all__ == sorted([*homes, "__version__"])
    assert list(homes) == sorted(homes)
    assert dir(podium) == podium.__all__
    for name, home in homes.items():
        assert getattr(podium, name) is getattr(sys.modules[home], name)


def test_types_that_calls_return_are_public() -> None:
    assert {"Checked", "Evaluation", "Recorded", "Result", "Shown", "Story", "Trained", "WorstCase"} < {*podium.__all__}


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Teem'; it has: Added, "):
        _ = podium.Teem  # pyright: ignore[reportAttributeAccessIssue]
