"""Every error Podium raises on purpose, in one tree.

    PodiumError
    ├── InputError              the input is wrong; nothing was started (exit code 2)
    │   ├── TeamFileError       a YAML file: path, line, field, what was found, what is allowed
    │   ├── TaskError           a task source: unknown, empty, or with a broken line
    │   ├── PolicyError         a saved policy: missing, unreadable, or made for another architecture
    │   └── MissingExtra        a part of Podium that needs packages which are not installed
    ├── RunPaused               the process stops while a run waits for a person; the run has no end, and can go on
    └── RunError                the work failed (exit code 1); carries the run id and what was kept
        ├── BudgetExceeded      a call was refused before it started
        │   └── DeadlineExceeded    the time of the run, or of an agent in it, was up
        ├── ModelError          a model failed or returned something that is not an answer
        │   ├── ModelUnreachable    no connection, or no answer in time
        │   ├── ModelGarbage        an answer came, and it is not one
        │   ├── NobodyAnswered      a person was asked, and no word came in time
        │   └── PromptTooLong       the prompt does not fit the model's context
        ├── AgentLeft           an agent left the team, and can be asked no more
        ├── ToolError           a tool raised, hung or does not exist
        ├── CoordinatorError    a coordinator decided something the team cannot do
        ├── JournalError        what happened in a run could not be written down
        └── RunCancelled        the caller cancelled the run

`podium.errors` offers the same names; a test keeps this drawing true.
"""

from __future__ import annotations

from podium.protocols.record import NO_USAGE

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


class PodiumError(Exception):
    """What happened, in one sentence a user can act on."""


class InputError(PodiumError):
    """The input is wrong. Nothing was started, nothing was changed."""


class TeamFileError(InputError):
    """A YAML file is wrong. problems: one line each, `file:line: field: ...`."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class TaskError(InputError):
    """A task source cannot be used."""


class PolicyError(InputError):
    """A saved policy cannot be used with this team or this version."""


class MissingExtra(InputError):
    """A part of Podium needs packages that are not installed."""

    def __init__(self, what: str, extra: str, missing: str) -> None:
        super().__init__(f'{what} needs the package {missing}; install it with: pip install "podium[{extra}]"')


class RunPaused(PodiumError):
    """The process stops while a run waits for a person. run: its id.

    It is no RunError, because nothing failed: it passes by whoever would try again, or write down an end.
    """

    def __init__(self, message: str, run: str) -> None:
        self.run = run
        super().__init__(message)


class RunError(PodiumError):
    """A run failed. run: its id; kept: what is still there to use, in words; partial: the `Result` up to there."""

    def __init__(self, message: str, *, run: str = "", agent: str = "", kept: str = "") -> None:
        self.partial: object = None
        self.run = run
        self.agent = agent
        self.kept = kept
        self.message = message
        super().__init__(message)

    def __str__(self) -> str:
        where = ", ".join(
            part
            for part in (f"run {self.run}" if self.run else "", f"agent {self.agent}" if self.agent else "")
            if part
        )
        return (f"{where}: " if where else "") + self.message + (f" ({self.kept})" if self.kept else "")


class BudgetExceeded(RunError):
    """A call was refused before it started, because the budget does not hold it."""


class DeadlineExceeded(BudgetExceeded):
    """The run's seconds were up before there was a reply to answer with, or an agent's seconds in it were used up."""


class ModelError(RunError):
    """A model failed.

    transient: asking the same again may help; after: seconds that the endpoint asks to wait before that. model: its
    name, where known. usage: what the attempt counts for all the same (the rule: `podium.orchestrator.budget`).
    """

    transient = False

    def __init__(
        self,
        message: str,
        *,
        run: str = "",
        agent: str = "",
        kept: str = "",
        transient: bool | None = None,
        after: float | None = None,
    ) -> None:
        super().__init__(message, run=run, agent=agent, kept=kept)
        self.after = after
        self.model = ""
        self.usage = NO_USAGE
        if transient is not None:
            self.transient = transient


class ModelUnreachable(ModelError):
    """No connection to the model's endpoint, or no answer in time."""

    transient = True


class ModelGarbage(ModelError):
    """The endpoint answered, and the answer is not one."""

    transient = True


class NobodyAnswered(ModelError):
    """A person was asked, and no word came in time. Asking again would ask the same person the same."""


class PromptTooLong(ModelError):
    """The prompt does not fit the model's context. Asking again would not shorten it; another model may take it."""


class AgentLeft(RunError):
    """An agent left the team while it was asked, or before; the run goes on without it."""


class ToolError(RunError):
    """A tool raised, hung, or does not exist."""


class CoordinatorError(RunError):
    """A coordinator decided something that the team cannot do."""


class JournalError(RunError):
    """What happened in a run could not be written to the journal. What was written before is whole, and stays."""


class RunCancelled(RunError):
    """The caller cancelled the run. The transcript is valid up to here."""
