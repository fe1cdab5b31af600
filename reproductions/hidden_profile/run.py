"""Talk on hidden profiles: what it brings, what its price changes, and what is believed of who knows what.

A rung of the ladder is one training of a learned coordinator, seed by seed, on simulated agents (`world.py`); all rungs
of a seed see the same tasks. Each policy is measured greedily on held-out tasks that no training saw. Every figure is a
mean over seeds; intervals are over seeds and tasks, both drawn again (`statistics.crossed_interval`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1]))
from hidden_profile.plot import draw
from hidden_profile.world import PRICE, World, stated
from study import Size, Study, asked

from podium.agents.roles import asking
from podium.orchestrator.coordinator import Coordinator, RunState, Stateless, ask, decision, latest
from podium.orchestrator.engine import Settings
from podium.orchestrator.learned import LearnedCoordinator, Policy
from podium.orchestrator.learned.options import Options
from podium.orchestrator.pieces import asked_for
from podium.protocols.events import Result
from podium.protocols.record import ALL, NOTHING, Decision, Finish
from podium.training.calibration import Belief, Calibration, calibration
from podium.training.coordinator_trainer import CoordinatorTrainer
from podium.training.credit import Credit, Ramp, Stream
from podium.training.rollouts import Rollouts, judged, repeatable
from podium.training.statistics import crossed_interval
from podium.training.train_file import TasksSpec, TrainSpec

Rung = Literal["rule", "silent", "task", "cost", "gap", "unnamed", "blind"]

LADDER: tuple[Rung, ...] = ("gap", "cost", "task", "blind", "silent", "unnamed")
FACTS = 3
"""Pieces of a task."""
AGENTS = 6
TEAMS = (2, 3, 4, 6, 8, 10)
"""Team sizes that are compared: policies trained in teams of AGENTS lead smaller and larger ones as they are."""
STEPS = FACTS + 3
"""Requests of a run at most."""
WORTH = 0.004
"""Dollars that one passed answer is worth: about twenty requests."""
SHAPING = 0.3
"""Weight of the gap channel at the beginning; it falls to 0. OSC pays 0.05 where a right answer is worth 1."""
SCALE = 2e-4
"""Dollars of a typical reply."""
BLIND = ("belief.start", "belief.in", "belief.back", "need.pair", "need.trust", "supplies", "there")
"""Weights that stay 0 where there are no beliefs: the latents, what each agent said about each piece, and what is
believed to be known and to be there. Cards, identities and counts of the transcript stay."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training, or one rule without any, and its measurement. kept: a folder that remembers what is done."""

    rung: Rung
    agents: int
    seed: int
    size: Size
    kept: Path | None = None


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a job does."""

    iterations: int
    warm_up: int
    tasks: int
    train: int
    test: int
    teams: tuple[int, ...] = TEAMS


EFFORTS: dict[Size, Effort] = {
    "full": Effort(32, 8, 8, 400, 300),
    "quick": Effort(14, 5, 8, 100, 60),
    "tiny": Effort(2, 1, 2, 8, 12, (3, AGENTS)),
}


class Rule(Stateless):
    """Everybody says all it thinks of, then the last agent answers from that. No training."""

    name = "rule"

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        """One decision per state."""
        return [self._next(state) for state in states]

    def _next(self, state: RunState) -> Decision:
        names = [card.name for card in state.cards]
        if state.step >= len(names):
            return decision(self.name, state, latest(state))
        last = state.step == len(names) - 1
        words = asking("", "sure")
        return decision(
            self.name, state, ask(state, [names[state.step]], instruction=words, visible=ALL if last else NOTHING)
        )


def work(job: Job) -> dict[str, Any]:
    """Figures of one job, from what is kept where it was done before."""
    if job.kept is None:
        return done(job)
    file = job.kept / f"{job.rung}-{job.agents}-{job.seed}-{job.size}.json"
    if not file.exists():
        file.write_text(json.dumps(done(job)))
    return json.loads(file.read_text())


def done(job: Job) -> dict[str, Any]:
    """Figures of one job: task by task, and what was believed."""
    torch.set_num_threads(1)
    world, effort = World(job.agents, FACTS), EFFORTS[job.size]
    test = world.tasks("test", effort.test)
    named: dict[str, Any] = {"rung": job.rung, "agents": job.agents, "seed": job.seed}
    if job.rung == "rule":
        return named | measured(world, run(world, Rule(), test))
    policy, curve = trained(job, world, effort)
    results = run(world, LearnedCoordinator(policy), test)
    found = named | measured(world, results) | {"curve": curve}
    if policy.card.options.needs:
        found |= {name: asdict(each) for name, each in honest(world, results).items()}
    if job.rung == "gap":
        found["teams"] = {size: elsewhere(policy, size, effort) for size in effort.teams if size != AGENTS}
    return found


def elsewhere(policy: Policy, agents: int, effort: Effort) -> dict[str, Any]:
    """Figures of a policy in a team of another size than it was trained in."""
    world = World(agents, FACTS)
    return measured(world, run(world, LearnedCoordinator(policy), world.tasks("test", effort.test)))


def run(world: World, coordinator: Coordinator, tasks: Sequence[Any]) -> list[Result]:
    """One greedy run of each task."""

    def settings(place: int, which: int) -> Settings:
        return replace(repeatable(tasks[place], which), mode="greedy", preference=WORTH)

    return asyncio.run(Rollouts(world.team(coordinator)).run(None, tasks, seeds=(0,), settings=settings))


def trained(job: Job, world: World, effort: Effort) -> tuple[Policy, list[float]]:
    """The policy of a rung, and the share of passed runs by iteration of its training."""
    options = {
        "silent": Options(context=("task",), styles=("sure",), max_steps=STEPS),
        "unnamed": Options(context=("all",), styles=("sure",), max_steps=STEPS),
    }.get(job.rung, Options(context=("all",), styles=("sure",), needs=FACTS, max_steps=STEPS))
    streams = [Stream()]
    if job.rung != "task":
        streams.append(Stream(channel="cost", where="passed", weight=-1.0))
    if job.rung in ("gap", "blind"):
        weight = Ramp(first=SHAPING, last=0.0)
        streams.append(Stream(channel="gap", fold="to_go", key=("task", "turn"), weight=weight))
    spec = TrainSpec(
        team=Path("simulated"),
        tasks=TasksSpec(train="simulated", validation=0.0),
        output=Path("nowhere"),
        options=options,
        credit=Credit(streams=tuple(streams)),
        preference=WORTH,
        iterations=effort.iterations,
        warm_up=effort.warm_up,
        tasks_per_iteration=effort.tasks,
        group=8,
        epochs=3,
        minibatches=4,
        learning_rate=6e-3,
        seed=job.seed,
    )
    trainer = CoordinatorTrainer(spec, world.team(Rule()), world.tasks("train", effort.train), scale=SCALE)
    if job.rung == "blind":
        blinded(trainer)
    curve = [asyncio.run(trainer.step())["passed"] for _ in range(effort.iterations)]
    return trainer.frozen(preference=WORTH), curve


def blinded(trainer: CoordinatorTrainer) -> None:
    """Take the beliefs away: their weights are 0 and get no gradient."""
    for name, weight in trainer.weights.items():
        if name.rpartition(".")[0] in BLIND or name in BLIND:
            with torch.no_grad():
                weight.zero_()
                trainer.averaged[name].zero_()
            weight.register_hook(torch.zeros_like)


def measured(world: World, results: Sequence[Result]) -> dict[str, Any]:
    """Task by task: passed, right share, messages, tokens; and shares over all messages.

    A message is a reply that is not the answer. redundant: of the facts stated in messages, those stated before by a
    message of the run. rumours: of them, those that are wrong. aimed: of requests for one piece, those to an agent that
    knows it. tokens: written by the agents.
    """
    rows: dict[str, list[float]] = {name: [] for name in ("passed", "right", "messages", "tokens", "dollars", "steps")}
    facts = repeated = rumours = named = aimed = 0
    for result in results:
        verdict = judged(result.task, result.answer)
        profile = world.profiles[result.task.text]
        replies = [node for node in result.nodes if node.kind == "reply"]
        messages = [node for node in replies if node.id != result.node]
        said: set[tuple[str, int]] = set()
        for node in messages:
            for fact in stated(node.content, profile.pieces).items():
                facts += 1
                repeated += fact in said
                rumours += fact[1] != profile.values[profile.pieces.index(fact[0])]
                said.add(fact)
        for made in result.decisions:
            for directive, piece in zip(_directives(made), asked_for(made, result.task.text), strict=True):
                if piece:
                    named += 1
                    aimed += world.knows(result.task.text, directive.agent)[profile.pieces.index(piece)]
        rows["passed"].append(float(verdict.passed))
        rows["right"].append(verdict.score)
        rows["messages"].append(float(len(messages)))
        rows["tokens"].append(float(sum(node.usage.output_tokens for node in replies)))
        rows["dollars"].append(result.usage.dollars)
        rows["steps"].append(float(sum(not isinstance(made.action, Finish) for made in result.decisions)))
    shares = {
        "redundant": repeated / max(1, facts),
        "rumours": rumours / max(1, facts),
        "aimed": aimed / max(1, named),
        "named": named / max(1.0, sum(rows["steps"])),
    }
    return rows | shares


def _directives(made: Decision) -> Sequence[Any]:
    return () if isinstance(made.action, Finish) else made.action


def honest(world: World, results: Sequence[Result]) -> dict[str, Calibration]:
    """How honest the policy is about all agents and pieces, asked or not, since who knows what can be looked up.

    knows: that an agent, asked for a piece, supplies it: as believed at the first decision of each run, and at its
    last; there: that a piece was supplied so far, as believed at the last.
    """
    found: dict[str, list[Belief]] = {"knows first": [], "knows last": [], "there": []}
    for result in results:
        profile = world.profiles[result.task.text]
        for name, made in (("knows first", result.decisions[0]), ("knows last", result.decisions[-1])):
            for agent in world.names:
                for at, knows in enumerate(world.knows(result.task.text, agent)):
                    believed = made.reasons[f"supplies({agent} {at})"]
                    found[name].append(Belief("supplies", agent, believed, float(knows)))
        last = result.decisions[-1]
        heard = [node.content for node in result.nodes[: last.seen] if node.kind == "reply"]
        for at, piece in enumerate(profile.pieces):
            there = any(stated(text, [piece]).get(piece) == profile.values[at] for text in heard)
            found["there"].append(Belief("supplies", "", last.reasons[f"there({at})"], float(there)))
    return {name: calibration(each) for name, each in found.items()}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean figures of one rung and team size, with intervals where there are several seeds."""
    out: dict[str, Any] = {"rung": rows[0]["rung"], "agents": rows[0]["agents"], "seeds": len(rows)}
    for name in ("passed", "right", "messages", "tokens", "dollars", "steps"):
        values = np.array([row[name] for row in rows])
        out[name] = float(values.mean())
        if len(rows) > 1:
            interval = crossed_interval(values)
            out[f"{name}_interval"] = [interval.low, interval.high]
    for name in ("redundant", "rumours", "aimed", "named"):
        values = [row[name] for row in rows]
        out[name] = float(np.mean(values))
        out[f"{name}_seeds"] = values
    return out


def jobs(study: Study) -> list[Job]:
    """All trainings."""
    kept: Path | None = study.arguments.kept
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    made = [Job("rule", agents, 0, study.size, kept) for agents in EFFORTS[study.size].teams]
    made += [Job(rung, AGENTS, seed, study.size, kept) for rung in LADDER for seed in range(study.seeds)]
    return made


def _kept(parser: ArgumentParser) -> None:
    parser.add_argument("--kept", type=Path, help="folder that remembers trainings, for going on after a break")


def main() -> None:
    """Run the study as it was asked for."""
    study = asked(__doc__, Path(__file__).parent, more=_kept)
    rows = study.spread(work, jobs(study), "trainings")
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["rung"], row["agents"]), []).append(row)
        for agents, other in row.get("teams", {}).items():
            named = {"rung": row["rung"], "agents": int(agents)}
            groups.setdefault((row["rung"], int(agents)), []).append(named | other)
    figures = {
        "facts": FACTS,
        "agents": AGENTS,
        "worth": WORTH,
        "price": [PRICE.input, PRICE.output],
        "effort": asdict(EFFORTS[study.size]),
        "summary": [summary(each) for each in groups.values()],
        "runs": rows,
    }
    study.write("hidden_profile", figures)
    draw(figures, study.output / "hidden_profile.png")


if __name__ == "__main__":
    main()
