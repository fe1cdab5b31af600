"""Coordinators by name, as a comparison asks for them.

    own                             the coordinator of the team file
    round_robin, vote?samples=3     a kind of the team file, with its settings; so are llm_selector?model=small and
                                    llm?model=small&width=2&repairs=1, a model that leads
    learned:policies/desk           a trained policy, also with ?preference=0.002 (dollars one passed answer is worth)
                                    and mode=sample (or greedy), as the team file's coordinator has them
    best_single, best_pipeline      chosen on the fitting tasks; so are best_self_consistency and skill_table
    untrained                       the learned coordinator before training
    random                          no preferences; beside a learned coordinator it chooses from what that one may
    router                          hand-written, told the type of each embedded task
    oracle                          knows what passes; a ceiling, no competitor

Several settings have & between them, lists commas (`vote?agents=a,b&samples=3`); the steps of a pipeline are written as
`pipeline?steps=a,b*3`, agents that are asked at the same moment as `a+b`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinator_spec import (
    CoordinatorSpec,
    LearnedSpec,
    LLMSpec,
    SelfConsistencySpec,
    SkillTableSpec,
)
from podium.orchestrator.coordinators import build_coordinator
from podium.orchestrator.coordinators.random import Random
from podium.orchestrator.coordinators.routed import Routed
from podium.orchestrator.coordinators.steps import SAMPLE_OPTIONS, Step
from podium.orchestrator.coordinators.voting import SelfConsistency
from podium.orchestrator.learned import LearnedCoordinator, Policy
from podium.orchestrator.learned.facts import TYPICAL_REPLY
from podium.orchestrator.learned.options import VIEWS, Options
from podium.orchestrator.team import Team
from podium.orchestrator.yaml_problems import Problem, nearest, say
from podium.protocols.errors import InputError, TaskError
from podium.protocols.task import Message, Task
from podium.protocols.words import counted
from podium.training.baselines import Choice, best_single, choose_pipeline, find_oracle
from podium.training.candidate_names import SHAPES, spec_of
from podium.training.rollouts import Rollouts, Scored
from podium.training.skill_fit import fit_skill_table
from podium.training.tasks.embedded_routes import ROUTES

LONGEST = 3
"""Steps of a fitted baseline, at most: the search among pipelines grows with this power of the number of agents."""
FITTED = ("best_single", "best_self_consistency", "best_pipeline", "skill_table")
OTHERS = ("own", "untrained", "router", "oracle")
BESIDE = ("random", "untrained", "oracle")
"""Those that have the action space of the learned coordinator beside them, so that one has to be known first."""
KINDS = ("single", "round_robin", "sequential", "pipeline", "vote", "self_consistency", "debate", "moa", "random")
ASKING = ("llm_selector", "llm", "learned")
SHAPED = (*BESIDE, "best_pipeline", "skill_table")
"""Those that take something of a learned coordinator beside them."""


class Knobs(NamedTuple):
    """How the runs of a coordinator are run, as its team file would. preference: None leaves it to a policy's card."""

    mode: Literal["sample", "greedy"] = "greedy"
    preference: float | None = None


PLAIN = Knobs()


@dataclass(slots=True)
class Fitting:
    """What fitted coordinators learn from. tasks: None where none were given; found: what is known already.

    tested: the tasks of the comparison, which only the oracle and the router look at. tokens: per task, that
    self-consistency may use; preference: dollars one passed answer is worth, for coordinators that weigh cost;
    steps, samples, width: the action space, a learned coordinator's where one is compared; max_steps: as steps, where
    the search is not bounded by LONGEST; policy, mode: that learned coordinator's; cheapest: what the oracle saves.
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
    mode: Literal["sample", "greedy"] = "greedy"
    cheapest: Literal["tokens", "dollars"] = "tokens"

    def beside(self, policy: Policy, knobs: Knobs = PLAIN) -> None:
        """Fit with the action space of a learned coordinator that is compared too, up to LONGEST steps.

        knobs: how that one is run; its preference goes before what the policy was trained for.
        """
        self.policy, options = policy, policy.card.options
        self.max_steps, self.samples, self.width = options.max_steps, options.samples, options.width
        self.steps = min(options.max_steps, LONGEST)
        self.mode, self.preference = knobs
        if self.preference is None:
            self.preference = policy.card.preference


@dataclass(frozen=True, slots=True)
class Chosen:
    """A coordinator for a comparison. detail: what was chosen, in words; reference: it is no competitor.

    spec: of what was chosen or fitted, as a team file says it, but for the file of a table. knobs: how it is run.
    """

    coordinator: Coordinator
    detail: str = ""
    reference: bool = False
    spec: CoordinatorSpec | None = None
    knobs: Knobs = PLAIN


async def resolve(name: str, fitting: Fitting, details: dict[str, str] | None = None) -> Chosen:
    """The coordinator that a name stands for, fitted if need be.

    Raises InputError for a name or setting that does not exist, or fitting tasks that are missing.
    """
    word, _, settings = name.partition("?")
    word, colon, folder = word.partition(":")
    if word in _MADE and not colon and not settings:
        chosen = await _MADE[word](fitting)
    elif word in SHAPES and word in (*KINDS, *ASKING) and (not colon or (word == "learned" and folder)):
        chosen = _of_kind(name, word, folder, settings, fitting.team)
    elif word in _MADE and not colon:
        raise InputError(f"coordinator {name}: {word} takes no settings; write {word} alone")
    elif word == "learned":
        raise InputError(f"coordinator {name}: it needs the folder of a policy: write learned:FOLDER")
    else:
        raise InputError(_unknown(name, word, fitting.team))
    if details is not None and chosen.detail:
        details[name] = chosen.detail
    return chosen


def _unknown(name: str, word: str, team: Team) -> str:
    """What is said of a name that no coordinator has."""
    known = (*OTHERS, *FITTED, *KINDS, *ASKING)
    near = nearest(word, known)
    said = say(Problem((), f"{name!r} is no coordinator", ", ".join(known), near, show=False), {})
    return f"{said}; {word} is an agent: to measure it, write single?agent={word}" if word in team.agents else said


def _of_kind(name: str, word: str, folder: str, settings: str, team: Team) -> Chosen:
    """A kind of the team file."""
    spec = spec_of(name, word, folder, settings, team)
    knobs = Knobs(spec.mode, spec.preference) if isinstance(spec, LearnedSpec | LLMSpec) else PLAIN
    return Chosen(build_coordinator(spec, tuple(team.agents), team.models), knobs=knobs)


def _tasks(fitting: Fitting, what: str) -> Sequence[Task]:
    if not fitting.tasks:
        raise InputError(f"{what} is chosen on training tasks: say which with --fit SPEC")
    return fitting.tasks


def _runs(fitting: Fitting, scored: Scored = "answer") -> Rollouts:
    return Rollouts(fitting.team.orchestrator, scored=scored)


async def _own(fitting: Fitting) -> Chosen:
    team = fitting.team.orchestrator
    return Chosen(team.coordinator, fitting.team.spec.coordinator.kind, knobs=Knobs(team.mode, team.preference))


async def _untrained(fitting: Fitting) -> Chosen:
    policy = fitting.policy
    if policy is None:
        prices = [card.price[1] for card in fitting.team.orchestrator.bus.cards()]
        typical = TYPICAL_REPLY * sum(prices) / len(prices) * 1e-6
        fresh = Policy.fresh(Options(), tuple(fitting.team.agents), scale=typical or 1e-6)
    else:
        card = policy.card
        fresh = Policy.fresh(
            card.options, card.identities, descriptions=card.descriptions, words=policy.words, scale=card.scale
        )
        fresh.card.preference = fitting.preference
    return Chosen(LearnedCoordinator(fresh, "untrained"), knobs=Knobs(fitting.mode))


async def _random(fitting: Fitting) -> Chosen:
    if fitting.policy is None:
        return Chosen(Random())
    options = fitting.policy.card.options
    views = tuple(VIEWS[context] for context in options.context)
    drawn = Random(
        options.max_steps,
        samples=options.samples,
        views=views,
        objectives=options.objectives,
        details=options.details,
        width=options.width,
    )
    return Chosen(drawn)


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
        cheapest=fitting.cheapest,
    )
    detail = f"solves {found.solved:.0%} with {found.runs:,} runs"
    if found.solved < 1:
        longer = f" and {counted(found.longer, 'longer one')}" if found.longer else ""
        detail += f"; for the others it tried all routes of up to {counted(found.steps, 'step')}{longer}"
        detail += ", one agent after another" if fitting.width > 1 else ""
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
