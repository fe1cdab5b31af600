"""The team of team.yaml under a scripted model that asks for a tool, gets its result, and answers.

    python examples/tools/run.py

This is also how to test a team of your own: real file, real tools, a model that says what you wrote.
"""

from __future__ import annotations

from pathlib import Path

from podium import Team
from podium.agents.model import Prompt
from podium.agents.scripted import ScriptedModel
from podium.orchestrator.team_file import load_team
from podium.protocols.record import Generation, Sampling, ToolCall, Usage

FILE = Path(__file__).parent / "team.yaml"


def clerk(prompt: Prompt) -> str | Generation:
    """What a model would say: first that it wants the price, then, seeing it, the answer."""
    last = prompt.messages[-1]
    if last.role == "tool":
        return f"Twelve apples are ${float(last.content):.2f}."
    wanted = ToolCall("call-1", "price", '{"fruit": "apple", "count": 12}')
    return Generation("", Usage(60, 20, 1), Sampling(), finish="tool", tool_calls=(wanted,))


def main() -> None:
    """Run the team, and show every call it made."""
    with Team(load_team(FILE), {"small": ScriptedModel(clerk)}) as team:
        result = team.run("How much are twelve apples?")
    for call in result.nodes[result.node].calls:
        print(f"{call.target}: {call.result.text or 'asks for a tool'}")
    print(result.answer)


if __name__ == "__main__":
    main()
