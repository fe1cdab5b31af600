"""The LLM selector: structured output, repair, and who pays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from podium.agents.model import Price, Prompt
from podium.orchestrator.budget import Budget, Limits
from podium.orchestrator.coordinators import LLMSelector
from podium.orchestrator.retrying import Retry
from podium.protocols.errors import BudgetExceeded, ModelGarbage, ModelUnreachable
from podium.protocols.events import Result
from podium.protocols.record import Finish, Generation, Sampling, Usage
from podium.protocols.task import Task
from tests.orchestrator.stage import Speaker, Stage, authors


class Says:
    """A model that says its lines one after another."""

    name = "picker"
    price = Price(1.0, 2.0)
    max_tokens = 100
    temperature = 1.0
    identity = "fake"
    gives_ids = False
    chars_per_token = 4.0

    def __init__(self, *lines: str | Exception) -> None:
        self.lines = list(lines)
        self.prompts: list[Prompt] = []
        self.sampling: list[Sampling] = []

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        self.prompts.append(prompt)
        self.sampling.append(sampling)
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        yield Generation(line, Usage(7, 3, 1, 1e-5), sampling)

    async def close(self) -> None: ...


class Slowly(Says):
    """The same, after a piece and some time."""

    def __init__(self, *lines: str, piece: str = "", seconds: float = 0.01) -> None:
        super().__init__(*lines)
        self.piece = piece
        self.seconds = seconds

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        yield self.piece
        await asyncio.sleep(self.seconds)
        async for item in super().generate(prompt, sampling):
            yield item


def pick(name: str) -> str:
    return json.dumps({"next": name})


def crew(names: Sequence[str] = ("anna", "bert"), limits: Limits | None = None) -> Stage:
    return Stage(*(Speaker(name, name.upper()) for name in names), limits=limits)


def test_the_model_picks_speakers_and_ends_the_run() -> None:
    model = Says(pick("bert"), pick("anna"), pick("finish"))
    result = crew().run(LLMSelector(model))
    assert authors(result) == ["bert", "anna"]
    assert result.answer == "ANNA"
    assert result.steps == 3
    assert isinstance(result.decisions[-1].action, Finish)


def test_its_calls_are_paid_by_the_run() -> None:
    result = crew().run(LLMSelector(Says(pick("bert"), pick("finish"))))
    assert result.usage.calls == 3
    assert result.by_agent["llm_selector"].tokens == 20
    assert [len(each.calls) for each in result.decisions] == [1, 1]


def test_the_schema_allows_exactly_the_options() -> None:
    model = Says(pick("anna"), pick("finish"))
    crew().run(LLMSelector(model))
    schemas = [prompt.response_schema for prompt in model.prompts]
    assert [schema and schema["properties"]["next"]["enum"] for schema in schemas] == [
        ["anna", "bert"],
        ["anna", "bert", "finish"],
    ]
    assert model.sampling[0].temperature == 0
    assert "anna" in model.prompts[0].messages[0].content
    assert any(message.name == "anna" and message.content == "ANNA" for message in model.prompts[1].messages)


def test_words_around_the_json_do_not_matter() -> None:
    result = crew().run(LLMSelector(Says(f"Sure!\n```json\n{pick('bert')}\n```", pick("finish"))))
    assert authors(result) == ["bert"]
    assert result.decisions[0].reasons["invalid"] == 0


def test_one_repair_is_tried() -> None:
    model = Says("I would ask Bert", pick("bert"), pick("finish"))
    result = crew().run(LLMSelector(model))
    first = result.decisions[0]
    assert authors(result) == ["bert"]
    assert first.reasons == {"invalid": 1, "repaired": 1}
    assert len(first.calls) == 2
    assert "none of anna, bert" in model.prompts[1].messages[-1].content


def test_after_the_repair_the_nearest_name_is_taken() -> None:
    result = crew().run(LLMSelector(Says("?", pick("Berta"), pick("finish"))))
    assert authors(result) == ["bert"]
    assert result.decisions[0].reasons == {"invalid": 2, "nearest": 1}


def test_without_a_near_name_it_is_the_next_in_turn() -> None:
    result = crew().run(LLMSelector(Says(pick("xyz"), "{}", "[1]", '{"next": 3}', pick("finish"))))
    assert authors(result) == ["anna", "bert"]
    assert result.decisions[1].reasons == {"invalid": 2, "turn": 1}


def test_the_last_of_max_steps_answers() -> None:
    result = crew().run(LLMSelector(Says(pick("anna"), pick("bert")), max_steps=2))
    assert result.answer == "BERT"
    assert result.steps == 2


def test_one_option_needs_no_call() -> None:
    result = crew(["anna"]).run(LLMSelector(Says(), max_steps=1))
    assert result.answer == "ANNA"
    assert result.usage.calls == 1


def test_a_budget_that_does_not_hold_another_selection_ends_the_run() -> None:
    model = Says(pick("anna"), pick("bert"))
    result = crew(limits=Limits(calls=4)).run(LLMSelector(model))
    assert result.answer == "ANNA"
    assert result.usage.calls == 2
    assert len(model.lines) == 1


def test_an_agent_called_finish_can_still_be_asked() -> None:
    result = crew(["finish", "bert"]).run(LLMSelector(Says(pick("finish"), pick("finish the run"))))
    assert authors(result) == ["finish"]
    assert result.answer == "FINISH"


def test_a_model_that_is_down_is_a_typed_error_with_the_run() -> None:
    with pytest.raises(ModelUnreachable, match="run r"):
        crew().run(LLMSelector(Says(ModelUnreachable("no connection to http://localhost:1")), retry=Retry(1)))


SOON = Retry(3, wait=0.01, longest=0.1)


def test_a_selection_that_fails_in_passing_is_asked_again() -> None:
    model = Says(ModelUnreachable("x"), ModelUnreachable("x"), pick("bert"), pick("finish"))
    assert authors(crew().run(LLMSelector(model, retry=SOON))) == ["bert"]
    with pytest.raises(ModelUnreachable):
        crew().run(LLMSelector(Says(*[ModelUnreachable("x")] * 3), retry=SOON))


def test_a_repair_that_fails_leaves_the_first_answer_which_is_paid_for() -> None:
    model = Says(pick("Berta"), *[ModelUnreachable("x")] * 3, pick("finish"))
    result = crew().run(LLMSelector(model, retry=SOON))
    assert authors(result) == ["bert"]
    assert result.decisions[0].reasons == {"invalid": 2, "nearest": 1}
    assert result.by_agent["llm_selector"].calls == 2


def half(usage: Usage) -> ModelGarbage:
    """An answer that broke off, and was billed."""
    error = ModelGarbage("half an answer")
    error.usage = usage
    return error


def test_attempts_that_fail_are_on_the_decision_and_paid_for() -> None:
    model = Says(half(Usage(7, 1, 1, 1e-5)), ModelUnreachable("x"), pick("bert"), pick("finish"))
    result = crew().run(LLMSelector(model, retry=SOON))
    first = result.decisions[0]
    assert [(call.id, call.error) for call in first.calls] == [
        ("r.0.select.0.failed.1", "half an answer"),
        ("r.0.select.0.failed.2", "x"),
        ("r.0.select.0", None),
    ]
    assert result.nodes[1].calls == first.calls
    assert result.nodes[1].content == pick("bert")
    assert (result.by_agent["llm_selector"].tokens, result.by_agent["llm_selector"].calls) == (28, 3)


def test_a_budget_that_a_failed_attempt_used_up_holds_no_further_one() -> None:
    model = Says(*[half(Usage(7, 1, 1, 1e-5))] * 9)
    result = crew(limits=Limits(calls=3, tokens=900)).run(LLMSelector(model, retry=Retry(9, wait=0.01)))
    assert (result.answer, result.usage.calls) == ("ANNA", 3)
    assert len(model.lines) == 7, "of three calls, one is for whoever is chosen"


def test_calls_that_led_to_no_decision_stay_in_the_record() -> None:
    stage = crew()
    pool = stage.pool = Budget(Limits(calls=20), shared=True)
    with pytest.raises(ModelGarbage) as caught:
        stage.run(LLMSelector(Says(*[half(Usage(7, 1, 1, 1e-5))] * 3), retry=SOON))
    partial = caught.value.partial
    assert isinstance(partial, Result)
    assert [(node.kind, node.author, len(node.calls)) for node in partial.nodes[1:]] == [("failure", "llm_selector", 3)]
    assert (partial.usage.calls, pool.calls, pool.held_calls) == (3, 3, 0)


def test_a_selection_is_set_aside_in_the_pool_while_it_is_made() -> None:
    """Of many runs at once as many ask as the pool holds, each with a call for whom it chooses."""
    names = ("anna", "bert")
    pool = Budget(Limits(calls=10), shared=True)
    model = Slowly(*[pick("anna")] * 60)
    team = Stage(*(Speaker(name, name, seconds=0.01) for name in names), pool=pool).led_by(LLMSelector(model, 1))

    async def many() -> list[Result | BaseException]:
        runs = (team.run(Task.of("?"), id=f"r{number}") for number in range(30))
        return await asyncio.gather(*runs, return_exceptions=True)

    ends = asyncio.run(many())
    assert sum(isinstance(end, Result) for end in ends) == 5
    assert (pool.calls, pool.held_calls, 60 - len(model.lines)) == (10, 0, 5)


def test_a_selection_that_is_cancelled_after_its_first_piece_is_kept() -> None:
    model = Slowly(pick("anna"), piece="{" * 40, seconds=20)
    pool = Budget(Limits(calls=10), shared=True)
    team = Stage(Speaker("anna"), Speaker("bert"), limits=Limits(seconds=0.1), pool=pool).led_by(LLMSelector(model))
    with pytest.raises(BudgetExceeded) as caught:
        asyncio.run(team.run(Task.of("?"), id="r"))
    assert isinstance(caught.value.partial, Result)
    assert caught.value.partial.by_agent["llm_selector"].output_tokens == 11
    assert (pool.calls, pool.held_calls, pool.held_tokens) == (1, 0, 0)


def test_an_agent_called_finish_is_told_from_finishing_also_when_it_is_too_dear() -> None:
    model = Says(pick("anna"), pick("finish the run"))
    dear = Speaker("finish", "no", price=(1e6, 1e6))
    names = (Speaker(name, name.upper()) for name in ("anna", "bert"))
    result = Stage(*names, dear, limits=Limits(dollars=1.0)).run(LLMSelector(model))
    assert authors(result) == ["anna"]
    assert "- finish the run: end the run" in model.prompts[1].messages[0].content
    assert "- finish: " not in model.prompts[1].messages[0].content
