"""Tools from functions: schemas, wrong arguments, failures, timeouts, and where they are found."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from podium.agents.tools import BUILTIN, Tool, load_tool
from podium.protocols.errors import ToolError
from podium.protocols.record import ToolResult


def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> dict[str, Any]:
    """The weather in a city."""
    return {"city": city, "days": days, "unit": unit}


def call(tool: Tool, **arguments: Any) -> ToolResult:
    return asyncio.run(tool.call(json.dumps(arguments)))


def test_type_hints_become_a_schema() -> None:
    schema = Tool.from_function(weather).schema
    assert (schema.name, schema.description) == ("weather", "The weather in a city.")
    assert schema.parameters["required"] == ["city"]
    assert schema.parameters["properties"]["days"]["type"] == "integer"
    assert schema.parameters["properties"]["unit"]["enum"] == ["C", "F"]
    assert schema.parameters["additionalProperties"] is False


def test_arguments_are_checked_and_results_are_text() -> None:
    tool = Tool.from_function(weather)
    assert json.loads(call(tool, city="Rome", days="2").text) == {"city": "Rome", "days": 2, "unit": "C"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{}", "city: Field required"),
        ('{"city": "Rome", "days": "many"}', "days: Input should be a valid integer"),
        ('{"city": "Rome", "town": 1}', "town: Extra inputs"),
        ("{broken", "Invalid JSON"),
        ("[1]", "the arguments: "),
    ],
)
def test_wrong_arguments_are_an_answer(arguments: str, said: str) -> None:
    result = asyncio.run(Tool.from_function(weather).call(arguments))
    assert result.failed
    assert said in result.text
    assert '"city"' in result.text


def test_names_that_pydantic_keeps_for_itself() -> None:
    def query(schema: str, json: int, model_config: str = "x") -> str:
        return f"{schema} {json} {model_config}"

    tool = Tool.from_function(query)
    assert set(tool.schema.parameters["properties"]) == {"schema", "json", "model_config"}
    assert call(tool, schema="a", json=1).text == "a 1 x"


def test_async_functions_and_callables() -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    assert call(Tool.from_function(double), n=4).text == "8"
    assert call(Tool.from_function(lambda: "yes", name="always")).text == "yes"


def test_an_error_in_a_tool_is_an_answer() -> None:
    def broken(n: int) -> float:
        return 1 / n

    result = call(Tool.from_function(broken), n=0)
    assert result == ToolResult("broken failed: ZeroDivisionError: division by zero", failed=True)

    def leaving() -> None:
        sys.exit(3)

    assert call(Tool.from_function(leaving)).failed


def test_a_slow_tool_is_given_up() -> None:
    async def sleeping() -> None:
        await asyncio.sleep(10)

    for function in (sleeping, lambda: time.sleep(2)):
        started = time.perf_counter()
        result = call(Tool.from_function(function, name="slow", timeout=0.1))
        assert result == ToolResult("slow gave no result within 0.1 seconds.", failed=True)
        assert time.perf_counter() - started < 1.5


def test_a_hanging_tool_does_not_keep_the_process_alive() -> None:
    program = (
        "import asyncio, time\n"
        "from podium.agents.tools import Tool\n"
        "tool = Tool.from_function(lambda: time.sleep(60), name='hang', timeout=0.1)\n"
        "print(asyncio.run(tool.call('{}')).text)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert "hang gave no result" in done.stdout


def test_a_coroutine_that_does_not_end_when_it_is_cancelled_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.agents.tools.LEAVING", 0.1)
    over = False

    async def stubborn() -> None:
        while not over:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def main() -> None:
        nonlocal over
        late = await Tool.from_function(stubborn, timeout=0.1).call("{}")
        assert late == ToolResult("stubborn gave no result within 0.1 seconds.", failed=True)
        given_up = asyncio.ensure_future(Tool.from_function(stubborn, timeout=60.0).call("{}"))
        await asyncio.sleep(0.05)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(given_up, 5)
        over = True  # asyncio.run cancels them once more, and waits for them

    asyncio.run(main())


def test_an_error_of_a_tool_that_is_cancelled_in_the_same_moment_is_no_complaint() -> None:
    complaints: list[str] = []
    calls: list[asyncio.Future[ToolResult]] = []

    async def fails() -> None:
        calls[0].cancel()
        raise ValueError("too late")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        calls.append(asyncio.ensure_future(Tool.from_function(fails).call("{}")))
        with pytest.raises(asyncio.CancelledError):
            await calls[0]
        gc.collect()

    asyncio.run(main())
    assert not complaints


def test_a_coroutine_that_is_cancelled_by_somebody_else_has_failed() -> None:
    async def gone() -> None:
        raise asyncio.CancelledError

    assert call(Tool.from_function(gone, name="gone")).text == "gone failed: RuntimeError: it was cancelled"


def test_long_results_are_cut() -> None:
    tool = Tool.from_function(lambda: "x" * 100, name="long", longest_output=10)
    assert call(tool).text == "x" * 10 + "\n[cut: the first 10 of 100 characters]"


def test_half_characters_of_a_result_are_replaced() -> None:
    def listing() -> str:
        return "caf\udce9.txt"

    assert call(Tool.from_function(listing)).text == "caf\ufffd.txt"


def test_functions_that_cannot_be_tools() -> None:
    def untyped(a) -> str:  # type: ignore[no-untyped-def]  # pyright: ignore
        return str(a)  # pyright: ignore

    def many(*numbers: int) -> int:
        return sum(numbers)

    with pytest.raises(ToolError, match="parameter a of the tool untyped has no type hint"):
        Tool.from_function(untyped)  # pyright: ignore
    with pytest.raises(ToolError, match="named one by one"):
        Tool.from_function(many)


def test_tools_are_found_by_name(tmp_path: Path) -> None:
    assert load_tool("calculator", tmp_path) == BUILTIN["calculator"]
    (tmp_path / "mine.py").write_text("def twice(n: int) -> int:\n    'Twice.'\n    return 2 * n\n")
    assert call(load_tool("mine:twice", tmp_path), n=4).text == "8"
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.py").write_text("def twice(n: int) -> int:\n    return 3 * n\n")
    assert call(load_tool("mine:twice", other), n=4).text == "12"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pyton", "use one of ask_human, calculator, clock, python, or module:function"),
        ("mine:thrice", "no function thrice; it has: twice"),
        ("absent:f", "cannot be imported: ModuleNotFoundError"),
        ("broken:f", "cannot be imported: ZeroDivisionError"),
        ("leaving:f", "cannot be imported: SystemExit: 3"),
        (":f", "there is no tool"),
    ],
)
def test_tools_that_are_not_there(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "mine.py").write_text("def twice(n: int) -> int:\n    return 2 * n\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(ToolError, match=said):
        load_tool(name, tmp_path)


def test_a_function_may_say_itself_that_it_failed() -> None:
    tool = Tool.from_function(lambda: ToolResult("x" * 20, failed=True), name="refusing", longest_output=10)
    assert call(tool) == ToolResult("x" * 10 + "\n[cut: the first 10 of 20 characters]", failed=True)


def test_tools_are_set_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def twice(n: int) -> int:\n    return 2 * n\n")
    plain = load_tool("mine:twice", tmp_path)
    assert (plain.timeout, plain.idempotent, plain.approve) == (30.0, False, False)
    told = load_tool("mine:twice", tmp_path, seconds=2.5, idempotent=True, approve=True)
    assert (told.timeout, told.idempotent, told.approve) == (2.5, True, True)
    assert call(told, n=2).text == "4"
    assert all(tool.idempotent and not tool.approve for tool in BUILTIN.values())
    assert not load_tool("clock", tmp_path, idempotent=False).idempotent
    assert BUILTIN["clock"].idempotent
    unsafe = load_tool("python", tmp_path, unsafe=True, seconds=3, memory_mb=300)
    assert not unsafe.idempotent
    assert unsafe.timeout > 3
    assert "3 seconds, 300 MB" in unsafe.description


def test_the_clock_is_utc() -> None:
    assert call(BUILTIN["clock"]).text.endswith("+00:00")
