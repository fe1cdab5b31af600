"""Lives of a run: each is a process of its own, which is killed with SIGKILL where it is told to, or ends.

    python -m tests.faults.lives        one JSON object a line: in, a life to live; out, how its process ended

Importing takes longer than living. So one process imports, and each life is a fork of it: with its own event loop, its
own journal and its own threads, and killed as any other. The agents' model writes one line to a file when it is called
and one when it answers, so the calls of all lives are counted by something that no process can lose.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

from podium.agents.model import Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.journal import Journal
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.protocols.record import Generation, Sampling
from tests.faults.matrix import AGENTS

LONG_ENOUGH = 0.2
"""Seconds after which calls that run beside another are done, and written."""


@dataclass(frozen=True, slots=True)
class Life:
    """folder: of the team file; steps: to live; where: dies after the last of them, inside of the next, or never.

    run: to be resumed; empty: a new one.
    """

    folder: str
    steps: int = 0
    where: str = "never"
    run: str = ""


@dataclass(frozen=True, slots=True)
class Death:
    """How a life ended. code: as of `subprocess`; said: run, answer and steps; told: what went wrong."""

    code: int
    said: tuple[str, ...] = ()
    told: str = ""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Mortal:
    """What a life counts, and where it ends."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.commits = 0
        self.calls = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def commit(self, log: RunLog) -> None:
        """As the run's log does; then it may be over."""
        await _commit(log)
        self.commits += 1
        if self.life.where == "after" and self.commits == self.life.steps:
            _kill()


_commit = RunLog.commit


class _Counted(ScriptedModel):
    """Says who was shown how much, and keeps count."""

    def __init__(self, name: str, mortal: _Mortal) -> None:
        super().__init__(lambda prompt: f"{prompt.agent} says {len(prompt.messages)}", name)
        self.mortal = mortal

    async def _played(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        life = self.mortal.life
        shown = "".join(message.content for message in prompt.messages)
        name = f"{prompt.agent} {sum(map(ord, shown)) % 997} {sampling.seed}"
        os.write(self.mortal.calls, f"began {name}\n".encode())
        if life.where == "inside" and self.mortal.commits == life.steps:
            await asyncio.sleep(LONG_ENOUGH)
            _kill()
        await asyncio.sleep(0.01 * (1 + AGENTS.index(prompt.agent)))
        async for item in super()._played(prompt, sampling):
            yield item
        os.write(self.mortal.calls, f"ended {name}\n".encode())


def _live(life: Life) -> tuple[str, ...]:
    """A run, from its beginning or from where it was left; its id, its answer and its steps."""
    os.chdir(life.folder)
    mortal = _Mortal(life)

    async def commit(self: RunLog) -> None:
        await mortal.commit(self)

    RunLog.commit = commit
    spec = load_team("team.yaml")
    with Team(spec, {name: _Counted(name, mortal) for name in AGENTS}, journal=Journal(spec.journal or "")) as team:
        result = team.resume(life.run) if life.run else team.run("how much?", seed=3)
    return result.run, result.answer, str(result.steps)


def _forked(life: Life) -> Death:
    """Live it in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = json.dumps({"said": _live(life)})
        except BaseException:
            said = json.dumps({"told": traceback.format_exc()})
        os.write(writing, said.encode())
        os._exit(0 if "said" in said[:8] else 1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        heard = json.loads(pipe.read() or "{}")
    _, status = os.waitpid(child, 0)
    return Death(os.waitstatus_to_exitcode(status), tuple(heard.get("said", ())), heard.get("told", ""))


def main() -> None:
    """Live what is asked for."""
    for line in sys.stdin:
        print(json.dumps(asdict(_forked(Life(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
