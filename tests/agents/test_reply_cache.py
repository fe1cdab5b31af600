"""The reply cache and the spending cap."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from podium.agents.model import Price, Prompt, ToolSchema, complete
from podium.agents.reply_cache import CachedModel, ReplyStore, SpendingCap, call_key
from podium.agents.scripted import ScriptedModel
from podium.protocols.errors import BudgetExceeded, InputError, ModelError
from podium.protocols.record import Generation, Sampling, ToolCall, Usage
from podium.protocols.task import Message

GREEDY = Sampling(temperature=0.0, max_tokens=10)
PRICE = Price(0.0, 1e5)
"""Ten output tokens cost one dollar."""


def prompt(text: str = "q", tools: tuple[ToolSchema, ...] = ()) -> Prompt:
    return Prompt("solver", text, lambda: (Message("user", text),), tools=tools)


def ask(model: CachedModel, text: str = "q", sampling: Sampling = GREEDY) -> Generation:
    return asyncio.run(complete(model, prompt(text), sampling))


def test_the_same_call_is_made_once_and_counted_twice() -> None:
    model = CachedModel(ScriptedModel(["a", "b"], price=PRICE))
    first, second = ask(model), ask(model)
    assert first is second
    assert (model.hits, model.misses) == (1, 1)
    assert model.spent_dollars == pytest.approx(0.1)
    assert model.accounted_dollars == pytest.approx(0.2)
    assert ask(model, "another").text == "b"


def test_everything_the_model_is_told_is_in_the_key() -> None:
    tool = ToolSchema("f", "", {})
    keys = {
        call_key("m", prompt(), GREEDY),
        call_key("n", prompt(), GREEDY),
        call_key("m", prompt("other"), GREEDY),
        call_key("m", prompt(tools=(tool,)), GREEDY),
        call_key("m", prompt(), Sampling(temperature=0.0, max_tokens=11)),
        call_key("m", prompt(), Sampling(temperature=0.0, max_tokens=10, seed=1)),
    }
    assert len(keys) == 6
    assert call_key("m", prompt(), GREEDY) == call_key("m", prompt(), GREEDY)


def test_sampling_without_a_seed_is_not_cached_unless_wanted() -> None:
    free, seeded = Sampling(max_tokens=10), Sampling(max_tokens=10, seed=1)
    model = CachedModel(ScriptedModel(["a", "b", "c"]))
    assert [ask(model, sampling=free).text for _ in range(2)] == ["a", "b"]
    assert [ask(model, sampling=seeded).text for _ in range(2)] == ["c", "c"]
    wanted = CachedModel(ScriptedModel(["a", "b"]), by_seed=True)
    assert [ask(wanted, sampling=free).text for _ in range(2)] == ["a", "a"]


def test_calls_in_flight_are_shared() -> None:
    async def main() -> list[Generation]:
        return await asyncio.gather(*(complete(model, prompt(), GREEDY) for _ in range(10)))

    inner = ScriptedModel("a", delay=0.02)
    model = CachedModel(inner)
    assert {one.text for one in asyncio.run(main())} == {"a"}
    assert inner.calls == 1
    assert model.hits == 9


def test_when_a_shared_call_fails_the_next_one_tries() -> None:
    async def main() -> list[Generation | BaseException]:
        calls = (complete(model, prompt(), GREEDY) for _ in range(3))
        return await asyncio.gather(*calls, return_exceptions=True)

    model = CachedModel(ScriptedModel("a", delay=0.01, fail_first=1))
    failed, second, third = asyncio.run(main())
    assert isinstance(failed, ModelError)
    assert second is third


def test_a_cancelled_call_does_not_hold_up_the_others() -> None:
    async def main() -> Generation:
        first = asyncio.create_task(complete(model, prompt(), GREEDY))
        second = asyncio.create_task(complete(model, prompt(), GREEDY))
        await asyncio.sleep(0.01)
        first.cancel()
        return await asyncio.wait_for(second, 5)

    model = CachedModel(ScriptedModel("a", delay=0.03))
    assert asyncio.run(main()).text == "a"


def test_a_file_keeps_replies(tmp_path: Path) -> None:
    made = Generation(
        "text",
        Usage(1, 2, 1, 0.5, 0.1),
        Sampling(0.0, 1.0, 10, 3, ("END",)),
        "tool",
        (1, 2),
        (3,),
        (-0.5,),
        "processed",
        ((0, 4),),
        (ToolCall("1", "f", "{}"),),
    )
    price = Price(output=0.25e6)
    first = CachedModel(ScriptedModel(made, price=price), ReplyStore(tmp_path / "replies.db"))
    ask(first)
    asyncio.run(first.close())
    first.store.close()
    again = CachedModel(ScriptedModel(ModelError("asked"), price=price), ReplyStore(tmp_path / "replies.db"))
    assert ask(again) == made
    assert again.spent_dollars == 0.0
    again.store.close()


def test_a_file_that_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("something else, and long enough to be read as a database header by mistake" * 20)
    with pytest.raises(InputError, match="cannot be used as a reply cache"):
        ReplyStore(tmp_path / "x.db")


def test_the_cap_refuses_before_the_call() -> None:
    inner = ScriptedModel("abcdefg", price=PRICE)  # two tokens: 0.20 dollars of at most 1.00
    cap = SpendingCap(1.3)
    model = CachedModel(inner, cap=cap)
    ask(model, "1")
    ask(model, "2")
    assert cap.spent == pytest.approx(0.4)
    with pytest.raises(BudgetExceeded, match=r"cap of \$1.3000 does not hold this call"):
        ask(model, "3")
    assert inner.calls == 2
    assert cap.reserved == pytest.approx(0.0)
    ask(model, "1")  # a hit costs nothing


def test_the_cap_counts_calls_in_flight() -> None:
    async def main() -> list[Generation | BaseException]:
        calls = (complete(model, prompt(str(number)), GREEDY) for number in range(5))
        return await asyncio.gather(*calls, return_exceptions=True)

    model = CachedModel(ScriptedModel("abc", price=PRICE, delay=0.01), cap=SpendingCap(2.5))
    outcomes = asyncio.run(main())
    assert sum(isinstance(one, BudgetExceeded) for one in outcomes) == 3


def test_a_failed_call_gives_its_reservation_back() -> None:
    cap = SpendingCap(1.0)
    model = CachedModel(ScriptedModel("abc", price=PRICE, fail_first=1), cap=cap)
    with pytest.raises(ModelError):
        ask(model)
    assert (cap.spent, cap.reserved) == (0.0, 0.0)
    assert ask(model).text == "abc"


def test_another_model_under_the_same_name_is_asked_anew(tmp_path: Path) -> None:
    store = ReplyStore(tmp_path / "replies")
    one, other = ScriptedModel(["old"], "m"), ScriptedModel(["new"], "m")
    other.identity = "another script"
    assert [ask(CachedModel(model, store)).text for model in (one, other)] == ["old", "new"]


def test_a_stored_reply_costs_what_it_would_cost_now() -> None:
    store = ReplyStore()
    cheap, dear = (CachedModel(ScriptedModel(["a"], "m", price=Price(0.0, each)), store) for each in (1e5, 2e5))
    assert ask(dear).usage.dollars == pytest.approx(2 * ask(cheap).usage.dollars)
    assert dear.spent_dollars + cheap.spent_dollars == pytest.approx(0.2)
