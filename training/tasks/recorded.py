"""Tasks with recorded answers of real models: `recorded:POOL.jsonl.gz?threshold=0.5`.

A run on such a task calls nobody: the models of a recorded team repeat what was recorded. So the score of a reply is
known, and it is the recorded one whenever the reply is, word for word, one of the pool's; where the same text was
recorded twice with different scores, their mean. Where a score is needed for another text (somebody merged two
replies), it is compared with the reference, if the pool has references.

How an answer is read from a reply (number, letter or text) is decided once for the whole pool from all its references,
see podium.training.tasks.answers. A pool without texts has scores only: its replies are the sentences of
`podium.agents.recorded`, which carry no answer, so votes on it see nothing to compare, which is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from podium.agents.recorded import load_pool, not_recorded
from podium.protocols.errors import TaskError
from podium.protocols.pool import Pool, PoolTask
from podium.protocols.task import Message, Task, Verdict
from podium.training.tasks import answers
from podium.training.tasks.spec import Spec, check_options
from podium.training.tasks.verifiers import THRESHOLD, Choice, Exact, Numeric

VERIFIERS = {"numeric": Numeric, "choice": Choice, "exact": Exact}
EXTRACTORS = {"numeric": answers.number, "choice": answers.choice, "exact": answers.text_answer}

REMEMBERED = 1 << 16
"""Answers kept: training reads the same few thousand replies again and again."""


@dataclass(frozen=True, slots=True)
class RecordedScore:
    """Scores the replies to one task. known: score by text; kind: how a text that is not known is compared."""

    task: str
    known: Mapping[str, float]
    reference: str | None
    kind: answers.AnswerKind
    threshold: float

    def __call__(self, text: str) -> Verdict:
        """The recorded score of exactly this text, else its comparison with the reference.

        Raises LookupError when the text is not recorded and there is no reference.
        """
        score = self.known.get(text.strip())
        if score is not None:
            return Verdict(score, score >= self.threshold)
        if self.reference is None:
            raise LookupError(
                f"task {self.task}: this reply is not one of the pool's, and the pool has no reference to compare it"
                f" with: {text[:80]!r}"
            )
        return VERIFIERS[self.kind](self.reference).score(text)


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """Reads the answer from a reply, the same way for a whole pool."""

    kind: answers.AnswerKind
    without_text: frozenset[str]

    def __call__(self, text: str) -> str | None:
        """The number, letter or text; None where there is none, and for replies of which only the score is known."""
        return None if text.strip() in self.without_text else _read(self.kind, text)


@lru_cache(maxsize=REMEMBERED)
def _read(kind: answers.AnswerKind, text: str) -> str | None:
    return EXTRACTORS[kind](text)


def recorded_tasks(spec: Spec) -> list[Task]:
    """The tasks of `recorded:PATH?threshold=...`, in the order of the pool.

    threshold: from which recorded score a reply counts as correct. Raises TaskError.
    """
    check_options(spec, ("threshold",))
    if not spec.name:
        raise TaskError(f"{spec.text} names no pool; write recorded:POOL.jsonl")
    try:
        threshold = float(spec.options.get("threshold", THRESHOLD))
    except ValueError:
        raise TaskError(f"{spec.text}: threshold is {spec.options['threshold']!r}; it must be a number") from None
    if not 0.0 < threshold <= 1.0:
        raise TaskError(f"{spec.text}: threshold is {threshold}; it must be above 0 and at most 1")
    return tasks_of_pool(load_pool(spec.name), threshold)


def tasks_of_pool(pool: Pool, threshold: float = THRESHOLD) -> list[Task]:
    """The tasks of a pool that is already read."""
    kind = answers.kind_of(task.reference for task in pool.tasks if task.reference is not None)
    answer = RecordedAnswer(kind, frozenset(not_recorded(agent) for agent in pool.agents))
    played = pool.by_prompt()  # a recorded model goes by the prompt, also where two tasks share one
    tasks: list[Task] = []
    for task in pool.tasks:
        known = _scores(played[task.prompt.strip()])
        named = (
            task.tags if isinstance(task.tags, Mapping) else {f"tag{place}": tag for place, tag in enumerate(task.tags)}
        )
        tasks.append(
            Task(
                task.id,
                (Message("user", task.prompt),),
                score=RecordedScore(task.id, known, task.reference, kind, threshold),
                answer=answer,
                tags={"source": pool.name, **named},
            )
        )
    return tasks


def _scores(task: PoolTask) -> dict[str, float]:
    """Score by text of what recorded models say to this task, without surrounding space."""
    scores: dict[str, list[float]] = {}
    for agent, reply in task.replies.items():
        for sample in reply.samples:
            text = not_recorded(agent) if sample.text is None else sample.text.strip()
            scores.setdefault(text, []).append(sample.score)
    return {text: sum(each) / len(each) for text, each in scores.items()}
