"""A small school for coordinators: agents that each know one subject, their tasks, and files to train from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from podium.agents.model import Price, Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.learned.options import Options
from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, write_pool
from podium.protocols.task import Message, Task, Verdict
from podium.training.train_file import TrainSpec

SUBJECTS = {"adder": "plus", "timer": "times"}
SMALL: dict[str, Any] = {
    "iterations": 4,
    "warm_up": 1,
    "tasks_per_iteration": 4,
    "group": 4,
    "evaluate_every": 2,
    "options": {"samples": [1], "context": ["task"], "max_steps": 2},
}


def question(number: int) -> tuple[str, str]:
    """Prompt and reference of a task; odd numbers add, even ones multiply."""
    left, right = number % 13 + 2, number // 13 + 3
    if number % 2:
        return f"What do you get for {left} plus {right}?", str(left + right)
    return f"How much is {left} times {right}?", str(left * right)


def knows(agent: str, prompt: str) -> bool:
    return SUBJECTS[agent] in prompt


def task(number: int) -> Task:
    prompt, right = question(number)

    def score(text: str) -> Verdict:
        return Verdict(float(text == right), text == right)

    return Task(f"t{number}", (Message("user", prompt),), score)


def pool(tasks: int = 40, *, samples: int = 1) -> Pool:
    """Each agent is right in its own subject and costs the same."""
    rows: list[PoolTask] = []
    for number in range(tasks):
        prompt, right = question(number)
        replies: dict[str, PoolReply] = {}
        for agent in SUBJECTS:
            right_here = knows(agent, prompt)
            text = right if right_here else "0"
            one = PoolReply(score=float(right_here), completion_tokens=10, prompt_tokens=20, text=text)
            replies[agent] = one.model_copy(update={"more": (one,) * (samples - 1)})
        rows.append(PoolTask(id=f"t{number}", prompt=prompt, reference=right, replies=replies))
    price = PoolAgent(price=PoolPrice(input=1.0, output=2.0))
    return Pool(name="school", agents=dict.fromkeys(SUBJECTS, price), tasks=tuple(rows))


def school(folder: Path, *, coordinator: str = "{kind: random}", tasks: int = 40) -> Path:
    """A team file over a recorded pool beside it."""
    write_pool(pool(tasks), folder / "pool.jsonl")
    team = folder / "team.yaml"
    team.write_text(
        "name: school\n"
        "models:\n  past: {provider: recorded, path: pool.jsonl}\n"
        "agents:\n"
        "  adder: {role: solver, model: past, description: adds numbers}\n"
        "  timer: {role: solver, model: past, description: multiplies numbers}\n"
        f"coordinator: {coordinator}\n"
    )
    return team


def training(folder: Path, **more: Any) -> Path:
    """A training file for the school; more: other settings."""
    school(folder)
    given = {
        "team": "team.yaml",
        "tasks": {"train": "recorded:pool.jsonl?split=train", "test": "recorded:pool.jsonl?split=test"},
        "output": "out",
    }
    file = folder / "train.yaml"
    file.write_text(json.dumps(given | SMALL | more))
    return file


def spec_of(folder: Path, **more: Any) -> TrainSpec:
    """The same as a spec."""
    from podium.training.train_file import load_training

    return load_training(training(folder, **more))


def models(price: Price | None = None, say: Callable[[str, Prompt], str] | None = None) -> Mapping[str, ScriptedModel]:
    """Scripted models that know their subjects."""

    def answer(agent: str, prompt: Prompt) -> str:
        asked = next(number for number in range(200) if question(number)[0] == prompt.task)
        return question(asked)[1] if knows(agent, prompt.task) else "0"

    speak = say or answer
    return {
        agent: ScriptedModel(lambda prompt, agent=agent: speak(agent, prompt), agent, price=price or Price(1.0, 2.0))
        for agent in SUBJECTS
    }


PLAIN = Options(context=("task",), max_steps=2)
