"""The form in which a language model writes a decision down: JSON that can say what may be decided now, and no more.

    {"why": "two of three agree", "decision": {"finish": 4}}
    {"why": "nobody has checked", "decision": {"ask": [{"agent": "checker", "objective": "verify", ...}]}}

A form is made for one state: who may be asked, which replies can be the answer, how many of what. The JSON Schema that
goes with the prompt and the check of what comes back are one pydantic model. The schema asks for every field, which
constrained decoding wants; the check takes what has a plain meaning without (`why`, an instruction), so that no call
is spent on it. It uses the keywords that OpenAI's strict mode and vLLM's xgrammar share, and `maxLength`. Whatever
obeys the schema is a decision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from podium.agents.model import whole_characters
from podium.orchestrator.coordinator import RunState, directive_id
from podium.orchestrator.yaml_problems import say, translate
from podium.protocols.frozen import plain
from podium.protocols.record import (
    ALL,
    DETAILS,
    LAST,
    NOTHING,
    OBJECTIVES,
    Action,
    Compute,
    Directive,
    Finish,
    NodeId,
    Objective,
    Plan,
    View,
)

__all__ = ["LONGEST", "Choices", "Form", "NoDecisionError", "caps", "form_of", "json_in", "why_in"]

WHY = 300
"""Characters of a reason: a sentence or two."""
INSTRUCTION = 800
"""Characters of an instruction, as the schema says."""
LONGEST = 2 * INSTRUCTION
"""Characters that are taken: servers count differently, and broken bytes come as several characters."""
LEAST_CAP = 64
"""The lowest token cap that may be given to a reply; the others are powers of two above it."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""What no text needs, and a grammar lets through."""
MOST_PROBLEMS = 8
"""So many problems of one decision are told; whoever mends them is told of the next."""
THOUGHT = "</think>"
"""What ends the thinking of models that show it."""

VIEWS: Mapping[str, View] = {"all": ALL, "last": LAST, "none": NOTHING}


class NoDecisionError(Exception):
    """A text that is no decision. problems: what is wrong with it, a line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@plain
class Choices:
    """What may be decided. agents: who may be asked, none: nobody; replies: nodes that can be the answer.

    seen: nodes that can be shown; width: requests of one step; samples: answers of one request; caps: tokens of each;
    plans: what may be told of plans.
    """

    agents: tuple[str, ...]
    replies: tuple[NodeId, ...]
    seen: tuple[NodeId, ...] = ()
    objectives: tuple[Objective, ...] = OBJECTIVES
    width: int = 1
    samples: int = 1
    caps: tuple[int, ...] = ()
    plans: tuple[Plan, ...] = ("none",)


def caps(longest: int) -> tuple[int, ...]:
    """The token caps to choose from, where the longest reply of the team has so many tokens."""
    below = [LEAST_CAP << power for power in range(16) if LEAST_CAP << power < longest]
    return (*below, longest)


class Form:
    """The form of one state's decision. schema: its JSON Schema; ways: what it can be, "ask" or "finish" or both."""

    def __init__(self, choices: Choices) -> None:
        self._plan: Plan = choices.plans[0]
        self._shapes: dict[str, type[BaseModel]] = {}
        if choices.agents:
            self._shapes["ask"] = _whole(ask=(_requests(choices), ...))
        if choices.replies:
            self._shapes["finish"] = _whole(finish=(_one_of(choices.replies), ...))
        self.ways = tuple(self._shapes)
        self.schema = _schema(self._shapes.values())

    def read(self, text: str, state: RunState) -> Action:
        """The decision that a text holds; words and code fences around its JSON do not matter.

        Raises NoDecisionError with every problem.
        """
        data = json_in(text)
        if data is None:
            raise NoDecisionError(["no JSON object was found in the reply"])
        inner = data.get("decision")
        way = "finish" if isinstance(inner, dict) and "finish" in inner else "ask"
        if way not in self._shapes:
            way = self.ways[0]
        shape = self._shapes[way]
        try:
            checked = shape.model_validate(data)
        except ValidationError as error:
            raise NoDecisionError(_problems(error, shape, data)) from None
        given = checked.model_dump()["decision"]
        return Finish(given["finish"]) if way == "finish" else _directives(given["ask"], state, self._plan)


@lru_cache(maxsize=256)
def form_of(choices: Choices) -> Form:
    """The form for some choices; runs of one team have many in common."""
    return Form(choices)


def json_in(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text that holds a decision, or else the first at all; None where there is none."""
    found: dict[str, Any] | None = None
    for data in _objects(text.rpartition(THOUGHT)[2]):
        if "decision" in data:
            return data
        found = data if found is None else found
    return found


def why_in(text: str) -> str:
    """The reason that a decision gives, on one line; empty where it gives none."""
    why = (json_in(text) or {}).get("why")
    return " ".join(CONTROL.sub(" ", why).split())[:WHY] if isinstance(why, str) else ""


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text that are not inside of another.

    Not strict: xgrammar (seen in vLLM 0.32) lets raw control characters into a text whose length is limited.
    """
    decoder, place = json.JSONDecoder(strict=False), text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield _sound(value) if "\\u" in text else value
        place = text.find("{", end)


def _sound(value: Any) -> Any:
    """The same, without half characters, which JSON can spell."""
    if isinstance(value, dict):
        given = cast(dict[str, Any], value)
        return {whole_characters(key): _sound(each) for key, each in given.items()}
    if isinstance(value, list):
        return [_sound(each) for each in cast(list[Any], value)]
    return whole_characters(value) if isinstance(value, str) else value


class _Part(BaseModel):
    """A part of a decision: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _whole(**decision: Any) -> type[BaseModel]:
    """The whole reply, with what is decided in it."""
    inner = create_model("Inner", __base__=_Part, **decision)
    reason = Annotated[str, Field(json_schema_extra={"maxLength": WHY})]
    return create_model("Reply", __base__=_Part, why=(reason, ""), decision=(inner, ...))


def _requests(choices: Choices) -> Any:
    """The type of a list of requests."""
    fields: dict[str, Any] = {"agent": (_one_of(choices.agents), ...)}
    if len(choices.objectives) > 1:
        fields["objective"] = (_one_of(choices.objectives), choices.objectives[0])
    told = Annotated[str, Field(max_length=LONGEST, json_schema_extra={"maxLength": INSTRUCTION})]
    fields["instruction"] = (told, "")
    shown: Any = Literal["all", "last", "none"]
    if choices.seen:
        shown |= Annotated[list[_one_of(choices.seen)], Field(max_length=len(choices.seen))]
    fields["shown"] = (shown, "all")
    fields["detail"] = (_one_of(DETAILS), "normal")
    if choices.samples > 1:
        fields["samples"] = (_one_of(tuple(range(1, choices.samples + 1))), 1)
    if len(choices.caps) > 1:
        fields["max_tokens"] = (_one_of(choices.caps), choices.caps[-1])
    if len(choices.plans) > 1:
        fields["plan"] = (_one_of(choices.plans), choices.plans[0])
    fields["final"] = (bool, False)
    request = create_model("Request", __base__=_Part, **fields)
    return Annotated[list[request], Field(min_length=1, max_length=choices.width)]


def _one_of(values: Sequence[object]) -> Any:
    return Literal[tuple(values)]  # pyright: ignore[reportInvalidTypeForm]  # the values of this very state


def _schema(shapes: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """One schema for all shapes of a reply, which differ in the decision only. References are resolved."""
    wholes = [_resolved(made := shape.model_json_schema(), made.get("$defs", {})) for shape in shapes]
    schema = wholes[0]
    if len(wholes) > 1:
        schema["properties"]["decision"] = {"anyOf": [whole["properties"]["decision"] for whole in wholes]}
    return schema


def _resolved(part: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema without references, titles and defaults, whose objects need all that they have."""
    if isinstance(part, list):
        return [_resolved(each, definitions) for each in cast(list[Any], part)]
    if not isinstance(part, dict):
        return part
    given = cast(dict[str, Any], part)
    if "$ref" in given:
        return _resolved(definitions[given["$ref"].rsplit("/", 1)[-1]], definitions)
    if "const" in given:
        return {"type": given["type"], "enum": [given["const"]]}
    out = {
        key: _resolved(value, definitions)
        for key, value in given.items()
        if key not in ("$defs", "title", "default", "description", "properties")
    }
    if "properties" in given:
        out["properties"] = {name: _resolved(each, definitions) for name, each in given["properties"].items()}
        out["required"] = list(given["properties"])
    return out


def _problems(error: ValidationError, shape: type[BaseModel], data: dict[str, Any]) -> list[str]:
    """What is wrong with a decision, a line each."""
    told = list(dict.fromkeys(say(problem, data) for problem in translate(error, shape, data)))
    return told[:MOST_PROBLEMS] or ["this is no decision"]


def _view(shown: str | Sequence[NodeId]) -> View:
    if isinstance(shown, str):
        return VIEWS[shown]
    return View("only", only=tuple(dict.fromkeys(shown))) if shown else NOTHING


def _directives(requests: Sequence[Mapping[str, Any]], state: RunState, plan: Plan) -> tuple[Directive, ...]:
    """The requests as directives. Of several that are final, the last one's reply is the answer, as for the engine.

    plan: of a request that says nothing of it.
    """
    longest = {card.name: card.max_tokens for card in state.cards}
    out: list[Directive] = []
    for pick, request in enumerate(requests):
        shown = request.get("shown", "all")
        samples, cap = request.get("samples", 1), request.get("max_tokens")
        out.append(
            Directive(
                directive_id(state, pick),
                request["agent"],
                request.get("objective", "propose"),
                CONTROL.sub(" ", request["instruction"]).strip(),
                _view(shown),
                request["detail"],
                Compute(
                    samples,
                    "vote" if samples > 1 else "none",
                    cap if cap is not None and cap < longest[request["agent"]] else None,
                    plan=request.get("plan", plan),
                ),
                request["final"],
            )
        )
    return tuple(out)
