"""What a team file may say about limits: of one run, of an agent in it, and of all runs together.

Inner limits are below outer ones; what a file says otherwise is a mistake that is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from podium.orchestrator.model_spec import Count, Name, Seconds
from podium.orchestrator.period import LONGEST, Every
from podium.orchestrator.yaml_file import StrictModel
from podium.orchestrator.yaml_problems import Problem, mapping

__all__ = ["LATER", "BudgetSpec", "PoolSpec", "ShareSpec", "filled", "nested"]

LATER = ("seconds", "every")
"""Limits of agents and of the pool that are no part of a team's digest where they are left out."""


class ShareSpec(StrictModel):
    """The most that an agent uses of one run; what is left out is not limited."""

    tokens: Count | None = None
    """Input and output tokens."""
    calls: Count | None = None
    """Model calls."""
    seconds: Seconds | None = None
    """Wall-clock seconds in which it is at work, on one request or several, retries and tools included."""
    dollars: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Dollars, by the prices of the models."""


class PoolSpec(StrictModel):
    """The most that all runs of the team use together; what is left out is not limited."""

    tokens: Count | None = None
    """Input and output tokens."""
    calls: Count | None = None
    """Model calls."""
    seconds: Seconds | None = None
    """Wall-clock seconds in which at least one run is under way; waits for a person do not count."""
    dollars: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Dollars, by the prices of the models."""
    every: Every | None = None
    """Fill it again each hour, day, week or month, in UTC; left out: it is for as long as the process lives."""


class BudgetSpec(StrictModel):
    """What one run may use at most. `null` lifts a limit."""

    tokens: Count | None = 20_000
    """Input and output tokens of all agents together."""
    calls: Count | None = 32
    """Model calls."""
    seconds: Seconds | None = 300.0
    """Wall-clock seconds."""
    dollars: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Dollars, by the prices of the models."""
    repeats: Count | None = 10
    """How often an agent may give the same reply to the same instruction; once more, and the run is ended as a loop."""
    wind_down: Name | None = None
    """Agent that writes the best answer so far at a limit; its call is set aside if a quarter of each holds it."""


def nested(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Inner limits that are above the outer one, which would bind first: most likely a mistake."""
    default = {limit: BudgetSpec.model_fields[limit].default for limit in ShareSpec.model_fields}
    whole, pool = {**default, **mapping(data.get("budget"))}, mapping(data.get("pool"))
    chosen = {limit: value for limit, value in whole.items() if limit in default and value != default[limit]}
    inner = [
        (("agents", name, "budget"), mapping(agent).get("budget"), whole, "one whole run may use")
        for name, agent in mapping(data.get("agents")).items()
    ]
    for where, share, limits, what in (*inner, (("budget",), chosen, pool, "all runs together may use")):
        for limit, value in mapping(share).items():
            most = limits.get(limit)
            if isinstance(value, int | float) and isinstance(most, int | float) and value > most > 0:
                yield Problem((*where, limit), f"more than {what} ({most:g})", f"at most {most:g}")


def filled(pool: Mapping[str, Any]) -> Iterator[Problem]:
    """What a pool is filled with again, and no more time than there is until then."""
    every, seconds = pool.get("every"), pool.get("seconds")
    if every not in LONGEST:
        return
    if all(pool.get(limit) is None for limit in ShareSpec.model_fields):
        what = "nothing is limited that could be filled again; write tokens, calls, seconds or dollars beside it"
        yield Problem(("pool", "every"), what, show=False)
    if isinstance(seconds, int | float) and seconds > LONGEST[every]:
        what = f"more than there are in {'an' if every == 'hour' else 'a'} {every} ({LONGEST[every]})"
        yield Problem(("pool", "seconds"), what, f"at most {LONGEST[every]}")
