"""Evaluation: coordinators side by side on the same tasks and seeds, with intervals.

All of them run through the same engine with the same agents, budget and reply seeds, so that differences between them
are paired and what is left is theirs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np

from podium.orchestrator.coordinator import Coordinator
from podium.orchestrator.coordinators.llm import LLMCoordinator
from podium.orchestrator.coordinators.selector import LLMSelector
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.options import Options
from podium.orchestrator.team import Team
from podium.protocols.errors import BudgetExceeded, InputError, RunError
from podium.protocols.task import Task
from podium.protocols.words import counted
from podium.training.candidates import BESIDE, FITTED, SHAPED, Chosen, Fitting, Knobs, resolve
from podium.training.evaluation import Evaluation, Measured
from podium.training.judges import TeamJudges
from podium.training.keeping import keep as write
from podium.training.keeping import room_for
from podium.training.purse import Allowed, Purse
from podium.training.rollouts import Cap, Rollouts, Tally, tallied
from podium.training.sweeps import Sweep
from podium.training.tasks.scored import disjoint, tasks_of

ASKS = ("llm_selector", "llm")
"""Kinds of coordinators that ask a model of the team."""


async def measure(
    team: Team,
    coordinators: Mapping[str, Coordinator],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    *,
    into: Evaluation | None = None,
    references: Sequence[str] = (),
    knobs: Mapping[str, Knobs] = MappingProxyType({}),
    concurrency: int = 512,
    cap: Cap | None = None,
    done: Callable[[str], None] | None = None,
) -> Evaluation:
    """Run each coordinator on all tasks with all seeds.

    into: add to this evaluation (of the same tasks and seeds). references: names that are no competitors. knobs: how
    those are run that are not run as the team is. done: is called with the coordinator's name after each run. Raises
    what the runs raise when all of one coordinator fail, and BudgetExceeded when the cap refuses a call.
    """
    out = into or Evaluation(len(tasks), len(seeds))
    rollouts = Rollouts(team.orchestrator, concurrency=concurrency, cap=cap)
    own = Knobs(team.orchestrator.mode, team.orchestrator.preference)
    for name, coordinator in coordinators.items():
        rollouts.team.mode, rollouts.team.preference = knobs.get(name, own)
        tick = None if done is None else (lambda name=name: done(name))
        rollouts.tally = Tally()
        results = await rollouts.run(coordinator, tasks, seeds=seeds, done=tick)
        out.measured[name] = Measured.of(results, len(seeds), name in references, rollouts.tally.failed)
        if rollouts.tally.words:
            out.failures[name] = rollouts.tally.words
    return out


async def fitted(
    name: str,
    fitting: Fitting,
    into: Evaluation,
    *,
    told: str | None = None,
    cap: Cap | None = None,
    done: Callable[[], None] | None = None,
) -> Chosen:
    """`candidates.resolve`, with its runs counted and capped, and those that failed told.

    told: what the evaluation calls it; done: is called after each run. Raises what the runs raise, and BudgetExceeded
    when the cap refuses a call.
    """
    told, tally = told or name, Tally(cap, done)
    with tallied(tally):
        chosen = await resolve(name, fitting)
    detail = chosen.detail
    if tally.failed:
        into.failures[f"fitting {told}"] = tally.words
        failed = f"{tally.failed:,} of {counted(tally.runs, 'run')} failed while it was fitted"
        detail = f"{detail}; {failed}" if detail else failed
    if detail:
        into.details[told] = detail
    return chosen


def evaluate(
    team: Team | str | Path,
    tasks: str | Sequence[str] | Sequence[Task],
    coordinators: Sequence[str] = ("own",),
    *,
    seeds: int | None = None,
    fit: str | Sequence[str] | Sequence[Task] | None = None,
    limit: int | None = None,
    keep: str | Path | None = None,
    dollars: float | None = None,
    cache: str | Path | None = None,
    frontier: bool = False,
    knobs: Sequence[float] | None = None,
    pass_at: Sequence[int] | None = None,
    turns: Sequence[int] | None = None,
    expects: Callable[[int], None] | None = None,
    began: Callable[[str], None] | None = None,
    done: Callable[[str], None] | None = None,
    fits: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """Compare coordinators of a team on tasks.

    team: a team or its file. tasks: a SPEC such as "jsonl:tasks.jsonl?verifier=numeric&split=test", or tasks.
    coordinators: names, see `candidates.resolve`. seeds: how many times each task is run, once if left out. fit: tasks
    that coordinators which are chosen or fitted learn from; never the same as `tasks`; beside learned coordinators they
    have the action space and the preference of the first, and self-consistency the tokens of one that is named before
    it. keep: a folder for what was fitted, with the line of a team file that serves each.

    dollars: most that endpoints may cost, fitting and judges included; no call starts that could exceed it. cache: a
    file of endpoints' replies; what is in it is not asked again, and has no seconds. Without it, equal requests are
    paid once while something is fitted, and within one coordinator's runs.

    frontier: measure the cost/quality frontier (`Evaluation.frontier`): who hears the price of an answer is run at each
    of the `knobs`, dollars that one passed answer is worth; left out, they follow from the policies, or from prices.
    The oracle is measured too where all models are recorded, and its routes are the cheapest in dollars.

    pass_at: measure how often one of k runs passes (`Evaluation.pass_at`), for each k: decisions are drawn, and each
    task is run as often as the largest k, or `seeds` times, if that is more. turns: for runs of at most so many steps
    that ask agents, each number in turn; what has been said by then is answered.

    expects: is called with the number of runs that measuring takes; began: with each name as its runs begin, done:
    after each run; fits: with the name and the dollars spent so far, when its fitting begins and after each run of it.

    Raises InputError (or a kind of it) for what is wrong in the arguments, RunError when all runs of one fail, and
    BudgetExceeded when the dollars do not hold the next call; what was measured before is on the error, as `partial`.
    After Ctrl-C it is the only argument of the KeyboardInterrupt.
    """
    owned = not isinstance(team, Team)
    loaded = Team.load(team) if not isinstance(team, Team) else team
    left: list[object] = []

    async def work() -> Evaluation:
        try:
            return await aevaluate(
                loaded, tasks, coordinators, seeds=seeds, fit=fit, limit=limit, keep=keep, dollars=dollars, cache=cache,
                frontier=frontier, knobs=knobs, pass_at=pass_at, turns=turns,
                expects=expects, began=began, done=done, fits=fits,
            )  # fmt: skip
        except asyncio.CancelledError as error:
            left.extend(error.args)
            raise

    try:
        return loaded.wait(work())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*left) from None
    finally:
        if owned:
            loaded.close()


async def aevaluate(
    team: Team,
    tasks: str | Sequence[str] | Sequence[Task],
    coordinators: Sequence[str] = ("own",),
    *,
    seeds: int | None = None,
    fit: str | Sequence[str] | Sequence[Task] | None = None,
    limit: int | None = None,
    keep: str | Path | None = None,
    dollars: float | None = None,
    cache: str | Path | None = None,
    frontier: bool = False,
    knobs: Sequence[float] | None = None,
    pass_at: Sequence[int] | None = None,
    turns: Sequence[int] | None = None,
    expects: Callable[[int], None] | None = None,
    began: Callable[[str], None] | None = None,
    done: Callable[[str], None] | None = None,
    fits: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """`evaluate`, to be awaited. When it is cancelled, what was measured is the only argument of the CancelledError."""
    folder = None if keep is None else Path(keep)
    sweep = Sweep.asked(frontier, knobs, pass_at, turns)
    if seeds is None:
        seeds = max(sweep.ks, default=1)
    _sensible(coordinators, seeds, limit, dollars, folder)
    if sweep.ks and seeds < sweep.ks[-1]:
        raise InputError(f"pass_at {sweep.ks[-1]}: needs as many runs of each task; seeds: {seeds}, leave it out")
    if frontier and "oracle" not in coordinators and _recorded(team):
        coordinators = [*coordinators, "oracle"]
    judges = TeamJudges(team.spec)
    held_out = await asyncio.to_thread(tasks_of, tasks, limit, judges)
    learned_from = await asyncio.to_thread(tasks_of, fit, None, judges) if fit is not None else None
    disjoint(learned_from or (), held_out, "fitting", "test")
    purse = Purse(team.models, Allowed(dollars, None if cache is None else Path(cache)), free=False)
    asking = _through(team, purse) if purse.paid else team
    judges.ask_through(purse.outside)
    fitting = Fitting(asking, learned_from, held_out, range(seeds), cheapest="dollars" if frontier else "tokens")
    out = Evaluation(len(held_out), seeds, ks=sweep.ks, task_ids=tuple(task.id for task in held_out))
    later = {*BESIDE, *(FITTED if learned_from else ())}
    name = ""
    try:
        # What can be wrong about a name is said before anything is run.
        ready = {name: await fitted(name, fitting, out) for name in coordinators if name not in later}
        learned = {name: each for name, each in ready.items() if isinstance(each.coordinator, LearnedCoordinator)}
        _beside_first(learned, fitting, coordinators, out)
        if frontier:
            sweep, out.details["knobs"] = sweep.priced(ready, team)
            out.knobs = sweep.knobs
        if folder:
            room_for(folder)
        if expects:
            expects(sweep.rows(coordinators, ready) * len(held_out) * seeds)
        for name in coordinators:
            chosen = ready.get(name)
            if chosen is None:
                runs = name in {"oracle", *FITTED}
                tick = None if fits is None or not runs else (lambda name=name: fits(name, purse.spent))
                if tick:
                    tick()
                chosen = await fitted(name, fitting, out, cap=purse.cap, done=tick)
            if folder and chosen.spec is not None:
                out.kept[name] = write(name, chosen, folder, team.spec, len(learned_from or ()))
            ways = sweep.ways(name, chosen)
            with purse.apart():
                for way in ways:
                    if began:
                        began(way.row)
                    hits, out.places[way.row] = purse.hits, way.place
                    await measure(
                        asking, {way.row: way.coordinator}, held_out, range(seeds), into=out,
                        references=(way.row,) if chosen.reference else (), knobs={way.row: way.knobs}, cap=purse.cap,
                        done=done,
                    )  # fmt: skip
                    if purse.hits > hits and (purse.keeps or len(ways) > 1):
                        out.measured[way.row].seconds.fill(np.nan)
            if name in learned:
                fitting.tokens = float(out.measured[ways[len(ways) // 2].row].tokens.mean())
    except RunError as error:
        if purse.refusal and isinstance(error, BudgetExceeded):
            error.run = error.agent = ""
            error.message += "; raise --dollars" + ("" if purse.keeps else ", and add --cache to pay for nothing twice")
        if out.measured or out.kept:
            measured = f"coordinator {name}; those before it were measured" if out.measured else ""
            kept = f"what was fitted is in {folder}" if out.kept else ""
            error.partial, error.kept = out, "; ".join(filter(None, (measured, kept)))
        raise
    except asyncio.CancelledError as error:
        error.args = (out,)
        raise
    finally:
        judges.close()
        purse.close()
        out.details |= judges.details
        out.spent = purse.spent
    return out


def _beside_first(
    learned: Mapping[str, Chosen], fitting: Fitting, coordinators: Sequence[str], out: Evaluation
) -> None:
    """Fit beside the first learned coordinator; where others have another action space or preference, tell."""
    ways: list[tuple[Options, float | None]] = []
    for chosen in reversed(list(learned.values())):
        policy = cast(LearnedCoordinator, chosen.coordinator).policy
        fitting.beside(policy, chosen.knobs)
        ways.append((policy.card.options, fitting.preference))
    followers = [name for name in coordinators if name in SHAPED]
    if followers and any(way != ways[-1] for way in ways):
        first = next(iter(learned))
        out.details["baselines"] = (
            f"{', '.join(followers)} took action space and preference from {first}, the learned one named first"
        )


def _recorded(team: Team) -> bool:
    """Whether asking the team's models costs nothing, so that an oracle can be searched."""
    return all(model.provider == "recorded" for model in team.spec.models.values())


def _sensible(
    coordinators: Sequence[str], seeds: int, limit: int | None, dollars: float | None, folder: Path | None
) -> None:
    """Raise InputError for arguments that make no sense."""
    if isinstance(coordinators, str) or not all(isinstance(name, str) for name in cast(Sequence[object], coordinators)):
        raise InputError(f"coordinators: expected a list of names, such as ['own', 'vote'], found {coordinators!r}")
    if not coordinators:
        raise InputError("no coordinator is named; `own` is the team file's")
    for place, name in enumerate(coordinators):
        if name in coordinators[:place]:
            raise InputError(f"coordinator {name}: it is named twice; name it once, it has one row")
    for word, count in (("seeds", seeds), ("limit", 1 if limit is None else limit)):
        if not isinstance(cast(object, count), int) or count < 1:
            raise InputError(f"{word}: expected a whole number from 1 on, found {count!r}")
    if dollars is not None and not (isinstance(cast(object, dollars), int | float) and 0 < dollars < math.inf):
        raise InputError(f"dollars: expected a finite number, more than 0, found {dollars!r}")
    if folder and not set(coordinators) & set(FITTED):
        raise InputError(
            f"keep {folder}: nothing is fitted in {', '.join(coordinators)}; what can be kept is {', '.join(FITTED)}"
        )


def _through(team: Team, purse: Purse) -> Team:
    """The same team, with the same pool and coordinator, asking its models through a purse."""
    coordinator = team.orchestrator.coordinator
    asks = team.spec.coordinator.kind in ASKS and isinstance(coordinator, LLMSelector | LLMCoordinator)
    asking = Team(team.spec, purse.models, coordinator=None if asks else coordinator)
    asking.orchestrator.pool = team.orchestrator.pool
    return asking
