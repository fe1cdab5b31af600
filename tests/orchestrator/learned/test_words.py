"""Words of many texts at once: the same whether alone or together, in ASCII or not, and by the definition itself."""

from __future__ import annotations

import random
import re
import string

import numpy as np
import pytest

from podium.orchestrator.learned import text as texts_module
from podium.orchestrator.learned.text import LONGEST, encode, encode_all, outline, outline_all
from podium.orchestrator.learned.words import PLACES, WORD, found_in, found_in_ascii, hashes, lots

ASCII = [
    "",
    " ",
    "\n",
    "a",
    "ab",
    "12",
    "_",
    "a_b 1_000",
    "?",
    "...!?",
    "0123456789" * 30,
    "What is 17 + 5? It is 22.\nYes!",
    "\x00\x1c\x1d\x1f\x7f",
    "tab\tand\r\nreturn\vand\f",
    "MiXeD CaSe, don't; 3.14e-10 == x[0]",
    "#" * 7 + "?" * 7 + " 1 22 333 4444 55555 666666 7777777",
    "word" * 700 + " end",
    "x" * LONGEST,
    "".join(map(chr, range(128))),
]
TOLD = frozenset({"what", "is", "yes", "word", "каша"})


def random_texts(count: int, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(string.printable, k=draw.randrange(0, 60))) for _ in range(count)]


@pytest.mark.parametrize("told", [None, hashes(TOLD), hashes(())])
def test_both_ways_find_the_same(told: np.ndarray | None) -> None:
    for text in [*ASCII, *random_texts(300)]:
        fast, slow = found_in_ascii([text], told), found_in(text, told)
        assert fast.tallies == slow.tallies, text
        belong = fast.places[fast.places < 2 * PLACES]  # the others belong to no text
        assert sorted(belong) == sorted(slow.places), text


def test_together_as_alone() -> None:
    several = [*ASCII, *random_texts(100), "Ünïcode: каша, 数学, ²", "emoji 🙂🙃", "half a pair: \ud83d"]
    random.Random(3).shuffle(several)
    for words in (None, TOLD, frozenset[str]()):
        texts_module._kept.clear()  # pyright: ignore[reportPrivateUsage]
        vectors, figures = encode_all(several, words)
        texts_module._kept.clear()  # pyright: ignore[reportPrivateUsage]
        for text, vector, shape in zip(several, vectors, figures, strict=True):
            alone = encode(text, words)
            np.testing.assert_array_equal(vector, alone[0], err_msg=text)
            np.testing.assert_array_equal(shape, alone[1], err_msg=text)
    vectors, figures = outline_all(several)
    assert not vectors.any()
    for text, shape in zip(several, figures, strict=True):
        np.testing.assert_array_equal(shape, outline(text)[1])
        np.testing.assert_array_equal(shape, encode(text)[1])


def test_places_are_what_they_are_said_to_be() -> None:
    """A polynomial of a word's letters, folded and spread; of a number and an unknown word, that of its length."""

    def words_of(text: str, told: np.ndarray | None = None) -> list[int]:
        places = found_in_ascii([text], told).places
        return places[places < 2 * PLACES].tolist()

    def place(word: str) -> int:
        number = sum(letter * pow(16777619, at, 1 << 32) for at, letter in enumerate(word.encode())) % (1 << 32)
        return ((number ^ (number >> 15)) * 2654435761 % (1 << 32)) >> 22

    text = "The 17 cats saw 1234567 dogs, the END."
    found = re.findall(r"[a-z]+|[0-9]+|[^a-z0-9_\s]", text.lower())
    assert found == WORD.findall(text.lower())
    plain = ["#" * min(6, len(word)) if word.isdigit() else word for word in found]
    assert words_of(text)[: len(found)] == [place(word) for word in plain]
    known = hashes({"the", "end"})
    less = [word if word in {"the", "end"} or not word.isalpha() else "?" * min(6, len(word)) for word in plain]
    assert words_of(text, known)[: len(found)] == [place(word) for word in less]


def test_a_tally() -> None:
    tally = found_in_ascii(["Add 12 to a_b, OK?\nNo."]).tallies[0]
    assert (tally.size, tally.words, tally.digits, tally.capitals, tally.marks) == (22, 10, 2, 4, 4)
    assert (tally.numbers, tally.ends, tally.trigrams, tally.filled) == (1, 3, 20, 11)


def test_texts_of_any_size_are_worked_on_in_lots() -> None:
    many = ["spell it" * 300, "and again"] * 40
    assert len(list(lots(many))) > 1
    assert [text for lot in lots(many) for text in lot] == many
    assert list(lots(["a" * 10**5, "b"])) == [["a" * 10**5], ["b"]]
    texts_module._kept.clear()  # pyright: ignore[reportPrivateUsage]
    vectors, _ = encode_all(many)
    assert (vectors[::2] == vectors[0]).all()
    assert (vectors[1::2] == vectors[1]).all()
    np.testing.assert_array_equal(vectors[1], encode("and again")[0])


def test_words_of_any_length_can_be_told_apart() -> None:
    assert len(hashes({"a" * 10**6, "b", "ü" * 30_000})) == 2  # nobody reads the first one
    many = frozenset("".join(random.Random(seed).choices(string.ascii_lowercase, k=9)) for seed in range(9000))
    assert len(hashes(many)) > len(many) - 3
    word = sorted(many)[0]
    assert (encode(word, many)[0] == encode(word)[0]).all()
    assert (encode("zzzzzzzzz", many)[0] != encode("zzzzzzzzz")[0]).any()


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts_module, "REMEMBERED", 5)
    kept = texts_module._kept  # pyright: ignore[reportPrivateUsage]
    kept.clear()
    encode_all([f"text {number}" for number in range(20)])
    assert [key[0] for key in kept] == [f"text {number}" for number in range(15, 20)]
    encode_all(["text 19", "new"])
    assert [key[0] for key in kept] == ["text 16", "text 17", "text 18", "text 19", "new"]
    first = encode("text 19")
    assert not first[0].flags.writeable
    assert first[1].base is encode("text 19")[1].base  # not read anew
    np.testing.assert_array_equal(first[0], encode("text 19")[0])
