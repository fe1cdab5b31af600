"""A coordinator of a team file in words: one sentence on who will be asked, when, and what ends the run."""

from __future__ import annotations

from collections.abc import Sequence

from podium.orchestrator.coordinator_spec import (
    CoordinatorSpec,
    DebateSpec,
    LearnedSpec,
    LLMSelectorSpec,
    LLMSpec,
    MoASpec,
    PipelineRequest,
    PipelineSpec,
    RandomSpec,
    RoundRobinSpec,
    SelfConsistencySpec,
    SequentialSpec,
    SingleSpec,
    SkillTableSpec,
    VoteSpec,
)
from podium.orchestrator.schedule import others
from podium.protocols.words import counted, enumerated

__all__ = ["in_words"]


def in_words(coordinator: CoordinatorSpec, agents: Sequence[str]) -> str:
    """What a coordinator is going to do with a team. agents: all names, in the order of the file."""
    match coordinator:
        case SingleSpec(agent=agent):
            return f"{agent} answers alone."
        case SelfConsistencySpec(agent=agent, samples=samples):
            return f"{agent} answers {_times(samples)}; its most frequent answer wins."
        case RoundRobinSpec(order=order, rounds=rounds):
            turns = "once" if rounds == 1 else f"for {rounds} rounds"
            return f"{' -> '.join(order or agents)} speak in turn {turns}; the last reply is the answer."
        case SequentialSpec(order=order):
            chain = " -> ".join(order or agents)
            return f"{chain}, each working on what was said before; the last reply is the answer."
        case VoteSpec(agents=voters, samples=samples):
            each = "" if samples == 1 else f", {samples} samples each"
            return f"{enumerated(voters or agents)} answer in parallel{each}; the majority wins."
        case DebateSpec(agents=named, rounds=rounds, aggregator=aggregator):
            end = f"{aggregator} writes the answer" if aggregator else "the majority of the last round wins"
            return f"{enumerated(named or others(agents, aggregator))} debate for {counted(rounds, 'round')}; {end}."
        case MoASpec(agents=named, layers=layers, aggregator=aggregator):
            who = enumerated(named or others(agents, aggregator))
            return f"{who} propose in {counted(layers, 'layer')}; {aggregator} writes the answer."
        case PipelineSpec(steps=steps, finish=finish, shown=shown):
            listed = " -> ".join(" + ".join(_drawn(each) for each in (step, *step.beside)) for step in steps)
            last = "the majority of the last step wins" if steps[-1].beside else "the last reply is the answer"
            end = last if finish == "last" else "the majority over all steps wins"
            sees = "" if shown == "all" else "each is shown the replies of the step before; "
            return f"{listed}; {sees}{end}."
        case LLMSelectorSpec(model=model, max_steps=steps):
            return f"The model {model} names the next speaker, for at most {counted(steps, 'step')}."
        case LLMSpec(model=model, max_steps=steps, width=width, repairs=repairs, preference=preference):
            many = "one agent" if width == 1 else f"up to {width} agents at once"
            mends = f"; a decision that is none is asked for again {_times(repairs)}" if repairs else ""
            worth = "" if preference is None else f" One passed answer is worth ${preference:g}."
            who = f"The model {model} decides who is asked for what"
            return f"{who}, {many}, in at most {counted(steps, 'step')}, and when to stop{mends}.{worth}"
        case SkillTableSpec(table=table):
            start = "a table that starts empty" if table is None else f"the table {table}"
            return f"Asks the agent with the best record at the skill, by {start}."
        case RandomSpec(max_steps=steps, finish_probability=probability):
            end = f"after each it ends with probability {probability:g}"
            return f"Asks agents at random, for at most {counted(steps, 'step')}; {end}."
        case LearnedSpec(policy=policy, mode=mode, preference=preference, words=words):
            worth = "" if preference is None else f" One passed answer is worth ${preference:g}."
            by = "" if words is None else f" The model {words.model} words its requests."
            how = "takes the likeliest decision" if mode == "greedy" else "draws its decisions"
            end = f"it or the budget ends the run.{worth}{by}"
            return f"The trained policy {policy} decides step by step and {how}; {end}"


def _drawn(request: PipelineRequest) -> str:
    return request.agent if request.samples == 1 else f"{request.agent} x{request.samples}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
