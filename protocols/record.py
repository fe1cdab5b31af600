"""The record of a run: an append-only graph of nodes, and the decisions that grew it.

Everything else is a view of this record. The prompt of an agent, the stream a client reads, a checkpoint, a trace and
a training sample all name nodes by id; nobody copies the conversation. That keeps a step as cheap at turn 200 as at
turn 2, and makes "what happened" one question with one answer.

These are frozen slots dataclasses (see `podium.protocols.frozen`) because they are made on the hot path; data that
enters from outside (YAML, HTTP) is checked by pydantic first and turned into these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Literal

from podium.protocols.frozen import plain

NodeId = int
"""Position of a node in its run: dense, from 0; node 0 is the task."""

Kind = Literal["task", "decision", "plan", "candidate", "reply", "failure", "tool", "human", "summary", "team"]
Objective = Literal["propose", "critique", "verify", "refine", "inform", "ask", "plan", "aggregate"]
Reduce = Literal["none", "vote"]
Detail = Literal["short", "normal", "full"]
Plan = Literal["none", "keep", "renew"]
StopReason = Literal["stop", "length", "tool", "cancelled"]

OBJECTIVES: tuple[Objective, ...] = ("propose", "critique", "verify", "refine", "inform", "ask", "plan", "aggregate")
DETAILS: tuple[Detail, ...] = ("short", "normal", "full")
PLANS: tuple[Plan, ...] = ("none", "keep", "renew")


@plain
class Usage:
    """What one or more calls used. tokens: counts; dollars: by the model's price; seconds: wall clock of the call."""

    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    dollars: float = 0.0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.calls + other.calls,
            self.dollars + other.dollars,
            self.seconds + other.seconds,
        )

    @staticmethod
    def total(usages: Iterable[Usage]) -> Usage:
        """The sum of any number of usages."""
        asked = answered = calls = 0
        dollars = seconds = 0.0
        for each in usages:
            asked += each.input_tokens
            answered += each.output_tokens
            calls += each.calls
            dollars += each.dollars
            seconds += each.seconds
        return Usage(asked, answered, calls, dollars, seconds)


NO_USAGE = Usage()


@plain
class Sampling:
    """How a generation was sampled. temperature: 0 is greedy; top_p in (0, 1]; seed: None leaves it to the model."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int | None = None
    stop: tuple[str, ...] = ()


@plain
class ToolCall:
    """A tool that a model asks for. arguments: a JSON object as text, exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


@plain
class Generation:
    """One completion of a model.

    prompt_ids, ids: token ids as the sampler used and returned them (None where the endpoint gives none).
    log_probs: one per completion token, in nats. log_prob_kind: "raw" is the model's own distribution, "processed" is
    after temperature and truncation. versions: (first token, weight version) spans. finish: why it ended.
    """

    text: str
    usage: Usage
    sampling: Sampling
    finish: StopReason = "stop"
    prompt_ids: tuple[int, ...] | None = None
    ids: tuple[int, ...] | None = None
    log_probs: tuple[float, ...] | None = None
    log_prob_kind: Literal["raw", "processed"] = "raw"
    versions: tuple[tuple[int, int], ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


@plain
class ToolResult:
    """What a tool returned, as the text that the model is shown. failed: the tool raised or ran out of time."""

    text: str
    failed: bool = False


@plain
class Asked:
    """What a model was asked that no view tells, as what it adds to the question before.

    kept: so many characters it has in common with that one, from the start; added: what follows them.
    """

    kept: int = 0
    added: str = ""

    @staticmethod
    def after(before: str, question: str) -> Asked:
        """A question as what it adds to the one before."""
        shorter = min(len(before), len(question))
        kept = next((place for place in range(shorter) if before[place] != question[place]), shorter)
        return Asked(kept, question[kept:])

    def whole(self, before: str) -> str:
        """The question. before: the one that it adds to."""
        return before[: self.kept] + self.added


@plain
class Call:
    """One model or tool call, committed to the record when it is complete. target: the model's or the tool's name.

    error: why it failed; its result is then empty. asked: the question, where a coordinator asked a model to decide; an
    agent's prompt is a view of the record.
    """

    id: str
    target: str
    result: Generation | ToolResult
    attempt: int = 1
    error: str | None = None
    asked: Asked | None = None


@plain
class Begun:
    """A tool that must not run twice is about to run. call: its id; directive, sample: for which request it runs."""

    directive: str
    call: str
    tool: str
    arguments: str = ""
    sample: int = 0


@plain
class Node:
    """One message of the run's graph.

    answer: the part of the content that votes and agreement compare, None where there is none. clock: seconds since
    the run began. usage: what making this node cost (NO_USAGE for task and summary nodes).
    """

    id: NodeId
    parents: tuple[NodeId, ...]
    kind: Kind
    author: str
    content: str
    answer: str | None = None
    calls: tuple[Call, ...] = ()
    usage: Usage = NO_USAGE
    clock: float = 0.0
    directive: str | None = None


@plain
class View:
    """Which nodes an agent is shown, besides the task. Constant size, however long the run is.

    kind: "all" replies so far, the "last" `count` replies, "only" the given ids, or "none". Nodes that come after
    `upto` are never shown (None: up to now). What the topology forbids is taken out by the engine.
    """

    kind: Literal["all", "last", "only", "none"] = "all"
    count: int = 1
    only: tuple[NodeId, ...] = ()
    upto: NodeId | None = None


ALL = View("all")
LAST = View("last")
NOTHING = View("none")


@plain
class Compute:
    """Test-time compute of a directive.

    samples: how many candidates are drawn; reduce: who picks among them ("none" needs samples == 1); max_tokens: cap
    of each candidate, below that of its model; None leaves it to that; temperature: None leaves it to the model's own.
    plan: "renew" has the agent open its reply with a new plan, which becomes a node of kind "plan" before the reply;
    "keep" shows it the newest plan that it may see, if there is one; "none" says nothing about plans.
    """

    samples: int = 1
    reduce: Reduce = "none"
    max_tokens: int | None = None
    temperature: float | None = None
    plan: Plan = "none"


ONE = Compute()


@plain
class Directive:
    """What one agent is told to do now. answer: this reply is the run's answer, and is what gets streamed."""

    id: str
    agent: str
    objective: Objective = "propose"
    instruction: str = ""
    visible: View = ALL
    detail: Detail = "normal"
    compute: Compute = ONE
    answer: bool = False


@plain
class Finish:
    """End the run with an existing node as its answer."""

    answer: NodeId


@plain
class Factor:
    """One sampled choice of a decision. log_prob: nats, under the mask; mask: which choices were allowed."""

    head: str
    choice: int
    log_prob: float
    mask: tuple[bool, ...] = ()


Action = tuple[Directive, ...] | Finish


NO_REASONS: Mapping[str, float] = MappingProxyType({})


@plain
class Decision:
    """One macro-action of a coordinator, with everything needed to explain it, replay it and learn from it.

    log_prob: the sum over factors. value: expected return before acting, None where the policy has no critic.
    reasons: scalars only (probabilities, beliefs, gaps), by name. seen: how many nodes the record had.
    budget_left: fractions of tokens, calls, seconds and dollars.
    calls: model calls the coordinator itself made to decide; the run pays for them.
    """

    id: str
    step: int
    action: Action
    policy: str
    version: int = 0
    mode: Literal["sample", "greedy"] = "greedy"
    factors: tuple[Factor, ...] = ()
    log_prob: float = 0.0
    value: float | None = None
    reasons: Mapping[str, float] = field(default_factory=lambda: NO_REASONS)
    seen: int = 0
    budget_left: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    calls: tuple[Call, ...] = ()
