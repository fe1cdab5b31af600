"""Where tasks come from, and how an answer is judged."""

import warnings

from podium.training.tasks.spec import load_tasks

__all__ = ["load_tasks"]

# Of the libraries that task sources need; they are compiled when they are first imported, where pip has not done it.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=".*site-packages")
