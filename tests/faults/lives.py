"""Lives of a run: each is a process of its own, which is killed with SIGKILL where it is told to, or ends.

    python -m tests.faults.lives        one JSON object a line: in, a life to live; out, how its process ended

Importing takes longer than living. So one process imports, and each life is a fork of it: with its own event loop, its
own journal and its own threads, and killed as any other. Each model writes one line to a file when it is called and one
when it answers, so the calls of all lives are counted by something that no process can lose. Its answers depend on all
that it is shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
import zlib
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from podium.agents.model import Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.journal import Journal
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.protocols.events import Result
from podium.protocols.record import Generation, Sampling
from tests.faults.account import SAID, chosen, words
from tests.faults.matrix import AGENTS, LEAD

MODELS = (*AGENTS, LEAD)
MOMENT = 0.05
"""Seconds after which calls that were made together have begun, and those that came back are in their run's hands."""


@dataclass(frozen=True, slots=True)
class Life:
    """folder: of the team file; where: it dies after so many `steps`, inside of the last of them, or never.

    The step before which nothing is done counts too: a life that dies after one step has decided, and done nothing.
    Where the coordinator asks a model, a life may also die "asking" it for so many times, or having "heard" what it
    says: there is a decision, and nothing of it is written. run: to be resumed; empty: a new one.
    """

    folder: str
    steps: int = 0
    where: str = "never"
    run: str = ""


@dataclass(frozen=True, slots=True)
class Death:
    """How a life ended. code: as of `subprocess`; told: what went wrong. The rest of one that nobody ended:

    run: its id; came: stop, answer and words, node by node; done: calls that were completed before each step, and
    before the end.
    """

    code: int
    run: str = ""
    came: tuple[Any, ...] = ()
    done: tuple[int, ...] = ()
    told: str = ""


class _Mortal:
    """What a life counts, and where it ends."""

    def __init__(self, life: Life, journal: Journal) -> None:
        self.life = life
        self.done: list[int] = []
        self.began = self.ended = 0
        self._doomed = False
        self._journal = journal
        self._calls = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def commit(self, log: RunLog) -> None:
        """As the run's log does; then it may be over, or before."""
        if self.life.where == "heard" and len(self.done) + 1 == self.life.steps:
            await self._die()
        await _commit(log)
        if self._over():
            _kill()

    async def end(self, log: RunLog, result: Result, why: str) -> None:
        """It may be over; else as the run's log does."""
        if self._over():
            await self._die()
        await _end(log, result, why)

    def _over(self) -> bool:
        self.done.append(self.ended)
        return self.life.where == "after" and len(self.done) == self.life.steps

    async def begin(self, call: str) -> None:
        """A call begins. The first one of the last step never ends: it outlives those beside it, then it is over."""
        os.write(self._calls, f"began {call}\n".encode())
        self.began += 1
        if self.life.where == "asking" and call.startswith(LEAD) and len(self.done) + 1 == self.life.steps:
            await self._die()
        if self.life.where == "inside" and len(self.done) == self.life.steps and not self._doomed:
            self._doomed = True
            await asyncio.sleep(MOMENT)
            while self.began - self.ended > 1:  # noqa: ASYNC110
                await asyncio.sleep(MOMENT)
            await asyncio.sleep(MOMENT)
            await self._die()

    def answer(self, call: str) -> None:
        """A call was completed."""
        os.write(self._calls, f"ended {call}\n".encode())
        self.ended += 1

    async def _die(self) -> None:
        """Killed, when what was handed to the journal is written."""
        while not (runs := self._journal.entries(unfinished=True)):  # noqa: ASYNC110 - its head is on its way
            await asyncio.sleep(MOMENT)
        await self._journal.append(runs[0].run, ())
        _kill()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_commit, _end = RunLog.commit, RunLog.end


class _Counted(ScriptedModel):
    """Answers with what it was shown and asked for, in a word, and has that counted."""

    def __init__(self, name: str, mortal: _Mortal) -> None:
        super().__init__("unused", name)
        self.mortal = mortal

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        self.calls += 1
        return self._counted(prompt, sampling)

    async def _counted(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[str | Generation]:
        shown = json.dumps([(message.role, message.content) for message in prompt.messages])
        call = f"{self.name} {zlib.crc32(shown.encode()) % 10**6} {sampling.seed}"
        said = chosen(shown, call) if self.name == LEAD else SAID + call
        await self.mortal.begin(call)
        await asyncio.sleep(0.01 * (1 + MODELS.index(self.name)))
        yield said
        self.mortal.answer(call)
        yield self._generation(said, prompt, sampling)


def _live(life: Life) -> dict[str, Any]:
    """A run, from its beginning or from where it was left."""
    os.chdir(life.folder)
    spec = load_team("team.yaml")
    journal = Journal(spec.journal or "")
    mortal = _Mortal(life, journal)

    async def commit(self: RunLog) -> None:
        await mortal.commit(self)

    def end(self: RunLog, result: Result, why: str = "") -> asyncio.Future[None]:
        return asyncio.ensure_future(mortal.end(self, result, why))

    RunLog.commit, RunLog.end = commit, end
    with Team(spec, {name: _Counted(name, mortal) for name in spec.models}, journal=journal) as team:
        result = team.resume(life.run) if life.run else team.run("how much?", seed=3)
    return {"run": result.run, "came": [result.stop, result.answer, words(result)], "done": mortal.done}


def _forked(life: Life) -> Death:
    """Live it in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 0
        try:
            said = _live(life)
        except BaseException:
            said, code = {"told": traceback.format_exc()}, 1
        os.write(writing, json.dumps(said).encode())
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        heard = json.loads(pipe.read() or "{}")
    _, status = os.waitpid(child, 0)
    return Death(os.waitstatus_to_exitcode(status), **heard)


def main() -> None:
    """Live what is asked for."""
    for line in sys.stdin:
        print(json.dumps(asdict(_forked(Life(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
