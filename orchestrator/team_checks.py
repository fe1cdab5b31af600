"""What a well-formed team file may still lack: tools, documents, models, pools, prices, room for one call.

Problems are looked for with their lines while the file is read; warnings and files that are not there yet come from
the team that was read. Nothing is called, but a team's own tools are imported.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from podium.orchestrator.yaml_problems import Problem, nearest
from podium.protocols.errors import InputError, PolicyError

if TYPE_CHECKING:
    from podium.agents.model import Price
    from podium.orchestrator.learned.options import Options
    from podium.orchestrator.team_file import TeamSpec
    from podium.orchestrator.worst_case import WorstCase
    from podium.orchestrator.yaml_file import Check

__all__ = ["Checked", "located", "missing_files", "plan", "problems_beyond", "recorded_prices", "validate", "warnings"]

ENDPOINTS = ("openai", "vllm", "scripted")
"""Providers whose calls are free only because nobody stated a price. A local model's may well be."""


FREE_FORM = ("transformers", "recorded")
"""Providers that do not decode under a JSON Schema."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A team file without problems. missing: files that it names and that may still be made; warnings: in words."""

    team: TeamSpec
    missing: list[str]
    warnings: list[str]


def validate(file: str | Path) -> Checked:
    """Check a team file and what it names, without calling anything; tools of your own are imported.

    Raises TeamFileError with every problem: in its text with file and line, and as data in its `problems`.
    """
    from podium.orchestrator.team_file import load_team

    team = load_team(file, check=problems_beyond(Path(file)))
    return Checked(team, missing_files(team), warnings(team))


def plan(team: TeamSpec | str | Path, *, task_tokens: int | None = None) -> WorstCase:
    """The most that one run of a team can use, worked out without calling anything.

    team: its file, or what `Team.spec` holds. task_tokens: length of the task, 500 if unsaid.

    Raises TeamFileError with every problem of the file, TaskError for a recorded pool that cannot be read, and
    InputError for a length that is no whole number from 1.
    """
    from podium.orchestrator.team_file import TeamSpec, load_team
    from podium.orchestrator.worst_case import worst_case

    tokens = _length(task_tokens)
    spec = team if isinstance(team, TeamSpec) else load_team(team)
    options = policy_options(spec)
    return worst_case(
        spec,
        task_tokens=tokens,
        prices=recorded_prices(spec),
        requests=math.inf if options is None else options.most_requests,
        keeps=options is not None and "keep" in options.plans,
        told=0 if options is None else options.words_tokens(spec.agents),
    )


def _length(given: object) -> int:
    """Tokens of the task that a plan assumes. Raises InputError for what is no length."""
    from podium.orchestrator.worst_case import TASK_TOKENS

    if given is None:
        return TASK_TOKENS
    if not isinstance(given, int) or given < 1:
        raise InputError(f"task_tokens: expected a whole number, at least 1, found {given!r}")
    return given


def problems_beyond(file: Path) -> Check:
    """The check of what a team file names outside itself: tools, documents, models, pools, what was learned."""

    def check(data: Mapping[str, Any]) -> Iterator[Problem]:
        for name, agent in _mappings(data.get("agents")):
            yield from _tools(name, agent, file.parent)
            yield from _documents(name, agent, file.parent)
        for name, model in _mappings(data.get("models")):
            yield from _model_folder(name, model, file.parent)
            yield from _pool(name, model, dict(_mappings(data.get("agents"))), file.parent)
        yield from _learned(data, file.parent)

    return check


@contextmanager
def located(file: Path) -> Generator[None]:
    """Where a team cannot be made of what its file names: say so as `podium validate` does, with the line."""
    from podium.orchestrator.team_file import load_team

    try:
        yield
    except InputError:
        load_team(file, check=problems_beyond(file))
        raise


def policy_options(team: TeamSpec) -> Options | None:
    """What a learned coordinator may choose from; None for others, and where its policy cannot be read."""
    from podium.orchestrator.coordinator_spec import LearnedSpec

    if not isinstance(team.coordinator, LearnedSpec):
        return None
    from podium.orchestrator.learned import load_policy

    try:
        return load_policy(team.coordinator.policy).card.options
    except PolicyError:
        return None


def missing_files(team: TeamSpec) -> list[str]:
    """Files that the team names and that may still be made: a pool to record, a policy or a table to learn."""
    from podium.orchestrator.coordinator_spec import LearnedSpec, SkillTableSpec
    from podium.orchestrator.model_spec import RecordedModel

    named = [model.path for model in team.models.values() if isinstance(model, RecordedModel)]
    if isinstance(team.coordinator, LearnedSpec):
        named.append(team.coordinator.policy)
    if isinstance(team.coordinator, SkillTableSpec) and team.coordinator.table is not None:
        named.append(team.coordinator.table)
    return [str(path) for path in dict.fromkeys(named) if not path.exists()]


def warnings(team: TeamSpec, *, task_tokens: int = 0, prices: Mapping[str, Price] | None = None) -> list[str]:
    """What loads and runs, and is hardly meant. task_tokens, prices: as in `worst_case`."""
    missing = [*_without_documents(team), *_without_price(team), *_without_grammar(team)]
    return [*missing, *_without_room(team, task_tokens, prices or {})]


def recorded_prices(team: TeamSpec) -> dict[str, Price]:
    """Prices of recorded models that do not state one: the dearest pool agent that the model speaks for."""
    from podium.agents.model import Price
    from podium.orchestrator.model_spec import RecordedModel

    prices: dict[str, Price] = {}
    for key, model in team.models.items():
        if isinstance(model, RecordedModel) and model.price is None:
            from podium.protocols.pool import read_pool

            pool = read_pool(model.path).agents
            names = [model.agent] if model.agent else [name for name, spec in team.agents.items() if spec.model == key]
            found = [pool[name].price for name in names if name in pool]
            dearest = (max((price.input for price in found), default=0.0), max((p.output for p in found), default=0.0))
            prices[key] = Price(*dearest)
    return prices


def _tools(name: str, agent: Mapping[str, Any], folder: Path) -> Iterator[Problem]:
    from pydantic import ValidationError

    from podium.agents.tools import load_tool
    from podium.orchestrator.team_file import ToolSpec
    from podium.protocols.errors import ToolError

    stated = agent.get("tools")
    for place, tool in enumerate(cast(list[object], stated) if isinstance(stated, list) else []):
        try:
            spec = ToolSpec.model_validate({"name": tool} if isinstance(tool, str) else tool)
        except ValidationError:
            continue  # the schema tells
        try:
            load_tool(folder=folder, **spec.model_dump())
        except (ToolError, TypeError, ValueError) as error:
            yield Problem(("agents", name, "tools", place), str(error), show=False)


def _documents(name: str, agent: Mapping[str, Any], folder: Path) -> Iterator[Problem]:
    from podium.agents.documents import SUFFIXES

    stated = agent.get("documents")
    for place, path in enumerate(_texts([stated] if isinstance(stated, str) else stated)):
        at = ("agents", name, "documents") if isinstance(stated, str) else ("agents", name, "documents", place)
        here = _placed(path, folder)
        if not here.exists():
            yield Problem(at, "there is no such document or folder; paths start from the folder of this file")
        elif here.is_dir() and not any(file.suffix.lower() in SUFFIXES for file in here.rglob("*")):
            yield Problem(at, "no documents are in this folder", f"files that end in {', '.join(SUFFIXES)}")


def _model_folder(name: str, model: Mapping[str, Any], folder: Path) -> Iterator[Problem]:
    stated = model.get("model")
    if model.get("provider") != "transformers" or not isinstance(stated, str):
        return
    here = _placed(stated, folder)
    if not here.is_dir():
        if stated.startswith((".", "/", "~")) or stated.count("/") > 1:  # else it may be the name of a hub's model
            what = "there is no such model folder; paths start from the folder of this file"
            yield Problem(("models", name, "model"), what)
    elif not (here / "config.json").is_file():
        what = "this is no model folder: it has no config.json"
        yield Problem(("models", name, "model"), what, "a folder with config.json, a tokenizer and safetensors weights")


def _pool(
    name: str, model: Mapping[str, Any], agents: Mapping[str, Mapping[str, Any]], folder: Path
) -> Iterator[Problem]:
    """Whether a pool that is there can be read, and has everybody whom the model is to speak for."""
    from podium.protocols.errors import TaskError
    from podium.protocols.pool import read_pool

    stated = model.get("path")
    if model.get("provider") != "recorded" or not isinstance(stated, str) or not _placed(stated, folder).exists():
        return
    try:
        known = list(read_pool(_placed(stated, folder)).agents)
    except TaskError as error:
        yield Problem(("models", name, "path"), str(error), show=False)
        return
    if isinstance(speaks := model.get("agent"), str):
        if speaks not in known:
            at = ("models", name, "agent")
            yield Problem(at, "the pool has no agent of this name", ", ".join(known), nearest(speaks, known))
        return
    for agent, spec in agents.items():
        if spec.get("model") == name and agent not in known:
            what = f"the pool of the model {name} has no agent {agent}; rename it, or say models.{name}.agent"
            yield Problem(("agents", agent), what, ", ".join(known), nearest(agent, known), show=False)


def _learned(data: Mapping[str, Any], folder: Path) -> Iterator[Problem]:
    """Whether a policy that is there can be read, and a skill table is of these agents."""
    from podium.orchestrator.coordinators.saved_table import load_table
    from podium.orchestrator.learned import load_policy

    coordinator = dict(_mappings(data)).get("coordinator", {})
    for kind, key in (("learned", "policy"), ("skill_table", "table")):
        stated = coordinator.get(key)
        if coordinator.get("kind") != kind or not isinstance(stated, str) or not _placed(stated, folder).exists():
            continue
        try:
            if kind == "learned":
                load_policy(_placed(stated, folder))
            else:
                load_table(_placed(stated, folder), list(dict(_mappings(data.get("agents")))))
        except PolicyError as error:
            yield Problem(("coordinator", key), str(error), show=False)


def _without_documents(team: TeamSpec) -> Iterator[str]:
    for name, agent in team.agents.items():
        if agent.role == "retriever" and not agent.documents:
            yield f"agents.{name}: a retriever without documents has nothing to search; give it documents: [FILE, ...]"


def _without_price(team: TeamSpec) -> Iterator[str]:
    if team.budget.dollars is None:
        return
    for name, model in team.models.items():
        if model.provider in ENDPOINTS and "price" not in model.model_fields_set:
            yield (
                f"budget.dollars {team.budget.dollars:g} does not bound calls of the model {name}, which has no price "
                f"and counts as free; give models.{name} a price: {{input: NUMBER, output: NUMBER}}, in dollars per "
                "million tokens"
            )


def _without_grammar(team: TeamSpec) -> Iterator[str]:
    from podium.orchestrator.coordinator_spec import LLMSpec

    lead = team.coordinator
    if isinstance(lead, LLMSpec) and lead.structured != "none":
        provider = team.models[lead.model].provider
        if provider in FREE_FORM:
            yield (
                f"coordinator.structured {lead.structured} is nothing to the model {lead.model}: {provider} writes in "
                "any form; decisions are checked and repaired all the same; write structured: none"
            )


def _without_room(team: TeamSpec, task_tokens: int, prices: Mapping[str, Price]) -> Iterator[str]:
    from podium.orchestrator.worst_case import least_call

    budget = team.budget
    of_task = f", {task_tokens} of them the task" if task_tokens else ""
    for name in team.agents:
        reads, writes, dollars = least_call(team, name, task_tokens=task_tokens, prices=prices)
        if budget.tokens is not None and reads + writes > budget.tokens:
            yield (
                f"budget.tokens {budget.tokens} does not hold one call of {name}, which takes about {reads + writes} "
                f"at least ({reads} to read{of_task}, {writes} to write); raise it"
            )
        if budget.dollars is not None and dollars > budget.dollars:
            yield (
                f"budget.dollars {budget.dollars:g} does not hold one call of {name}, which costs about {dollars:.6f} "
                f"at least ({reads} tokens to read{of_task}, {writes} to write); raise it"
            )


def _placed(path: str, folder: Path) -> Path:
    """A path as written, from the folder of the file that states it."""
    from podium.orchestrator.yaml_source import Text

    return (path.mark.folder if isinstance(path, Text) else folder) / Path(path).expanduser()


def _mappings(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of a mapping that are mappings themselves."""
    if isinstance(value, Mapping):
        for name, each in cast(Mapping[str, object], value).items():
            if isinstance(each, Mapping):
                yield name, cast(Mapping[str, Any], each)


def _texts(value: object) -> list[str]:
    """A list of texts; empty for anything else, which the schema tells."""
    entries = cast(list[object], value) if isinstance(value, list) else []
    return [each for each in entries if isinstance(each, str)] if all(isinstance(e, str) for e in entries) else []
