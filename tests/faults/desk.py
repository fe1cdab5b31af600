"""The team of every cell: three agents, each at its own address of one endpoint, and the account of what was done.

The endpoint's own list says which calls were completed, the journal which are known. Between the two nothing may be
lost, and nothing that was written may be done again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podium.orchestrator.journal import Journal
from podium.orchestrator.learned.options import Options
from podium.orchestrator.learned.saved import Policy, save_policy
from podium.orchestrator.team import Team
from podium.protocols.events import Result
from tests.faults.endpoint import Endpoint
from tests.faults.matrix import AGENTS, COLUMNS
from tests.faults.proxy import Proxy

TASK = "How much is it?"
SEED = 3

TOOLS = '''
import os, subprocess, sys
from pathlib import Path

HERE = Path(__file__).parent

def told(word):
    with open(HERE / "tool", "a") as file:
        file.write(word + "\\n")

def look(key: str) -> str:
    """Look it up."""
    told(f"began {key}")
    program = (HERE / "program.py").read_text()
    found = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True).stdout
    told(f"ended {key}")
    return found
'''
"""What bob has where tools are tried: each call is a process, and two lines in a file."""


@dataclass(slots=True)
class Desk:
    """A team file, its endpoint, and the way to each agent's model."""

    file: Path
    endpoint: Endpoint
    proxies: dict[str, Proxy]
    journal: str
    _seen: int = field(default=0, init=False)

    def team(self) -> Team:
        """The team, as a new process would have it."""
        return Team.load(self.file)

    def mark(self) -> None:
        """From here on, what is done counts."""
        self._seen = len(self.endpoint.answered)

    def delivered(self) -> Counter[str]:
        """Calls that were completed since the mark: answered in full, on a connection that was left alone."""
        spoiled = {port for proxy in self.proxies.values() for port in proxy.spoiled}
        return Counter(each.key for each in self.endpoint.answered[self._seen :] if each.port not in spoiled)

    def kept(self, run: str) -> set[str]:
        """Completed calls of a run that its journal knows, those of requests under way included."""
        journal = Journal(self.journal)
        entries = [json.loads(line)["entry"] for line in journal.export(run).splitlines()]
        journal.close()
        calls: list[dict[str, Any]] = [call for entry in entries for call in entry.get("calls", ())]
        calls += [entry["call"] for entry in entries if isinstance(entry.get("call"), dict)]
        return {_asked(call["result"]) for call in calls if "error" not in call and "usage" in call["result"]}

    def account(self, run: str, written: Collection[str] | None = None) -> tuple[int, int, int]:
        """Calls that were lost, that were repeated, and that were made again because no reply could be written.

        No run asks the same thing twice, so what was answered twice was asked again. written: calls that were known
        when the run broke off; None: it did not.
        """
        delivered, kept = self.delivered(), self.kept(run)
        twice = {key: count - 1 for key, count in delivered.items()}
        repeated = sum(count for key, count in twice.items() if written is None or key in written)
        return len(set(delivered) - kept), repeated, sum(twice.values()) - repeated

    def uses(self) -> tuple[Counter[str], Counter[str]]:
        """How often each use of the tool began and ended; forgets what it tells."""
        file = self.file.parent / "tool"
        lines = [line.split() for line in file.read_text().splitlines()]
        file.unlink()
        began, ended = (Counter(key for word, key in lines if word == which) for which in ("began", "ended"))
        return began, ended

    async def reference(self, team: Team) -> Result:
        """The run as it is without a fault."""
        self.mark()
        result = await team.arun(TASK, seed=SEED)
        assert result.stop == "answered"
        assert self.account(result.run) == (0, 0, 0)
        self.mark()
        return result


@asynccontextmanager
async def desk(
    column: str, folder: Path, *, journal: str | None = None, timeout: float = 20.0, tool: float | None = None
) -> AsyncGenerator[Desk]:
    """A team under a coordinator. timeout: of its models; tool: seconds that bob's tool may take, None: he has none."""
    if column == "learned":
        save_policy(Policy.fresh(Options(samples=(1, 3), width=2), AGENTS, seed=5), folder / "policy")
    if tool is not None:
        (folder / "tools.py").write_text(TOOLS)
        (folder / "program.py").write_text("print(42)")
    endpoint = Endpoint()
    await endpoint.start()
    proxies = {name: Proxy(endpoint.port) for name in AGENTS}
    for proxy in proxies.values():
        await proxy.start()
    own = {"bob": [{"name": "tools:look", "seconds": tool}]} if tool is not None else {}
    url = journal or f"sqlite:///{folder}/runs.db"
    at = {name: f"http://127.0.0.1:{proxy.port}/v1" for name, proxy in proxies.items()}
    spec = {
        "name": "desk",
        "models": {
            name: {"provider": "openai", "model": name, "base_url": at[name], "timeout": timeout} for name in AGENTS
        },
        "agents": {name: {"role": "solver", "model": name, "tools": own.get(name, [])} for name in AGENTS},
        "coordinator": COLUMNS[column],
        "retry": {"attempts": 3, "wait": 0.01, "longest": 0.1},
        "journal": url,
    }
    (folder / "team.yaml").write_text(json.dumps(spec))
    try:
        yield Desk(folder / "team.yaml", endpoint, proxies, url)
    finally:
        for listener in (*proxies.values(), endpoint):
            listener.stop()


def words(result: Result) -> list[tuple[str, str, str]]:
    """What a run came to, node by node, without what depends on the clock."""
    return [(node.kind, node.author, node.content) for node in result.nodes]


def same(result: Result, expected: Result) -> bool:
    """Whether two runs came to the same, whatever happened on the way."""
    return result.stop == "answered" and words(result) == words(expected)


def answers(result: Result) -> set[str]:
    """Who replied."""
    return {node.author for node in result.nodes if node.kind == "reply"}


def _asked(generation: dict[str, Any]) -> str:
    """What was asked, as the answer repeats it: `generation` as the journal keeps it."""
    tools = generation.get("tool_calls") or ()
    return str(tools[0]["id"]) if tools else str(generation.get("text", "")).removeprefix("it is ")
