"""A model words the requests of a policy: leased, kept, paid for; where it cannot, the template does, visibly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from podium.agents.model import Price
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.coordinator import RunState, Stateless, ask, decision, latest
from podium.orchestrator.coordinator_words import in_words
from podium.orchestrator.coordinators.worded import LONGEST_QUESTION, LONGEST_WORDS, TASK, Worded, question
from podium.orchestrator.decision_words import why
from podium.orchestrator.learned import Policy, save_policy
from podium.orchestrator.learned.options import Options
from podium.orchestrator.narrate import tell
from podium.orchestrator.retrying import Retry
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.orchestrator.worst_case import worst_case
from podium.protocols.bus import Card
from podium.protocols.errors import ModelUnreachable, TeamFileError
from podium.protocols.events import Result
from podium.protocols.record import Decision, Directive, Factor
from podium.protocols.task import Task
from tests.orchestrator.coordinators.test_selector import Says
from tests.orchestrator.stage import Speaker, Stage

TEXT = "Say:\n- the price of the mill\n- the owner of the pier"
PLAIN = "Only this is missing now, and nothing else is asked: the owner of the pier."


class Lead(Stateless):
    """Asks ann for the second piece, then bob for all of the task, then finishes."""

    name = "learned"

    def decide(self, states: Any) -> list[Decision]:
        return [self._next(state) for state in states]

    def _next(self, state: RunState) -> Decision:
        if state.step > 1:
            return decision(self.name, state, latest(state))
        place, words = (1, PLAIN) if not state.step else (2, "")
        action = ask(state, ["bob" if state.step else "ann"], instruction=words)
        factors = (Factor("pick", state.step, 0.0), Factor("about", place, -0.5, (True, True, True)))
        return Decision(
            f"{state.run}.{state.step}", state.step, action, self.name, factors=factors, reasons={"p(ann)": 1}
        )


def crew(limits: Limits | None = None) -> Stage:
    return Stage(Speaker("ann", "it is Eve"), Speaker("bob", "Eve"), limits=limits)


def run(model: Says, stage: Stage | None = None, **more: Any) -> Result:
    lead = Worded(Lead(), model, retry=Retry(attempts=2, wait=0.0001), **more)
    return (stage or crew()).run(lead, Task.of(TEXT))


def told(result: Result, step: int = 0) -> Directive:
    action = result.decisions[step].action
    assert isinstance(action, tuple)
    return action[0]


def test_the_model_words_what_is_about_a_piece_and_nothing_else() -> None:
    model = Says("Please tell us\nwho owns the pier.")
    stage = crew()
    result = run(model, stage)
    assert told(result).instruction == "Please tell us who owns the pier."
    assert stage["ann"].heard[0].directive.instruction == "Please tell us who owns the pier."
    assert told(result, 1).instruction == ""
    assert len(model.prompts) == 1
    system, asked = (message.content for message in model.prompts[0].messages)
    assert "Write the request" in system
    assert TEXT in asked
    assert f"plain words: {PLAIN}" in asked
    assert "ann" in asked
    assert model.sampling[0].max_tokens == 128
    assert model.sampling[0].temperature == 0
    assert "template" not in result.decisions[0].reasons
    call = result.decisions[0].calls[0]
    assert call.asked is not None
    assert json.loads(call.asked.whole(""))[1][1] == asked  # as it was asked, for whoever looks later
    assert result.usage.calls == 3  # two agents and the model: the run pays
    assert result.nodes[1].kind == "decision"


GONE = ModelUnreachable("gone")


@pytest.mark.parametrize("lines", [("",), ("x" * (LONGEST_WORDS + 1),), (GONE, GONE)])
def test_the_template_stands_where_the_model_has_no_words(lines: tuple[str | Exception, ...]) -> None:
    result = run(Says(*lines))
    assert told(result).instruction == PLAIN
    assert result.decisions[0].reasons["template"] == 1
    assert result.stop == "answered"
    said = " ".join(why(result.decisions[0], result.nodes))
    assert "the template's were taken" in said
    assert 'about "the owner of the pier"' in said


def test_what_fails_in_passing_is_asked_again() -> None:
    broken = ModelUnreachable("busy")
    broken.transient = True
    result = run(Says(broken, "Who owns it?"))
    assert told(result).instruction == "Who owns it?"
    assert [call.error is None for call in result.decisions[0].calls] == [False, True]


def test_the_budget_is_for_the_agents_first() -> None:
    model = Says("Who owns it?")
    result = run(model, crew(Limits(calls=1)))
    assert not model.prompts
    assert told(result).instruction == PLAIN
    assert result.decisions[0].reasons["template"] == 1
    assert [node.author for node in result.nodes if node.kind == "reply"] == ["ann"]


class Wide(Lead):
    """Asks ann and bob for the second piece at the same time, then finishes."""

    def _next(self, state: RunState) -> Decision:
        if state.step:
            return decision(self.name, state, latest(state))
        factors = tuple(Factor(head, place, -0.5, (True, True, True)) for place in (0, 1) for head in ("pick", "about"))
        action = ask(state, ["ann", "bob"], instruction=PLAIN)
        return Decision(f"{state.run}.0", 0, action, self.name, factors=factors, reasons={"p(ann)": 1})


@pytest.mark.parametrize(("calls", "worded"), [(2, 0), (3, 1), (4, 2)])
def test_the_budget_is_for_all_agents_that_are_asked_at_once(calls: int, worded: int) -> None:
    model = Says("Who owns it?", "Who?")
    result = crew(Limits(calls=calls)).run(Worded(Wide(), model), Task.of(TEXT))
    assert len(model.prompts) == worded
    assert [node.author for node in result.nodes if node.kind == "reply"] == ["ann", "bob"]


def test_the_question_is_bounded() -> None:
    card = Card("a" * 64, "r" * 64, "d" * 9000)
    asked = question("t" * 9000, card, Directive("r.0.0", card.name, instruction="i" * 400, detail="full"))
    assert sum(len(message.content) for message in asked) <= LONGEST_QUESTION + TASK + 10


def files(folder: Path, words: str) -> Path:
    save_policy(Policy.fresh(Options(context=("all",), needs=4, max_steps=2), ("ann", "bob")), folder / "policy")
    file = folder / "team.yaml"
    file.write_text(
        "name: desk\n"
        "models:\n"
        "  small: {provider: scripted, replies: ['Eve'], cycle: true, price: {input: 1, output: 2}}\n"
        "  writer: {provider: scripted, replies: ['Who owns it?'], cycle: true, price: {input: 1, output: 2}}\n"
        "  eve: {provider: human}\n"
        "agents: {ann: {role: solver, model: small}, bob: {role: solver, model: small}}\n"
        f"coordinator: {{kind: learned, policy: policy, mode: sample, words: {words}}}\n"
    )
    return file


def test_a_team_file_names_the_model(tmp_path: Path) -> None:
    spec = load_team(files(tmp_path, "{model: writer, max_tokens: 40}"))
    with Team.of(spec, journal=f"sqlite:///{tmp_path}/runs.db") as team:
        worded, results = 0, [team.run(TEXT, seed=seed) for seed in range(12)]
        for result in results:
            for made in result.decisions:
                for directive in made.action if isinstance(made.action, tuple) else ():
                    worded += directive.instruction == "Who owns it?"
        assert worded
        assert team.journal is not None
        for result in results[:3]:
            story = tell(team.journal.load(result.run))
            assert [step.deciding.calls for step in story.steps] == [len(made.calls) for made in result.decisions]
    assert in_words(spec.coordinator, ("ann", "bob")).endswith("The model writer words its requests.")
    plan = worst_case(spec, requests=2)
    assert plan.deciding.calls == 2
    assert plan.deciding.tokens == pytest.approx(2 * (LONGEST_QUESTION / 4 + plan.task_tokens + 40))
    assert worst_case(spec).deciding.calls == spec.budget.calls  # where the policy's own limits are not known
    endless = spec.model_copy(update={"budget": spec.budget.model_copy(update={"calls": 10**12, "tokens": None})})
    assert worst_case(endless).deciding.calls == 10**12, "however many, they are not listed"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("{model: writr}", "there is no model of this name"),
        ("{model: eve}", "a person cannot word every request"),
        ("{model: writer, max_tokens: 1}", "max_tokens"),
        ("{}", "model"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, words: str, problem: str) -> None:
    with pytest.raises(TeamFileError, match=problem):
        load_team(files(tmp_path, words))


def test_the_pool_pays_too() -> None:
    model = Says("Who owns it?")
    model.price = Price(1.0, 2.0)
    stage = crew()
    stage.pool = Budget(Limits(calls=50))
    run(model, stage)
    assert stage.pool.calls == 3
