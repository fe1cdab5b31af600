"""Coordinators by name, as a comparison asks for them.

    own                             the coordinator of the team file
    round_robin, vote?samples=3     a kind of the team file, with its settings
    learned:policies/desk           a trained policy
    best_single, best_pipeline      chosen on the fitting tasks; so are best_self_consistency and skill_table
    untrained                       the learned coordinator before training
    random                          no preferences; beside a learned coordinator it chooses from what that one may
    router                          hand-written, told the type of each embedded task
    oracle                          knows what passes; a ceiling, no competitor

Lists are written with commas (`vote?agents=a,b`), the steps of a pipeline as `pipeline?steps=a,b*3`, agents that are
asked at the same moment as `a+b`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinator_spec import CoordinatorSpec, SelfConsistencySpec, SkillTableSpec
from podium.orchestrator.coordinators import build_coordinator
from podium.orchestrator.coordinators.random import Random
from podium.orchestrator.coordinators.routed import Routed
from podium.orchestrator.coordinators.steps import SAMPLE_OPTIONS, Step
from podium.orchestrator.coordinators.voting import SelfConsistency
from podium.orchestrator.learned import LearnedCoordinator, Policy, load_policy
from podium.orchestrator.learned.options import VIEWS, Options
from podium.orchestrator.team import Team
from podium.protocols.errors import InputError, TaskError
from podium.protocols.task import Message, Task
from podium.protocols.words import counted
from podium.training.baselines import Choice, best_single, choose_pipeline, find_oracle
from podium.training.rollouts import Rollouts, Scored
from podium.training.skill_fit import fit_skill_table
from podium.training.tasks.embedded_routes import ROUTES
from podium.training.tasks.spec import nearest

LONGEST = 3
"""Steps of a fitted baseline, at most: the search among pipelines grows with this power of the number of agents."""
FITTED = ("best_single", "best_self_consistency", "best_pipeline", "skill_table")
OTHERS = ("own", "untrained", "router", "oracle")
BESIDE = ("random", "untrained", "oracle")
"""Those that have the action space of the learned coordinator beside them, so that one has to be known first."""
KINDS = ("single", "round_robin", "sequential", "pipeline", "vote", "self_consistency", "debate", "moa", "random")
ASKING = ("llm_selector", "learned")

_spec: TypeAdapter[CoordinatorSpec] = TypeAdapter(CoordinatorSpec)


@dataclass(slots=True)
class Fitting:
    """What fitted coordinators learn from. tasks: None where none were given; found: what is known already.

    tested: the tasks of the comparison, which only the oracle and the router look at. tokens: per task, that
    self-consistency may use; preference: dollars one passed answer is worth, for coordinators that weigh cost;
    steps, samples, width: the action space, a learned coordinator's where one is compared; max_steps: as steps, where
    the search is not bounded by LONGEST; policy: that learned coordinator's.
    """

    team: Team
    tasks: Sequence[Task] | None
    tested: Sequence[Task] = ()
    seeds: Sequence[int] = (0,)
    tokens: float | None = None
    preference: float | None = None
    steps: int = 2
    max_steps: int = 2
    samples: Sequence[int] = SAMPLE_OPTIONS
    width: int = 1
    found: dict[str, Any] = field(default_factory=dict[str, Any])
    policy: Policy | None = None

    def beside(self, policy: Policy) -> None:
        """Fit with the action space of a learned coordinator that is compared too, up to LONGEST steps."""
        self.policy, options = policy, policy.card.options
        self.max_steps, self.samples, self.width = options.max_steps, options.samples, options.width
        self.steps = min(options.max_steps, LONGEST)
        self.preference = policy.card.preference


@dataclass(frozen=True, slots=True)
class Chosen:
    """A coordinator for a comparison. detail: what was chosen, in words; reference: it is no competitor.

    spec: of what was chosen or fitted, as a team file says it, but for the file of a table.
    """

    coordinator: Coordinator
    detail: str = ""
    reference: bool = False
    spec: CoordinatorSpec | None = None


async def resolve(name: str, fitting: Fitting, details: dict[str, str] | None = None) -> Chosen:
    """The coordinator that a name stands for, fitted if need be.

    Raises InputError for a name or setting that does not exist, or fitting tasks that are missing.
    """
    word, _, settings = name.partition("?")
    word, colon, rest = word.partition(":")
    if word == "learned" and colon:
        chosen = Chosen(LearnedCoordinator(load_policy(rest)))
    elif word in _MADE and not settings:
        chosen = await _MADE[word](fitting)
    elif (word in KINDS or word in ASKING) and not colon:
        chosen = Chosen(_of_kind(name, word, settings, fitting.team))
    else:
        known = (*OTHERS, *FITTED, *KINDS, *ASKING)
        raise InputError(f"{name!r} is no coordinator; there are: {', '.join(known)}{nearest(word, known)}")
    if details is not None and chosen.detail:
        details[name] = chosen.detail
    return chosen


def _of_kind(name: str, word: str, settings: str, team: Team) -> Coordinator:
    data: dict[str, Any] = {"kind": word}
    for pair in filter(None, settings.split("&")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"{name}: {pair!r} is not key=value")
        text = unquote(value)
        number = text.replace(".", "", 1).isdigit()
        data[key] = (int(text) if text.isdigit() else float(text)) if number else text
        if key in {"agents", "order"}:
            data[key] = text.split(",")
        if key == "steps":
            data[key] = [_step(step) for step in text.split(",")]
    try:
        spec = _spec.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != word)
        if first["type"] == "missing":
            how = "learned:FOLDER" if word == "learned" else f"{word}?{where}=..."
            raise InputError(f"coordinator {name}: it needs {where}: write {how}") from None
        raise InputError(f"coordinator {name}: {where}: {first['msg'].lower()}") from None
    agents = tuple(team.agents)
    lists = [data.get(key, ()) for key in ("agents", "order")]
    single = [data[key] for key in ("agent", "aggregator") if key in data]
    steps = [each["agent"] for step in data.get("steps", ()) for each in (step, *step["beside"])]
    for agent in (*lists[0], *lists[1], *single, *steps):
        if agent not in agents:
            raise InputError(
                f"coordinator {name}: no agent {agent!r}; there are: {', '.join(agents)}{nearest(str(agent), agents)}"
            )
    return build_coordinator(spec, agents, team.models)


def _step(text: str) -> dict[str, Any]:
    """A step of a pipeline, `a*3+b`, as a team file has it."""
    first, *others = (
        {"agent": agent, "samples": int(count) if count.isdigit() else count or 1}
        for agent, _, count in (each.partition("*") for each in text.split("+"))
    )
    return {**first, "beside": others}


def _tasks(fitting: Fitting, what: str) -> Sequence[Task]:
    if not fitting.tasks:
        raise InputError(f"{what} is chosen on training tasks: say which with --fit SPEC")
    return fitting.tasks


def _runs(fitting: Fitting, scored: Scored = "answer") -> Rollouts:
    return Rollouts(fitting.team.orchestrator, scored=scored)


async def _own(fitting: Fitting) -> Chosen:
    return Chosen(fitting.team.orchestrator.coordinator, fitting.team.spec.coordinator.kind)


async def _untrained(fitting: Fitting) -> Chosen:
    policy = fitting.policy
    if policy is None:
        fresh = Policy.fresh(Options(), tuple(fitting.team.agents))
    else:
        card = policy.card
        fresh = Policy.fresh(card.options, card.identities, words=policy.words, scale=card.scale)
        fresh.card.preference = card.preference
    return Chosen(LearnedCoordinator(fresh, "untrained"))


async def _random(fitting: Fitting) -> Chosen:
    if fitting.policy is None:
        return Chosen(Random())
    options = fitting.policy.card.options
    views = tuple(VIEWS[context] for context in options.context)
    return Chosen(Random(options.max_steps, samples=options.samples, views=views, width=options.width))


async def _best_single(fitting: Fitting) -> Chosen:
    if "best_single" not in fitting.found:
        tasks = _tasks(fitting, "best_single")
        fitting.found["best_single"] = await best_single(_runs(fitting).run, tasks, tuple(fitting.team.agents))
    return _of_choice(fitting.found["best_single"])


async def _best_self_consistency(fitting: Fitting) -> Chosen:
    """Of the best single agent, with as many samples as its tokens allow (at least what `fitting.tokens` says)."""
    await _best_single(fitting)
    choice = fitting.found["best_single"]
    alone = choice.figures[0].tokens
    samples = 5 if fitting.tokens is None else max(1, round(fitting.tokens / max(1.0, alone)))
    spec = SelfConsistencySpec(kind="self_consistency", agent=choice.label, samples=samples)
    return Chosen(SelfConsistency(choice.label, samples), f"{choice.label} x{samples}", spec=spec)


async def _best_pipeline(fitting: Fitting) -> Chosen:
    tasks = _tasks(fitting, "best_pipeline")
    agents = tuple(fitting.team.agents)
    choice = await choose_pipeline(
        _runs(fitting).run, tasks, agents, max_len=fitting.steps, samples=fitting.samples, width=fitting.width
    )
    return _of_choice(choice)


async def _skill_table(fitting: Fitting) -> Chosen:
    weight = 0.0 if fitting.preference is None else 1.0 / fitting.preference
    tasks = _tasks(fitting, "skill_table")
    table = await fit_skill_table(
        _runs(fitting, "replies").run, tasks, max_steps=fitting.steps, samples=fitting.samples, cost_weight=weight
    )
    spec = SkillTableSpec(kind="skill_table", explore=table.explore, cost_weight=table.cost_weight)
    return Chosen(table, counted(len(table.skills), "skill"), spec=spec)


def _of_choice(choice: Choice) -> Chosen:
    return Chosen(choice.coordinator, choice.label, spec=choice.spec)


async def _router(fitting: Fitting) -> Chosen:
    types: dict[tuple[Message, ...], str] = {task.messages: task.tags.get("type", "") for task in fitting.tested}
    missing = sorted({kind or "no type" for kind in types.values() if kind not in ROUTES})
    if missing:
        raise TaskError(f"router is written for the embedded tasks; it has no route for: {', '.join(missing)}")

    def route(messages: tuple[Message, ...]) -> Sequence[Step]:
        return [Step(step.agent, step.samples) for step in ROUTES[types[messages]]]

    return Chosen(Routed(route), "told the type")


async def _oracle(fitting: Fitting) -> Chosen:
    found = await find_oracle(
        _runs(fitting).run,
        fitting.tested,
        tuple(fitting.team.agents),
        samples=fitting.samples,
        max_len=fitting.max_steps,
        seeds=fitting.seeds,
    )
    detail = f"solves {found.solved:.0%} with {found.runs:,} runs"
    if found.solved < 1:
        longer = f" and {counted(found.longer, 'longer one')}" if found.longer else ""
        detail += f"; for the others it tried all routes of up to {counted(found.steps, 'step')}{longer}"
    return Chosen(found.oracle, detail, reference=True)


_MADE: dict[str, Callable[[Fitting], Awaitable[Chosen]]] = {
    "own": _own,
    "untrained": _untrained,
    "random": _random,
    "best_single": _best_single,
    "best_self_consistency": _best_self_consistency,
    "best_pipeline": _best_pipeline,
    "skill_table": _skill_table,
    "router": _router,
    "oracle": _oracle,
}
