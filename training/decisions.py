"""The decisions of a model that leads, as training samples: what it was asked, what it wrote, what came of that.

A record keeps each question as what it adds to the one before, and each completion with the token ids and
log-probabilities that the server gave. So the policy gradient of a coordinator's tokens needs the record alone: one
sample for each completion, those that were no decision included, since a repair is a decision of its own and a wrong
form has its price.

Where the server decoded under a schema (`structured` is "json_schema"), tokens that it forbids had probability 0, and
the log-probs that are kept are those under the schema, raw ones too (vLLM masks before it takes them). A loss that
works the log-probs out anew, without that mask, has another distribution than the one that was sampled. Train with
`structured: none`, where decisions are checked and repaired all the same, or with the mask in the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from podium.orchestrator.coordinators.decision_prompt import CALL
from podium.orchestrator.coordinators.llm import question_in
from podium.protocols.errors import InputError
from podium.protocols.events import Result
from podium.protocols.record import Action, Decision, Generation
from podium.protocols.task import Message

__all__ = ["LLMDecision", "llm_decisions"]


@dataclass(frozen=True, slots=True)
class LLMDecision:
    """One completion of a model that leads.

    messages: exactly as they were sent. completion: text, ids and log-probs as the server gave them. decision: the one
    that the completion belongs to. attempt: from 0; those above are repairs. action: what the completion decided, None
    where it was no decision: the decision's own action then came from a later attempt, or from a rule.
    structured, schema: what the server was told of the form, and what the completion was checked against.
    """

    messages: tuple[Message, ...]
    completion: Generation
    decision: Decision
    attempt: int
    action: Action | None
    structured: Literal["json_schema", "json_object", "none"]
    schema: dict[str, Any]

    @property
    def repaired(self) -> bool:
        """Whether this is a decision that took a repair."""
        return self.action is not None and self.attempt > 0


def llm_decisions(result: Result) -> list[LLMDecision]:
    """All completions of the run's coordinator that belong to a decision, in order; empty for other coordinators.

    Raises InputError for a record whose questions were not kept whole.
    """
    return list(_samples(result))


def _samples(result: Result) -> Iterator[LLMDecision]:
    decisions = {decision.id: decision for decision in result.decisions}
    before = ""
    for node in result.nodes:
        for call in node.calls:
            if call.asked is None or not isinstance(call.result, Generation):
                continue
            before = call.asked.whole(before)
            name, _, attempt = call.id.rpartition(CALL)
            decision = decisions.get(name)
            if decision is None:
                continue  # the model failed before there was one
            try:
                messages, structured, schema = question_in(before)
            except ValueError:
                raise InputError(f"run {result.run}: the question of call {call.id} is not whole") from None
            last = decision.calls[-1].id == call.id and not {"fallback", "unasked"} & set(decision.reasons)
            yield LLMDecision(
                messages, call.result, decision, int(attempt), decision.action if last else None, structured, schema
            )
