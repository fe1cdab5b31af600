"""The examples in README.md and docs/ work.

    ```python    The blocks of a file run in order, in one namespace, in a folder that holds the files of
                 examples/train_on_your_tasks: team.yaml, tasks.jsonl and train.yaml. `await` may stand at top level.
    ```yaml      A block with `coordinator:` is a team file, one with `team:` a training file; both are checked.
    ```sh        Every line that begins with `podium` is parsed by the command line: the command and its options exist,
                 and nothing is run. A line may begin with `$ ` and go on after a backslash.

A comment `<!-- no-test -->` on the line above a block leaves it out.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from podium.cli import app
from podium.orchestrator.team_file import parse_team
from podium.orchestrator.yaml_file import parse_model
from podium.training.train_file import TrainSpec

ROOT = Path(__file__).parents[2]
PROVIDED = ROOT / "examples" / "train_on_your_tasks"

FENCE = re.compile(
    r"(?P<skip><!-- no-test -->[ ]*\n)?^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)
SHELLS = ("sh", "bash", "shell", "console")
ENDS_A_COMMAND = re.compile(r"^(?:[|>&;]+|2>.*)$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    kind: str
    text: str

    @property
    def where(self) -> str:
        """Page and line, as editors link them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page that are tested."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("text")), found["kind"], textwrap.dedent(found["text"]))
        for found in FENCE.finditer(text)
        if found["skip"] is None
    ]


PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.is_file()]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
WITH_PYTHON = sorted({block.page for block in BLOCKS if block.kind == "python"})
BLOCKS_OF_EXAMPLES = [block for page in sorted((ROOT / "examples").rglob("*.md")) for block in blocks_of(page)]


def commands(block: Block) -> list[list[str]]:
    """The arguments of every `podium` command in a shell block, up to a pipe, a redirection or another command."""
    found: list[list[str]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] == ["podium"]:
            end = next((place for place, word in enumerate(words) if ENDS_A_COMMAND.match(word)), len(words))
            found.append(words[1:end])
    return found


COMMANDS = [
    pytest.param(arguments, id=f"{block.where} {' '.join(arguments)}")
    for block in (*BLOCKS, *BLOCKS_OF_EXAMPLES)
    if block.kind in SHELLS
    for arguments in commands(block)
]


def parse(arguments: list[str]) -> None:
    """Have the command line take arguments apart, and run nothing. Raises what it raises on a line it refuses."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("podium", [*arguments], resilient_parsing=True)
    words = [word for word in arguments if word != "--debug"]
    command = group.get_command(context, words[0])
    assert command is not None, f"there is no command {words[0]!r}; there are: {', '.join(group.commands)}"
    if "--help" not in words:
        command.make_context(words[0], words[1:], parent=context)


def run(block: Block, namespace: dict[str, object]) -> None:
    """Run a Python block; its traceback names the page's own lines."""
    code = compile("\n" * block.line + block.text, str(block.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome: object = eval(code, namespace)  # the documentation's own code, which is what is tested
    if inspect.iscoroutine(outcome):
        asyncio.run(outcome)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PROVIDED, tmp_path, ignore=shutil.ignore_patterns("policy"), dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCKS:
        if block.page == page and block.kind == "python":
            run(block, namespace)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "yaml"], ids=lambda block: block.where)
def test_yaml_blocks_are_right(block: Block, tmp_path: Path) -> None:
    keys: dict[str, object] = yaml.safe_load(block.text)
    if "coordinator" in keys and "agents" in keys:
        parse_team(block.text, block.where, tmp_path)
    elif "team" in keys and "tasks" in keys:
        parse_model(block.text, TrainSpec, file=block.where, base=tmp_path)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_commands_exist_with_their_options(arguments: list[str]) -> None:
    parse(arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rum", "team.yaml"], "no command 'rum'"),
        (["run", "team.yaml", "task", "--jsn"], "--jsn"),
        (["serve"], "Missing|FILES"),
        (["eval", "team.yaml", "--tasks", "embedded:", "--seeds", "many"], "valid integer"),
    ],
)
def test_what_does_not_exist_is_noticed(arguments: list[str], told: str) -> None:
    with pytest.raises(Exception, match=told):
        parse(arguments)


def test_blocks_are_found_and_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- no-test -->\n```python\n1/0\n```\n\n- a list\n\n  ```sh\n  $ podium plan team.yaml \\\n"
        "    --json > plan.json   # comment\n  make test\n  ```\n\n```python\nfirst = await later\n```\n"
    )
    shell, python = blocks_of(page)
    assert (shell.kind, shell.line, commands(shell)) == ("sh", 8, [["plan", "team.yaml", "--json"]])
    assert (python.kind, python.line, python.text) == ("python", 14, "first = await later\n")


def test_a_block_may_await(tmp_path: Path) -> None:
    async def later() -> int:
        await asyncio.sleep(0)
        return 42

    namespace: dict[str, object] = {"later": later}
    run(Block(tmp_path / "page.md", 3, "python", "found = await later()\n"), namespace)
    assert namespace["found"] == 42
