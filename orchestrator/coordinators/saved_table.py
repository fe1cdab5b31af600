"""A skill table on disk: one JSON file, versioned, checked by pydantic when it is read, never unpickled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from podium.orchestrator.coordinators.skill_table import Arm, Key, SkillTable, Tally
from podium.orchestrator.coordinators.skills import Skills
from podium.orchestrator.learned.text import WIDTH
from podium.protocols.errors import PolicyError

__all__ = ["FORMAT", "load_table", "save_table"]

FORMAT = 3
"""Version of the file; raised whenever the layout or the features of a skill change."""

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(allow_inf_nan=False)]
Counts = tuple[Amount, Amount, Amount]
"""Passed, failed, dollars."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    skill: int = Field(ge=0)
    step: int = Field(ge=0)
    agent: str = Field(min_length=1)
    samples: int = Field(ge=1)
    own: Counts
    after: Counts


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["podium-skill-table"]
    format: Literal[3]
    max_steps: int = Field(ge=1)
    samples: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    explore: Amount
    cost_weight: Amount
    skills: tuple[dict[Annotated[int, Field(ge=0, lt=WIDTH)], Weight], ...]
    words: tuple[str, ...] | None
    rows: tuple[_Row, ...]


def save_table(table: SkillTable, path: str | Path) -> Path:
    """Write a table, whole or not at all; returns the file."""
    path = Path(path)
    file = _File(
        kind="podium-skill-table",
        format=FORMAT,
        max_steps=table.max_steps,
        samples=table.samples,
        explore=table.explore,
        cost_weight=table.cost_weight,
        skills=table.skills.centroids,
        words=None if table.skills.words is None else tuple(sorted(table.skills.words)),
        rows=tuple(
            _Row(**key._asdict(), own=_counts(arm.own), after=_counts(arm.after))
            for key, arm in sorted(table.arms.items())
        ),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(file.model_dump(mode="json")) + "\n")
    part.replace(path)
    return path


def load_table(path: str | Path, agents: Sequence[str] | None = None) -> SkillTable:
    """Read a table. agents: of the team that it shall serve.

    Raises PolicyError when the file is missing, damaged, of another version, or knows none of the team's agents.
    """
    path = Path(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PolicyError(f"{path}: no skill table here; fit one on training tasks first") from None
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path}: not a skill table: {error}") from None
    if isinstance(found, dict) and found.get("kind") == "podium-skill-table" and found.get("format") != FORMAT:  # pyright: ignore[reportUnknownMemberType]
        raise PolicyError(
            f"{path}: format {found.get('format')} was written by another version of Podium; this one reads format "  # pyright: ignore[reportUnknownMemberType]
            f"{FORMAT}; fit the table again"
        )
    try:
        file = _File.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise PolicyError(f"{path}: not a skill table: {where}: {first['msg']}") from None
    arms = {
        Key(row.skill, row.step, row.agent, row.samples): Arm(Tally(*row.own), Tally(*row.after)) for row in file.rows
    }
    table = SkillTable(
        Skills(file.skills, None if file.words is None else frozenset(file.words)),
        arms,
        max_steps=file.max_steps,
        samples=file.samples,
        explore=file.explore,
        cost_weight=file.cost_weight,
    )
    if agents is not None and table.agents and not set(agents) & set(table.agents):
        raise PolicyError(
            f"{path}: made for another team: it knows {', '.join(table.agents)}; this team has {', '.join(agents)}"
        )
    return table


def _counts(tally: Tally) -> Counts:
    return tally.passed, tally.failed, tally.dollars
