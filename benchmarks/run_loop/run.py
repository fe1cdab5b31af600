"""What the run loop itself costs: CPU per directive through the public `Team.run`, with a model that answers at once.

A team of three scripted agents, loaded from a team file as users write it, nothing switched off. Measured: process
CPU time per directive, for one to three directives a step and 10 to 200 turns, in interleaved rounds; the median, and
the minimum, which is what is left on a machine that others use too. Beside them stands what plain Python costs on the
machine in the same minutes (`plain`), to compare figures of two days or two machines.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

from podium import Team

FILE = """
name: loop
models: {{instant: {{provider: scripted, replies: {replies}, max_tokens: 16}}}}
agents:
  first: {{role: solver, model: instant}}
  second: {{role: critic, model: instant}}
  third: {{role: verifier, model: instant}}
coordinator: {coordinator}
budget: {{tokens: 100000000, calls: 10000}}
"""

TURNS = (10, 50, 200)

REPLIES = json.dumps([f"the answer is {number}" for number in range(600)])
"""In turn: an agent that says the same again and again would be stopped."""


def coordinators() -> dict[tuple[int, int], str]:
    """(directives per step, turns) -> a coordinator of the team file that runs just that."""
    agents = ("first", "second", "third")
    out: dict[tuple[int, int], str] = {}
    for turns in TURNS:
        order = [agents[turn % 3] for turn in range(turns)]
        out[1, turns] = json.dumps({"kind": "round_robin", "order": order})
        for width in (2, 3):
            out[width, turns] = json.dumps({"kind": "debate", "agents": agents[:width], "rounds": turns})
    return out


def plain() -> float:
    """Milliseconds of CPU for 30,000 additions in a loop: how fast this machine runs Python just now."""
    began, total = time.process_time(), 0
    for number in range(30_000):
        total += number
    return (time.process_time() - began) * 1e3


def main() -> None:
    """Measure and print; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    teams: dict[tuple[int, int], Team] = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, coordinator in coordinators().items():
            file = Path(folder) / f"{key[0]}-{key[1]}.yaml"
            file.write_text(FILE.format(coordinator=coordinator, replies=REPLIES))
            teams[key] = Team.load(file)
        figures: dict[tuple[int, int], list[float]] = {key: [] for key in teams}
        speed: list[float] = []
        for _ in range(arguments.rounds):
            speed.append(plain())
            for (width, turns), team in teams.items():
                runs = max(1, 600 // (turns * width))
                began = time.process_time()
                for _ in range(runs):
                    result = team.run("What is six times seven?")
                used = time.process_time() - began
                directives = sum(node.kind == "reply" for node in result.nodes)  # pyright: ignore[reportPossiblyUnboundVariable]
                assert directives == width * turns, (directives, width, turns)
                figures[width, turns].append(used / runs / directives * 1e6)
        for team in teams.values():
            team.close()
    for name, pick in (("median", statistics.median), ("minimum", min)):
        found = {key: pick(values) for key, values in figures.items()}
        print(f"microseconds of CPU per directive, {name} of {arguments.rounds}; Python {platform.python_version()}\n")
        print("directives per step " + "".join(f"{turns:>9} turns" for turns in TURNS) + "   200 / 10")
        for width in (1, 2, 3):
            cells = "".join(f"{found[width, turns]:>15.1f}" for turns in TURNS)
            print(f"{width:>19} {cells}{found[width, TURNS[-1]] / found[width, TURNS[0]]:>11.2f}")
        print()
    least, usual = min(speed), statistics.median(speed)
    print(f"30,000 additions in plain Python: median {usual:.2f} ms, minimum {least:.2f} ms of CPU")
    if arguments.json:
        data = {
            "plain_milliseconds": speed,
            "rows": [
                {"directives_per_step": width, "turns": turns, "microseconds": values}
                for (width, turns), values in figures.items()
            ],
        }
        arguments.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
