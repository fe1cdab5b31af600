"""What it costs to write a run down: steps per second of the journal, for one run at a time and for 300 at once.

A step is what a run loop writes in one transaction: a reply with its call (400 characters) and the decision that
follows, awaited until they are durable. Measured: wall clock and process CPU time per step, in interleaved rounds;
the median, and the best, which is what is left on a machine that others use too. Beside it stands what the disk takes
for one write of a page that is forced to it, without which "full" cannot be judged. The journals are made in `--folder`
(default: the system's temporary folder), which should be on the disk that is to be measured; `--postgresql URL` also
measures a server, in its tables of runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import secrets
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from podium.orchestrator.journal import End, Entry, Head, Journal
from podium.protocols.record import Call, Decision, Directive, Factor, Generation, Node, Sampling, Usage
from podium.protocols.task import Message

sys.path.append(str(Path(__file__).parents[1]))
from machine import forced_write, made

TEXT = "The answer is forty two. " * 16


@dataclass
class Figures:
    """One line of the table. microseconds, cpu: per step, one figure a round; steps_per_commit: of the last round."""

    synchronous: str
    writers: int
    microseconds: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    steps_per_commit: float = 0.0
    bytes_per_step: float = 0.0


def steps_of(run: str, steps: int) -> list[list[Entry]]:
    """What a run appends: its beginning, its steps, its end."""
    out: list[list[Entry]] = [[Head(run, "desk", (Message("user", TEXT),), 0.0), Node(0, (), "task", "user", TEXT)]]
    usage = Usage(300, 100, 1, 0.0001, 0.5)
    for number in range(1, steps + 1):
        directive = f"{run}.{number - 1}.0"
        call = Call(f"{directive}.0", "small", Generation(TEXT, usage, Sampling()))
        node = Node(number, (number - 1,), "reply", "solver", TEXT, "42", (call,), usage, 0.5 * number, directive)
        action = (Directive(f"{run}.{number}.0", "solver", instruction="Check the last answer."),)
        factors = (Factor("agent", 1, -0.5, (True,) * 5), Factor("stop", 0, -0.1, (True, True)))
        reasons = {f"p({name})": 0.25 for name in ("solver", "critic", "verifier", "stop")}
        made = Decision(
            f"{run}.{number}", number, action, "learned", 3, "sample", factors, -0.6, 0.5, reasons, number + 1
        )
        out.append([node, made])
    out.append([End("answered", steps, usage, 1.0)])
    return out


async def write(journal: Journal, run: str, appends: list[list[Entry]]) -> None:
    for entries in appends:
        await journal.append(run, entries)


async def crowd(journal: Journal, runs: dict[str, list[list[Entry]]]) -> None:
    await asyncio.gather(*(write(journal, run, appends) for run, appends in runs.items()))


def measure(url: str, figures: Figures, steps: int) -> None:
    """One round: `steps` steps in all, shared by the writers."""
    each = max(1, steps // figures.writers)
    runs = {run: steps_of(run, each) for run in (secrets.token_hex(6) for _ in range(figures.writers))}
    journal = Journal(f"{url}?synchronous={figures.synchronous}")
    began, used = time.perf_counter(), time.process_time()
    asyncio.run(crowd(journal, runs))
    took, used = time.perf_counter() - began, time.process_time() - used
    made = each * figures.writers
    figures.microseconds.append(1e6 * took / made)
    figures.cpu.append(1e6 * used / made)
    figures.steps_per_commit = journal.statistics["works"] / journal.statistics["transactions"]
    figures.bytes_per_step = len(journal.export(next(iter(runs)))) / each
    journal.close()


def table(name: str, figures: list[Figures]) -> None:
    print(f"\n{name:<12}{'writers':>8}{'us/step':>10}{'best':>8}{'steps/s':>10}{'CPU us':>8}{'steps/commit':>14}")
    for line in figures:
        median, best = statistics.median(line.microseconds), min(line.microseconds)
        cells = f"{line.writers:>8}{median:>10.0f}{best:>8.0f}{1e6 / median:>10,.0f}{statistics.median(line.cpu):>8.0f}"
        print(f"{line.synchronous:<12}{cells}{line.steps_per_commit:>14.1f}")


def main() -> None:
    """Measure and print; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1500, help="in a round, over all writers")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--postgresql", metavar="URL")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    kinds = [(synchronous, writers) for synchronous in ("full", "normal") for writers in (1, 300)]
    places: dict[str, list[Figures]] = {"sqlite": [Figures(*kind) for kind in kinds]}
    if arguments.postgresql:
        places["postgresql"] = [Figures(*kind) for kind in kinds]
    forced: list[float] = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            forced.append(forced_write(Path(folder)))
            for name, lines in places.items():
                for place, figures in enumerate(lines):
                    url = f"sqlite:///{folder}/{place}.db" if name == "sqlite" else arguments.postgresql
                    measure(url, figures, arguments.steps)
    disk = statistics.median(forced)
    print(f"Python {platform.python_version()}, {arguments.rounds} rounds of {arguments.steps} steps,", end=" ")
    print(f"{places['sqlite'][0].bytes_per_step:,.0f} bytes each; one forced write of a page: {disk:.0f} us")
    for name, lines in places.items():
        table(name, lines)
    if arguments.json:
        data = {
            **made("sqlalchemy"),
            "forced_write": forced,
            **{name: [asdict(line) for line in lines] for name, lines in places.items()},
        }
        arguments.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
