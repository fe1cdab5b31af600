"""Task specs: the grammar, its errors, and splits that never leak."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.agents.scripted import ScriptedModel
from podium.protocols.errors import InputError, MissingExtra, TaskError
from podium.protocols.task import Message, Task
from podium.training.tasks.judge import Judge
from podium.training.tasks.spec import load_tasks, parse_spec, pick, side_of


def write(path: Path, *lines: object) -> str:
    """A task file with these lines; returns the start of its spec."""
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return f"jsonl:{path}"


def test_parse() -> None:
    spec = parse_spec("jsonl:a+b.jsonl?verifier=regex&pattern=a%26b&split=test&fraction=0.5&seed=3&limit=9")
    assert (spec.source, spec.name, spec.split, spec.fraction, spec.seed, spec.limit) == (
        "jsonl",
        "a+b.jsonl",
        "test",
        0.5,
        3,
        9,
    )
    assert spec.options == {"verifier": "regex", "pattern": "a&b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jsonn:x", "did you mean 'jsonl'"),
        ("tasks.jsonl", "write SOURCE:NAME"),
        ("", "write SOURCE:NAME"),
        ("jsonl:x?limit", "'limit' is not key=value"),
        ("jsonl:x?limit=a", "must be a whole number"),
        ("jsonl:x?limit=0", "at least 1"),
        ("jsonl:x?split=trian", "allowed are train and test"),
        ("jsonl:x?split=train&fraction=1", "between 0 and 1"),
        ("jsonl:x?fraction=0.5", "without split"),
        ("jsonl:x?seed=1&seed=2", "given twice"),
        ("jsonl:x?verifer=exact", "did you mean 'verifier'"),
        ("jsonl:x?verifier=numerc", "did you mean 'numeric'"),
        ("jsonl:nowhere.jsonl", "no such file"),
        ("jsonl:.", "this is a folder"),
        ("recorded:x?treshold=1", "did you mean 'threshold'"),
        ("reasoning_gym:chain_sun", "did you mean 'chain_sum'"),
        ("reasoning_gym:chain_sum?min_term=2", "did you mean 'min_terms'"),
        ("reasoning_gym:chain_sum?min_terms=two", "it must be int"),
        ("reasoning_gym:chain_sum?min_terms=0", "min_terms must be positive"),
        ("embedded:other", "one set of embedded tasks"),
        ("embedded:?size=0", "at least 1"),
        ("embedded:?wordings=both", "allowed: train, test"),
    ],
)
def test_bad_specs_say_what_is_allowed(text: str, message: str, tmp_path: Path) -> None:
    if text.startswith("jsonl:x?verif"):
        text = text.replace("jsonl:x", write(tmp_path / "x.jsonl", {"prompt": "a", "reference": "1"}))
    with pytest.raises(InputError, match=message):
        load_tasks(text)


@given(st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=50), st.integers(0, 9), st.floats(0.05, 0.95))
def test_split_is_a_partition_that_ignores_the_other_tasks(ids: list[str], seed: int, fraction: float) -> None:
    sides = {name: side_of(name, fraction, seed) for name in ids}
    assert sides == {name: side_of(name, fraction, seed) for name in reversed(ids)}
    for name, side in sides.items():
        if side == "train":
            assert side_of(name, fraction + 0.04, seed) == "train"


def test_split_has_the_asked_share_and_depends_on_the_seed() -> None:
    ids = [f"task-{number}" for number in range(4000)]
    train = [name for name in ids if side_of(name, 0.7, 0) == "train"]
    assert 0.67 < len(train) / len(ids) < 0.73
    other = [name for name in ids if side_of(name, 0.7, 1) == "train"]
    assert 0.45 < len(set(train) & set(other)) / len(ids) < 0.53


@given(st.lists(st.integers(0, 999), unique=True, min_size=1, max_size=40), st.integers(1, 20), st.integers(1, 20))
def test_a_smaller_limit_is_part_of_a_larger_one(numbers: list[int], small: int, more: int) -> None:
    tasks = [Task(str(number), (Message("user", "?"),)) for number in numbers]
    few, many = pick(tasks, small, 0), pick(tasks, small + more, 0)
    assert [task for task in many if task in few] == few
    assert len(few) == min(small, len(tasks))
    assert {task.id for task in pick(tasks[::-1], small, 0)} == {task.id for task in few}


def test_the_two_sides_of_a_file(tmp_path: Path) -> None:
    lines = [{"prompt": f"{number} + 1?", "reference": number + 1} for number in range(60)]
    spec = write(tmp_path / "sums.jsonl", *lines)
    train = {task.id for task in load_tasks(f"{spec}?split=train&fraction=0.5&seed=2")}
    test = {task.id for task in load_tasks(f"{spec}?split=test&fraction=0.5&seed=2", seed=9)}
    assert not train & test
    assert train | test == {task.id for task in load_tasks(spec)}
    shuffled = write(tmp_path / "sums.jsonl", *lines[::-1])
    assert {task.id for task in load_tasks(f"{shuffled}?split=train&fraction=0.5&seed=2")} == train
    assert len(load_tasks(f"{spec}?limit=7+{spec}?limit=5")) == 12
    assert len(load_tasks([spec, spec], limit=3)) == 3


def test_generated_tasks_keep_their_side_whatever_seed_made_them() -> None:
    spec = "reasoning_gym:chain_sum?size=80&max_terms=2&max_digits=1"
    train = {task.text for seed in (0, 1) for task in load_tasks(f"{spec}&split=train", seed=seed)}
    test = {task.text for seed in (2, 3) for task in load_tasks(f"{spec}&split=test", seed=seed)}
    assert train
    assert test
    assert not train & test
    assert [task.id for task in load_tasks(spec, seed=1)] != [task.id for task in load_tasks(spec, seed=2)]
    assert [task.id for task in load_tasks(f"{spec}&seed=4", seed=1)] == [
        task.id for task in load_tasks(f"{spec}&seed=4")
    ]


def test_reasoning_gym_scores_answers_not_formats() -> None:
    task = load_tasks("reasoning_gym:chain_sum?size=1&min_terms=2&max_terms=2&seed=5")[0]
    left, sign, right = task.text.split(":")[1].replace("=", "").split()
    value = int(left) + int(right) if sign == "+" else int(left) - int(right)
    for reply in (
        f"{value}",
        f"Let me see: 1, 2.\nAnswer: {value}.",
        f"<answer>{value}</answer>",
        f"It is **{value:,}**",
    ):
        verdict = task.score(reply)
        assert (verdict.passed, verdict.score, task.answer(reply)) == (True, 1.0, str(value)), reply
    wrong = task.score(f"{value}, or perhaps {value + 1}")
    assert not wrong.passed
    assert wrong.score == 0.0
    assert task.answer("") is None
    assert not task.score("").passed


def test_reasoning_gym_partial_credit_is_kept_apart() -> None:
    spec = "reasoning_gym:spell_backward?size=3&min_word_len=5&seed=1"
    plain, paid = load_tasks(spec)[0], load_tasks(f"{spec}&partial=true")[0]
    word = plain.text.split("example: ")[-1].split()[-1]
    nearly = word[::-1][:-1] + "#"
    assert plain.score(nearly).score == 0.0
    assert 0.0 < plain.score(nearly).parts["raw"] < 1.0
    assert paid.score(nearly).score == plain.score(nearly).parts["raw"]


@pytest.mark.parametrize(
    "reply", ["9**9**9**9", "__import__('os').getcwd()", "9" * 200_000, "((((", "\x00", "1/0", "(9**9)**(9**9)"]
)
def test_reasoning_gym_scorers_are_not_given_dangerous_expressions(reply: str) -> None:
    for name in ("countdown", "simple_integration", "prime_factorization"):
        assert not load_tasks(f"reasoning_gym:{name}?size=1&seed=1")[0].score(reply).passed


def test_reasoning_gym_reads_typed_keywords() -> None:
    assert len(load_tasks("reasoning_gym:basic_arithmetic?size=4&operators=%2B,-&allow_parentheses=false&seed=1")) == 4
    assert len(load_tasks('reasoning_gym:basic_arithmetic?size=4&operators=["%2B"]&seed=1')) == 4
    with pytest.raises(TaskError, match="it must be bool"):
        load_tasks("reasoning_gym:basic_arithmetic?allow_parentheses=perhaps")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", None)
    with pytest.raises(MissingExtra, match=r'pip install "podium\[train\]"'):
        load_tasks("reasoning_gym:chain_sum")


def test_embedded_sides_do_not_overlap() -> None:
    train = load_tasks("embedded:?size=20&split=train")
    assert len(train) == 20
    assert not {task.id for task in train} & {task.id for task in load_tasks("embedded:?size=20&split=test")}
    known = load_tasks("embedded:?size=20&split=test&wordings=train")
    unseen = load_tasks("embedded:?size=20&split=test")
    assert {task.text for task in known}.isdisjoint(task.text for task in unseen)


def test_jsonl_lines_of_every_kind(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "B or C?"},
    ]
    spec = write(
        tmp_path / "t.jsonl",
        {"prompt": "6 x 7?", "reference": 42},
        "",
        {"id": "mine", "messages": messages, "reference": "B", "verifier": "choice", "tags": ["letters"]},
        {"prompt": "6 x 7?", "reference": 42},
        {"prompt": "Colour?", "reference": "gr[ae]y", "verifier": "regex", "tags": {"kind": "word"}},
    )
    sums, letters, colour = load_tasks(f"{spec}?verifier=numeric")
    assert sums.score("So 42.0").passed
    assert not sums.score("41").passed
    assert letters.id == "mine"
    assert len(letters.messages) == 3
    assert letters.score("(B)").passed
    assert letters.tags["tag0"] == "letters"
    assert colour.tags["kind"] == "word"
    assert colour.score("it is gray").passed


def test_jsonl_chooses_the_verifier_that_fits_all_references(tmp_path: Path) -> None:
    numbers = load_tasks(
        write(tmp_path / "n.jsonl", {"prompt": "a", "reference": "1,000"}, {"prompt": "b", "reference": 2})
    )
    assert numbers[0].score("$1000.00").passed
    texts = load_tasks(
        write(tmp_path / "t.jsonl", {"prompt": "a", "reference": "1000"}, {"prompt": "b", "reference": "two"})
    )
    assert not texts[0].score("1,000").passed
    with pytest.raises(LookupError):
        load_tasks(write(tmp_path / "o.jsonl", {"prompt": "a"}))[0].score("x")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON at character 2"),
        ("[1]", "valid dictionary"),
        ({"promt": "a"}, "unknown field 'promt'; allowed are .* did you mean 'prompt'"),
        ({"reference": "1"}, "one of prompt and messages; found neither"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "found both"),
        ({"messages": [{"role": "bot", "content": "b"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "b"}]}, "its role is user, not assistant"),
        ({"prompt": ""}, "prompt: .*at least 1"),
        ({"prompt": "a", "reference": "x", "verifier": "numeric"}, "'x' is not a number"),
        ({"prompt": "a", "verifier": "exact"}, "no reference, which the verifier exact needs"),
        ({"prompt": "a", "verifier": "exakt"}, "did you mean 'exact'"),
        ({"prompt": "a", "verifier": "python:os:system"}, "a data file cannot name code"),
        ({"prompt": "a", "verifier": "judge"}, "judge needs a model"),
        ({"prompt": "first", "reference": "2"}, "is that of line 1, which is another task"),
    ],
)
def test_broken_lines_are_named(line: object, message: str, tmp_path: Path) -> None:
    spec = write(tmp_path / "t.jsonl", {"prompt": "first", "reference": "1"}, line)
    with pytest.raises(TaskError, match=f"t.jsonl:2: .*{message}"):
        load_tasks(spec)


def test_files_that_hold_nothing_or_are_damaged(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no tasks"):
        load_tasks(write(tmp_path / "empty.jsonl", ""))
    with pytest.raises(TaskError, match="no task source"):
        load_tasks([])
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}\n')
    with pytest.raises(TaskError, match=r"latin.jsonl:1: cannot be read"):
        load_tasks(f"jsonl:{tmp_path}/latin.jsonl")
    whole = gzip.compress(json.dumps({"prompt": "a", "reference": 1}).encode() * 3)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-9])
    with pytest.raises(TaskError, match="cannot be read"):
        load_tasks(f"jsonl:{tmp_path}/cut.jsonl.gz")
    with pytest.raises(TaskError, match=r"did you mean 'latin\.jsonl'"):
        load_tasks(f"jsonl:{tmp_path}/latn.jsonl")
    spec = write(tmp_path / "one.jsonl", {"prompt": "a", "reference": 1})
    with pytest.raises(TaskError, match="none of its 1 tasks is on the"):
        load_tasks([f"{spec}?split=train", f"{spec}?split=test"])


def test_a_judge_scores_lines_without_reference(tmp_path: Path) -> None:
    judge = Judge(ScriptedModel({"<reply>\ngood": "Score: 0.9", "": "Score: 0.1"}))
    task = load_tasks(write(tmp_path / "t.jsonl", {"prompt": "a"}) + "?verifier=judge&threshold=0.8", judge=judge)[0]
    assert task.score("good").passed
    assert not task.score("bad").passed
    judge.close()


def test_verifier_options_belong_to_their_verifier(tmp_path: Path) -> None:
    spec = write(tmp_path / "t.jsonl", {"prompt": "a", "reference": "3.0"})
    assert load_tasks(f"{spec}?verifier=numeric&tolerance=0.1")[0].score("3.2").passed
    assert load_tasks(f"{spec}?verifier=regex&pattern=is (%5CS%2B)$")[0].score("It is 3.0").passed
    with pytest.raises(TaskError, match="tolerance is for the verifier numeric"):
        load_tasks(f"{spec}?verifier=exact&tolerance=0.1")
    with pytest.raises(TaskError, match="between 0 and 1"):
        load_tasks(f"{spec}?verifier=numeric&tolerance=-1")
