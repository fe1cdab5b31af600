"""From a run to what OpenAI's API calls it: a completion with its usage, or an error with its status.

The statuses are chosen by what OpenAI clients do with them. They retry 408, 409, 429 and every 5xx on their own, up to
twice, which would pay for a failing run three times over. So an error that another try would only repeat carries the
header `x-should-retry: false`, which the official clients obey, and a request that its budget does not hold is a 400,
as a prompt that is too long for a model is.

| what failed | status | code | tried again by clients |
|---|---|---|---|
| the request | 400 (404, 405, 413, 415) | a word each | no |
| the request was not sent in time | 408 | request_timeout | yes |
| the run's budget does not hold one call | 400 | budget_exceeded | no |
| the run reached its time limit without a reply | 504 | deadline_exceeded | no |
| the prompt of an agent does not fit its model | 400 | context_length_exceeded | no |
| a model's endpoint gives no answer | 502 | model_unreachable | yes |
| a model's endpoint refuses or sends garbage | 502 | model_error, model_garbage | no |
| the server stops while the run waits for a person | 503 | run_paused | no |
| a tool, the coordinator, anything else | 500 | tool_error, coordinator_error, run_failed, internal_error | no |
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podium.orchestrator.budget import Limits
from podium.protocols.errors import (
    BudgetExceeded,
    CoordinatorError,
    DeadlineExceeded,
    InputError,
    ModelError,
    ModelGarbage,
    ModelUnreachable,
    PromptTooLong,
    RunError,
    RunPaused,
    ToolError,
)
from podium.protocols.events import Result
from podium.protocols.openai_api import (
    INVALID,
    AgentUsage,
    AnswerMessage,
    Budget,
    Choice,
    Completion,
    Extension,
    FinishReason,
    RequestError,
    TokenUsage,
    error_body,
)
from podium.protocols.record import Generation

__all__ = ["Failure", "completion", "extension", "failure", "finish_reason", "tightened", "token_usage"]

LOG = logging.getLogger("podium.server")
SERVER = "server_error"
NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as HTTP: status, body in OpenAI's form, headers."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def token_usage(result: Result) -> TokenUsage:
    """Tokens of the whole team."""
    usage = result.usage
    return TokenUsage(
        prompt_tokens=usage.input_tokens, completion_tokens=usage.output_tokens, total_tokens=usage.tokens
    )


def extension(result: Result) -> Extension:
    """What OpenAI's form has no place for."""
    return Extension(
        run=result.run,
        team=result.team,
        stop=result.stop,
        steps=result.steps,
        calls=result.usage.calls,
        dollars=result.usage.dollars,
        seconds=round(result.seconds, 6),
        by_agent={
            name: AgentUsage(
                prompt_tokens=usage.input_tokens,
                completion_tokens=usage.output_tokens,
                calls=usage.calls,
                dollars=usage.dollars,
            )
            for name, usage in result.by_agent.items()
        },
    )


def finish_reason(result: Result) -> FinishReason:
    """length where the answering model hit its token cap; a run that its budget ended still gave a whole reply."""
    node = result.nodes[result.node]
    drawn = [node, *(result.nodes[parent] for parent in node.parents if result.nodes[parent].kind == "candidate")]
    for each in drawn:
        said = [call.result for call in each.calls if isinstance(call.result, Generation)]
        if said and each.content == result.answer:
            return "length" if said[-1].finish == "length" else "stop"
    return "stop"


def completion(result: Result, text: str, *, model: str, created: int, fingerprint: str) -> Completion:
    """A whole answer. text: of the answer, cut at the request's stop texts."""
    return Completion(
        id=f"chatcmpl-{result.run}",
        created=created,
        model=model,
        choices=(Choice(message=AnswerMessage(content=text), finish_reason=finish_reason(result)),),
        usage=token_usage(result),
        system_fingerprint=fingerprint,
        podium=extension(result),
    )


def tightened(limits: Limits, budget: Budget) -> Limits:
    """A team's limits under a request's budget: the lower of the two, each."""
    return Limits(
        min(limits.tokens, budget.tokens or limits.tokens),
        min(limits.calls, budget.calls or limits.calls),
        min(limits.seconds, budget.seconds or limits.seconds),
        min(limits.dollars, budget.dollars or limits.dollars),
    )


def failure(error: Exception) -> Failure:
    """What a client is told."""
    if isinstance(error, RequestError):
        return Failure(error.status, error_body(str(error), param=error.param, code=error.code))
    if isinstance(error, InputError):
        return Failure(400, error_body(str(error), code="invalid_request"))
    if isinstance(error, RunPaused):
        body = error_body(str(error), type=SERVER, code="run_paused", run=error.run)
        return Failure(503, body, {"x-request-id": error.run, **NO_RETRY})
    if not isinstance(error, RunError):
        LOG.exception("internal error", exc_info=error)
        body = error_body("internal error; the server's log has the details", type=SERVER, code="internal_error")
        return Failure(500, body, NO_RETRY)
    status, code = _run_failure(error)
    body = error_body(str(error), type=INVALID if status == 400 else SERVER, code=code, run=error.run or None)
    headers = {"x-request-id": error.run} if error.run else {}
    return Failure(status, body, headers if code == "model_unreachable" else {**headers, **NO_RETRY})


def _run_failure(error: RunError) -> tuple[int, str]:
    """Status and code."""
    match error:
        case DeadlineExceeded():
            return 504, "deadline_exceeded"
        case BudgetExceeded():
            return 400, "budget_exceeded"
        case ModelUnreachable():
            return 502, "model_unreachable"
        case ModelGarbage():
            return 502, "model_garbage"
        case PromptTooLong():
            return 400, "context_length_exceeded"
        case ModelError():
            return 502, "model_error"
        case ToolError():
            return 500, "tool_error"
        case CoordinatorError():
            return 500, "coordinator_error"
        case _:
            return 500, "run_failed"
