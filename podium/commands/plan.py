"""`podium plan FILE`: the topology, the agents and their prices, and the worst case of a run. Nothing is called."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.protocols.words import counted, enumerated

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree

    from podium.orchestrator.team_file import TeamSpec
    from podium.orchestrator.worst_case import Use, WorstCase

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(plan)


def plan(
    file: Annotated[Path, typer.Argument(help="The team file.")],
    task_tokens: Annotated[
        int | None,
        typer.Option(
            "--task-tokens", min=1, help="Length of the task that the worst case assumes; 500 tokens if unsaid."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show who may see whom, who coordinates, and what one run costs at most, without calling anything."""
    from podium.orchestrator.team_checks import plan as worked_out
    from podium.orchestrator.team_checks import recorded_prices, warnings
    from podium.orchestrator.team_file import load_team

    team = load_team(file)
    case = worked_out(team, task_tokens=task_tokens)
    doubts = warnings(team, task_tokens=case.task_tokens, prices=recorded_prices(team))
    if as_json:
        typer.echo(json.dumps({**_as_data(team, file, case), "warnings": doubts}, indent=2))
        return
    _show(team, file, case)
    for doubt in doubts:
        typer.echo(f"warning: {doubt}", err=True)


def _show(team: TeamSpec, file: Path, case: WorstCase) -> None:
    from rich.console import Console

    from podium.orchestrator.coordinator_words import in_words

    console = Console(highlight=False, soft_wrap=False)
    console.print(f"Team [bold]{team.name}[/] ({file})\n")
    console.print(_drawing(team))
    console.print(_agents(team, case))
    console.print(f"Coordinator: {in_words(team.coordinator, list(team.agents))}\n", markup=False)
    console.print(_worst(team, case))
    for line in _notes(team, case):
        console.print(line, markup=False)


def _drawing(team: TeamSpec) -> Tree:
    """The topology as a tree; an arrow means: may be shown the messages of."""
    from rich.tree import Tree

    from podium.orchestrator.topology import Topology

    names, kind = list(team.agents), team.topology.kind
    if kind == "star":
        tree = Tree(f"coordinator ({team.coordinator.kind}), passes on anybody's messages to anybody")
        for name in names:
            tree.add(name)
        return tree
    if kind == "full":
        tree = Tree("full: everybody may be shown everybody's messages")
        for name in names:
            tree.add(name)
        return tree
    if kind == "chain":
        tree = branch = Tree("chain: each may be shown the messages of the one above it")
        for name in names:
            branch = branch.add(name)
        return tree
    topology = Topology(team.topology, names)
    tree = Tree("edges: who may be shown whose messages, besides its own")
    for name in names:
        others = [author for author in names if author != name and topology.may_see(name, author)]
        tree.add(f"{name} <- {', '.join(others) or 'nobody'}")
    return tree


def _agents(team: TeamSpec, case: WorstCase) -> Table:
    from rich.table import Table

    table = Table(title="\nAgents; prices in dollars per million tokens", title_justify="left", title_style="")
    for heading in ("agent", "role", "model", "provider"):
        table.add_column(heading)
    for heading in ("in", "out"):
        table.add_column(heading, justify="right")
    prices = {row.agent: row.price for row in case.agents}
    for name, agent in team.agents.items():
        price = prices.get(name)
        cost = ("", "") if price is None else (f"{price.input:g}", f"{price.output:g}")
        table.add_row(name, agent.role, agent.model, team.models[agent.model].provider, *cost)
    return table


def _worst(team: TeamSpec, case: WorstCase) -> Table:
    from rich.table import Table

    table = Table(title="Worst case of one run", title_justify="left", title_style="")
    table.add_column("")
    for heading in ("calls", "tokens", "dollars"):
        table.add_column(heading, justify="right")
    for row in case.agents:
        table.add_row(f"{row.agent}, if it gets every request" if case.chosen else row.agent, *_cells(row.use))
    if case.deciding.calls:
        table.add_row("coordinator's own calls", *_cells(case.deciding))
    table.add_section()
    table.add_row("[bold]one run, at most[/]", *_cells(case.total))
    budget = team.budget
    dollars = "no limit" if budget.dollars is None else f"{budget.dollars:.6f}"
    table.add_row("budget", _number(budget.calls), _number(budget.tokens), dollars)
    return table


def _notes(team: TeamSpec, case: WorstCase) -> list[str]:
    task = counted(case.task_tokens, "token")
    lines = [
        f"Assumes a task of {task} (--task-tokens), replies as long as their models allow, and that a call which fails "
        "in passing is not billed; one that may have been is held to the budget all the same."
    ]
    if case.cut_by and case.chosen:
        lines.append("The coordinator chooses as it goes; the budget is what bounds it.")
    elif case.cut_by:
        need = case.unlimited
        lines.append(
            f"The budget ({', '.join(case.cut_by)}) may end a run early: the whole schedule can need "
            f"{' calls, '.join(_cells(need)[:2])} tokens and ${need.dollars:.6g}."
        )
    if math.inf in (case.total.calls, case.total.tokens):
        lines.append("Nothing bounds a run: give the budget tokens or calls.")
    if team.budget.wind_down is not None:
        name = team.budget.wind_down
        lines.append(
            f"One call of {name} is set aside, if a quarter of each limit holds it: "
            "at a limit it writes the best answer so far."
        )
    if team.budget.seconds is not None:
        besides = "; what a person takes to answer does not count" if _asks_people(team) else ""
        lines.append(f"A run ends after {team.budget.seconds:g} seconds at the latest{besides}.")
    for name, agent in team.agents.items():
        if agent.budget.seconds is not None:
            lines.append(f"{name} is at work for {agent.budget.seconds:g} seconds of a run at most.")
    return [*lines, *_pool(team)]


def _pool(team: TeamSpec) -> list[str]:
    """What all runs together may use."""
    pool = team.pool
    words = (
        *((counted(pool.tokens, "token"),) if pool.tokens is not None else ()),
        *((counted(pool.calls, "call"),) if pool.calls is not None else ()),
        *((f"{pool.seconds:g} seconds",) if pool.seconds is not None else ()),
        *((f"${pool.dollars:g}",) if pool.dollars is not None else ()),
    )
    often = "as long as the process lives" if pool.every is None else f"each {pool.every} (UTC)"
    return [f"All runs together use {enumerated(words)} at most, {often}."] if words else []


def _asks_people(team: TeamSpec) -> bool:
    """Whether a run may wait for a person, as far as the file says."""
    from podium.orchestrator.team_file import ToolSpec

    given = [tool for agent in team.agents.values() for tool in agent.tools]
    tools = [ToolSpec(name=tool) if isinstance(tool, str) else tool for tool in given]
    people = any(model.provider == "human" for model in team.models.values())
    return people or any(tool.approve or tool.name == "ask_human" for tool in tools)


def _cells(use: Use) -> tuple[str, str, str]:
    dollars = "no limit" if use.dollars == math.inf else f"{use.dollars:.6f}"
    return _number(use.calls), _number(use.tokens), dollars


def _number(value: float | None) -> str:
    return "no limit" if value is None or value == math.inf else f"{value:,.0f}"


def _as_data(team: TeamSpec, file: Path, case: WorstCase) -> dict[str, Any]:
    from podium.orchestrator.coordinator_words import in_words
    from podium.orchestrator.topology import Topology

    names = list(team.agents)
    topology = Topology(team.topology, names)
    rows = {row.agent: row for row in case.agents}
    agents = [
        {
            "name": name,
            "role": agent.role,
            "model": agent.model,
            "provider": team.models[agent.model].provider,
            "price": {"input": rows[name].price.input, "output": rows[name].price.output} if name in rows else None,
            "may_see": sorted(topology.who_may_see(name)),
            "budget": agent.budget.model_dump(mode="json"),
            "worst_case": _use(rows[name].use) if name in rows else {"calls": 0, "tokens": 0, "dollars": 0.0},
        }
        for name, agent in team.agents.items()
    ]
    return {
        "name": team.name,
        "file": str(file),
        "digest": team.digest,
        "topology": team.topology.model_dump(mode="json", exclude_none=True),
        "agents": agents,
        "coordinator": {
            "kind": team.coordinator.kind,
            "words": in_words(team.coordinator, names),
            "chooses": case.chosen,
            "worst_case": _use(case.deciding),
        },
        "budget": team.budget.model_dump(mode="json"),
        "pool": team.pool.model_dump(mode="json"),
        "worst_case": {**_use(case.total), "cut_by": list(case.cut_by), "task_tokens": case.task_tokens},
    }


def _use(use: Use) -> dict[str, float | None]:
    """An amount as JSON; null where nothing limits it."""
    numbers = {"calls": use.calls, "tokens": use.tokens, "dollars": use.dollars}
    return {name: None if value == math.inf else value for name, value in numbers.items()}
