"""What a team file may say about its coordinator: one shape per kind, told apart by `kind`.

Fixed schedules, selectors and learned policies share one place in the file, so that exchanging one for another is a
change of one line and a comparison between them needs no second file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from podium.orchestrator.yaml_file import FilePath, StrictModel
from podium.protocols.record import OBJECTIVES, Objective, Plan

__all__ = [
    "CoordinatorSpec",
    "DebateSpec",
    "LLMSelectorSpec",
    "LLMSpec",
    "LearnedSpec",
    "MoASpec",
    "PipelineRequest",
    "PipelineSpec",
    "PipelineStep",
    "RandomSpec",
    "RoundRobinSpec",
    "SelfConsistencySpec",
    "SequentialSpec",
    "SingleSpec",
    "SkillTableSpec",
    "VoteSpec",
]

AgentName = Annotated[str, Field(min_length=1)]
Agents = Annotated[tuple[AgentName, ...], Field(min_length=1), Strict(False)]
Rounds = Annotated[int, Field(ge=1, le=1000)]
"""How often something is repeated. A hundred is far beyond use, and keeps a slip of the finger affordable."""
Samples = Annotated[int, Field(ge=1, le=1000)]
"""How many answers are drawn."""
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SingleSpec(StrictModel):
    """One agent answers; the baseline that every coordination has to beat."""

    kind: Literal["single"]
    """One agent answers."""
    agent: AgentName
    """Who answers."""


class RoundRobinSpec(StrictModel):
    """The agents speak in turn, each seeing what was said before; the last reply is the answer."""

    kind: Literal["round_robin"]
    """The agents speak in turn, for some rounds."""
    rounds: Rounds = 1
    """How often each agent speaks."""
    order: Agents | None = None
    """Who speaks, in order; left out: all agents as listed in the file."""


class SequentialSpec(StrictModel):
    """Each agent works once on what those before it said; the last reply is the answer."""

    kind: Literal["sequential"]
    """A chain: each agent works on what those before it said."""
    order: Agents | None = None
    """Who works, in order; left out: all agents as listed in the file."""


def _once(agents: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError for an agent that is named twice where all are asked at once."""
    twice = next((name for name in agents if agents.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is named twice, and all of these are asked at once; {AGAIN}")
    return agents


AGAIN = "for several answers of one, a vote has samples, and elsewhere the file may have two agents of the same kind"

Parallel = Annotated[Agents, AfterValidator(_once)]
"""Agents that are asked at once."""


class VoteSpec(StrictModel):
    """All agents answer at once without seeing each other; the most frequent answer wins."""

    kind: Literal["vote"]
    """All answer in parallel, the majority wins."""
    agents: Parallel | None = None
    """Who votes; left out: all agents."""
    samples: Samples = 1
    """Answers drawn from each voter."""


class SelfConsistencySpec(StrictModel):
    """One agent answers several times; its most frequent answer wins. Source: arXiv 2203.11171."""

    kind: Literal["self_consistency"]
    """One agent answers several times, the majority wins."""
    agent: AgentName
    """Who answers."""
    samples: Samples = 5
    """How many answers are drawn."""


class DebateSpec(StrictModel):
    """All answer, then revise after reading the others, for some rounds. Source: arXiv 2305.14325."""

    kind: Literal["debate"]
    """All answer, then revise after reading each other."""
    agents: Parallel | None = None
    """Who debates; left out: all agents except the aggregator."""
    rounds: Rounds = 2
    """Rounds in all, the first answers included."""
    aggregator: AgentName | None = None
    """Who writes the answer at the end; left out: the majority of the last round."""


class MoASpec(StrictModel):
    """Layers of proposers, each layer reading the one before; an aggregator answers. Source: arXiv 2406.04692."""

    kind: Literal["moa"]
    """Mixture of agents: layers of proposers and one aggregator."""
    layers: Rounds = 2
    """Layers of proposers."""
    agents: Parallel | None = None
    """Who proposes; left out: all agents except the aggregator."""
    aggregator: AgentName
    """Who writes the answer."""


class LLMSelectorSpec(StrictModel):
    """A language model names the next speaker."""

    kind: Literal["llm_selector"]
    """A language model names the next speaker."""
    model: Annotated[str, Field(min_length=1)]
    """Which of the models selects."""
    max_steps: Rounds = 6
    """Most steps of a run."""


class LLMSpec(StrictModel):
    """A language model decides as a trained policy does: who is asked for what, in which words, and when to stop."""

    kind: Literal["llm"]
    """A language model decides who is asked for what, and when to stop."""
    model: Annotated[str, Field(min_length=1)]
    """Which of the models decides."""
    max_steps: Rounds = 6
    """Steps in which it may ask somebody; then it has to finish."""
    width: Annotated[int, Field(ge=1, le=16)] = 3
    """Requests of one step at most; they run at the same time."""
    samples: Annotated[int, Field(ge=1, le=16)] = 1
    """Answers that one request may draw at most; the most frequent one is the reply."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1), Strict(False)] = OBJECTIVES
    """What an agent may be asked for; left out: anything."""
    plans: Annotated[tuple[Plan, ...], Field(min_length=1), Strict(False)] = ("none",)
    """Whether an agent may be told to plan anew (renew), to keep to the newest plan (keep), or nothing about plans."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """What the server is told of the form of a decision; json_object or none for servers that know no JSON Schema."""
    repairs: Annotated[int, Field(ge=0, le=10)] = 2
    """How often it is told what is wrong with a decision, and asked again."""
    on_failure: Literal["fallback", "error"] = "fallback"
    """After the last repair: a rule decides (the most frequent answer, else the newest; else the first agent is asked),
    or the run fails."""
    max_tokens: Annotated[int, Field(ge=32, le=32_768)] = 512
    """Longest reply of the model to one question, in tokens; more for a model that thinks first."""
    transcript: Annotated[int, Field(ge=1_000, le=1_000_000)] = 12_000
    """Characters of what was said that it is shown at most; older replies are shortened, then left out."""
    prompt: str | None = None
    """Words of your own for it, besides the team and the form of a decision."""
    preference: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Dollars that one passed answer is worth, as it is told; left out: it is told nothing."""
    mode: Literal["greedy", "sample"] = "greedy"
    """Temperature 0, or that of the model."""


class SkillTableSpec(StrictModel):
    """A table of how often each agent succeeded at each skill; asks the one with the best upper confidence bound."""

    kind: Literal["skill_table"]
    """Asks the agent with the best record at the skill."""
    table: FilePath | None = None
    """A table learned earlier, relative to this file; left out: starts from nothing."""
    explore: Weight = 1.0
    """Constant of the upper confidence bound in runs that sample: larger tries uncertain agents more often, 0 never."""
    cost_weight: Weight = 0.0
    """How much success probability one dollar is worth: larger prefers cheap agents."""


class RandomSpec(StrictModel):
    """Asks agents drawn at random, and finishes at random."""

    kind: Literal["random"]
    """Asks agents drawn at random."""
    max_steps: Rounds = 4
    """Most steps of a run."""
    finish_probability: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Probability of finishing after each step."""


class PipelineRequest(StrictModel):
    """One agent in one step of a pipeline."""

    agent: AgentName
    """Who speaks in this step."""
    samples: Samples = 1
    """Answers drawn; more than one are voted on."""


class PipelineStep(PipelineRequest):
    """One step of a pipeline."""

    beside: Annotated[tuple[PipelineRequest, ...], Strict(False)] = ()
    """Others who are asked at the same moment, and do not see each other's replies."""

    @model_validator(mode="after")
    def _once(self) -> PipelineStep:
        names = [self.agent, *(other.agent for other in self.beside)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is asked twice in one step; for several answers of one agent give it samples")
        return self


class PipelineSpec(StrictModel):
    """A fixed list of steps; each sees what came before, or the newest of it."""

    kind: Literal["pipeline"]
    """A fixed list of steps."""
    steps: Annotated[tuple[PipelineStep, ...], Field(min_length=1), Strict(False)]
    """The steps, in order."""
    finish: Literal["last", "vote"] = "last"
    """The answer: that of the last step (the majority, where it asks several), or the majority over all steps."""
    shown: Literal["all", "last"] = "all"
    """What each step is shown: all earlier replies, or those of the step before."""


class WordsSpec(StrictModel):
    """A model that puts requests into words."""

    model: Annotated[str, Field(min_length=1)]
    """Which of the models writes them."""
    max_tokens: Annotated[int, Field(ge=16, le=4096)] = 128
    """Longest request, in tokens; one that is longer is not used."""


class LearnedSpec(StrictModel):
    """A trained policy decides who speaks, what they see, how much compute they get, and when to stop."""

    kind: Literal["learned"]
    """A trained policy."""
    policy: FilePath
    """The folder of the trained policy, relative to this file."""
    preference: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Dollars that one passed answer is worth; left out: what the policy was trained for."""
    mode: Literal["greedy", "sample"] = "greedy"
    """Take the likeliest decision, or draw one."""
    words: WordsSpec | None = None
    """A model that words the requests about one piece of the task, for policies that tell pieces apart; left out: a
    template does."""


CoordinatorSpec = Annotated[
    SingleSpec
    | RoundRobinSpec
    | SequentialSpec
    | VoteSpec
    | SelfConsistencySpec
    | DebateSpec
    | MoASpec
    | LLMSelectorSpec
    | LLMSpec
    | SkillTableSpec
    | RandomSpec
    | PipelineSpec
    | LearnedSpec,
    Field(discriminator="kind"),
]
"""The coordinator of a team file."""
