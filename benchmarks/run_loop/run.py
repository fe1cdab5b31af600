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
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from podium import Team

sys.path.append(str(Path(__file__).parents[1]))
from instant import AGENTS, TASK, instant
from machine import made, plain

TURNS = (10, 50, 200)


def coordinators() -> dict[tuple[int, int], dict[str, Any]]:
    """(directives per step, turns) -> a coordinator of the team file that runs just that."""
    out: dict[tuple[int, int], dict[str, Any]] = {}
    for turns in TURNS:
        out[1, turns] = {"kind": "round_robin", "order": [AGENTS[turn % 3] for turn in range(turns)]}
        for width in (2, 3):
            out[width, turns] = {"kind": "debate", "agents": AGENTS[:width], "rounds": turns}
    return out


def main() -> None:
    """Measure and print; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    teams: dict[tuple[int, int], Team] = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, coordinator in coordinators().items():
            file = Path(folder) / f"{key[0]}-{key[1]}.yaml"
            file.write_text(instant(coordinator))
            teams[key] = Team.load(file)
        figures: dict[tuple[int, int], list[float]] = {key: [] for key in teams}
        speed: list[float] = []
        for _ in range(arguments.rounds):
            speed.append(plain())
            for (width, turns), team in teams.items():
                runs = max(1, 600 // (turns * width))
                began = time.process_time()
                for _ in range(runs):
                    result = team.run(TASK)
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
            **made(),
            "plain_milliseconds": speed,
            "rows": [
                {"directives_per_step": width, "turns": turns, "microseconds": values}
                for (width, turns), values in figures.items()
            ],
        }
        arguments.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
