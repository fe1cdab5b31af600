"""Keeping what a comparison chose: for each coordinator the line of a team file that serves it, and its table.

What was fitted costs runs, and is the best there is until a coordinator is trained; so it can be served as it was
measured. A team file under the line makes the same decisions.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podium.orchestrator.coordinator_spec import SkillTableSpec
from podium.orchestrator.coordinators.saved_table import save_table
from podium.orchestrator.coordinators.skill_table import SkillTable
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.errors import InputError, RunError
from podium.protocols.words import counted
from podium.training.candidates import Chosen

__all__ = ["Kept", "keep", "room_for"]


@dataclass(frozen=True, slots=True)
class Kept:
    """What was written.

    file: YAML with the coordinator of a team file; coordinator: the same as data; table: the file that it names.
    """

    file: Path
    coordinator: dict[str, Any]
    table: Path | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The same for JSON."""
        table = None if self.table is None else str(self.table)
        return {"file": str(self.file), "coordinator": self.coordinator, "table": table}


def room_for(folder: Path) -> None:
    """Make the folder. Raises InputError when nothing can be written there."""
    if not folder.parent.is_dir():
        raise InputError(f"keep {folder}: there is no folder {folder.parent}; make it first, or choose another place")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"keep {folder}: this is a file; name a folder")
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"keep {folder}: nothing can be written there: {error.strerror or error}") from None


def keep(name: str, chosen: Chosen, folder: Path, team: TeamSpec, tasks: int) -> Kept:
    """Write a fitted coordinator as FOLDER/NAME.yaml, a skill table also as FOLDER/NAME.json.

    tasks: how many it was chosen on. The path of a table is relative to the team's file where that lies above it, and
    absolute elsewhere. Raises RunError when a file cannot be written, ValueError for a coordinator without a spec.
    """
    spec, table = chosen.spec, None
    if spec is None:
        raise ValueError(f"{name}: no team file can say this coordinator")
    file = folder / f"{name}.yaml"
    try:
        if isinstance(spec, SkillTableSpec) and isinstance(chosen.coordinator, SkillTable):
            table = save_table(chosen.coordinator, folder / f"{name}.json")
            spec = spec.model_copy(update={"table": _from_team(table, team)})
        block = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        part = file.with_suffix(".yaml.part")
        part.write_text(f"{_about(name, chosen, team, tasks)}coordinator: {_line(block)}\n", encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise RunError(f"{error.filename or file}: cannot be written: {error.strerror or error}") from None
    return Kept(file, block, table)


def _about(name: str, chosen: Chosen, team: TeamSpec, tasks: int) -> str:
    """The comment above the line."""
    lines = [f"{name}, chosen on {counted(tasks, 'task')} for the team {team.name}: {chosen.detail}"]
    lines.append("To serve it, put this line into the team file, in the place of its own.")
    return "".join(f"# {line}\n" for line in lines)


def _from_team(table: Path, team: TeamSpec) -> Path:
    whole = table.resolve()
    folder = team.source.parent if team.source else None
    return whole.relative_to(folder) if folder and whole.is_relative_to(folder) else whole


def _line(block: dict[str, Any]) -> str:
    return yaml.safe_dump(block, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf).strip()
