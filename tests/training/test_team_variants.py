"""Random teams: what is shown is what is paid, agents read their own names, and gradients do not depend on the cut."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from podium.agents.scripted import ScriptedModel
from podium.orchestrator.budget import Limits
from podium.orchestrator.coordinators import RoundRobin
from podium.orchestrator.engine import Orchestrator, Settings
from podium.orchestrator.learned import LearnedCoordinator
from podium.orchestrator.learned.likeness import likeness
from podium.orchestrator.team_file import TopologySpec
from podium.orchestrator.topology import Topology
from podium.protocols.bus import Card, Envelope, MemoryBus
from podium.protocols.errors import InputError, ModelError, PolicyError, TeamFileError
from podium.protocols.events import Result
from podium.protocols.record import Action, Directive, Finish, Usage
from podium.protocols.task import Task
from podium.training.checkpoint import read_checkpoint, restore, save_checkpoint
from podium.training.policy_loss import losses
from podium.training.replay import Replays, replays
from podium.training.rollouts import Rollouts
from podium.training.team_variants import Member, Variant, VariedBus, draw, own_name, varied
from podium.training.train_file import LossSpec, TeamsSpec
from tests.orchestrator.learned.parts import WIDE, loud, task
from tests.orchestrator.stage import Scripted, Speaker, Stage
from tests.orchestrator.teams import team as scripted_team
from tests.training.school import spec_of
from tests.training.test_coordinator_trainer import same, steps, trainer, weights
from tests.training.test_policy_loss import gradient, parameters

NAMES = ("ann", "bob", "cyd", "dee")
SPEC = TeamsSpec(least=2, prices=4.0)


def run(team: Orchestrator, **more: Any) -> Result:
    return asyncio.run(team.run(Task.of("what?"), Settings(**more), id="r"))


def test_what_is_drawn_is_within_what_was_asked_for() -> None:
    drawn = [draw(SPEC, NAMES, "seed", number) for number in range(400)]
    assert drawn == [draw(SPEC, NAMES, "seed", number) for number in range(400)]
    sizes = Counter(len(each.members) for each in drawn)
    assert set(sizes) == {2, 3, 4}
    assert min(sizes.values()) > 90  # a third each
    members = [member for each in drawn for member in each.members]
    assert all(len({member.agent for member in each.members}) == len(each.members) for each in drawn)
    assert 0.4 < np.mean([member.shown != member.agent for member in members]) < 0.6
    assert all(0.25 <= member.price <= 4.0 for member in members)
    assert 0.4 < np.mean([member.price < 1.0 for member in members]) < 0.6
    assert len({tuple(member.agent for member in each.members) for each in drawn if len(each.members) == 4}) > 15
    assert all(member.shown not in NAMES or member.shown == member.agent for member in members)
    kept = [draw(SPEC, NAMES, "seed", number, always="dee") for number in range(100)]
    assert all("dee" in {member.agent for member in each.members} for each in kept)
    assert {len(each.members) for each in kept} == {2, 3, 4}


def test_settings_leave_alone_what_they_do_not_name() -> None:
    plain = TeamsSpec(least=9, names=False)
    for number in range(20):
        members = draw(plain, NAMES, number).members
        assert {(member.agent, member.shown, member.price) for member in members} == {(n, n, 1.0) for n in NAMES}
    assert [m.shown for m in draw(TeamsSpec(least=2), ["stranger 1", "b"], 1).members].count("stranger 1") <= 1


def test_runs_pay_the_price_that_was_shown_and_agents_read_their_own_names() -> None:
    stage = Stage(Speaker("ann", "a", price=(1.0, 2.0)), Speaker("bob", "b", price=(1.0, 2.0)))
    own = run(stage.led_by(RoundRobin(("ann", "bob"))))
    variant = Variant((Member("bob", "x", 3.0), Member("ann", "y", 0.5)))
    team = varied(stage.led_by(RoundRobin(("y", "x"))), variant)
    assert [(card.name, card.price) for card in team.bus.cards()] == [("x", (3.0, 6.0)), ("y", (0.5, 1.0))]
    assert (own_name(team.bus, "x"), own_name(stage.led_by(RoundRobin(("ann",))).bus, "x")) == ("bob", "x")
    result = run(team)
    assert [(node.author, node.content) for node in result.nodes[1:]] == [("y", "a"), ("x", "b")]
    for node, plain, price in zip(result.nodes[1:], own.nodes[1:], (0.5, 3.0), strict=True):
        assert node.usage.dollars == pytest.approx(plain.usage.dollars * price)
        assert node.usage.tokens == plain.usage.tokens
    heard = stage["bob"].heard[-1]
    assert heard.directive.agent == "bob"
    assert [node.author for node in heard.visible] == ["ann"]


def test_a_stranger_is_told_by_its_examples_alone() -> None:
    card = Card("ann", "solver", "Spells.", examples=("spell it",))

    class Told(Speaker):
        @property
        def card(self) -> Card:
            return card

    bus = MemoryBus({"ann": Told("ann")})
    for unknown, told in ((False, ("Spells.", ("spell it",))), (True, ("", ("Spells.", "spell it")))):
        (shown,) = VariedBus(bus, Variant((Member("ann", "stranger 1", unknown=unknown),))).cards()
        assert (shown.description, shown.examples) == told
        assert likeness("spell this", (shown,)) == likeness("spell this", (card,))
    drawn = [member for number in range(40) for member in draw(TeamsSpec(least=2), NAMES, number).members]
    assert {member.unknown for member in drawn} == {False, True}
    assert all(member.unknown == (member.shown != member.agent) for member in drawn)


def test_requests_call_others_by_their_own_names_too() -> None:
    stage = Stage(*(Speaker(name, name) for name in ("ann", "bob", "cyd")))
    variant = Variant((Member("ann", "bob"), Member("bob", "stranger 1"), Member("cyd", "stranger 1'")))
    told = "It is for stranger 1' and bob, not for bobby or stranger 10; ask stranger 1."
    run(varied(stage.led_by(Scripted((Directive("d", "bob", instruction=told, answer=True),))), variant))
    heard = stage["ann"].heard[-1].directive
    assert heard.instruction == "It is for cyd and ann, not for bobby or stranger 10; ask bob."


@pytest.mark.parametrize(("price", "fits"), [(1.0, True), (40.0, False), (0.1, True)])
def test_the_budget_holds_dollars_of_the_price_that_was_shown(price: float, fits: bool) -> None:
    leases: list[float] = []

    def line(envelope: Envelope) -> str:
        leases.append(envelope.lease.dollars)
        return "a"

    stage = Stage(Speaker("ann", line, price=(1.0, 1.0)), limits=Limits(dollars=200e-6))
    team = varied(stage.led_by(RoundRobin(("x",))), Variant((Member("ann", "x", price),)))
    if not fits:
        with pytest.raises(Exception, match="does not hold"):
            run(team)
        return
    result = run(team)
    assert result.usage.dollars == pytest.approx(15e-6 * price)
    assert leases[0] == pytest.approx(leases[0])
    assert leases[0] < 200e-6


def test_real_agents_are_within_their_own_leases() -> None:
    models = {"ann": ScriptedModel("long " * 20, "ann")}
    desk = scripted_team(models, "single", agent="ann")
    team = varied(desk.orchestrator, Variant((Member("ann", "ann", 2.0),)))
    assert run(team).answer.startswith("long")


def test_what_a_failed_attempt_used_is_at_the_price_too() -> None:
    error = ModelError("no")
    error.usage = Usage(10, 5, 1, 1e-5)
    stage = Stage(Speaker("ann", error=error))
    with pytest.raises(ModelError) as caught:
        run(varied(stage.led_by(RoundRobin(("x",))), Variant((Member("ann", "x", 4.0),))))
    partial: Any = caught.value.partial
    assert partial.usage.dollars == pytest.approx(4e-5)


def test_who_may_see_whom_stays() -> None:
    chain = Topology(TopologySpec(kind="chain"), ("ann", "bob", "cyd"))
    stage = Stage(Speaker("ann", "a"), Speaker("bob", "b"), Speaker("cyd", "c"), topology=chain, wind_down="cyd")
    variant = Variant((Member("cyd", "z"), Member("ann", "x"), Member("bob", "y")))
    team = varied(stage.led_by(RoundRobin(("x", "y", "z"))), variant)
    run(team)
    assert [node.author for node in stage["cyd"].heard[0].visible] == ["bob"]
    assert team.wind_down == "z"
    assert varied(stage.led_by(RoundRobin(("x",))), Variant((Member("ann", "x"),))).wind_down is None


def test_the_same_agents_in_another_order_are_led_alike() -> None:
    """Permuting agents changes no decision, and a name that a policy does not know changes what it decides."""
    policy = loud(volume=4.0)
    stage = Stage(*(Speaker(name, lambda envelope: f"it is {len(envelope.visible()) % 2}") for name in NAMES[:3]))
    led = stage.led_by(LearnedCoordinator(policy))
    there = [Member(name, name) for name in NAMES[:3]]
    turned = varied(led, Variant((there[2], there[0], there[1])))
    tasks = [task(number) for number in range(12)]

    def work(team: Orchestrator) -> list[list[Action]]:
        runs = asyncio.run(Rollouts(team).run(None, tasks, seeds=(0,)))
        return [[decision.action for decision in each.decisions] for each in runs]

    def asked(team: Orchestrator) -> list[list[str]]:
        actions = [[each for each in run if not isinstance(each, Finish)] for run in work(team)]
        return [[directive.agent for action in run for directive in action] for run in actions]

    assert work(turned) == work(led)
    strange = varied(led, Variant(tuple(replace(each, shown=f"s {each.agent}") for each in there)))
    renamed = {f"s {name}": name for name in NAMES}
    changed = [[renamed[agent] for agent in each] for each in asked(strange)]
    assert changed != asked(led)


def mixed(policy: Any, *, teams: int = 3) -> Replays:
    """Runs of several teams of different sizes."""
    stage = Stage(*(Speaker(name, lambda envelope: f"it is {len(envelope.id) % 2}") for name in NAMES[:3]))
    led = stage.led_by(LearnedCoordinator(policy))
    members = [Member(name, name) for name in NAMES[:3]]
    variants = [
        Variant(tuple(members)),
        Variant((members[2], members[0])),
        Variant((Member("bob", "x", 2.0), members[0])),
    ]
    made = [varied(led, each) for each in variants[:teams]]
    tasks = [task(number) for number in range(9)]
    works = [made[place % len(made)] for place in range(len(tasks))]
    results = asyncio.run(
        Rollouts(led).run(
            None, tasks, seeds=(0,), teams=works, settings=lambda place, _: Settings(seed=place, mode="sample")
        )
    )
    cards = [work.bus.cards() for work in works]
    return replays(results, [None] * len(results), cards, policy.card, lambda _, said: float(said == "it is 1"))


def loss(weights: dict[str, torch.Tensor], whole: Replays, runs: Any, spec: LossSpec) -> torch.Tensor:
    parts, rows = whole.part(runs)
    random = np.random.default_rng(0)
    size = 400
    advantages, shares, returns = random.standard_normal(size), random.random(size) / 20, random.random(size)
    return losses(weights, parts, WIDE, spec, advantages[rows], shares[rows], returns[rows], entropy=0.03).total


@pytest.mark.parametrize("pieces", [2, 4])
def test_pieces_of_runs_of_several_teams_give_the_whole_gradient(pieces: int) -> None:
    policy = loud(volume=4.0)
    whole = mixed(policy)
    assert whole.size == 9
    assert len(whole.replays) == 3
    assert sorted(np.concatenate(whole.rows).tolist()) == list(range(sum(map(len, whole.rows))))
    learned = parameters(policy)
    spec = LossSpec(beliefs=0.0)
    full = gradient(learned, loss(learned, whole, np.arange(9), spec))
    summed = {name: torch.zeros_like(weight) for name, weight in learned.items()}
    for runs in np.array_split(np.random.default_rng(1).permutation(9), pieces):
        for name, found in gradient(learned, loss(learned, whole, runs, spec)).items():
            summed[name] += found
    assert max(part.abs().max().item() for part in full.values()) > 1e-3
    for name, found in full.items():
        torch.testing.assert_close(summed[name], found, atol=1e-6, rtol=1e-4, msg=name)


def test_runs_of_one_team_give_the_same_gradient_however_they_are_put_into_teams() -> None:
    """The beliefs' errors are means over all rows: not of each team's mean."""
    policy = loud(volume=4.0)
    one = mixed(policy, teams=1)
    whole = one.replays[0]
    halves = [np.array([0, 2, 3, 7]), np.array([1, 4, 5, 6, 8])]
    cut = [whole.part(runs) for runs in halves]
    two = Replays(tuple(part for part, _ in cut), tuple(halves), tuple(rows for _, rows in cut))
    learned = parameters(policy)
    for spec in (LossSpec(), LossSpec(value=0.0)):
        expected = gradient(learned, loss(learned, one, np.arange(9), spec))
        found = gradient(learned, loss(learned, two, np.arange(9), spec))
        assert expected["success.w"].any()
        for name, slope in expected.items():
            torch.testing.assert_close(found[name], slope, atol=1e-6, rtol=1e-4, msg=name)


TEAMS: dict[str, Any] = {"teams": {"least": 1, "prices": 3.0, "variants": 3}}


def test_a_training_with_random_teams_is_the_same_again_and_learns(tmp_path: Path) -> None:
    found: list[dict[str, np.ndarray]] = []
    for place, settings in enumerate((TEAMS, TEAMS, dict[str, Any]())):
        folder = tmp_path / str(place)
        folder.mkdir()
        made = trainer(folder, **settings)
        steps(made, 2)
        asyncio.run(made.validate())
        assert len(made.best) == len(made.validation)
        found.append(weights(made))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_a_resumed_training_with_random_teams_is_the_uninterrupted_one(tmp_path: Path) -> None:
    straight = trainer(tmp_path, **TEAMS)
    steps(straight, 4)
    first = trainer(tmp_path, **TEAMS)
    steps(first, 2)
    save_checkpoint(first, tmp_path / "out")
    found = read_checkpoint(tmp_path / "out")
    assert found is not None
    second = trainer(tmp_path, **TEAMS)
    restore(second, found)
    steps(second, 2)
    assert same(weights(second), weights(straight))
    with pytest.raises(PolicyError, match="teams"):
        restore(trainer(tmp_path), found)


def test_each_task_has_one_team_and_its_price_is_paid(tmp_path: Path) -> None:
    made = trainer(tmp_path, **TEAMS, tasks_per_iteration=8)
    seen: list[tuple[Any, Result]] = []
    learn = made._learn  # pyright: ignore[reportPrivateUsage]

    def noted(results: Any, preferences: Any, teams: Any) -> Any:
        seen.extend(zip(teams, results, strict=True))
        return learn(results, preferences, teams)

    made._learn = noted  # pyright: ignore[reportPrivateUsage]
    steps(made, 1)
    teams_of: dict[str, set[int]] = {}
    for team, result in seen:
        teams_of.setdefault(result.task.text, set()).add(id(team))
        prices = {card.name: card.price for card in team.bus.cards()}
        for node in result.nodes[1:]:
            if node.usage.calls:
                paid = (
                    node.usage.input_tokens * prices[node.author][0] + node.usage.output_tokens * prices[node.author][1]
                )
                assert node.usage.dollars == pytest.approx(paid * 1e-6)
    assert {len(each) for each in teams_of.values()} == {1}
    assert len({id(team) for team, _ in seen}) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [({"least": 0}, "teams.least"), ({"prices": 0.5}, "teams.prices"), ({"sizes": 3}, "teams.sizes"), (3, "teams")],
)
def test_what_is_wrong_with_the_setting_is_said(given: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(TeamFileError, match=said):
        spec_of(tmp_path, teams=given)


def test_more_agents_than_there_are_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"teams.least is 3, and the team has 2 agents"):
        trainer(tmp_path, teams={"least": 3})
