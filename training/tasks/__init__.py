"""Where tasks come from, and how an answer is judged."""

from podium.training.tasks.spec import load_tasks

__all__ = ["load_tasks"]
