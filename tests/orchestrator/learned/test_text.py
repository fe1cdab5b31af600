"""Texts as vectors: the same everywhere and always, of fixed length, with digits by their length."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from podium.orchestrator.learned.text import LONGEST, SHAPE, WIDTH, encode, outline, telling_words

HALF = WIDTH // 2


@pytest.mark.parametrize("text", ["What is 17 + 5?", "short", "Ünïcode: каша, 数学, ²", "a" * 9999, "emoji 🙂🙃"])
def test_words_have_unit_length_and_trigrams_a_quarter_of_it(text: str) -> None:
    vector, shape = encode(text)
    assert vector.shape == (WIDTH,)
    assert shape.shape == (SHAPE,)
    assert vector.dtype == shape.dtype == np.float32
    assert np.linalg.norm(vector[:HALF]) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(vector[HALF:]) == pytest.approx(0.25, abs=1e-5)
    assert np.isfinite(shape).all()
    assert not vector.flags.writeable


def test_the_same_in_another_process() -> None:
    text = "Add 12 and 30, пожалуйста."
    code = f"from podium.orchestrator.learned.text import encode; print(encode({text!r})[0].nonzero()[0].tolist())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == str(encode(text)[0].nonzero()[0].tolist())


def test_digits_count_by_their_length() -> None:
    words = [encode(text)[0][:HALF] for text in ("17 + 5 = x", "82 + 3 = x", "827 + 3 = x")]
    assert (words[0] == words[1]).all()
    assert (words[0] != words[2]).any()
    letters = [encode(text)[0][HALF:] for text in ("17 + 5 = x", "82 + 3 = x")]
    assert (letters[0] != letters[1]).any()


def test_a_word_that_is_not_told_apart_counts_by_its_length() -> None:
    words, nothing = frozenset({"spell", "backwards"}), frozenset[str]()
    one, same, longer = (encode(f"Spell {word} backwards", words)[0][:HALF] for word in ("tree", "bird", "trees"))
    assert (one == same).all()
    assert (one != longer).any()
    assert (one != encode("Write tree backwards", words)[0][:HALF]).any()
    assert (encode("Spell tree backwards")[0][:HALF] != encode("Spell bird backwards")[0][:HALF]).any()
    assert (encode("a 1 + b?", nothing)[0][:HALF] != encode("a 12 + b?", nothing)[0][:HALF]).any()


def test_telling_words_come_back() -> None:
    texts = [f"Spell the word {'abcdefghij'[number]}xyz, number {number}" for number in range(10)]
    assert telling_words(texts) == {"spell", "the", "word", "number"}
    assert telling_words([]) == frozenset()
    thousand = [f"count {'rare' if number < 9 else 'common'} things" for number in range(1000)]
    assert telling_words(thousand) == {"count", "common", "things"}


def test_order_and_case() -> None:
    one, other = encode("dog bites man")[0], encode("man bites dog")[0]
    assert (one[:HALF] == other[:HALF]).all()
    assert (one[HALF:] != other[HALF:]).any()
    assert (encode("Dog Bites")[0] == encode("dog bites")[0]).all()
    assert encode("Dog Bites")[1][3] == pytest.approx(2 / 9)


def test_the_figures() -> None:
    shape = encode("Add 12, ok?")[1]
    expected = [np.log1p(11) / 6, np.log1p(5) / 5, 2 / 11, 1 / 11, 2 / 11, 0, np.log1p(1) / 3, np.log1p(1) / 3]
    assert shape == pytest.approx(expected)
    assert encode("Ädd 12, ok?")[1] == pytest.approx(expected)  # counted the slow way
    assert encode("")[1].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert encode("3 and 4.5.\nNo!")[1][6:] == pytest.approx([np.log1p(3) / 3, np.log1p(4) / 3])
    assert encode(" \n")[1][5] == 1


def test_an_outline_is_the_figures_alone() -> None:
    vector, figures = outline("Add 12, ok?")
    assert not vector.any()
    assert (figures == encode("Add 12, ok?")[1]).all()


def test_nothing_to_encode() -> None:
    assert not encode("")[0].any()
    assert not encode("  ")[0][:HALF].any()


def test_of_a_long_text_head_and_tail_are_read() -> None:
    head, tail = "begin " * 500, "finish " * 500
    one = encode(head + "middle " * 500 + tail)[0]
    assert (one == encode(head + "centre " * 500 + tail)[0]).all()
    assert (one != encode("other" + head + "middle " * 500 + tail)[0]).any()
    assert (one != encode(head + "middle " * 500 + tail + "other")[0]).any()
    assert len(head) > LONGEST // 2


def test_a_long_text_is_not_kept() -> None:
    text = "head and tail " * LONGEST
    held = sys.getrefcount(text)
    encode(text)
    outline(text)
    assert sys.getrefcount(text) == held


def test_letters_of_every_script_make_words() -> None:
    assert (encode("каша варится")[0][:HALF] != encode("суп остыл")[0][:HALF]).any()


def test_broken_unicode_is_read_too() -> None:
    vector, _ = encode("half a pair: \ud83d and text")
    assert vector.any()
