"""Tasks that can be scored, by whatever way they are named."""

from __future__ import annotations

from collections.abc import Sequence

from podium.protocols.errors import InputError, TaskError
from podium.protocols.task import Task, no_score
from podium.protocols.words import counted
from podium.training.tasks.judge import Judges
from podium.training.tasks.spec import load_tasks

__all__ = ["disjoint", "tasks_of"]


def tasks_of(
    tasks: str | Sequence[str] | Sequence[Task], limit: int | None, judges: Judges | None = None
) -> list[Task]:
    """Tasks from a spec, several specs, or tasks. judges: who may score them.

    Raises TaskError when there are none, or one cannot be scored.
    """
    specs = [tasks] if isinstance(tasks, str) else [task for task in tasks if isinstance(task, str)]
    given = [task for task in tasks if isinstance(task, Task)]
    found = load_tasks(specs, limit=limit, judge=judges) if specs else given[:limit]
    if not found:
        raise TaskError("there are no tasks")
    bare = [task for task in found if task.score is no_score]
    if bare:
        raise TaskError(
            f"{len(bare)} of {counted(len(found), 'task')} cannot be scored, such as {bare[0].id} "
            f"({bare[0].text[:60]!r}): give them a reference, or name a verifier"
        )
    return found


def disjoint(first: Sequence[Task], second: Sequence[Task], one: str, other: str) -> None:
    """Raise InputError when two sets of tasks share one; one, other: what they are called."""
    seen = {task.messages for task in first}
    shared = [task for task in second if task.messages in seen]
    if shared:
        raise InputError(
            f"{len(shared)} of {len(second)} {other} tasks are {one} tasks too, such as {shared[0].text[:60]!r}; "
            "add split=train and split=test to the two specs"
        )
