"""The team file: everything a team is, in one YAML file, and nothing that was not meant.

Strict on purpose. Frameworks that ignore an unknown key turn a typing error into a silent change of behaviour; here
every key is known or refused, every name that refers to an agent or a model is looked up, and each problem is told
with its file, line and field and with what would have been right. A loaded `TeamSpec` is immutable, is identified by
a digest of its contents, and is all that the engine needs to build the team.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, PrivateAttr, Strict, field_validator, model_validator
from pydantic_core import PydanticCustomError

from podium.agents.request_fields import SET_BY_PODIUM
from podium.orchestrator.budget_spec import LATER, BudgetSpec, PoolSpec, ShareSpec, filled, nested
from podium.orchestrator.coordinator_spec import CoordinatorSpec
from podium.orchestrator.model_spec import Count, ModelSpec, Name, Seconds
from podium.orchestrator.telemetry.spec import TelemetrySpec
from podium.orchestrator.yaml_file import Check, FilePaths, FileUrl, StrictModel, Words, load_model, parse_model
from podium.orchestrator.yaml_problems import Problem, mapping, nearest, say

__all__ = [
    "ROLES",
    "AgentSpec",
    "TeamSpec",
    "ToolSpec",
    "TopologySpec",
    "load_team",
    "parse_team",
]

ROLES = ("planner", "solver", "critic", "verifier", "aggregator", "retriever")
"""Roles that come with a system prompt; any other word is a role of your own and needs a `prompt`."""

PYTHON_ONLY = ("memory_mb", "unsafe")
"""Settings of the tool python alone."""

FINISH = "finish"
"""No agent's name: what coordinators choose when nobody is to be asked any more, and decisions call so."""

SHARED = ("models", "agents")
"""What an included file may hold."""


Edge = Annotated[tuple[str, str], Strict(False)]
"""[u, v]: v may be shown u's messages."""


class ToolSpec(StrictModel):
    """A tool with settings of its own, such as `{name: python, seconds: 5, memory_mb: 512}`."""

    name: Annotated[str, Field(min_length=1)]
    """A built-in name, or a Python function as module:function."""
    seconds: Seconds | None = None
    """Longest time of one call; left out: 10 for python, 5 for other built-in tools, 30 for functions."""
    idempotent: bool | None = None
    """Whether calling it twice does no harm; left out: true for built-in tools unless unsafe, false for functions."""
    approve: bool = False
    """Whether a person has to say yes before each call: on the console, by podium runs answer, or by HTTP."""
    wait: Seconds | None = None
    """Seconds that the person's yes may take, or the answer to ask_human; left out: a day."""
    memory_mb: Annotated[int, Field(ge=64)] | None = None
    """Memory of the tool python, in megabytes of 2^20 bytes; left out: 256."""
    unsafe: bool = False
    """Run the tool python as an ordinary process of this user, which can read files and reach the network."""


class AgentSpec(StrictModel):
    """One agent: a role bound to a model."""

    role: Annotated[str, Field(min_length=1)]
    """planner, solver, critic, verifier, aggregator or retriever; or a word of your own, which then needs a prompt."""
    model: Annotated[str, Field(min_length=1)]
    """Which of the models speaks for it."""
    prompt: Annotated[str, Field(min_length=1)] | None = None
    """Its system prompt; replaces the one of its role."""
    description: Annotated[str, Field(min_length=1)] | None = None
    """One sentence on what it is good at, read by coordinators."""
    examples: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=2000)], ...], Strict(False)] = ()
    """A few tasks that it is for, as they come: coordinators tell by them which tasks are its kind."""
    tools: Annotated[tuple[str | ToolSpec, ...], Strict(False)] = ()
    """Tools it may use: built-in names, Python functions as module:function, or mappings with settings."""
    documents: FilePaths = ()
    """Files or folders that a retriever searches, relative to this file."""
    max_tool_rounds: Annotated[int, Field(ge=1, le=100)] = 4
    """Most rounds of tool calls before it has to answer."""
    timeout: Seconds | None = None
    """Longest one request may take in seconds, retries and tools included; then it has failed, and the others go on."""
    budget: ShareSpec = ShareSpec()
    """What it may use of the budget of one run."""


class TopologySpec(StrictModel):
    """Who may be shown whose messages: a kind, or a list of edges."""

    kind: Literal["star", "chain", "full"] | None = None
    """star: the coordinator passes on what it likes; chain: each sees the one listed before it; full: all see all."""
    edges: Annotated[tuple[Edge, ...], Strict(False)] | None = None
    """Pairs [u, v]: v may be shown u's messages. Instead of kind. An agent always sees its own messages."""

    @field_validator("kind", mode="before")
    @classmethod
    def _no_kind(cls, value: object) -> object:
        if value == "edges":
            raise ValueError(
                "edges is no kind (star, chain, full): it stands alone, as in topology: {edges: [[planner, solver]]}"
            )
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> TopologySpec:
        if (self.kind is None) == (self.edges is None):
            raise ValueError("give either kind (star, chain or full) or edges, one of the two")
        return self


class RetrySpec(StrictModel):
    """When a call that failed in passing (connection, HTTP 429 or 5xx, broken answer) is made again."""

    attempts: Count = 3
    """Attempts with each model, the first one included; 1: never again."""
    wait: Seconds = 0.5
    """The second attempt comes within so many seconds, at random; the window doubles with each further one."""
    longest: Seconds = 30.0
    """Longest wait in seconds; an endpoint that asks for more is given up for the next model of the chain."""
    open_after: Count = 5
    """After so many failures in a row a model is not asked for a while: calls fail at once, or go to a fallback."""
    open_seconds: Seconds = 30.0
    """How long that is."""


class TeamSpec(StrictModel):
    """A team: models, agents, who may see whom, who coordinates, and what a run may cost."""

    name: Name
    """How the team is called, also as a served model: letters, digits, dot, dash and underscore, at most 64."""
    models: dict[Name, ModelSpec] = Field(min_length=1)
    """The models, by name."""
    agents: dict[Name, AgentSpec] = Field(min_length=1)
    """The agents, by name."""
    topology: TopologySpec = TopologySpec(kind="star")
    """Who may be shown whose messages."""
    coordinator: CoordinatorSpec
    """Who decides which agent speaks next."""
    budget: BudgetSpec = BudgetSpec()
    """What one run may use at most."""
    pool: PoolSpec = PoolSpec()
    """What all runs of the team together may use, as long as the process lives or in each period."""
    retry: RetrySpec = RetrySpec()
    """When a call that failed is made again."""
    bus: Literal["memory://"] = "memory://"
    """How agents are reached: memory:// in this process."""
    journal: Annotated[FileUrl, Field(pattern=r"^(sqlite|postgresql)(\+[a-z0-9]+)?://.+$")] | None = None
    """Where runs are kept: sqlite:///FILE (relative to this file) or postgresql://...; left out: nothing is kept."""
    telemetry: TelemetrySpec = TelemetrySpec()
    """What is told of runs while they go on: traces, figures, logs; left out: nothing."""
    include: str | Words | None = None
    """Files, relative to this one, with models and agents to share; what this file says itself wins."""

    _source: Path | None = PrivateAttr(default=None)

    @property
    def source(self) -> Path | None:
        """The file that the team was loaded from; None for one made in Python."""
        return self._source

    @property
    def digest(self) -> str:
        """sha256 (hex) of the team's canonical JSON, paths relative to its file; without keys, journal, telemetry."""
        data = self.model_dump(mode="json", exclude={"include", "journal", "telemetry"})
        for budget in (data["pool"], *(agent["budget"] for agent in data["agents"].values())):
            for name in LATER:  # a file that does not speak of them has the digest that it always had
                if name in budget and budget[name] is None:
                    del budget[name]
        for agent in data["agents"].values():
            if not agent["examples"]:
                del agent["examples"]
        text = json.dumps(data, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        if self._source is not None:
            text = text.replace(json.dumps(f"{self._source.parent}/")[1:-1], "./")
        return hashlib.sha256(text.encode()).hexdigest()

    @model_validator(mode="after")
    def _names_exist(self) -> TeamSpec:
        data = self.model_dump()
        problems = list(references(data))
        if problems:
            raise PydanticCustomError("references", "{text}", {"text": "; ".join(say(p, data) for p in problems)})
        return self


def load_team(path: str | Path, *, check: Check = lambda _: ()) -> TeamSpec:
    """Read a team file. Raises TeamFileError with every problem of the file, in line order.

    check: more to look at than what stands in the file, on its plain data; it has to bear broken shapes.
    """
    path = Path(path)

    def whole(data: Mapping[str, Any]) -> Iterator[Problem]:
        yield from references(data)
        yield from check(data)

    return _from(load_model(path, TeamSpec, check=whole, include=SHARED), path)


def parse_team(text: str, file: str = "<string>", base: Path = Path()) -> TeamSpec:
    """Read a team from text. file: how errors call it; base: the folder that relative paths start from.

    Raises TeamFileError with every problem of the text, in line order.
    """
    return _from(parse_model(text, TeamSpec, file=file, base=base, check=references, include=SHARED), base / file)


def _from(team: TeamSpec, source: Path) -> TeamSpec:
    team._source = source.resolve()  # pyright: ignore[reportPrivateUsage]
    return team


def references(data: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong between the parts of a team: names that lead nowhere, and values that exclude each other.

    data: the team as plain mappings, possibly broken elsewhere; whatever has the wrong shape is left to the schema.
    """
    models, agents = mapping(data.get("models")), mapping(data.get("agents"))
    for name, model in models.items():
        yield from _of_model(name, mapping(model), models)
    for name, agent in agents.items():
        yield from _of_agent(name, mapping(agent), models)
    coordinator = mapping(data.get("coordinator"))
    for where, name in _named(coordinator):
        yield from _unknown("agent", name, agents, ("coordinator", *where))
    yield from _unknown("model", coordinator.get("model"), models, ("coordinator", "model"))
    writer = mapping(coordinator.get("words")).get("model")
    yield from _unknown("model", writer, models, ("coordinator", "words", "model"))
    if mapping(models.get(str(writer))).get("provider") == "human":
        yield Problem(("coordinator", "words", "model"), "a person cannot word every request", "another model")
    if mapping(models.get(str(coordinator.get("model")))).get("provider") == "human":
        yield Problem(("coordinator", "model"), "a person cannot lead a team; make them an agent of it", show=False)
    aggregator = coordinator.get("aggregator")
    if isinstance(aggregator, str) and list(agents) == [aggregator] and not coordinator.get("agents"):
        yield Problem(("coordinator",), "the aggregator is the only agent, and nobody is left to propose", show=False)
    yield from _wind_down(mapping(data.get("budget")), agents, models)
    yield from nested(data)
    yield from filled(mapping(data.get("pool")))
    for index, edge in enumerate(_sequence(mapping(data.get("topology")).get("edges"))):
        for end, name in enumerate(_sequence(edge)):
            yield from _unknown("agent", name, agents, ("topology", "edges", index, end))


def _wind_down(budget: Mapping[str, Any], agents: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Problem]:
    """Who writes the last answer: an agent, no person, and not with the only call there is."""
    name = budget.get("wind_down")
    yield from _unknown("agent", name, agents, ("budget", "wind_down"))
    if mapping(models.get(str(mapping(agents.get(str(name))).get("model")))).get("provider") == "human":
        what = "a person cannot be waited for when the time is up"
        yield Problem(("budget", "wind_down"), what, "an agent with another model")
    if name is not None and budget.get("calls") == 1:
        yield Problem(("budget", "calls"), "the only call would be kept for wind_down", "2 or more")


def _of_model(name: str, model: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Problem]:
    for place, other in enumerate(_sequence(model.get("fallback"))):
        yield from _unknown("model", other, models, ("models", name, "fallback", place))
        if other == name:
            yield Problem(("models", name, "fallback", place), "a model cannot stand in for itself")
    if model.get("provider") == "openai" and model.get("log_prob_kind") == "processed" and not model.get("log_probs"):
        what = "this model is not asked for log-probs; write log_probs: true beside it"
        yield Problem(("models", name, "log_prob_kind"), what, show=False)
    for field in mapping(model.get("extra")):
        if field in SET_BY_PODIUM:
            what = "Podium sets this field of a request itself"
            yield Problem(("models", name, "extra", field), what, SET_BY_PODIUM[field], show=False)


def _of_agent(name: str, agent: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Problem]:
    if name == FINISH:
        yield Problem(("agents", name), "no agent can have this name: decisions call the end of a run so", show=False)
    yield from _unknown("model", agent.get("model"), models, ("agents", name, "model"))
    given = (tool if isinstance(tool, str) else mapping(tool).get("name") for tool in _sequence(agent.get("tools")))
    tools = [str(tool or "").replace(":", ".").rpartition(".")[2] for tool in given]  # as a model knows them
    for place, tool in enumerate(tools):
        if tool and tool in tools[:place]:
            what = f"a tool {tool} is there already, and a model tells tools apart by their names"
            yield Problem(("agents", name, "tools", place), what, show=False)
    for place, tool in enumerate(_sequence(agent.get("tools"))):
        for key in PYTHON_ONLY:
            if mapping(tool).get(key) and mapping(tool).get("name") not in ("python", None):
                yield Problem(("agents", name, "tools", place, key), "only the tool python takes this", show=False)
        given = mapping(tool)
        asks = given.get("approve") or given.get("name") == "ask_human" or ":" in str(given.get("name"))
        if given.get("wait") is not None and not asks:
            what = "no person is waited for: this goes with approve: true, or with ask_human"
            yield Problem(("agents", name, "tools", place, "wait"), what, show=False)
    role = agent.get("role")
    if not isinstance(role, str):
        return
    person = mapping(models.get(str(agent.get("model")))).get("provider") == "human"
    if role and role not in ROLES and agent.get("prompt") is None and not person:
        what = "a role of your own needs a prompt, and this agent has none"
        yield Problem(("agents", name, "role"), what, ", ".join(ROLES), nearest(role, ROLES))
    if agent.get("documents") and role != "retriever":
        what = "only an agent with the role retriever searches documents"
        yield Problem(("agents", name, "documents"), what, show=False)


def _named(coordinator: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Every place where a coordinator names an agent, with the name."""
    for key in ("agent", "aggregator"):
        yield (key,), coordinator.get(key)
    for key in ("agents", "order"):
        for index, name in enumerate(_sequence(coordinator.get(key))):
            yield (key, index), name
    for index, step in enumerate(_sequence(coordinator.get("steps"))):
        yield ("steps", index, "agent"), mapping(step).get("agent")
        for beside, other in enumerate(_sequence(mapping(step).get("beside"))):
            yield ("steps", index, "beside", beside, "agent"), mapping(other).get("agent")


def _unknown(kind: str, name: object, known: Mapping[str, Any], where: tuple[str | int, ...]) -> Iterator[Problem]:
    """A name that leads nowhere. Nothing known at all is a problem of its own, told by the schema."""
    if known and isinstance(name, str) and name and name not in known:
        yield Problem(where, f"there is no {kind} of this name", ", ".join(known), nearest(name, known))


def _sequence(value: object) -> Sequence[Any]:
    return cast(Sequence[Any], value) if isinstance(value, list | tuple) else ()
