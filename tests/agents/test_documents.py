"""The document index: cutting, ranking, sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from podium.agents.documents import LONGEST, DocumentIndex
from podium.protocols.errors import InputError

GUIDE = """# Cats

The cat sleeps for most of the day, and hunts at dawn. It is a quiet animal that dislikes water and loud noises.

# Dogs

The dog is a loud animal. It loves walks, water and company, and it will bark at the postman whenever he comes by.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "animals.md").write_text(GUIDE)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "trains.txt").write_text("The train to Rome leaves at nine.\n" * 100)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG cat cat cat")
    return tmp_path


def test_the_best_paragraph_comes_first_with_its_source(folder: Path) -> None:
    index = DocumentIndex.load([folder])
    found = index.search("Which animal barks at the POSTMAN?", k=2)
    assert found[0].source == "animals.md:5"
    assert found[0].text.startswith("# Dogs\n\nThe dog")
    assert found[0].score > found[1].score > 0
    assert index.search("when does the train leave", k=1)[0].source.startswith("deep/trains.txt:1")


def test_long_paragraphs_are_cut_at_sentences(folder: Path) -> None:
    passages = DocumentIndex.load([folder / "deep"]).passages
    assert len(passages) > 2
    assert all(len(passage.text) <= LONGEST for passage in passages)
    assert all(passage.text.endswith(".") for passage in passages)


def test_nothing_in_common_finds_nothing(folder: Path) -> None:
    index = DocumentIndex.load([folder])
    assert index.search("zeppelin") == []
    assert index.search("") == []
    assert index.search("cat", k=0) == []


def test_text_without_sentences_is_cut_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a" * 3000)
    passages = DocumentIndex.load([tmp_path / "x.txt"]).passages
    assert [len(passage.text) for passage in passages] == [1200, 1200, 600]


def test_what_cannot_be_indexed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such document"):
        DocumentIndex.load([tmp_path / "none"])
    with pytest.raises(InputError, match="nothing to index"):
        DocumentIndex.load([tmp_path])
