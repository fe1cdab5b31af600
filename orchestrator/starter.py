"""Starter team files: text that loads as it stands and says what to change.

Written as text rather than dumped from a model, because the comments are the point. A test loads each of them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Literal

from podium.orchestrator.yaml_problems import nearest
from podium.protocols.errors import InputError
from podium.protocols.pool import Pool, read_pool

__all__ = ["init", "pool_team", "starter_team", "write_new"]

PROVIDERS = ("scripted", "openai")
"""Whom a starter team can talk to."""

HEAD = """\
# A Podium team: agents, the models behind them, and the coordinator that decides who speaks next.
#   check it     podium validate {file}
#   see its cost podium plan {file}
#   run it       podium run {file} "{task}"
#   serve it     podium serve {file}
# For completion and checks in an editor: podium schema > team.schema.json, and this as the first line:
#   yaml-language-server: $schema=team.schema.json
name: {name}
"""

SCRIPTED = """
models:                       # provider: openai (any compatible endpoint) | transformers | vllm | recorded | scripted
  small:                      # answers from this file: no key, no download, no cost
    provider: scripted
    replies: ["17 + 25 is 42.\\n42"]
  # small:                    # the same name on a real endpoint; agents below stay as they are
  #   provider: openai
  #   base_url: ${BASE_URL:-http://localhost:8000/v1}
  #   model: Qwen/Qwen3-4B
  #   api_key: ${API_KEY:-none}                # from the environment; never printed
  #   price: {input: 0.10, output: 0.40}       # dollars per million tokens
"""

OPENAI = """
models:                       # provider: openai (any compatible endpoint) | transformers | vllm | recorded | scripted
  small:
    provider: openai          # a vendor, vLLM, Ollama (http://localhost:11434/v1), llama.cpp, ...
    base_url: ${BASE_URL:-http://localhost:8000/v1}
    model: ${MODEL:-Qwen/Qwen3-4B}
    api_key: ${API_KEY:-none} # from the environment; never printed
    price: {input: 0.10, output: 0.40}         # dollars per million tokens; set your vendor's
    max_tokens: 512
    temperature: 0.7
"""

TEAM = """
agents:                       # role: planner | solver | critic | verifier | aggregator | retriever, or a word of your
  planner: {role: planner, model: small}       # own together with a prompt
  solver:  {role: solver, model: small, description: works problems out step by step}
  checker: {role: verifier, model: small}

topology: {kind: star}        # star | chain | full, or edges: [[planner, solver]]: solver may see planner's messages

coordinator:                  # single | round_robin | sequential | vote | self_consistency | debate | moa | pipeline
  kind: sequential            # | llm_selector | llm | skill_table | random | learned
  order: [planner, solver, checker]

budget: {tokens: 20000, calls: 12, seconds: 120}   # what one run may use at most; dollars: works too

# journal: sqlite:///runs.db  # keep every run, to resume and to look at; left out: nothing is kept
# telemetry: {traces: otlp, metrics: prometheus, logs: json}   # left out: nothing is told or sent
"""

POOL = """
models:                       # recorded answers: asking them costs nothing, and is billed at the recorded price
{models}
agents:
{agents}
topology: {{kind: star}}

coordinator: {{kind: vote}}     # all answer, the majority wins; train a better one on the same pool

budget: {{tokens: {tokens}, calls: {calls}, seconds: 60}}
"""


def init(
    file: str | Path = "team.yaml",
    *,
    from_pool: str | Path | None = None,
    provider: Literal["scripted", "openai"] = "scripted",
    force: bool = False,
) -> None:
    """Write a commented team file to start from. from_pool: a recorded pool whose agents become the team.

    provider: scripted answers from the file itself, openai talks to an endpoint. force: replace a file that is there.
    Raises InputError for another provider, and when the file is there already (unless force) or cannot be written,
    TaskError for a bad pool.
    """
    if provider not in PROVIDERS:
        near = nearest(str(provider), PROVIDERS)
        hint = f'; did you mean "{near}"?' if near else ""
        raise InputError(f"provider: expected {' or '.join(PROVIDERS)}, found {provider!r}{hint}")
    file = Path(file)
    text = starter_team(file, provider) if from_pool is None else pool_team(file, Path(from_pool), read_pool(from_pool))
    write_new(file, text, force=force)


def starter_team(file: Path, provider: Literal["scripted", "openai"] = "scripted") -> str:
    """The text of a team file for first steps. file: where it is going to be, for its name and its comments."""
    head = HEAD.format(file=file, name=_usable(file.stem), task="What is 17 + 25?")
    return head + (SCRIPTED if provider == "scripted" else OPENAI) + TEAM


def pool_team(file: Path, path: Path, pool: Pool) -> str:
    """The text of a team file whose members are the agents of a recorded pool.

    file: where it is going to be; path: the pool's file, which is named relative to it.
    """
    names: dict[str, str] = {}
    for agent in pool.agents:
        name = _usable(agent)
        while name in names:
            name += "-2"
        names[name] = agent
    shown = json.dumps(os.path.relpath(path.resolve(), file.resolve().parent))
    models = "".join(_recorded(name, agent, shown, pool) for name, agent in names.items())
    agents = "".join(f"  {json.dumps(name)}: {{role: solver, model: {json.dumps(name)}}}\n" for name in names)
    longest = sum(_longest(pool, agent) for agent in pool.agents)
    prompt = max(len(task.prompt) for task in pool.tasks)
    # Room for asking everybody once, with the longest prompt at a token per character, and as much again.
    tokens = 2 * (longest + prompt * len(names)) // 1000 * 1000 + 2000
    head = HEAD.format(file=file, name=_usable(pool.name), task="a question of the pool")
    return head + POOL.format(models=models, agents=agents, calls=2 * len(names) + 2, tokens=tokens)


def _recorded(name: str, agent: str, path: str, pool: Pool) -> str:
    price = pool.agents[agent].price
    cost = f"{{input: {price.input:g}, output: {price.output:g}}}"
    return (
        f"  {json.dumps(name)}:\n    provider: recorded\n    path: {path}\n    agent: {json.dumps(agent)}\n"
        f"    price: {cost}\n    max_tokens: {_longest(pool, agent)}   # its longest recorded reply\n"
    )


def _longest(pool: Pool, agent: str) -> int:
    """Tokens of an agent's longest recorded reply; at least one."""
    samples = (sample for task in pool.tasks for sample in task.replies[agent].samples)
    return max(1, max((sample.completion_tokens for sample in samples), default=1))


def write_new(file: Path, text: str, *, force: bool = False) -> None:
    """Write a file that is not there yet. Raises InputError when it is (unless force), or cannot be written."""
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise InputError(f"{file} is there already; name another file, or --force (in Python: force=True)") from None
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from None


def _usable(text: str) -> str:
    """The text as a name that a team file accepts."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-")[:60]
    return name or "team"
