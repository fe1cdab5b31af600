"""The study of talk runs, and its simulated world is what it says: the union is there, and rumours are loud."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from podium.agents.model import Prompt
from podium.agents.roles import asking
from podium.agents.scripted import ScriptedModel
from podium.protocols.task import Message, Task
from tests.reproductions.small import ROOT, run

sys.path.append(str(ROOT / "reproductions"))
from hidden_profile.world import UNKNOWN, World, stated


def said(world: World, task: Task, agent: str, *words: str) -> str:
    """What an agent replies: to the last of the words, shown the rest as replies of its teammates."""
    model = world.agents[agent].model
    assert isinstance(model, ScriptedModel)
    shown = [Message("user", text, name=f"agent{place + 90}") for place, text in enumerate(words[:-1])]
    messages = (*task.messages, *shown, *([Message("user", words[-1])] if words[-1] else []))
    reply = model._function(Prompt(agent, task.text, lambda: messages))  # type: ignore[misc]  # pyright: ignore
    assert isinstance(reply, str)
    return reply


def test_somebody_knows_each_fact_and_nobody_knows_it_all() -> None:
    world = World(6, 3)
    tasks = world.tasks("test", 60)
    known = np.array([[world.knows(task.text, name) for name in world.names] for task in tasks])
    assert known.any(1).all()
    assert known.mean() < 0.4
    assert known.all(2).mean() < 0.1
    assert {task.text for task in tasks}.isdisjoint(task.text for task in world.tasks("train", 60))
    for task in tasks:
        profile = world.profiles[task.text]
        assert all(value != rumour for value, rumour in zip(profile.values, profile.rumours, strict=True))
        right = "\n".join(f"{piece}: {value}" for piece, value in zip(profile.pieces, profile.values, strict=True))
        assert task.score(right).passed
        assert not task.score(right.replace(": ", ": 1")).passed
        one = right.split("\n")[0]
        assert list(task.score(one).parts.values()) == [1.0, 0.0, 0.0]
        assert task.answer(one) is None
        assert task.answer(right) is not None


def test_an_agent_tells_what_it_is_asked_for() -> None:
    world = World(6, 3)
    rumours = facts = 0
    for task in world.tasks("test", 40):
        profile = world.profiles[task.text]
        for name in world.names:
            for at, (piece, knows) in enumerate(zip(profile.pieces, world.knows(task.text, name), strict=True)):
                reply = said(world, task, name, asking(piece, "sure"))
                assert list(task.score(reply).parts.values()) == [float(knows and each == at) for each in range(3)]
                assert (UNKNOWN in reply) == (not stated(reply, [piece]))
                assert knows == (stated(reply, [piece]).get(piece) == profile.values[at])
            told = stated(said(world, task, name, ""), profile.pieces)
            right = dict(zip(profile.pieces, profile.values, strict=True))
            facts += sum(right[piece] == figure for piece, figure in told.items())
            rumours += sum(right[piece] != figure for piece, figure in told.items())
    assert rumours > 1.5 * facts  # unasked, rumours are what comes to mind


def test_voices_are_weighed() -> None:
    world = World(6, 3)
    task = next(
        task for task in world.tasks("test", 60) if not any(held for held, _ in world.held[task.text, "agent0"])
    )
    profile = world.profiles[task.text]
    piece, value, rumour = profile.pieces[0], profile.values[0], profile.rumours[0]
    sure, heard = f"{piece}: {value}, sure", f"{piece}: {rumour}, heard"
    assert stated(said(world, task, "agent0", sure, heard, heard, asking("", "sure")), [piece]) == {piece: value}
    assert stated(said(world, task, "agent0", *[f"{piece}: {rumour}"] * 3, sure, asking("", "sure")), [piece]) == {
        piece: rumour
    }
    old = [sure, *[f"{other}: 11" for other in (profile.pieces[1],) * 10]]
    late = stated(said(world, task, "agent0", *old, asking("", "sure")), [piece])
    assert piece not in late  # beyond what it takes in


def test_the_study(tmp_path: Path) -> None:
    figures = run("hidden_profile", tmp_path)
    rows = {(row["rung"], row["agents"]): row for row in figures["summary"]}
    assert {rung for rung, _ in rows} == {"rule", "silent", "task", "cost", "gap", "unnamed", "blind"}
    assert {agents for rung, agents in rows if rung == "gap"} == {3, 6}
    assert rows["rule", 6]["messages"] == 5
    assert rows["rule", 6]["redundant"] > rows["rule", 3]["redundant"]
    assert rows["silent", 6]["named"] == rows["unnamed", 6]["named"] == 0 < rows["gap", 6]["named"]
    by_rung = {row["rung"]: row for row in figures["runs"] if row["agents"] == 6}
    assert by_rung["gap"]["knows first"]["n"] == 12 * 6 * 3
    assert by_rung["blind"]["knows first"]["predicted"] == [0.5] * 10  # nothing is believed
    assert len(by_rung["gap"]["curve"]) == 2
