"""The Python API in ten lines: load a team, run it, read the record, watch a run.

    python examples/quickstart.py

The team's model is scripted, so this needs no network and no key; see teams/endpoint.yaml for real ones.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from podium import Decided, Ended, Team

FILE = Path(__file__).parent / "teams" / "chain.yaml"
TASK = "How many goats can John buy with 4,500 dollars at 500 each?"


def plainly() -> None:
    """Ask, and look at what came of it."""
    with Team.load(FILE) as team:
        result = team.run(TASK, seed=0)
        print(f"{result.answer!r} in {result.steps} steps, {result.usage.tokens} tokens, ${result.usage.dollars:.6f}")
        for node in result.nodes:
            print(f"  {node.id} {node.kind} by {node.author}: {node.content!r}")


async def as_it_happens() -> None:
    """The same from async code, event by event."""
    async with Team.load(FILE) as team:
        async for event in team.astream(TASK, seed=0):
            match event:
                case Decided(decision=decision):
                    print(f"  decided: {decision.action}")
                case Ended(result=result):
                    print(f"  ended: {result.stop}")
                case _:
                    pass


if __name__ == "__main__":
    plainly()
    asyncio.run(as_it_happens())
