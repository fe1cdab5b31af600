"""The figures: one set of OpenTelemetry instruments, whoever reads them.

Names, units and buckets of gen_ai.* are those of OpenTelemetry's conventions for generative AI (development status,
github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai); what they have no name for is under podium.*. A
team is their workflow, its name is on every figure, so teams that are served together can be told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from podium.protocols.record import Usage

__all__ = ["AGENT", "ERROR", "MODEL", "OPERATION", "PROVIDER", "TOOL", "WORKFLOW", "Instruments", "Labels"]

OPERATION = "gen_ai.operation.name"
WORKFLOW = "gen_ai.workflow.name"
AGENT = "gen_ai.agent.name"
PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"
TOOL = "gen_ai.tool.name"
ERROR = "error.type"

TOKEN_BUCKETS = tuple(4**power for power in range(14))
"""1 to 67,108,864 tokens."""
CALL_BUCKETS = tuple(0.01 * 2**power for power in range(14))
"""0.01 to 81.92 seconds: a model call, a tool."""
AGENT_BUCKETS = tuple(0.1 * 2**power for power in range(13))
"""0.1 to 409.6 seconds: a directive, tools and retries included."""
RUN_BUCKETS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
"""Seconds: a run."""

Labels = dict[str, str | int]


class Instruments:
    """The instruments of one team.

    durations: histograms in seconds, by operation. tokens: histogram per call and kind. Counters: dollars, decisions,
    runs by stop, requests that the budget refused, attempts that failed, retries. open: which breakers are open.
    """

    def __init__(self, meter: Meter, team: str, open: Callable[[], Iterable[tuple[Labels, bool]]]) -> None:
        def opened(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(int(is_open), {WORKFLOW: team, **labels}) for labels, is_open in open()]

        self._team = team
        self.durations = {
            name: meter.create_histogram(f"gen_ai.{metric}", "s", what, explicit_bucket_boundaries_advisory=buckets)
            for name, metric, what, buckets in (
                ("chat", "client.operation.duration", "GenAI operation duration.", CALL_BUCKETS),
                ("execute_tool", "execute_tool.duration", "Duration of a tool execution.", CALL_BUCKETS),
                ("invoke_agent", "invoke_agent.duration", "Duration of an agent invocation.", AGENT_BUCKETS),
                ("invoke_workflow", "workflow.duration", "GenAI workflow duration: of a run.", RUN_BUCKETS),
            )
        }
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKEN_BUCKETS,
        )
        self.dollars = meter.create_counter("podium.dollars", "{dollar}", "Dollars, by the prices of the models.")
        self.decisions = meter.create_counter("podium.decisions", "{decision}", "Decisions of coordinators.")
        self.runs = meter.create_counter("podium.runs", "{run}", "Runs, by why they ended.")
        self.refused = meter.create_counter("podium.requests.refused", "{request}", "Requests the budget did not hold.")
        self.failed = meter.create_counter("podium.attempts.failed", "{attempt}", "Attempts to ask that failed.")
        self.retries = meter.create_counter("podium.attempts.retried", "{attempt}", "Attempts after the first one.")
        meter.create_observable_gauge(
            "podium.breaker.open", [opened], "{breaker}", "1 while a circuit breaker is open."
        )

    def used(self, usage: Usage, labels: Labels) -> None:
        """What one model call used. labels: model, agent and the like."""
        labels = {OPERATION: "chat", WORKFLOW: self._team, **labels}
        self.tokens.record(usage.input_tokens, {**labels, "gen_ai.token.type": "input"})
        self.tokens.record(usage.output_tokens, {**labels, "gen_ai.token.type": "output"})
        self.dollars.add(usage.dollars, labels)
