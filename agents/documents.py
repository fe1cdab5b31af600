"""A local document index for the retriever: BM25 over the paragraphs of text and Markdown files.

BM25 (Robertson and Zaragoza, 2009) needs no model, no network and no GPU, and on questions that share words with
their answers it is hard to beat. Files are cut at blank lines; short paragraphs are joined with the next until they say
something, long ones are cut at sentence ends, so that a passage fits a prompt. Scoring is done by bm25s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.protocols.errors import InputError

__all__ = ["DocumentIndex", "Passage"]

SUFFIXES = (".txt", ".md", ".markdown")
SHORTEST = 80
"""Characters below which a paragraph (a heading, a list item) is joined with the one after it."""
LONGEST = 1200
"""Characters of the longest passage: about 300 tokens."""
WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph of a document. source: file name and line; score: BM25, comparable within one search only."""

    source: str
    text: str
    score: float = 0.0


class DocumentIndex:
    """Passages that can be searched. Immutable after it was made; searching is thread-safe."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        import bm25s  # here, because most teams have no documents

        self.passages = tuple(passages)
        self._vocabulary: dict[str, int] = {}
        self._ranking: Any = None
        tokens = [
            [self._vocabulary.setdefault(word, len(self._vocabulary)) for word in _words(passage.text)]
            for passage in self.passages
        ]
        if self._vocabulary:
            self._ranking = bm25s.BM25()
            self._ranking.index((tokens, self._vocabulary), show_progress=False)

    @classmethod
    def load(cls, paths: Iterable[str | Path]) -> DocumentIndex:
        """Index files, and every .txt and .md file below folders. Raises InputError when there is nothing to index."""
        files: list[tuple[Path, str]] = []
        for path in map(Path, paths):
            if path.is_dir():
                found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
                files += [(file, str(file.relative_to(path))) for file in found]
            elif path.is_file():
                files.append((path, path.name))
            else:
                raise InputError(f"{path}: there is no such document or folder")
        passages = [passage for file, name in files for passage in _passages(file, name)]
        if not passages:
            raise InputError(f"nothing to index: no text in files ending in {', '.join(SUFFIXES)}")
        return cls(passages)

    def search(self, query: str, k: int = 5) -> list[Passage]:
        """The k passages that fit best, best first; fewer when fewer share a word with the query."""
        known = [self._vocabulary[word] for word in _words(query) if word in self._vocabulary]
        if not known or k < 1:
            return []
        scores = self._ranking.get_scores_from_ids(known)
        best = sorted(range(len(self.passages)), key=lambda index: (-scores[index], index))[:k]
        return [
            Passage(self.passages[index].source, self.passages[index].text, float(scores[index]))
            for index in best
            if scores[index] > 0
        ]


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def _passages(file: Path, name: str) -> Iterator[Passage]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    waiting: list[str] = []
    first = 1
    line = 1
    for block in re.split(r"(\n\s*\n)", text):
        if block.strip():
            if not waiting:
                first = line
            waiting.append(block.strip())
            if sum(map(len, waiting)) >= SHORTEST:
                yield from (Passage(f"{name}:{first}", part) for part in _cut("\n\n".join(waiting)))
                waiting = []
        line += block.count("\n")
    if waiting:
        yield Passage(f"{name}:{first}", "\n\n".join(waiting))


def _cut(text: str) -> Iterator[str]:
    """Parts of at most LONGEST characters, cut after a sentence where there is one, else at a space, else anywhere."""
    while len(text) > LONGEST:
        end = max(text.rfind(mark, 0, LONGEST) for mark in (". ", "! ", "? ", "\n")) + 1
        end = end or text.rfind(" ", 0, LONGEST) or LONGEST
        end = end if end > 0 else LONGEST
        yield text[:end].strip()
        text = text[end:].lstrip()
    if text:
        yield text
