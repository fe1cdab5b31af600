"""What a user installs: the wheel holds the whole tree, and a team runs from it where there is no checkout.

Built from a copy of the tree, because setuptools leaves `build/` behind and would put what is stale there into the
next wheel. Both ways to a wheel are taken, from the tree and from the sdist: the four top-level folders are links in
`podium/`, and a link that survives one way could be lost on the other.

The wheel is installed into a fresh environment with what it says it needs and nothing else, so that a dependency which
is not declared shows. That needs a package index.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from podium.version import VERSION

ROOT = Path(__file__).parents[2]
FOLDERS = ("protocols", "agents", "orchestrator", "training")
CACHES = shutil.ignore_patterns("__pycache__", "*.pyc")

EXTRAS = {
    "serve": ["serve", "team.yaml", "--port", "0"],
    "telemetry": ["run", "team.yaml", "What is 17 + 25?", "--no-journal", "--trace", "console"],
    "train": ["demo"],
    "local": ["run", "local.yaml", "What is 17 + 25?", "--no-journal"],
}
"""A command that needs what is not installed, by the extra that brings it."""

TEAM = """\
name: desk
models: {small: {provider: scripted, replies: {"17": "17 + 25 is 42."}}}
agents: {solver: {role: solver, model: small}, checker: {role: verifier, model: small}}
coordinator: {kind: sequential}
"""

SCRIPT = """
import json, pathlib, podium
with podium.Team.load("team.yaml") as team:
    result = team.run("What is 17 + 25?", seed=1)
print(json.dumps([podium.__file__, str(pathlib.Path(podium.orchestrator.__file__).resolve()), result.answer]))
"""


@dataclass(frozen=True, slots=True)
class Built:
    """Files of a release."""

    direct: Path
    sdist: Path
    through_sdist: Path


def said(command: list[str], cwd: Path) -> str:
    """What a command prints; a failure shows all of it."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def tree() -> set[str]:
    """The tree's files that belong to the package, under the names that they have in a wheel."""
    found: set[str] = set()
    for folder in ("podium", *FOLDERS):
        for path in (ROOT / folder).rglob("*"):
            linked = any(parent.is_symlink() for parent in (path, *path.parents))
            if path.is_file() and not linked and "__pycache__" not in path.parts:
                inside = path.relative_to(ROOT).as_posix()
                found.add(inside if folder == "podium" else f"podium/{inside}")
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("podium", *FOLDERS):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=CACHES)
    # setuptools comes with the dev extra: no isolation means no download.
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    said([*build, str(out), str(copy)], copy)
    said([*build, str(out / "direct"), "--wheel", str(copy)], copy)
    wheel = f"podium-{VERSION}-py3-none-any.whl"
    return Built(out / "direct" / wheel, out / f"podium-{VERSION}.tar.gz", out / wheel)


@pytest.fixture(scope="module")
def python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that has the wheel installed."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    said([*pip, "install", "--quiet", "--no-compile", str(built.direct)], home)
    return python


@pytest.mark.timeout(300)
def test_the_wheel_holds_the_tree_and_nothing_else(built: Built) -> None:
    """All modules, py.typed, the embedded team with its weights; and no bare `agents` on anybody's path."""
    held = names(built.direct)
    about = f"podium-{VERSION}.dist-info/"
    assert {name for name in held if not name.startswith(about)} == tree()
    assert {"podium/py.typed", "podium/agents/agent.py", "podium/agents/embedded/team.yaml"} <= held
    assert f"{about}licenses/LICENSE" in held


@pytest.mark.timeout(300)
def test_the_sdist_leads_to_the_same_wheel(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        links = [member.name for member in archive if member.issym() or member.islnk()]
    assert links == []
    assert names(built.through_sdist) == names(built.direct)


@pytest.mark.timeout(300)
def test_a_team_runs_where_there_is_no_checkout(python: Path, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(TEAM)
    *homes, answer = json.loads(said([str(python), "-I", "-c", SCRIPT], tmp_path))
    environment = os.path.realpath(python.parents[1])
    assert all(os.path.realpath(home).startswith(environment) for home in homes)
    assert answer == "17 + 25 is 42."


@pytest.mark.timeout(300)
def test_the_command_is_installed(python: Path, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(TEAM)
    command = [str(python.with_name("podium")), "run", "team.yaml", "What is 17 + 25?", "--json", "--no-journal"]
    assert json.loads(said(command, tmp_path))["answer"] == "17 + 25 is 42."


@pytest.mark.timeout(300)
def test_a_team_is_compared_and_recorded_without_extras(python: Path, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(TEAM)
    (tmp_path / "tasks.jsonl").write_text('{"prompt": "What is 17 + 25?", "reference": "42"}\n')
    podium, tasks = str(python.with_name("podium")), ["team.yaml", "--tasks", "jsonl:tasks.jsonl?verifier=numeric"]
    rows = json.loads(said([podium, "eval", *tasks, "--coordinators", "own,vote,oracle", "--json"], tmp_path))["rows"]
    assert [row["score"] for row in rows] == [1, 1, 1]
    said([podium, "record", *tasks, "-o", "desk.jsonl"], tmp_path)
    assert (tmp_path / "desk.jsonl").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("extra", EXTRAS)
def test_what_needs_an_extra_says_which(python: Path, tmp_path: Path, extra: str) -> None:
    (tmp_path / "team.yaml").write_text(TEAM)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    local = TEAM.replace(
        '{provider: scripted, replies: {"17": "17 + 25 is 42."}}', "{provider: transformers, model: ./weights}"
    )
    (tmp_path / "local.yaml").write_text(local)
    command = [str(python.with_name("podium")), *EXTRAS[extra]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.endswith(f'install it with: pip install "podium[{extra}]"\n')
    assert done.stderr.count("\n") == 1
