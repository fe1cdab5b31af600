"""Batched deciding: who waits together is decided together, and event loops do not wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from podium.orchestrator.budget import Left
from podium.orchestrator.coordinator import RunState, Stateless, decision
from podium.orchestrator.deciding import Decider
from podium.protocols.record import Decision, Finish, Node
from podium.protocols.task import Message


class Batches(Stateless):
    """Finishes every run, and notes how many it decided at once."""

    name = "batches"
    batched = True

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def decide(self, states: Sequence[RunState]) -> list[Decision]:
        self.sizes.append(len(states))
        if any(state.run == "bad" for state in states):
            raise ValueError("bad")
        return [decision(self.name, state, Finish(1)) for state in states]


def waiting(run: str) -> RunState:
    nodes = [Node(0, (), "task", "user", "?")]
    return RunState(run, (Message("user", "?"),), (), nodes, 0, Left(9, 9, 9, 9), (), None, 0)


async def decide(decider: Decider, runs: Sequence[str]) -> list[str]:
    made = await asyncio.gather(*(decider.decide(waiting(run)) for run in runs))
    return [each.id for each in made]


def test_runs_that_wait_in_the_same_turn_share_a_batch() -> None:
    coordinator = Batches()
    assert asyncio.run(decide(Decider(coordinator), ["a", "b", "c"])) == ["a.0", "b.0", "c.0"]
    assert coordinator.sizes == [3]


def test_all_who_wait_hear_of_an_error() -> None:
    async def both(decider: Decider) -> list[Decision | BaseException]:
        return await asyncio.gather(*(decider.decide(waiting(run)) for run in ("a", "bad")), return_exceptions=True)

    assert [str(each) for each in asyncio.run(both(Decider(Batches())))] == ["bad", "bad"]


def test_a_run_that_gave_up_waiting_is_left_out() -> None:
    async def one_cancelled(decider: Decider) -> str:
        gone, stays = (asyncio.ensure_future(decider.decide(waiting(run))) for run in "ab")
        await asyncio.sleep(0)
        gone.cancel()
        return (await stays).id

    coordinator = Batches()
    assert asyncio.run(one_cancelled(Decider(coordinator))) == "b.0"
    assert coordinator.sizes in ([1], [2])


def test_event_loops_in_several_threads_share_a_coordinator() -> None:
    coordinator, rounds = Batches(), 200
    decider, together = Decider(coordinator), Barrier(2, timeout=10)

    def thread(name: str) -> list[str]:
        together.wait()

        async def many() -> list[str]:
            return [one for turn in range(rounds) for one in await decide(decider, [f"{name}{turn}"])]

        return asyncio.run(asyncio.wait_for(many(), 30))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(thread, "xy")
    assert first == [f"x{turn}.0" for turn in range(rounds)]
    assert second == [f"y{turn}.0" for turn in range(rounds)]


def test_a_batched_coordinator_that_awaits_is_refused() -> None:
    class Late(Batches):
        def decide(self, states: Sequence[RunState]) -> asyncio.Future[list[Decision]]:  # pyright: ignore[reportIncompatibleMethodOverride]
            return asyncio.get_running_loop().create_future()

    with pytest.raises(TypeError, match="must decide without awaiting"):
        asyncio.run(decide(Decider(Late()), ["a"]))
