"""What a recipe finds of a model that led: the exact messages, the completion with its tokens, what came of it.

Over real HTTP, with an endpoint that streams tokens with ids and log-probs as vLLM does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podium.agents.scripted import ScriptedModel
from podium.orchestrator.coordinators.llm import LLMCoordinator
from podium.orchestrator.journal import Journal
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec
from podium.protocols.errors import InputError, ModelError
from podium.protocols.events import Result
from podium.protocols.record import Asked, Finish
from podium.training.decisions import llm_decisions
from podium.training.evaluate import evaluate
from tests.agents.endpoint_server import USAGE, Server, chunk, in_a_thread, token
from tests.orchestrator.teams import PRICE, scripted, team
from tests.orchestrator.test_resume import Recorded, cut_after


def asks(*agents: str) -> str:
    return json.dumps({"why": "we need it", "decision": {"ask": [{"agent": agent} for agent in agents]}})


FINISH = '{"why": "done", "decision": {"finish": 2}}'


class Leader(Server):
    """An endpoint that says its lines in order, token by token, and keeps what it was asked."""

    def __init__(self, *lines: str) -> None:
        super().__init__()
        self.turns = [lambda _, line=line: self._say(line) for line in lines]

    def _say(self, line: str) -> None:
        half = len(line) // 2
        first = token(line[:half], -0.5, 11)
        first["prompt_token_ids"] = [1, 2, len(self.requests)]
        end: dict[str, Any] = {**chunk({}), "choices": [], "usage": USAGE}
        self.parts = [chunk({"role": "assistant"}), first, token(line[half:], -0.25, 12, "stop"), end]


@contextmanager
def desk(leader: Leader, *, journal: str | None = None, **coordinator: Any) -> Generator[Team]:
    with in_a_thread(leader) as port:
        spec = {
            "name": "desk",
            "models": {
                "lead": {"provider": "vllm", "base_url": f"http://127.0.0.1:{port}/v1", "model": "qwen-small"},
                "script": {"provider": "scripted", "replies": ["It is four.", "No, five."]},
            },
            "agents": {"ann": {"role": "solver", "model": "script"}, "bob": {"role": "critic", "model": "script"}},
            "coordinator": {"kind": "llm", "model": "lead", **coordinator},
            "retry": {"attempts": 1},
        }
        with Team.of(TeamSpec.model_validate(spec), journal=journal) as team:
            yield team


def sent(leader: Leader) -> list[list[tuple[str, str]]]:
    """The messages of each request, as they came in."""
    return [[(each["role"], each["content"]) for each in request["messages"]] for request in leader.requests]


def lead(*lines: str, **coordinator: Any) -> tuple[Result, Leader]:
    leader = Leader(*lines)
    with desk(leader, **coordinator) as team:
        return team.run("What is 2 + 2?", seed=1), leader


def test_messages_completions_and_decisions_are_in_the_record() -> None:
    result, leader = lead(asks("ann"), "Let me see: bob!", asks("bob"), FINISH, mode="sample")
    found = llm_decisions(result)
    assert [[(each.role, each.content) for each in one.messages] for one in found] == sent(leader)
    assert [(one.decision.step, one.attempt, one.repaired) for one in found] == [
        (0, 0, False),
        (1, 0, False),
        (1, 1, True),
        (2, 0, False),
    ]
    assert [one.completion.text for one in found] == [asks("ann"), "Let me see: bob!", asks("bob"), FINISH]
    assert [one.action for one in found] == [
        result.decisions[0].action,
        None,
        result.decisions[1].action,
        Finish(2),
    ]
    assert [one.completion.prompt_ids for one in found] == [(1, 2, number) for number in range(1, 5)]
    assert all((one.completion.ids, one.completion.log_probs) == ((11, 12), (-0.5, -0.25)) for one in found)
    assert [each.log_prob for each in result.decisions] == [-0.75, -1.5, -0.75]
    assert [one.schema for one in found] == [
        request["response_format"]["json_schema"]["schema"] for request in leader.requests
    ]
    assert {one.structured for one in found} == {"json_schema"}


def test_a_journal_keeps_all_of_it(tmp_path: Path) -> None:
    leader = Leader(asks("ann"), "?", FINISH)
    with desk(leader, journal=f"sqlite:///{tmp_path}/runs.db") as team:
        result = team.run("What is 2 + 2?")
        assert team.journal is not None
        kept = team.journal.load(result.run)
    assert llm_decisions(replace(result, nodes=tuple(kept.nodes), decisions=tuple(kept.decisions))) == llm_decisions(
        result
    )


def test_a_question_is_kept_as_what_it_adds() -> None:
    result, _ = lead(*[asks("ann")] * 6, FINISH)
    calls = [call for node in result.nodes for call in node.calls if call.asked is not None]
    assert len(calls) == 7
    first, *others = [len(call.asked.added) for call in calls if call.asked is not None]
    assert max(others) < first / 2, "the team and the form of a decision are kept once"


def test_a_fallback_is_no_decision_of_the_model() -> None:
    result, _ = lead("?", FINISH, repairs=0)
    assert [(one.action, one.decision.reasons.get("fallback")) for one in llm_decisions(result)] == [
        (None, 1),
        (Finish(2), None),
    ]


def test_records_that_are_not_whole_are_told() -> None:
    result, _ = lead(asks("ann"), FINISH)
    nodes = list(result.nodes)
    (call,) = nodes[1].calls
    nodes[1] = replace(nodes[1], calls=(replace(call, asked=Asked(0, "[")),))
    with pytest.raises(InputError, match=rf"the question of call {result.run}.0.decide.0 is not whole"):
        llm_decisions(replace(result, nodes=tuple(nodes)))


def test_what_the_server_is_told_of_the_form() -> None:
    asked: dict[str, Any] = {}
    for structured in ("json_schema", "json_object", "none"):
        _, leader = lead(asks("ann"), FINISH, structured=structured)
        asked[structured] = leader.requests[0].get("response_format")
    assert asked["json_schema"]["type"] == "json_schema"
    assert asked["json_schema"]["json_schema"]["strict"] is True
    assert (asked["json_object"], asked["none"]) == ({"type": "json_object"}, None)


def test_a_server_that_refuses_the_form_is_one_clear_error() -> None:
    leader = Leader()
    leader.status, leader.kind = 400, "application/json"
    leader.parts = [json.dumps({"error": {"message": "Unsupported value: response_format.type json_schema"}})]
    with desk(leader) as team, pytest.raises(ModelError) as caught:
        team.run("What is 2 + 2?")
    assert len(leader.requests) == 1, "what is refused for good is not asked again"
    assert "(HTTP 400)" in caught.value.message
    assert caught.value.message.endswith(
        "where the server takes none, set structured of the coordinator to json_object or none"
    )


def test_prose_fences_wrong_names_and_wrong_nodes_over_http() -> None:
    fenced = f"Of course!\n```json\n{asks('bob')}\n```\nGood luck."
    wrong = '{"why": "x", "decision": {"finish": 99}}'
    result, leader = lead(fenced, asks("bobby"), wrong, FINISH)
    assert (result.answer, result.decisions[1].reasons["invalid"]) == ("It is four.", 2)
    told = [messages[-1][1] for messages in sent(leader)[2:]]
    assert 'found "bobby"; allowed: ann, bob; did you mean "bob"?' in told[0]
    assert "decision.finish: not one of the choices; found 99; allowed: 2" in told[1]


def test_it_can_be_compared_by_name(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('{"prompt": "What is 2 + 2?", "reference": "It is four."}\n')
    leader = Leader(*[asks("ann"), FINISH] * 2)
    with desk(leader) as team:
        names = ["own", "llm?model=lead&width=1&objectives=propose,verify&repairs=0"]
        rows = evaluate(team, f"jsonl:{tasks}", names).rows
        with pytest.raises(InputError, match=r'repairs: .*found "no"'):
            evaluate(team, f"jsonl:{tasks}", ["llm?model=lead&repairs=no"])
    assert [row.calls for row in rows] == [3, 3]
    objective = leader.requests[2]["response_format"]["json_schema"]["schema"]["properties"]["decision"]
    assert objective["properties"]["ask"]["items"]["properties"]["objective"]["enum"] == ["propose", "verify"]


def test_questions_stay_whole_when_another_life_goes_on_with_a_decision(tmp_path: Path) -> None:
    """What is left of the budget is less by then, and yet the first question is told as it was asked."""
    said = ["?", "??", '{"decision": {"ask": [{"agent": "ann", "final": true}]}}']

    def desk(journal: Journal, begin: int) -> Team:
        models = {"ann": scripted("4"), "lead": ScriptedModel(said[begin:], "lead", price=PRICE)}
        return team(models, "llm", journal=journal, budget={"tokens": 9_000}, model="lead")

    whole = Journal(f"sqlite:///{tmp_path}/whole.db")
    noted = Recorded(whole)
    with desk(whole, 0) as first:
        expected = llm_decisions(first.run("how much?", seed=5))
    for kept in (1, 2):  # calls that were written
        journal = Journal(f"sqlite:///{tmp_path}/{kept}.db")
        run = asyncio.run(cut_after(journal, noted.transactions[: 1 + kept]))
        with desk(Journal(journal.url), kept) as again:
            resumed = llm_decisions(again.resume(run))
        assert [each.messages for each in resumed] == [each.messages for each in expected]


def test_other_coordinators_have_none() -> None:
    leader = Leader()
    with desk(leader) as team:
        alone = team.led_by(LLMCoordinator(team.models["lead"]))
        assert isinstance(alone.orchestrator.coordinator, LLMCoordinator)
    models = {"script": {"provider": "scripted", "replies": ["4"]}}
    agents = {"ann": {"role": "solver", "model": "script"}}
    spec = {"name": "one", "models": models, "agents": agents, "coordinator": {"kind": "single", "agent": "ann"}}
    with Team.of(TeamSpec.model_validate(spec)) as team:
        assert llm_decisions(team.run("?")) == []
