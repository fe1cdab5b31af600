"""The embedded task source, the shipped specialists, and that they can be made again."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from safetensors import torch as stored

from podium.protocols.task import Task
from podium.training.tasks.embedded import (
    CHAINS,
    FAMILIES,
    PASS,
    SKILLS,
    Exercises,
    embedded,
    reserved_words,
)
from podium.training.tasks.embedded_routes import ROUTES
from podium.training.tasks.embedded_wordings import HELD_OUT, WORDINGS

ROOT = Path(__file__).parents[2]
TEAM = ROOT / "agents" / "embedded"
AGENTS = ("abacus", "encoder", "scribe", "sorter", "generalist")
TYPES = (*SKILLS, *CHAINS)
MOST_BYTES = 10_000_000


@pytest.fixture(scope="module")
def train() -> list[Task]:
    return embedded("train", 2000, 0)


@pytest.fixture(scope="module")
def test() -> list[Task]:
    return embedded("test", 500, 0)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The training script, as a module."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "examples" / "embedded"))
    return importlib.import_module("train_specialists")


def test_the_same_arguments_give_the_same_tasks(train: list[Task]) -> None:
    again = embedded("train", 50, 0)
    assert [(task.id, task.text, task.tags) for task in again] == [(t.id, t.text, t.tags) for t in train[:50]]
    assert [task.text for task in embedded("train", 50, 1)] != [task.text for task in again]


def test_the_splits_share_no_content_and_no_wording(train: list[Task], test: list[Task]) -> None:
    assert not {task.tags["content"] for task in train} & {task.tags["content"] for task in test}
    assert all(len(wordings) == len(set(wordings)) > 2 * HELD_OUT for wordings in WORDINGS.values())


def test_a_bigger_train_set_still_shares_nothing_with_test(test: list[Task]) -> None:
    other_seed = {task.tags["content"] for task in embedded("train", 1000, 7)}
    assert not other_seed & {task.tags["content"] for task in test}


def test_every_type_comes_up_and_has_a_route(train: list[Task]) -> None:
    assert {task.tags["type"] for task in train} == set(TYPES) == set(ROUTES)
    assert {kind for types in FAMILIES.values() for kind in types} == set(TYPES)
    assert all(len(ROUTES[task.tags["type"]]) == int(task.tags["steps"]) for task in train)
    assert {step.agent for route in ROUTES.values() for step in route} <= set(AGENTS)


def test_texts_are_short_and_do_not_name_their_type(train: list[Task], test: list[Task]) -> None:
    assert max(len(task.text) for task in train + test) <= 90
    for task in train + test:
        assert not any(word in task.text for word in (task.tags["type"], task.tags["family"], "_"))


def test_one_keyword_does_not_tell_the_type(train: list[Task]) -> None:
    for word in ("sort", "write", "first", "reverse", "largest", "decode", "back"):
        assert len({task.tags["type"] for task in train if word in task.text.split()}) > 1, word


@pytest.mark.parametrize("type", TYPES)
def test_scorers_accept_right_and_refuse_wrong(type: str) -> None:
    exercises = Exercises(3, contents="test", wordings="test")
    for _ in range(20):
        exercise = exercises.of(type)
        right = exercise.results[-1]
        assert exercise.score(right) == exercise.score(f" {right}\n") == 1.0
        for wrong in ("", "zzz", f"{right}7", f"1{right}", "I do not know"):
            assert exercise.score(wrong) < PASS, (exercise, wrong)


def test_verdicts_and_answers(train: list[Task]) -> None:
    task = next(task for task in train if task.tags["type"] == "spell_backward")
    word = task.tags["content"]
    assert task.score(word[::-1]).passed
    assert task.score(f"  {word[::-1]} ").score == 1.0
    almost = task.score(word[::-1][:-1] + "#")
    assert not almost.passed
    assert almost.score == 0.0 < almost.parts["reasoning_gym"] < 1.0
    assert task.answer("  ") is None
    assert task.answer(" apple,  pear ") == "apple pear"


def test_operands_never_use_instruction_words(train: list[Task]) -> None:
    words = [
        task for task in train if task.tags["type"] in ("spell_backward", "word_sorting", "word_sorting+spell_backward")
    ]
    assert words
    assert all(not set(task.tags["content"].split()) & reserved_words() for task in words)


def test_shipped_weights_are_small_and_in_bfloat16() -> None:
    files = [file for agent in AGENTS for file in (TEAM / agent).iterdir()]
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    for agent in AGENTS:
        weights = stored.load_file(TEAM / agent / "model.safetensors")
        assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}


def test_the_team_file_names_the_shipped_folders() -> None:
    team = yaml.safe_load((TEAM / "team.yaml").read_text())
    assert tuple(team["agents"]) == AGENTS
    assert all((TEAM / model["model"] / "config.json").is_file() for model in team["models"].values())
    assert all(team["agents"][agent]["description"] for agent in AGENTS)
    dear = team["models"]["generalist"]["price"]["output"]
    assert all(dear >= 3 * team["models"][agent]["price"]["output"] for agent in AGENTS if agent != "generalist")


FLOORS = {
    ("abacus", "products"): (0.4, 0.65),
    ("encoder", "caesar_cipher"): (0.75, 0.75),
    ("scribe", "spell_backward"): (0.75, 0.75),
    ("scribe", "word_sequence_reversal"): (0.35, 0.55),
    ("sorter", "number_sorting"): (0.75, 0.75),
    ("sorter", "word_sorting"): (0.75, 0.75),
}
"""(agent, skill) -> the least share right of one sample, and of the majority of five, on 60 test exercises; well under
the measured figures, so that only broken weights fail."""


@pytest.mark.parametrize("agent", ["abacus", "encoder", "scribe", "sorter"])
def test_shipped_specialists_know_their_skills(maker: ModuleType, agent: str) -> None:
    torch.manual_seed(0)
    loaded = maker.Agent.load(TEAM / agent)
    for (name, skill), (one, five) in FLOORS.items():
        if name == agent:
            measured = maker.skill_accuracy(loaded, skill, 60, 0)
            assert measured[0] >= one, (skill, measured)
            assert measured[1] >= five, (skill, measured)


@pytest.mark.parametrize("type", ["word_sorting+caesar_cipher", "number_sorting+spell_backward"])
def test_two_steps_need_two_agents(maker: ModuleType, type: str) -> None:
    torch.manual_seed(0)
    route = ROUTES[type]
    team = {step.agent: maker.Agent.load(TEAM / step.agent) for step in route}
    exercises = list(maker.exam(type, 60, 0))
    assert maker.accuracy(exercises, maker.follow(team, route, exercises)) >= 0.7
    for step in route:
        assert maker.accuracy(exercises, maker.follow(team, [step], exercises)) <= 0.2


def test_replies_end_by_themselves_on_any_task(maker: ModuleType, test: list[Task]) -> None:
    torch.manual_seed(0)
    loaded = maker.Agent.load(TEAM / "scribe")
    replies = [one for (one,) in loaded.samples([task.text for task in test[:200]])]
    tokens = [len(ids) for ids in loaded.tokenizer(replies)["input_ids"]]
    assert sum(0 < length < maker.REPLY_TOKENS for length in tokens) >= 0.97 * len(tokens)


def test_the_tokenizer_loses_nothing_and_ignores_system_messages(maker: ModuleType) -> None:
    tokenizer = maker.Agent.load(TEAM / "abacus").tokenizer
    text = "sort 17 25 98, then write the largest backwards\n\nsorter: 17 25 98"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == maker.prompt_text(text)


def test_quick_training_beats_no_training(maker: ModuleType) -> None:
    before, after = maker.quick(seconds=8.0)
    assert after > before + 0.1
