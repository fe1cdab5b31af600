"""How long agents worked in earlier lives of a run, by its record."""

from __future__ import annotations

import pytest

from podium.orchestrator.journal import Completed
from podium.orchestrator.lived import lived
from podium.protocols.record import Call, Decision, Directive, Generation, Kind, Node, Sampling, ToolResult, Usage


def call(seconds: float, error: str | None = None) -> Call:
    return Call("c", "m", Generation("x", Usage(1, 1, 1, 0.0, seconds), Sampling()), 1, error)


TOOL = Call("t", "clock", ToolResult("noon"))


def node(id: int, author: str, clock: float, *calls: Call, step: int = 0, pick: int = 0, kind: Kind = "reply") -> Node:
    return Node(id, (), kind, author, "", None, calls, Usage(), clock, f"r.{step}.{pick}")


TASK = Node(0, (), "task", "user", "?")


def test_calls_tell_their_time_and_steps_are_added_up() -> None:
    nodes = [TASK, node(1, "ann", 2.5, call(1.0), call(1.0)), node(2, "ann", 5.0, call(0.5), step=1)]
    assert lived(nodes, ()) == {"ann": pytest.approx(2.5)}


def test_requests_at_once_count_as_the_longest() -> None:
    nodes = [
        TASK,
        node(1, "ann", 9.0, call(2.0), kind="candidate"),
        node(2, "ann", 9.0, call(3.0), kind="candidate"),
        node(3, "ann", 9.0),  # the one that was picked
        node(4, "bob", 9.0, call(8.0), pick=1),
    ]
    assert lived(nodes, ()) == {"ann": 3.0, "bob": 8.0}


@pytest.mark.parametrize("calls", [(call(1.0), TOOL, call(1.0)), (call(1.0, "broken"), call(1.0)), (call(0.0),)])
def test_what_no_call_tells_is_taken_for_the_whole_step(calls: tuple[Call, ...]) -> None:
    deciding = Node(2, (), "decision", "chair", "", clock=10.0)
    nodes = [TASK, node(1, "ann", 4.0, call(1.0)), deciding, node(3, "ann", 17.0, *calls, step=1)]
    assert lived(nodes, ()) == {"ann": pytest.approx(8.0)}


def test_a_failure_without_calls_took_the_step() -> None:
    assert lived([TASK, node(1, "ann", 4.0, kind="failure")], ()) == {"ann": 4.0}


def test_calls_of_what_was_cut_off_count() -> None:
    decision = Decision("r.0", 0, (Directive("r.0.0", "ann"), Directive("r.0.1", "bob")), "p")
    completed = [
        Completed("r.0.0", call(1.0)),
        Completed("r.0.0", call(1.0)),
        Completed("r.0.0", call(1.5), 1),
        Completed("r.0.1", TOOL),
        Completed("elsewhere", call(9.0)),
    ]
    assert lived([TASK], [decision], completed) == {"ann": 2.0}
