"""The errors of Podium, where users look for them: `except podium.errors.BudgetExceeded`.

The tree, with what each error means, is drawn in `podium.protocols.errors`, where it lives.
"""

from __future__ import annotations

from podium.protocols.errors import (
    AgentLeft,
    BudgetExceeded,
    CoordinatorError,
    DeadlineExceeded,
    InputError,
    JournalError,
    MissingExtra,
    ModelError,
    ModelGarbage,
    ModelUnreachable,
    NobodyAnswered,
    PodiumError,
    PolicyError,
    PromptTooLong,
    RunCancelled,
    RunError,
    RunPaused,
    TaskError,
    TeamFileError,
    ToolError,
)

__all__ = [
    "AgentLeft",
    "BudgetExceeded",
    "CoordinatorError",
    "DeadlineExceeded",
    "InputError",
    "JournalError",
    "MissingExtra",
    "ModelError",
    "ModelGarbage",
    "ModelUnreachable",
    "NobodyAnswered",
    "PodiumError",
    "PolicyError",
    "PromptTooLong",
    "RunCancelled",
    "RunError",
    "RunPaused",
    "TaskError",
    "TeamFileError",
    "ToolError",
]
