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

from podium.orchestrator.journal import Journal
from podium.orchestrator.team import Team
from podium.protocols.events import Result
from podium.protocols.record import Finish, Generation
from tests.faults.account import counted, kept, repeated, write_policy
from tests.faults.endpoint import Endpoint
from tests.faults.listener import Listener
from tests.faults.matrix import AGENTS, COLUMNS, LEAD, models
from tests.faults.proxy import Proxy

TASK = "How much is it?"
SEED = 3
TIMEOUT = 20.0
"""Seconds of a model, where nothing else is said."""

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
    command = [sys.executable, "-S", "-c", program, str(HERE)]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        told(f"ended {key}")
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

    def hurry(self, model: str, timeout: float) -> None:
        """Give a model so many seconds, in teams from here on."""
        spec = json.loads(self.file.read_text())
        spec["models"][model]["timeout"] = timeout
        self.file.write_text(json.dumps(spec))

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
        try:
            return kept(journal, run)
        finally:
            journal.close()

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
        told = counted(file)
        file.unlink()
        return told

    async def reference(self, team: Team) -> Result:
        """The run as it is without a fault."""
        self.mark()
        result = await team.arun(TASK, seed=SEED)
        assert result.stop == "answered"
        assert self.account(result.run) == (0, 0, 0)
        self.mark()
        return result

    def check(self) -> None:
        """Raise what went wrong in the endpoint or on the way to it, if anything."""
        for listener in self.listeners():
            listener.check()

    def listeners(self) -> list[Listener]:
        """All ports of it."""
        return [*(proxy.listener for proxy in self.proxies.values()), self.endpoint.listener]


def last_request(result: Result, model: str) -> tuple[int, set[str]]:
    """Which of the requests to a model is its last, and what is completed by then, beside it or before it.

    The last is one request of its own, in the last step that its agent is in, or the coordinator's, to end the run.
    """
    step_of = {
        directive.id: decision.step
        for decision in result.decisions
        if not isinstance(decision.action, Finish)
        for directive in decision.action
    }
    calls = [
        (step_of[node.directive] + 0.5, node.author, repeated(call.result.text))
        for node in result.nodes
        if node.directive is not None
        for call in node.calls
        if isinstance(call.result, Generation)
    ]
    for decision in result.decisions:  # what it takes to decide comes before what is decided
        answers = [call.result.text for call in decision.calls if isinstance(call.result, Generation)]
        calls += [(decision.step, LEAD, repeated(text)) for text in answers]
    own = [step for step, asked, _ in calls if asked == model]
    last = max(own)
    assert own.count(last) == 1
    return len(own), {key for step, asked, key in calls if step < last or (step == last and asked != model)}


@asynccontextmanager
async def desk(
    column: str, folder: Path, *, journal: str | None = None, tool: float | None = None
) -> AsyncGenerator[Desk]:
    """A team under a coordinator. tool: seconds that bob's tool may take, None: he has none."""
    if column == "learned":
        write_policy(folder)
    if tool is not None:
        (folder / "tools.py").write_text(TOOLS)
        (folder / "program.py").write_text("print(42)")
    endpoint = Endpoint()
    await endpoint.listener.start()
    proxies = {name: Proxy(endpoint.listener.port) for name in models(column)}
    for proxy in proxies.values():
        await proxy.listener.start()
    own = {"bob": [{"name": "tools:look", "seconds": tool}]} if tool is not None else {}
    url = journal or f"sqlite:///{folder}/runs.db"
    at = {name: f"http://127.0.0.1:{proxy.listener.port}/v1" for name, proxy in proxies.items()}
    spec = {
        "name": "desk",
        "models": {
            name: {"provider": "openai", "model": name, "base_url": url, "timeout": TIMEOUT} for name, url in at.items()
        },
        "agents": {name: {"role": "solver", "model": name, "tools": own.get(name, [])} for name in AGENTS},
        "coordinator": COLUMNS[column],
        "retry": {"attempts": 3, "wait": 0.01, "longest": 0.1},
        "journal": url,
    }
    (folder / "team.yaml").write_text(json.dumps(spec))
    small = Desk(folder / "team.yaml", endpoint, proxies, url)
    try:
        yield small
    finally:
        for listener in small.listeners():
            await listener.stop()
        small.check()
