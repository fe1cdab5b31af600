"""What telemetry costs: CPU per directive through `Team.run`, off and on, with a model that answers at once.

The team of the run loop's benchmark, four times in one process, in interleaved rounds, every other one in the opposite
order: without telemetry; with spans, which are batched as usual and kept in memory by the exporter; with figures, read
as Prometheus does once a round; and with both. A directive has two spans (its own and the model call's) and a third of
its own where it is the only one of its step (the decision's). What an exporter does to send spans elsewhere comes on
top, in a thread of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

from podium.agents.providers import build_model
from podium.orchestrator.team import Team
from podium.orchestrator.team_file import TeamSpec, parse_team
from podium.orchestrator.telemetry.exporting import Scrape, scraped
from podium.orchestrator.telemetry.watch import Telemetry

sys.path.append(str(Path(__file__).parents[1]))
from instant import AGENTS, TASK, instant
from machine import made

TURNS = 50
RUNS = 4
WAYS = ("off", "traces", "metrics", "both")


class Watched:
    """A team in one of the ways, with what has to be emptied between rounds."""

    def __init__(self, way: str, spec: TeamSpec) -> None:
        self.exporter, self.scrape = InMemorySpanExporter(), Scrape()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(BatchSpanProcessor(self.exporter, max_queue_size=100_000))
        self.meters = MeterProvider([self.scrape.reader], shutdown_on_exit=False)
        telemetry = None
        if way != "off":
            telemetry = Telemetry(
                spec,
                tracers=self.tracers if way in ("traces", "both") else NoOpTracerProvider(),
                meters=self.meters if way in ("metrics", "both") else NoOpMeterProvider(),
            )
        models = {name: build_model(name, model.model_dump()) for name, model in spec.models.items()}
        self.team = Team(spec, models, telemetry=telemetry)

    def round(self, width: int) -> float:
        """Microseconds of CPU per directive, spans flushed and figures read once."""
        began = time.process_time()
        for _ in range(RUNS):
            result = self.team.run(TASK)
            assert sum(node.kind == "reply" for node in result.nodes) == width * TURNS
        self.tracers.force_flush()
        scraped([self.scrape], "")
        used = time.process_time() - began
        self.exporter.clear()
        return used / RUNS / width / TURNS * 1e6

    def close(self) -> None:
        self.team.close()
        self.tracers.shutdown()
        self.meters.shutdown()


def main() -> None:
    """Measure and print; with --json write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: dict[tuple[int, str], list[float]] = {}
    for width in (1, 3):
        spec = parse_team(instant({"kind": "debate", "agents": AGENTS[:width], "rounds": TURNS}))
        ways = {way: Watched(way, spec) for way in WAYS}
        for each in ways.values():
            each.round(width)
        for number in range(arguments.rounds):
            for way in WAYS[::-1] if number % 2 else WAYS:
                figures.setdefault((width, way), []).append(ways[way].round(width))
        for each in ways.values():
            each.close()
    print(f"microseconds of CPU per directive, {arguments.rounds} rounds; Python {platform.python_version()}\n")
    print("directives per step             " + "".join(f"{way:>10}" for way in WAYS))
    for width in (1, 3):
        for name, pick in (("median", statistics.median), ("minimum", min)):
            cells = "".join(f"{pick(figures[width, way]):>10.1f}" for way in WAYS)
            print(f"{width:>19}  {name:<10} {cells}")
    if arguments.json:
        rows = [
            {"directives_per_step": width, "telemetry": way, "microseconds": [round(value, 2) for value in values]}
            for (width, way), values in figures.items()
        ]
        data = {**made("opentelemetry-sdk"), "turns": TURNS, "runs_per_round": RUNS, "rows": rows}
        arguments.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
