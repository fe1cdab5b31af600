"""LangGraph as its documentation has it: a StateGraph of three nodes, conditional edges, messages that are appended.

Of the forms that the documentation shows, the one that costs it least: a list of plain messages under `operator.add`
(not `MessagesState`, which looks through all messages at every step), and a plain function for a model (not a chat
model of langchain-core, which would cost as much as the graph). With the journal on: `AsyncSqliteSaver` on a file,
whose default durability ("async") lets a step begin before the one before it is written; "langgraph-sync" waits for
it, as Podium does. "langgraph-invoke" is the graph without asyncio: plain nodes, `invoke`, `SqliteSaver`; one run at a
time.
"""

# The peers are not installed where the types are checked.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false

from __future__ import annotations

import operator
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Annotated, Any, TypedDict

from case import AGENTS, TASK, Case, Gate, Words, Work
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    """Of one run."""

    messages: Annotated[list[dict[str, str]], operator.add]


@asynccontextmanager
async def opened(case: Case, gate: Gate, folder: str) -> AsyncGenerator[Work]:
    """A graph, compiled once."""
    plain = case.side == "langgraph-invoke"
    words = Words(case.delay, gate)
    graph = StateGraph(State)
    for place, agent in enumerate(AGENTS):
        following = AGENTS[(place + 1) % len(AGENTS)]
        graph.add_node(agent, _plain_node(agent, words) if plain else _node(agent, words))
        graph.add_conditional_edges(agent, _route(case.turns, following), [following, END])
    graph.add_edge(START, AGENTS[0])
    async with AsyncExitStack() as stack:
        saver: Any = None
        if case.journal and plain:
            saver = stack.enter_context(SqliteSaver.from_conn_string(f"{folder}/checkpoints.db"))
        elif case.journal:
            saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(f"{folder}/checkpoints.db"))
        app: Any = graph.compile(checkpointer=saver)
        durability = {"durability": "sync"} if case.side == "langgraph-sync" else {}
        threads = count()

        async def work() -> int:
            first = {"messages": [{"role": "user", "content": TASK}]}
            config = {"recursion_limit": case.turns + 5, "configurable": {"thread_id": str(next(threads))}}
            out = app.invoke(first, config) if plain else await app.ainvoke(first, config, **durability)
            return len(out["messages"]) - 1

        yield work


def _node(agent: str, words: Words) -> Any:
    async def speak(state: State) -> State:
        return {"messages": [{"role": "assistant", "name": agent, "content": await words(state["messages"])}]}

    return speak


def _plain_node(agent: str, words: Words) -> Any:
    def speak(_: State) -> State:
        return {"messages": [{"role": "assistant", "name": agent, "content": words.now()}]}

    return speak


def _route(turns: int, following: str) -> Any:
    def route(state: State) -> str:
        return END if len(state["messages"]) > turns else following

    return route
