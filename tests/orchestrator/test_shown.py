"""What a run's story says an agent was shown is what was in its prompt."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podium.agents.model import Prompt
from podium.agents.scripted import Reply, ScriptedModel
from podium.orchestrator.coordinator import RunState, Stateless, decision, directive_id
from podium.orchestrator.journal import Journal
from podium.orchestrator.last_turn import LAST_TURN
from podium.orchestrator.narrate import tell
from podium.orchestrator.shown import Shown
from podium.orchestrator.team import Team
from podium.protocols.errors import ModelError, RunError
from podium.protocols.record import (
    Call,
    Compute,
    Decision,
    Directive,
    Finish,
    Generation,
    Node,
    Sampling,
    Usage,
    View,
)
from podium.protocols.saved import SavedRun
from tests.orchestrator.teams import team
from tests.orchestrator.test_resume import Recorded, cut_after

NAMES = ("ann", "bob", "cyd", "dan")
TOPOLOGIES: Mapping[str, Mapping[str, Any]] = {
    "star": {"kind": "star"},
    "chain": {"kind": "chain"},
    "nobody": {"edges": []},
    "edges": {"edges": [["ann", "cyd"], ["cyd", "bob"], ["bob", "ann"]]},  # dan is shown nobody's, and nobody dan's
}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "sequential": {},
    "round_robin": {"rounds": 3},
    "debate": {"rounds": 3, "aggregator": "cyd"},
    "moa": {"aggregator": "bob", "layers": 3},
    "vote": {"samples": 3},
    "wild": {},
}
OPEN = " (the topology held back "

Prompts = dict[str, list[str]]
"""What an agent was shown, by what it replied, which it never says again."""


class Wild(Stateless):
    """Shows anything to anybody, at its own expense, and begins another way in each run."""

    name = "wild"

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        return [self._decide(state) for state in states]

    def _decide(self, state: RunState) -> Decision:
        drawn = random.Random(f"{state.seed}.{state.step}")
        if state.step == 7 and state.replies:
            return decision(self.name, state, Finish(state.replies[-1].id))
        action = tuple(
            Directive(
                directive_id(state, pick),
                drawn.choice(NAMES),
                visible=self._view(drawn, len(state.nodes)),
                compute=Compute(3, "vote") if drawn.random() < 0.2 else Compute(),
            )
            for pick in range(drawn.choice((1, 1, 2, 3)))
        )
        thought = Call("c", "m", Generation(f"thought {state.step}", Usage(1, 1, 1), Sampling()))
        return replace(decision(self.name, state, action), calls=(thought,) if drawn.random() < 0.4 else ())

    def _view(self, drawn: random.Random, nodes: int) -> View:
        upto = drawn.randrange(nodes + 2) if drawn.random() < 0.3 else None
        only = tuple(drawn.choices(range(nodes + 2), k=drawn.randrange(6)))
        return View(drawn.choice(("all", "all", "last", "only", "none")), drawn.randrange(5), only, upto)


def voices(prompts: Prompts, failing: bool = False) -> dict[str, ScriptedModel]:
    """Models that note what they are shown of the run; failing: now and then they do."""

    def reply(prompt: Prompt) -> Reply:
        text = f"{prompt.agent} {len(prompts)}"
        prompts[text] = [message.content for message in prompt.messages if message.name is not None]
        return ModelError(text) if failing and len(prompts) % 7 == 6 else text

    return {name: ScriptedModel(reply, name) for name in NAMES}


def desk(kind: str, topology: str, prompts: Prompts, journal: Journal, **more: Any) -> Team:
    wild = Wild() if kind == "wild" else None
    models = voices(prompts, failing=wild is not None)
    given = {**KINDS[kind], **more}
    shape = TOPOLOGIES[topology]
    return team(models, "vote" if wild else kind, coordinator=wild, topology=shape, journal=journal, **given)


def unfiltered(view: View, nodes: Sequence[Node], upto: int) -> list[int]:
    """What a view shows to one who may see all."""
    end = upto if view.upto is None else min(upto, view.upto + 1)
    replies = [node.id for node in nodes[:end] if node.kind == "reply"]
    last = replies[len(replies) - view.count :] if view.count < len(replies) else replies
    only = [place for place in sorted(view.only) if 0 < place < end]
    return {"all": replies, "last": last, "only": only, "none": []}[view.kind]


def named(words: str, nodes: Sequence[Node]) -> list[int]:
    """The nodes that some words name, each with its author."""
    found = [(int(node), author) for node, author in re.findall(r"node (\d+) by (\w+)", words)]
    assert all(nodes[node].author == author for node, author in found)
    return [node for node, _ in found]


def told_truly(run: SavedRun, prompts: Prompts) -> Iterator[str]:
    """What each request was shown, in words, which are held against its prompt."""
    for decided, step in zip(run.decisions, tell(run).steps, strict=True):
        directives = () if isinstance(decided.action, Finish) else decided.action
        ids = {directive.id for directive in directives}
        upto = min((node.id for node in run.nodes if node.directive in ids), default=0)
        for directive, told in zip(directives, step.told, strict=True):
            for node in run.nodes:
                if node.directive != directive.id or node.content not in prompts:
                    continue
                shown, *rest = told.shown.split(OPEN)
                prompt = prompts[node.content]
                number = re.match(r"(?:all )?(\d+) (?:of the \d+ )?replies (?:so far|up to node \d+)$", shown)
                if number:
                    assert int(number[1]) == len(prompt) > 3
                else:
                    assert [run.nodes[each].content for each in named(shown, run.nodes)] == prompt
                    assert prompt or shown == "the task only"
                wanted = unfiltered(directive.visible, run.nodes, upto)
                held = [each for each in wanted if run.nodes[each].content not in prompt]
                if not held:
                    assert not rest
                elif len(held) > 3:
                    assert rest == [f"{len(held)} messages)"]
                else:
                    assert named(rest[0], run.nodes) == held
                yield told.shown


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(f"sqlite:///{tmp_path}/runs.db")


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_story_names_what_was_in_the_prompt(kind: str, topology: str, journal: Journal) -> None:
    prompts: Prompts = {}
    with desk(kind, topology, prompts, journal) as crew:
        for seed in range(12 if kind == "wild" else 1):
            with suppress(RunError):
                crew.run("what?", seed=seed)
    elsewhere = Journal(journal.url)
    runs = [elsewhere.load(line.run) for line in elsewhere.entries()]
    shown = [words for run in runs for words in told_truly(run, prompts)]
    assert len(shown) >= 4
    if topology == "star" or kind == "vote":  # where everybody answers unseen
        assert not any(OPEN in words for words in shown)
    else:
        assert any(OPEN in words for words in shown)
    elsewhere.close()


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("kind", ["round_robin", "debate", "wild"])
def test_a_last_turn_is_told_with_what_it_was_shown(kind: str, topology: str, journal: Journal) -> None:
    prompts: Prompts = {}
    budget = {"calls": 6, "wind_down": "dan"}
    with desk(kind, topology, prompts, journal, budget=budget) as crew:
        for seed in range(12 if kind == "wild" else 1):
            with suppress(RunError):
                crew.run("what?", seed=seed)
    runs = [journal.load(line.run) for line in journal.entries()]
    assert any(run.decisions[-1].policy.startswith(LAST_TURN) for run in runs)
    assert [words for run in runs for words in told_truly(run, prompts)]


@pytest.mark.parametrize("topology", ["chain", "edges"])
@pytest.mark.parametrize("kind", ["round_robin", "moa", "wild"])
def test_a_resumed_run_is_told_with_what_both_lives_were_shown(kind: str, topology: str, tmp_path: Path) -> None:
    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    prompts: Prompts = {}
    budget = {"calls": 9, "wind_down": "dan"}
    with desk(kind, topology, prompts, whole, budget=budget) as crew, suppress(RunError):
        crew.run("what?", seed=3)
    (run,) = (line.run for line in Journal(whole.url).entries())
    for kept in range(1, len(noted.transactions)):
        cut = Journal(f"sqlite:///{tmp_path}/{kept}.db")
        asyncio.run(cut_after(cut, noted.transactions[:kept]))
        with desk(kind, topology, prompts, Journal(cut.url), budget=budget) as crew:
            assert crew.journal is not None
            with suppress(RunError):
                crew.resume(run)
            assert len(list(told_truly(crew.journal.load(run), prompts))) >= 4


def test_words_for_what_a_chain_lets_through(journal: Journal) -> None:
    with desk("round_robin", "chain", {}, journal) as crew:
        run = journal.load(crew.run("what?", seed=1).run)
    shown = [told.shown for step in tell(run).steps for told in step.told]
    assert shown[:6] == [
        "the task only",
        "node 1 by ann",
        "node 2 by bob (the topology held back node 1 by ann)",
        "node 3 by cyd (the topology held back node 1 by ann and node 2 by bob)",
        "node 1 by ann (the topology held back node 2 by bob, node 3 by cyd and node 4 by dan)",
        "node 1 by ann, node 2 by bob and node 5 by ann (the topology held back node 3 by cyd and node 4 by dan)",
    ]
    assert shown[9] == "5 of the 9 replies so far (the topology held back 4 messages)"
    unknown = [told.shown for step in tell(replace(run, edges=None)).steps for told in step.told]
    assert unknown[3] == "node 1 by ann, node 2 by bob and node 3 by cyd"


def test_words_for_what_a_view_cuts_off() -> None:
    authors = ("user", "ann", "bob", "ann", "bob", "cyd", "wild")
    nodes = [Node(place, (), "reply" if place else "task", author, "") for place, author in enumerate(authors)]
    edges = [(name, name) for name in ("ann", "bob", "cyd")]

    def words(agent: str, view: View, upto: int = 7) -> tuple[str, str]:
        directive = Directive("d", agent, visible=view)
        return Shown(nodes, None).words(directive, upto), Shown(nodes, edges).words(directive, upto)

    assert words("ann", View(upto=4)) == (
        "all 4 replies up to node 4",
        "node 1 by ann and node 3 by ann (the topology held back node 2 by bob and node 4 by bob)",
    )
    assert words("ann", View(upto=9)) == (
        "all 6 replies so far",
        "node 1 by ann, node 3 by ann and node 6 by wild "
        "(the topology held back node 2 by bob, node 4 by bob and node 5 by cyd)",
    )
    assert words("bob", View("last", 2), upto=4) == (
        "node 2 by bob and node 3 by ann",
        "node 2 by bob (the topology held back node 3 by ann)",
    )
    assert words("cyd", View("only", only=(2, 4, 1, 3, 6, 9)), upto=5) == (
        "node 1 by ann, node 2 by bob, node 3 by ann and node 4 by bob",
        "the task only (the topology held back 4 messages)",
    )
    assert words("cyd", View("last", 0)) == ("the task only", "the task only")
    assert words("cyd", View("none")) == ("the task only", "the task only")


def test_who_joined_a_restricted_topology_is_shown_its_own_replies_which_nobody_else_is() -> None:
    nodes = [
        Node(0, (), "task", "user", "what?"),
        Node(1, (0,), "reply", "ann", "a", directive="r.0.0"),
        Node(2, (1,), "reply", "dee", "d", directive="r.1.0"),
    ]
    shown = Shown(nodes, [("ann", "ann"), ("ann", "bob"), ("bob", "bob")])
    assert shown.words(Directive("d", "bob"), 3) == "node 1 by ann (the topology held back node 2 by dee)"
    assert shown.words(Directive("d", "dee"), 3) == "node 2 by dee (the topology held back node 1 by ann)"
