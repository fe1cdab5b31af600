"""Processes that are killed with SIGKILL after every single step of a run, and the commands that go on with it.

The model of these teams is a function that writes one line to a file when it is called and one when it answers, so the
calls of all processes are counted by something that no process can lose.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(240)

AGENTS = ("ann", "bob", "cyd")

COORDINATORS: dict[str, dict[str, Any]] = {
    "sequential": {"kind": "sequential"},
    "parallel": {"kind": "vote"},
    "debate": {"kind": "debate", "rounds": 2},
    "learned": {"kind": "learned", "policy": "policy", "mode": "sample"},
}

PROGRAM = """
import os, signal, sys, asyncio
from pathlib import Path
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.run_log import RunLog
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import load_team
from podium.orchestrator.journal import Journal

file, steps, where, run = sys.argv[1:5]
calls = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
commits = 0

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

class Counted(ScriptedModel):
    async def _played(self, prompt, sampling):
        shown = "".join(message.content for message in prompt.messages)
        name = f"{prompt.agent} {sum(map(ord, shown)) % 997} {sampling.seed}"
        os.write(calls, f"began {name}\\n".encode())
        if where == "inside" and commits == int(steps):
            await asyncio.sleep(0.2)  # those that run beside it are done, and written
            kill()
        await asyncio.sleep(0.01 * (1 + AGENTS.index(prompt.agent)))
        async for item in super()._played(prompt, sampling):
            yield item
        os.write(calls, f"ended {name}\\n".encode())

commit = RunLog.commit

async def counted(self):
    global commits
    await commit(self)
    commits += 1
    if where == "after" and commits == int(steps):
        kill()

RunLog.commit = counted
AGENTS = ("ann", "bob", "cyd")
spec = load_team(file)
models = {name: Counted(lambda prompt: f"{prompt.agent} says {len(prompt.messages)}", name) for name in AGENTS}
with Team(spec, models, journal=Journal(spec.journal)) as team:
    result = team.resume(run) if run != "-" else team.run("how much?", seed=3)
print(result.run, result.answer, result.steps, flush=True)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def write_team(folder: Path, coordinator: dict[str, Any]) -> None:
    if coordinator["kind"] == "learned":
        from podium.orchestrator.learned.options import Options
        from podium.orchestrator.learned.saved import Policy, save_policy

        save_policy(Policy.fresh(Options(samples=(1, 3), width=2), AGENTS, seed=5), folder / "policy")
    team = {
        "name": "desk",
        "models": {name: {"provider": "scripted", "replies": ["unused"]} for name in AGENTS},
        "agents": {name: {"role": "solver", "model": name} for name in AGENTS},
        "coordinator": coordinator,
        "journal": "sqlite:///runs.db",
    }
    (folder / "team.yaml").write_text(json.dumps(team))


def python(program: Path, steps: int, where: str, run: str = "-") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(program), "team.yaml", str(steps), where, run]
    return subprocess.run(command, cwd=program.parent, capture_output=True, text=True, timeout=60, check=False)


def lines(folder: Path) -> Counter[str]:
    """How often each thing happened, over all processes; empties the file."""
    file = folder / "calls"
    found = Counter(file.read_text().splitlines())
    file.unlink()
    return found


def unfinished(folder: Path) -> list[dict[str, Any]]:
    from podium.orchestrator.journal import Journal

    journal = Journal(f"sqlite:///{folder}/runs.db")
    found = [{"run": each.run, "stop": each.stop} for each in journal.entries(unfinished=True)]
    journal.close()
    return found


@pytest.mark.parametrize("where", ["after", "inside"])
@pytest.mark.parametrize("kind", COORDINATORS)
def test_a_run_whose_process_is_killed_after_any_step_is_resumed(kind: str, where: str, program: Path) -> None:
    folder = program.parent
    write_team(folder, COORDINATORS[kind])
    whole = python(program, 0, "never")
    assert whole.returncode == 0, whole.stderr
    _, *expected = whole.stdout.split(maxsplit=1)
    calls = lines(folder)
    kills = 0
    while True:
        killed = python(program, kills + 1, where)
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        kills += 1
        (left,) = unfinished(folder)
        again = python(program, 0, "never", left["run"])
        assert again.returncode == 0, again.stderr
        assert again.stdout.split(maxsplit=1) == [left["run"], *expected]
        made = lines(folder)
        ended = Counter({name: count for name, count in made.items() if name.startswith("ended")})
        assert ended == Counter({name: count for name, count in calls.items() if name.startswith("ended")})
        if where == "after":  # nothing was in flight
            assert made == calls
        assert unfinished(folder) == []
    lines(folder)
    assert kills >= (1 if kind == "parallel" else 2)
