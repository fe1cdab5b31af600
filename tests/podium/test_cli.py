"""What all commands share: the version, output that cannot be written, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from podium.version import VERSION
from tests.podium.test_cli_run import never_answering

HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # nohup is inherited
PODIUM = [sys.executable, "-c", f"{HEARD}; from podium.__main__ import main; main()"]

TEAM = """\
name: desk
models:
  slow: {{provider: openai, base_url: "{url}", model: q, timeout: 60}}
agents:
  ann: {{role: solver, model: slow}}
  bob: {{role: solver, model: slow}}
coordinator: {{kind: vote}}
"""


def podium(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PODIUM, *args], capture_output=True, text=True, check=False, timeout=60)


def test_the_version() -> None:
    assert podium("--version").stdout == f"podium {VERSION}\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("command", ["schema", "--help"])
def test_output_to_a_full_disk_is_one_line(command: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PODIUM, command], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "the output cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_a_closed_pipe_ends_a_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        done = subprocess.run([*PODIUM, "schema"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("eval",), "running own ...\nstopped by Ctrl-C\n"),
        (
            ("record", "-o", "pool.jsonl", "--samples", "2"),
            "stopped by Ctrl-C; replies that came are kept, so the same command goes on from here\n",
        ),
    ],
)
def test_ctrl_c_stops_many_runs_in_one_line(command: tuple[str, ...], told: str, tmp_path: Path) -> None:
    tasks = [{"prompt": f"What is {number} + 1?", "reference": number + 1} for number in range(20)]
    (tmp_path / "tasks.jsonl").write_text("\n".join(map(json.dumps, tasks)))
    with never_answering() as (url, asked):
        (tmp_path / "team.yaml").write_text(TEAM.format(url=url))
        arguments = [*PODIUM, *command, "team.yaml", "--tasks", "jsonl:tasks.jsonl"]
        process = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert asked.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (1, "", told)


def test_ctrl_c_before_the_command_is_loaded_is_no_traceback() -> None:
    loads = "class Loads:\n  def find_spec(self, name, *_):\n    if name == 'podium.cli': raise KeyboardInterrupt"
    code = f"import sys\n{loads}\nsys.meta_path.insert(0, Loads())\nfrom podium.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "stopped by Ctrl-C\n")
