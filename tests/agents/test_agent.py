"""Agents: what their model is shown and in which order, their tools, and what their lease refuses."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from podium.agents.agent import Agent
from podium.agents.documents import DocumentIndex
from podium.agents.model import Price, Prompt
from podium.agents.roles import ROLES
from podium.agents.scripted import ScriptedModel
from podium.agents.tools import Tool
from podium.protocols.bus import Delta, Envelope, Lease
from podium.protocols.errors import BudgetExceeded, ModelError, ModelUnreachable, ToolError
from podium.protocols.record import (
    Begun,
    Call,
    Compute,
    Directive,
    Generation,
    Node,
    Sampling,
    ToolCall,
    ToolResult,
    Usage,
)
from podium.protocols.task import Message

CONVERSATION = (Message("user", "hello"), Message("assistant", "hi"), Message("user", "how much?"))
SAID = (Node(1, (0,), "reply", "bob", "forty"), Node(2, (1,), "reply", "cyd", "two"))


def double(n: int) -> int:
    """Twice a number."""
    return 2 * n


class Script:
    """A scripted model that remembers what it was shown. replies: a text each, or the tools that it asks for."""

    def __init__(self, *replies: str | Exception | tuple[ToolCall, ...], price: Price | None = None) -> None:
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []
        self.model = ScriptedModel(self._next, "m", price=price or Price(), max_tokens=100, temperature=0.7)
        self._replies = iter(replies)
        self._generate = self.model.generate
        self.model.generate = self._watched

    def _watched(self, prompt: Prompt, sampling: Sampling) -> Any:
        self.samplings.append(sampling)
        return self._generate(prompt, sampling)

    def _next(self, prompt: Prompt) -> str | Exception | Generation:
        self.prompts.append(prompt)
        reply = next(self._replies)
        if not isinstance(reply, tuple):
            return reply
        return Generation("", Usage(10, 5, 1, self.model.price.dollars(10, 5)), Sampling(), "tool", tool_calls=reply)

    def shown(self, turn: int = 0) -> list[tuple[str, str | None, str]]:
        return [(message.role, message.name, message.content) for message in self.prompts[turn].messages]


def envelope(
    directive: Directive | None = None,
    *,
    task: tuple[Message, ...] = CONVERSATION,
    visible: Callable[[], tuple[Node, ...]] = tuple,
    lease: Lease | None = None,
    **more: Any,
) -> Envelope:
    lease = lease or Lease(math.inf, math.inf, math.inf, math.inf)
    return Envelope("r.0.0", "r", task, directive or Directive("r.0.0", "ann"), visible, lease, **more)


def work(agent: Agent, asked: Envelope | None = None) -> list[Delta | Call | Begun | str]:
    """What the agent sends, in order, and its reply at the end."""
    sent: list[Delta | Call | Begun | str] = []
    sent.append(asyncio.run(agent.answer(asked or envelope(), sent.append)))
    return sent


def use(name: str, arguments: str, id: str = "c1") -> tuple[ToolCall, ...]:
    return (ToolCall(id, name, arguments),)


def armed(script: Script, *, rounds: int = 4, prompt: str | None = "") -> Agent:
    return Agent(
        "ann", "solver", script.model, prompt=prompt, tools=[Tool.from_function(double)], max_tool_rounds=rounds
    )


def results(items: Sequence[object]) -> list[ToolResult]:
    return [item.result for item in items if isinstance(item, Call) and isinstance(item.result, ToolResult)]


@pytest.mark.parametrize(
    ("role", "prompt", "system"),
    [("critic", None, ROLES["critic"]), ("critic", "Be kind.", "Be kind."), ("jester", "Joke.", "Joke.")],
)
def test_a_role_is_a_system_prompt_and_ones_own_replaces_it(role: str, prompt: str | None, system: str) -> None:
    script = Script("ok")
    agent = Agent("ann", role, script.model, prompt=prompt)
    work(agent)
    assert script.shown()[0] == ("system", None, system)
    assert (agent.card.name, agent.card.role, agent.card.rounds) == ("ann", role, 1)
    assert agent.card.overhead == len(system) // 4 + 1


def test_no_prompt_is_no_system_message() -> None:
    script = Script("ok")
    work(Agent("ann", "jester", script.model))
    assert [role for role, *_ in script.shown()] == ["user", "assistant", "user"]


def test_the_prompt_is_role_conversation_replies_instruction() -> None:
    script = Script("ok")
    told = Directive("r.0.0", "ann", "refine", "Mind the units.", detail="short")
    work(Agent("ann", "solver", script.model, prompt="S"), envelope(told, visible=lambda: SAID))
    assert script.shown() == [
        ("system", None, "S"),
        ("user", None, "hello"),
        ("assistant", None, "hi"),
        ("user", None, "how much?"),
        ("user", "bob", "forty"),
        ("user", "cyd", "two"),
        ("user", None, "Improve the latest answer; keep what is right. Mind the units. Be brief: the result only."),
    ]


def test_a_retriever_reads_the_passages_that_fit_before_the_replies(tmp_path: Path) -> None:
    (tmp_path / "whales.md").write_text(
        "Whales sing below the surface, and their songs last for hours on end, in spring."
    )
    (tmp_path / "bread.md").write_text(
        "Bread is baked at two hundred degrees for forty minutes in a very hot oven, always."
    )
    documents, script = DocumentIndex.load([tmp_path]), Script("ok", "ok")
    agent = Agent("ann", "retriever", script.model, prompt="", documents=documents)
    work(agent, envelope(Directive("r.0.0", "ann", instruction="About whales."), visible=lambda: SAID))
    (passages,) = [message for message in script.shown() if message[1] == "passages"]
    assert passages[2].startswith("[whales.md:1] Whales sing")
    assert "Bread" not in passages[2]
    assert [name for _, name, _ in script.shown()] == [None, None, None, "passages", "bob", "cyd", None]
    assert agent.card.overhead >= len(passages[2]) // 4
    work(agent, envelope(task=(Message("user", "xyzzy"),)))
    assert ("user", "passages", "No passage matches.") in script.shown(1)


def test_a_call_and_a_reply_come_back_and_the_lease_pays() -> None:
    script, lease = Script("forty two", price=Price(1.0, 2.0)), Lease(1000.0, 3.0, 1.0, math.inf)
    call, reply = work(Agent("ann", "solver", script.model, prompt=""), envelope(lease=lease, estimate=20))
    assert isinstance(call, Call)
    assert isinstance(call.result, Generation)
    assert (call.id, call.target, call.result.text) == ("r.0.0.0", "m", "forty two")
    assert reply == "forty two"
    usage = call.result.usage
    assert (lease.tokens, lease.calls, lease.dollars) == (1000 - usage.tokens, 2, 1 - usage.dollars)


@pytest.mark.parametrize("tools", [False, True])
def test_pieces_are_sent_only_to_those_who_asked_for_them(tools: bool) -> None:
    def agent() -> Agent:
        script = Script("forty two")
        script.model.tokens_per_second = 1e6
        return armed(script) if tools else Agent("ann", "solver", script.model)

    streamed = work(agent(), envelope(stream=True))
    assert [item.text for item in streamed if isinstance(item, Delta)] == ["forty ", "two"]
    assert [type(item) for item in work(agent())] == [Call, str]
    assert [item for item in streamed if not isinstance(item, Delta)] == work(agent())


def test_the_directive_and_the_lease_say_how_to_sample() -> None:
    script = Script("a", "b", "c")
    agent = Agent("ann", "solver", script.model)
    work(agent, envelope(seed=7))
    work(agent, envelope(Directive("r.0.0", "ann", compute=Compute(max_tokens=30, temperature=0.0))))
    work(agent, envelope(lease=Lease(70, 1, 1, math.inf), estimate=50))
    assert script.samplings == [
        Sampling(0.7, max_tokens=100, seed=7),
        Sampling(0.0, max_tokens=30),
        Sampling(0.7, max_tokens=20),
    ]


def test_the_model_asks_for_a_tool_is_shown_its_result_and_answers() -> None:
    script = Script(use("double", '{"n": 21}'), "42")
    items = work(armed(script))
    assert [type(item) for item in items] == [Call, Begun, Call, Call, str]
    assert items[1] == Begun("r.0.0", "r.0.0.0.c1", "double", '{"n": 21}')
    assert [item.id for item in items if isinstance(item, Call)] == ["r.0.0.0", "r.0.0.0.c1", "r.0.0.1"]
    assert results(items) == [ToolResult("42")]
    asked, answered = script.prompts[1].messages[-2:]
    assert (asked.role, asked.tool_calls) == ("assistant", use("double", '{"n": 21}'))
    assert (answered.role, answered.name, answered.tool_call_id, answered.content) == ("tool", "double", "c1", "42")
    assert [schema.name for schema in script.prompts[0].tools] == ["double"]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("double", '{"n": "many"}', "n: Input should be a valid integer"),
        ("double", "{broken", "Invalid JSON"),
        ("triple", "{}", "there is no tool 'triple'; you have: double"),
    ],
)
def test_a_wrong_use_of_a_tool_is_told_to_the_model(name: str, arguments: str, said: str) -> None:
    script = Script(use(name, arguments), "sorry")
    items = work(armed(script))
    (result,) = results(items)
    assert result.failed
    assert said in result.text
    assert said in script.prompts[1].messages[-1].content
    assert items[-1] == "sorry"


def test_in_its_last_round_the_model_gets_no_tools_and_must_answer() -> None:
    script = Script(use("double", '{"n": 1}'), use("double", '{"n": 2}'), "4")
    assert work(armed(script, rounds=2))[-1] == "4"
    assert [len(prompt.tools) for prompt in script.prompts] == [1, 1, 0]
    endless = Script(*[use("double", '{"n": 1}')] * 9)
    with pytest.raises(ToolError, match="run r, agent ann: still asked for tools after 2 rounds"):
        work(armed(endless, rounds=2))
    assert len(endless.prompts) == 3


def test_the_last_call_that_a_lease_holds_gets_no_tools_either() -> None:
    script = Script(use("double", '{"n": 1}'), "2")
    asked = envelope(lease=Lease(math.inf, 2, math.inf, math.inf))
    assert work(armed(script, rounds=3), asked)[-1] == "2"
    assert [len(prompt.tools) for prompt in script.prompts] == [1, 0]


@pytest.mark.parametrize(
    ("lease", "tools"),
    [
        (Lease(20, 9, 9, math.inf), False),
        (Lease(999, 0, 9, math.inf), False),
        (Lease(20, 9, 9, math.inf), True),
        (Lease(999, 9, 0.00002, math.inf), True),
    ],
)
def test_a_lease_that_does_not_hold_the_call_refuses_it_before_it_starts(lease: Lease, tools: bool) -> None:
    script = Script("never", price=Price(1.0, 2.0))
    agent = armed(script) if tools else Agent("ann", "solver", script.model)
    with pytest.raises(BudgetExceeded, match="run r, agent ann: a call of about 20 prompt tokens does not fit"):
        work(agent, envelope(lease=lease, estimate=20))
    assert not script.prompts


def test_what_tools_returned_counts_when_the_next_call_is_checked() -> None:
    def long() -> str:
        """Much."""
        return "x" * 4000

    script = Script(use("long", "{}"), "never")
    agent = Agent("ann", "solver", script.model, prompt="", tools=[Tool.from_function(long)])
    with pytest.raises(BudgetExceeded, match="a call of about 1022 prompt tokens does not fit the 985 tokens"):
        work(agent, envelope(lease=Lease(1000, 5, 1, math.inf), estimate=20))
    assert len(script.prompts) == 1


def test_the_dollars_of_a_lease_cap_each_call_of_a_tool_user() -> None:
    script = Script(use("double", '{"n": 1}'), "2", price=Price(0.0, 1.0))
    work(armed(script), envelope(lease=Lease(9999, 5, 60e-6, math.inf), estimate=20))
    assert [sampling.max_tokens for sampling in script.samplings] == [60, 55]


def test_a_models_error_says_whose_it_was() -> None:
    for stream in (False, True):
        script = Script(ModelUnreachable("down"))
        with pytest.raises(ModelUnreachable, match="run r, agent ann: down"):
            work(Agent("ann", "solver", script.model), envelope(stream=stream))


def test_nothing_to_answer_is_an_error() -> None:
    class Reader(ScriptedModel):
        """Reads its prompt, as real models do."""

        def generate(self, prompt: Prompt, sampling: Sampling) -> Any:
            assert prompt.messages
            return super().generate(prompt, sampling)

    agent = Agent("ann", "solver", Reader("x"))
    with pytest.raises(ModelError, match="run r, agent ann: there is nothing to answer"):
        work(agent, envelope(task=(Message("system", "Be brief."),)))


@pytest.mark.parametrize("stream", [False, True])
def test_asking_for_tools_that_were_not_given_is_an_error(stream: bool) -> None:
    script = Script(use("double", '{"n": 2}'))
    with pytest.raises(ModelError, match="run r, agent ann: asked for the tool 'double', and was given none"):
        work(Agent("ann", "solver", script.model), envelope(stream=stream))
