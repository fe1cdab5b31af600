"""The school at a paid endpoint: a real HTTP server in a thread of its own, and a team file that asks it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.agents.endpoint_server import USAGE, Server, chunk, in_a_thread
from tests.training.school import knows, question

PRICE = 100.0
"""Dollars per million tokens, of prompts and of replies."""
CALL = (USAGE["prompt_tokens"] + USAGE["completion_tokens"]) * PRICE * 1e-6
"""Dollars of a call."""


class School(Server):
    """An endpoint whose models are the school's agents, each good at its subject.

    fails: which of them is refused with 429 at which question.
    """

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.fails: Callable[[str, str], bool] = lambda agent, asked: False

    def asked(self, request: dict[str, Any]) -> int:
        """The number of the question in a request."""
        text = "\n".join(message["content"] for message in request["messages"])
        return next(number for number in range(200) if question(number)[0] in text)

    @property
    def status(self) -> int:
        if not self.requests:
            return 200
        last = self.requests[-1]
        return 429 if self.fails(last["model"], question(self.asked(last))[0]) else 200

    @status.setter
    def status(self, _: object) -> None: ...  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def parts(self) -> list[Any]:
        last = self.requests[-1]
        prompt, right = question(self.asked(last))
        if last["model"] == "chief":
            return [chunk({"content": '{"next": "adder"}'}), chunk({}, "stop", usage=USAGE)]
        if self.status != 200:
            return ["slow down"]
        said = right if knows(last["model"], prompt) else "0"
        return [chunk({"content": said}), chunk({}, "stop", usage=USAGE)]

    @parts.setter
    def parts(self, _: object) -> None: ...  # pyright: ignore[reportIncompatibleVariableOverride]

    def distinct(self) -> int:
        """How many of the requests are not equal to an earlier one."""
        return len({json.dumps(each | {"head": ""}, sort_keys=True) for each in self.requests})


@contextmanager
def open_school() -> Generator[School]:
    """The endpoint, while it listens."""
    server = School()
    with in_a_thread(server) as server.port:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
        try:
            yield server
        finally:
            signal.signal(signal.SIGINT, before)


def paid_team(folder: Path, server: School, **settings: Any) -> Path:
    """A team file whose agents are models of the endpoint. settings: of the file, such as its pool."""
    price = {"input": PRICE, "output": PRICE}
    at = {"provider": "openai", "base_url": f"http://127.0.0.1:{server.port}/v1", "price": price, "max_tokens": 50}
    given = {
        "name": "paid",
        "models": {name: at | {"model": name} for name in ("adder", "timer", "chief")},
        "agents": {
            "adder": {"role": "solver", "model": "adder", "description": "adds numbers"},
            "timer": {"role": "solver", "model": "timer", "description": "multiplies numbers"},
        },
        "coordinator": {"kind": "vote"},
        "retry": {"attempts": 1, "open_after": 1000},
    }
    file = folder / "paid.yaml"
    file.write_text(json.dumps(given | settings))
    return file


def questions(folder: Path, name: str, numbers: range) -> str:
    """Questions as JSON lines; their source."""
    rows = [dict(zip(("prompt", "reference"), question(number), strict=True)) for number in numbers]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"jsonl:{folder}/{name}.jsonl"
