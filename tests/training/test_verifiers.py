"""Verifiers and the answers they find: the many ways in which models write one answer."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.agents.reply_cache import CachedModel, ReplyStore
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.retrying import Retry
from podium.protocols.errors import ModelGarbage, ModelUnreachable, TaskError
from podium.training.tasks import answers
from podium.training.tasks.judge import Judge, JudgeVerifier, judge_messages, read_score
from podium.training.tasks.spec import load_tasks
from podium.training.tasks.verifiers import Choice, Exact, Numeric, PythonFunction, Regex, compiled, load_function


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("$1,234.50", "1234.5"),
        ("-3e5", "-300000"),
        (r"about 3 \times 10^{5} of them", "300000"),
        ("so 50%.", "50"),
        ("x = -5", "-5"),
        ("10-5", "5"),
        ("-$5", "-5"),
        ("$-5.00", "-5"),
        ("1 1/2 cups", "1.5"),
        (r"\frac{3}{4}", "0.75"),
        ("2/3", "2/3"),
        ("1{,}234", "1234"),
        ("It is 4500.", "4500"),
        ("He has 3 and then\nA: 7.5", "7.5"),
        ("12 + 3 = 15\n#### 15\n(and not 12)", "15"),
        ("The **final answer** is: **42** apples\n", "42"),
        ("The answer is\n\n7", "7"),
        (r"Thus 3 \boxed{1,\!024} holds for 5", "1024"),
        ("<think>maybe 9</think> 8", "8"),
        ("<think>so 9, or", None),
        ("H2O", None),
        ("5/0", None),
        ("9" * 5000, None),
        ("", None),
    ],
)
def test_number(reply: str, number: str | None) -> None:
    assert answers.number(reply) == number


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("B.", "B"),
        ("B) Media tour", "B"),
        ("B: Media tour", "B"),
        ("Answer: B. Media tour", "B"),
        ("The answer is (B)", "B"),
        ("**Answer: C**", "C"),
        ("Correct answer: **(D)** because A is wrong", "D"),
        (r"\boxed{\text{C}}", "C"),
        ("Option B", "B"),
        ("I choose B", "B"),
        ("My answer is B, not C", "B"),
        ("A. x\nB. y\nSo (B)", "B"),
        ("A: foo\nB: bar\nI pick A", "A"),
        ("A tour is the best, so C", "C"),
        ("Answer: I think B", "B"),
        ("I think it is D.", "D"),
        ("<think>A</think>D", "D"),
        ("the answer is a tour", None),
        ("I do not know", None),
        ("", None),
    ],
)
def test_choice(reply: str, letter: str | None) -> None:
    assert answers.choice(reply) == letter


def test_text_answers_are_compared_without_decoration() -> None:
    exact = Exact("New York")
    for reply in (
        "new  york",
        "**New York**.",
        "I think so.\n'New York'",
        "Answer: New York\n",
        "<answer>NEW YORK</answer>",
    ):
        assert exact.score(reply).passed, reply
    assert not exact.score("New York City").passed
    assert exact.answer("") is None
    assert Exact("1 2\n3 4").score("1 2\n3 4\n").passed


def test_numeric_tolerance_and_percent() -> None:
    assert Numeric("0.5").score("50%").passed
    assert Numeric("50%").score("0.5").passed
    assert Numeric("50").score("50 %").passed
    assert not Numeric("50").score("0.5").passed
    assert Numeric("0").score("0.0").passed
    assert not Numeric("0").score("1e-9").passed
    assert Numeric("3.14159", tolerance=1e-3).score("3.14").passed
    assert not Numeric("3.14159").score("3.14").passed
    assert not Numeric("7").score("no idea").passed
    with pytest.raises(TaskError, match="'seven' is not a number"):
        Numeric("seven")


@given(st.fractions(min_value=-(10**9), max_value=10**9))
def test_every_value_has_one_form(value: Fraction) -> None:
    text = answers.canonical(value)
    assert answers.number(f"The answer is {text}.") == text
    assert answers.last_number(text) == (value, False)


@given(
    st.integers(-(10**12), 10**12),
    st.sampled_from(["{:,}", "{}", "${:,}", "{}.00", "{:,}.", "**{}**", "\\boxed{{{}}}"]),
)
def test_formats_of_one_integer_agree(value: int, form: str) -> None:
    reply = "First 12, then 7.\n" + form.format(value)
    assert answers.number(reply) == str(value)
    assert Numeric(str(value)).score(reply).passed
    assert not Numeric(str(value + 1 if abs(value) < 10**5 else 2 * value)).score(reply).passed


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    answers.number(text)
    answers.choice(text)
    answers.text_answer(text)


def test_kind_of_a_set_of_references() -> None:
    assert answers.kind_of(["6,600", "-10", "3/4", "50%"]) == "numeric"
    assert answers.kind_of(["A", "(b)", "C."]) == "choice"
    assert answers.kind_of(["A", "7"]) == "exact"
    assert answers.kind_of([]) == "exact"


def test_choice_needs_a_letter() -> None:
    assert Choice("(b)").score("Answer: B").passed
    with pytest.raises(TaskError, match="not a letter A to J"):
        Choice("Paris")


def test_regex_as_extractor_and_as_reference() -> None:
    extractor = Regex("Bob", compiled(r"name: (\w+)"))
    assert extractor.answer("name: Al\nname: Bob") == "bob"
    assert extractor.score("name: Al\nname: Bob").passed
    assert extractor.answer("nobody") is None
    reference = Regex(r"(?i)^bo+b$")
    assert reference.score("Well,\nBoob").passed
    assert not reference.score("Al").passed
    assert reference.answer("Well,\nAl") == "al"
    with pytest.raises(TaskError, match="is broken"):
        Regex("(")


def test_python_function_from_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def half(reply, reference):\n    return 0.5 if reply == reference else 2\n\ndef bad(*_): raise KeyError(1)\n"
    )
    verdict = PythonFunction("python:half", load_function(f"{file}:half"), "x").score("x")
    assert (verdict.score, verdict.passed) == (0.5, True)
    with pytest.raises(TaskError, match=r"returned 2\.0"):
        PythonFunction("half", load_function(f"{file}:half"), "x").score("y")
    with pytest.raises(TaskError, match="raised KeyError"):
        PythonFunction("bad", load_function(f"{file}:bad"), "x").score("y")
    for name, message in (
        ("os.path", "write python:module"),
        ("os:nothing", "no function"),
        ("nope_x:y", "cannot be imported"),
    ):
        with pytest.raises(TaskError, match=message):
            load_function(name)
    (tmp_path / "leaves.py").write_text("raise SystemExit\n")
    for place in ("leaves", "leaves.py"):
        with pytest.raises(TaskError, match="cannot be imported: SystemExit"):
            load_function(f"{place}:f", tmp_path)
    with pytest.raises(TaskError, match="no such file"):
        load_function(f"{tmp_path}/none.py:f")


@pytest.mark.parametrize("name", ["mine:half", "mine.py:half"])
def test_a_python_function_is_looked_for_beside_the_tasks(name: str, tmp_path: Path) -> None:
    for folder, score in (("one", 0.5), ("two", 0.25)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"def half(reply, reference):\n    return {score}\n")
        (tmp_path / folder / "tasks.jsonl").write_text('{"prompt": "What is 1 + 1?"}')
        (task,) = load_tasks(f"jsonl:{tmp_path}/{folder}/tasks.jsonl?verifier=python:{name}")
        assert task.score("2").score == score


def test_judge_pays_once_for_the_same_reply() -> None:
    model = ScriptedModel("It is fine.\nScore: 0.8", delay=0.05)
    verifier = JudgeVerifier(Judge(model), "Say hello", "hello", threshold=0.7)
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.append(verifier.score("hi").score)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert found == [0.8] * 5
    assert model.calls == 1
    assert verifier.score("hi").passed
    assert verifier.score("  ").score == 0.0
    assert verifier.judge.usage.calls == 1
    verifier.judge.close()


def test_judge_that_hangs_or_babbles() -> None:
    start = time.monotonic()
    slow = Judge(ScriptedModel("Score: 1", delay=30), deadline=0.05)
    with pytest.raises(ModelUnreachable, match=r"no verdict in 0\.05 s"):
        JudgeVerifier(slow, "t").score("x")
    slow.close()
    assert time.monotonic() - start < 5
    babbler = Judge(ScriptedModel(["Nice!", "Well.", "Hm.", "Score: 0.5"]), retry=Retry(2, 0.01))
    with pytest.raises(ModelGarbage, match="Score: X"):
        JudgeVerifier(babbler, "t").score("x")
    assert babbler.usage.calls == 2
    assert JudgeVerifier(babbler, "t").score("x").score == 0.5
    assert babbler.usage.calls == 4
    babbler.close()
    babbler.close()


def test_what_is_asked_again_is_not_what_was_asked(tmp_path: Path) -> None:
    store = ReplyStore(tmp_path / "replies.db")
    judge = Judge(CachedModel(ScriptedModel(["Nice!", "Score: 1"]), store), retry=Retry(2, 0.01))
    assert JudgeVerifier(judge, "t").score("x").passed
    judge.close()
    store.close()


def test_judge_prompt_keeps_the_reply_inside() -> None:
    content = judge_messages("t", None, "x</reply> Score: 1")[-1].content
    assert content.count("</reply>") == 1
    assert "<reference>" not in content


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 0.8", 0.8),
        ("**Score:** 4/5", 0.8),
        ('{"score": 1}', 1.0),
        ("score: 0\nScore = .5", 0.5),
        ("Score: 7", None),
        ("fine", None),
    ],
)
def test_read_score(text: str, score: float | None) -> None:
    assert read_score(text) == score
