"""The team file: what is accepted, and what each mistake is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from podium.agents.roles import ROLES as KNOWN_ROLES
from podium.orchestrator.coordinator_spec import LearnedSpec, SingleSpec
from podium.orchestrator.model_spec import OpenAIModel, RecordedModel, ScriptedModel, TransformersModel
from podium.orchestrator.team_file import ROLES, TeamSpec, load_team, parse_team
from podium.orchestrator.team_schema import team_schema
from podium.protocols.errors import TeamFileError

SECRET = "sk-very-secret-1234"

GOOD = """\
name: desk
models:
  small:
    provider: openai
    base_url: http://localhost:8000/v1
    model: Qwen/Qwen3-4B
    api_key: "${DESK_KEY:-none}"
    price: {input: 0.1, output: 0.4}
  script: {provider: scripted, replies: [a, b]}
agents:
  planner: {role: planner, model: small}
  coder:
    role: solver
    model: small
    tools: [python]
  checker: {role: verifier, model: script}
topology: {kind: star}
coordinator: {kind: single, agent: coder}
budget: {tokens: 8000, calls: 12}
"""

MODEL = "    model: Qwen/Qwen3-4B"
COORDINATOR = "coordinator: {kind: single, agent: coder}"
STAR = "topology: {kind: star}"

BROKEN: list[tuple[str, str, int, tuple[str, ...]]] = [
    # what is replaced, by what, the line of the error, what the error has to say
    ("model: small\n    tools", "modle: small\n    tools", 14, ('agents.coder.modle: unknown key "modle"', '"model"?')),
    (
        "model: small\n    tools",
        "modle: small\n    tools",
        12,
        ('coder: the key "model" is missing; write model: TEXT (',),
    ),
    ("provider: openai", "provider: opnai", 4, ('found "opnai"', "allowed: human, openai, recorded", 'mean "openai"?')),
    ("    provider: openai\n", "", 3, ('models.small: the key "provider" is missing', "openai, recorded")),
    ("role: solver", "role: sovler", 13, ("agents.coder.role", 'found "sovler"', 'did you mean "solver"?')),
    ("role: solver", "role: wizard", 13, ("a role of your own needs a prompt", "planner, solver")),
    ("role: solver", "role: solver\n    documents: notes", 14, ("retriever",)),
    ("role: solver", "role: solver\n    max_tool_rounds: 0", 14, ("expected at least 1", "found 0")),
    ("agent: coder", "agent: codr", 18, ("coordinator.agent: there is no agent", "allowed: planner", 'mean "coder"?')),
    ("kind: single", "kind: singel", 18, ("coordinator.kind: unknown kind", 'did you mean "single"?')),
    ("kind: single", "kynd: single", 18, ('coordinator.kynd: unknown key "kynd"; did you mean "kind"?',)),
    ("kind: single, ", "", 18, ('coordinator: the key "kind" is missing; allowed: debate, ',)),
    ("provider: scripted, ", "", 9, ('models.script: the key "provider" is missing; allowed: human, ',)),
    (COORDINATOR, "coordinator: {kind: moa}", 18, ('coordinator: the key "aggregator" is missing',)),
    (COORDINATOR, "coordinator: {kind: moa, agent: x}", 18, ('unknown key "agent"', "layers", 'mean "agents"?')),
    (COORDINATOR, "coordinator: {kind: llm_selector, model: smal}", 18, ("there is no model", 'mean "small"?')),
    (COORDINATOR, "coordinator: {kind: llm_select}", 18, ('unknown kind; found "llm_select"', 'mean "llm_selector"?')),
    (COORDINATOR, "coordinator: {kind: llm}", 18, ('coordinator: the key "model" is missing',)),
    (COORDINATOR, "coordinator: {kind: llm, model: smal}", 18, ("there is no model", 'mean "small"?')),
    (COORDINATOR, "coordinator: {kind: llm, model: small, structured: json}", 18, ('found "json"', "json_schema")),
    (COORDINATOR, "coordinator: {kind: llm, model: small, objectives: [asl]}", 18, ("objectives.0", 'mean "ask"?')),
    (COORDINATOR, "coordinator: {kind: llm, model: small, repairs: -1}", 18, ("coordinator.repairs", "at least 0")),
    (COORDINATOR, "", 1, ('"coordinator" is missing; write coordinator: {kind: debate | ', "who decides which")),
    (COORDINATOR, "coordinator: {kind: pipeline}", 18, ("is missing; write steps: [{agent: TEXT}, ...] (the steps",)),
    (COORDINATOR, "coordinator: {kind: debate, agents: []}", 18, ("coordinator.agents: needs at least 1 entry",)),
    (COORDINATOR, "coordinator: {kind: vote, agents: [coder, x]}", 18, ("coordinator.agents.1: there is no agent",)),
    (COORDINATOR, "coordinator: {kind: pipeline, steps: [{agent: codr}]}", 18, ("coordinator.steps.0.agent",)),
    (
        COORDINATOR,
        "coordinator: {kind: pipeline, steps: [{agent: coder, beside: [{agent: codr}]}]}",
        18,
        ("coordinator.steps.0.beside.0.agent: there is no agent", 'did you mean "coder"?'),
    ),
    (
        COORDINATOR,
        "coordinator: {kind: pipeline, steps: [{agent: coder, beside: [coder]}]}",
        18,
        ("coordinator.steps.0.beside.0: expected a mapping: {agent: TEXT}",),
    ),
    (COORDINATOR, "coordinator: {kind: random, finish_probability: 2}", 18, ("expected at most 1", "found 2")),
    (COORDINATOR, "coordinator: {kind: learned, policy: 3}", 18, ("coordinator.policy: expected a path", "found 3")),
    (COORDINATOR, "coordinator: {kind: vote, samples: 1000000000}", 18, ("expected at most 1000",)),
    (COORDINATOR, "coordinator:", 18, ("coordinator: expected a mapping: {kind: debate | ", "found nothing")),
    ("kind: star", "kind: ster", 17, ("topology.kind", "allowed: star, chain, full", 'did you mean "star"?')),
    ("kind: star", "kind: edges", 17, ("topology.kind: edges is no kind (star, chain, full)", "it stands alone")),
    (
        STAR,
        "topology: {kind: edges, edges: [[coder, checker]]}",
        17,
        ("topology.kind: edges is no kind", "topology: {edges: [["),
    ),
    (STAR, "topology: {}", 17, ("topology: give either kind", "or edges")),
    (STAR, "topology: {kind: star, edges: [[coder, checker]]}", 17, ("one of the two",)),
    (STAR, "topology: {edges: [[coder, cheker]]}", 17, ("topology.edges.0.1", 'did you mean "checker"?')),
    (STAR, "topology: {edges: [[coder]]}", 17, ("topology.edges.0: this list is too short",)),
    (STAR, "topology: star", 17, ("topology: expected a mapping", 'found "star"')),
    ("calls: 12", "calls: -1", 19, ("budget.calls: expected at least 1", "found -1")),
    ("calls: 12", "calls: twelve", 19, ("budget.calls: expected a whole number", 'found "twelve"')),
    ("calls: 12", "calls: true", 19, ("expected a whole number", "found true")),
    ("calls: 12", 'calls: "12"', 19, ("expected a whole number", 'found "12"')),
    ("calls: 12", "calls: 1.5", 19, ("expected a whole number", "found 1.5")),
    ("calls: 12", "dollars: 0", 19, ("budget.dollars: expected more than 0",)),
    ("calls: 12", "cals: 3", 19, ("budget.cals: unknown key", "allowed: tokens, calls", 'did you mean "calls"?')),
    ("tools: [python]", "tools: python", 15, ("agents.coder.tools: expected a list", 'found "python"')),
    ("tools: [python]", "tools: [1]", 15, ("tools.0: expected a text or a mapping: TEXT or {name: TEXT}", "found 1")),
    ("[python]", "[{nam: python}]", 15, ('tools.0.nam: unknown key "nam"', "allowed: name, seconds", 'mean "name"?')),
    ("[python]", "[{unsafe: true}]", 15, ('agents.coder.tools.0: the key "name" is missing; write name: TEXT',)),
    ("[python]", "[{name: python, seconds: 0}]", 15, ("tools.0.seconds: expected more than 0", "found 0")),
    ("[python]", "[{name: python, memory_mb: 3}]", 15, ("tools.0.memory_mb: expected at least 64", "found 3")),
    ("[python]", "[{name: python, unsafe: 1}]", 15, ("agents.coder.tools.0.unsafe: expected true or false", "found 1")),
    ("[python]", "[{name: clock, unsafe: true}]", 15, ("tools.0.unsafe: only the tool python takes this",)),
    ("[python]", "[clock, {name: m:f, memory_mb: 99}]", 15, ("tools.1.memory_mb: only the tool python takes this",)),
    ("[python]", "[{name: clock, wait: 60}]", 15, ("tools.0.wait: no person is waited for: this goes with approve",)),
    ("[python]", "[{name: ask_human, wait: 0}]", 15, ("tools.0.wait: expected more than 0", "found 0")),
    ("model: script}", "model: scrpt}", 16, ("agents.checker.model: there is no model", 'mean "script"?')),
    ("  checker: {", "  coder: {", 16, ('the key "coder" was already given in line 12',)),
    ("  checker: {", "  finish: {", 16, ("agents.finish: no agent can have this name: decisions call the end",)),
    ("name: desk\n", "", 1, ('the key "name" is missing',)),
    ("name: desk", "name: my desk", 1, ("name: not in the form", 'found "my desk"', "letters, digits")),
    ("name: desk", "name: 5", 1, ("name: expected a text", "found 5")),
    ("name: desk", "name: desk\nagent: {}", 2, ('agent: unknown key "agent"', 'did you mean "agents"?')),
    ("name: desk", "name: desk\nbus: amqp://x", 2, ('not one of the choices; found "amqp://x"', "allowed: memory://")),
    ("name: desk", "name: desk\nbus: mqtt://host:1883", 2, ("bus: not one of the choices", "allowed: memory://")),
    ("name: desk", "name: desk\njournal: runs.db", 2, ("journal: not in the form", "sqlite:///FILE")),
    ("http://localhost:8000/v1", "localhost", 5, ("models.small.base_url", 'found "localhost"', "http://")),
    ("http://localhost:8000/v1", "ftp://me:pass99word@h/v1", 5, ('found "ftp://***@h/v1"',)),
    (":8000/v1", ":65536/v1", 5, ("models.small.base_url: no host and port", "PORT from 1 to 65535")),
    (":8000/v1", ":0/v1", 5, ("models.small.base_url: no host and port",)),
    ("localhost:8000/v1", "[::1/v1", 5, ("models.small.base_url: no host and port",)),
    ("model: Qwen/Qwen3-4B", "model: ''", 6, ("models.small.model: must not be empty",)),
    ("input: 0.1", "input: -1", 8, ("models.small.price.input: expected at least 0",)),
    ("input: 0.1", "input: .inf", 8, ("models.small.price.input: expected a finite number",)),
    ("price: {input", "price: {inptu", 8, ('unknown key "inptu"; allowed: input, output; did you mean "input"?',)),
    ("price: {input: 0.1, output: 0.4}", "price: 3", 8, ("models.small.price: expected a mapping",)),
    ("replies: [a, b]", "replies: 3", 9, ("models.script.replies: expected a list or a mapping",)),
    ("replies: [a, b]", "replies: {a: [x]}", 9, ("models.script.replies.a: expected a text",)),
    ("provider: scripted", "provider: scripted, log_probs: true", 9, ('unknown key "log_probs"',)),
    (
        MODEL,
        f"{MODEL}\n    log_prob_kind: processed",
        7,
        ("small.log_prob_kind: this model is not asked", "log_probs: t"),
    ),
    (MODEL, f"{MODEL}\n    log_prob_kind: cooked", 7, ("log_prob_kind: not one of the choices", "raw, processed")),
    (MODEL, f"{MODEL}\n    log_probs: yes", 7, ("small.log_probs: expected true or false",)),
    (
        MODEL,
        f"{MODEL}\n    extra: {{top_k: 1, seed: 3}}",
        7,
        ("small.extra.seed: Podium sets this field of a request",),
    ),
    (
        MODEL,
        f"{MODEL}\n    extra: {{logprobs: true}}",
        7,
        ("extra.logprobs: ", "allowed: log_probs: true beside extra"),
    ),
    (MODEL, f"{MODEL}\n    extra: {{top_k: .inf}}", 7, ("small.extra: a request cannot hold .inf",)),
    (MODEL, f"{MODEL}\n    extra: low", 7, ("small.extra: expected a mapping", 'found "low"')),
    ("  script: {", "  my script: {", 9, ('"my script" is not a usable name',)),
    ("  script: {provider: scripted, replies: [a, b]}", "  script:", 9, ("models.script: expected a mapping",)),
    ("replies: [a, b]", "replies: []", 9, ("models.script.replies",)),
    ("tools: [python]", "tools: ['a:f', python, 'b:f']", 15, ("tools.2", "a tool f is there already")),
    ("tools: [python]", "tools: [clock, python, {name: clock}]", 15, ("tools.2", "a tool clock is there already")),
]


def problems(text: str, file: str = "desk.yaml") -> list[str]:
    with pytest.raises(TeamFileError) as caught:
        parse_team(text, file=file)
    return caught.value.problems


@pytest.mark.parametrize(("old", "new", "line", "fragments"), BROKEN, ids=[row[1].strip() or row[0] for row in BROKEN])
def test_each_mistake_names_line_field_and_remedy(
    old: str, new: str, line: int, fragments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESK_KEY", SECRET)
    assert old in GOOD
    told = problems(GOOD.replace(old, new, 1))
    matching = [problem for problem in told if problem.startswith(f"desk.yaml:{line}: ")]
    assert any(all(fragment in problem for fragment in fragments) for problem in matching), told
    for problem in told:
        assert "\n" not in problem
        assert SECRET not in problem
        assert "pydantic" not in problem
        assert "Input should" not in problem


def test_a_list_with_a_broken_entry_is_not_called_short() -> None:
    told = problems(GOOD.replace(COORDINATOR, "coordinator: {kind: pipeline, steps: [{}]}"))
    assert [line.split(": ")[1:3] for line in told] == [
        ["coordinator.steps.0", 'the key "agent" is missing; write agent']
    ]


def test_all_problems_are_told_in_line_order() -> None:
    text = GOOD.replace("role: solver", "rle: solver").replace("calls: 12", "calls: x").replace("openai", "opnai")
    told = problems(text)
    lines = [int(problem.split(":")[1]) for problem in told]
    assert lines == sorted(lines)
    assert len(told) == 4  # unknown provider, missing role, unknown rle, calls


def test_references_are_checked_even_when_another_part_is_broken() -> None:
    told = problems(GOOD.replace("calls: 12", "calls: x").replace("agent: coder", "agent: codr"))
    assert len(told) == 2


def test_what_a_good_file_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_KEY", SECRET)
    team = parse_team(GOOD)
    assert list(team.agents) == ["planner", "coder", "checker"]
    small = team.models["small"]
    assert isinstance(small, OpenAIModel)
    assert small.api_key.get_secret_value() == SECRET
    assert small.price.to_price().dollars(1_000_000, 1_000_000) == pytest.approx(0.5)
    script = team.models["script"]
    assert isinstance(script, ScriptedModel)
    assert script.replies == ("a", "b")
    assert isinstance(team.coordinator, SingleSpec)
    assert (team.budget.tokens, team.budget.calls, team.budget.seconds, team.budget.dollars) == (8000, 12, 300.0, None)
    assert team.bus == "memory://"
    assert team.journal is None


def test_a_key_is_never_printed_dumped_or_digested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_KEY", SECRET)
    team = parse_team(GOOD)
    for text in (repr(team), str(team), team.model_dump_json(), json.dumps(team_schema())):
        assert SECRET not in text
    digest = team.digest
    monkeypatch.setenv("DESK_KEY", "another")
    assert parse_team(GOOD).digest == digest


def test_a_key_written_into_the_file_is_masked_too() -> None:
    told = problems(GOOD.replace('api_key: "${DESK_KEY:-none}"', f"api_key: [{SECRET}]"))
    assert SECRET not in " ".join(told)


def test_what_a_request_holds_is_part_of_the_digest_and_is_masked_like_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_KEY", SECRET)
    asked = [f"{MODEL}\n    {line}" for line in ("extra: {top_k: 1}", "extra: {top_k: 2}", "log_probs: true")]
    assert len({parse_team(GOOD.replace(MODEL, model)).digest for model in (MODEL, *asked)}) == 4
    fields = 'extra: {password: .inf, seed: "${DESK_KEY}", token: [x, .nan], name: "${DESK_KEY}"}'
    told = problems(GOOD.replace(MODEL, f"{MODEL}\n    {fields}"))
    assert len(told) == 2
    assert SECRET not in " ".join(told)


def test_digest_changes_with_the_team_and_not_with_its_place(tmp_path: Path) -> None:
    text = GOOD.replace(COORDINATOR, "coordinator: {kind: learned, policy: policies/desk}")
    digests: set[str] = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "desk.yaml").write_text(text)
        digests.add(load_team(tmp_path / folder / "desk.yaml").digest)
    assert len(digests) == 1
    assert parse_team(text.replace("calls: 12", "calls: 13")).digest not in digests


def test_paths_start_from_the_file_that_states_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "weights").mkdir()
    (tmp_path / "shared" / "models.yaml").write_text(
        "models:\n"
        "  pool: {provider: recorded, path: pools/gsm8k.jsonl.gz}\n"
        "  local: {provider: transformers, model: ../weights}\n"
    )
    (tmp_path / "desk.yaml").write_text(
        "name: desk\n"
        "include: shared/models.yaml\n"
        "models:\n"
        "  near: {provider: transformers, model: weights}\n"
        "  hub: {provider: transformers, model: org/name}\n"
        "agents:\n"
        "  reader: {role: retriever, model: pool, documents: [notes, /abs/notes]}\n"
        "coordinator: {kind: learned, policy: policies/desk}\n"
        "journal: sqlite:///runs.db\n"
    )
    monkeypatch.chdir(tmp_path.parent)
    team = load_team(tmp_path / "desk.yaml")
    pool, local, near, hub = (team.models[name] for name in ("pool", "local", "near", "hub"))
    assert isinstance(pool, RecordedModel)
    assert pool.path == tmp_path / "shared/pools/gsm8k.jsonl.gz"
    assert isinstance(local, TransformersModel)
    assert Path(local.model).resolve() == tmp_path / "weights"
    assert isinstance(near, TransformersModel)
    assert near.model == str(tmp_path / "weights")
    assert isinstance(hub, TransformersModel)
    assert hub.model == "org/name"
    assert team.agents["reader"].documents == (tmp_path / "notes", Path("/abs/notes"))
    assert isinstance(team.coordinator, LearnedSpec)
    assert team.coordinator.policy == tmp_path / "policies/desk"
    assert team.journal == f"sqlite:///{tmp_path}/runs.db"
    assert team.source == tmp_path / "desk.yaml"


def test_a_team_made_in_python_is_checked_as_well() -> None:
    parts: dict[str, Any] = {
        "name": "t",
        "models": {"m": {"provider": "scripted", "replies": ["x"]}},
        "agents": {"a": {"role": "solver", "model": "m"}},
        "coordinator": {"kind": "single", "agent": "b"},
    }
    with pytest.raises(ValidationError, match="there is no agent of this name"):
        TeamSpec.model_validate(parts)
    parts["coordinator"]["agent"] = "a"
    team = TeamSpec.model_validate(parts)
    assert team.source is None
    assert TeamSpec.model_validate_json(team.model_dump_json()).digest == team.digest


def test_an_aggregator_needs_somebody_to_aggregate() -> None:
    text = (
        "name: t\nmodels: {m: {provider: scripted, replies: [x]}}\nagents: {a: {role: solver, model: m}}\n"
        "coordinator: {kind: moa, aggregator: a}\n"
    )
    assert "nobody is left to propose" in problems(text)[0]
    assert parse_team(text.replace("aggregator: a", "aggregator: a, agents: [a]"))


def test_a_free_role_with_a_prompt_is_fine() -> None:
    team = parse_team(GOOD.replace("role: solver", "role: wizard\n    prompt: You are one."))
    assert team.agents["coder"].role == "wizard"


def test_roles_are_those_that_have_a_prompt() -> None:
    assert set(ROLES) == set(KNOWN_ROLES)


def test_a_team_is_immutable() -> None:
    team = parse_team(GOOD)
    with pytest.raises(ValidationError):
        team.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def _fields(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    parts = {"TeamSpec": schema, **schema["$defs"]}
    return [
        (f"{name}.{field}", found)
        for name, part in parts.items()
        for field, found in part.get("properties", {}).items()
    ]


def test_the_schema_describes_every_field() -> None:
    schema = team_schema()
    fields = _fields(schema)
    assert len(fields) > 60
    assert [name for name, field in fields if not field.get("description")] == []
    assert schema["required"] == ["name", "coordinator"]
    assert schema["additionalProperties"] is False


def test_the_schema_accepts_references_where_numbers_are_expected() -> None:
    tokens = team_schema()["$defs"]["BudgetSpec"]["properties"]["tokens"]
    assert any(branch.get("type") == "string" for branch in tokens["anyOf"])


def loaded_or_told(text: str) -> None:
    """Any other exception than TeamFileError fails the test."""
    try:
        told = [f"<string>:0: {parse_team(text).digest}"]
    except TeamFileError as error:
        told = error.problems
    assert told
    assert all(problem.startswith("<string>:") and "\n" not in problem for problem in told)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a nested value."""
    if not isinstance(value, dict | list):
        return []
    holder: Any = value  # pyright: ignore[reportUnknownVariableType]
    keys: list[Any] = list(holder) if isinstance(value, dict) else list(range(len(holder)))
    return [*((holder, key) for key in keys), *(place for key in keys for place in places(holder[key]))]


CHARACTERS = st.sampled_from(list("{}[]:,-&*!|>'\"%@`#?\\ \n\t$aZ09.~<\x00\ud800é"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_mutation_loads_or_gives_team_file_error(data: st.DataObject) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        drop = data.draw(st.integers(0, 12))
        text = text[:at] + "".join(data.draw(st.lists(CHARACTERS, max_size=5))) + text[at + drop :]
    loaded_or_told(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_anywhere_loads_or_gives_team_file_error(data: st.DataObject) -> None:
    # JSON is YAML: every part of the file is replaced by any value.
    team: dict[str, Any] = parse_team(GOOD).model_dump(mode="json", exclude_none=True)
    holder, key = data.draw(st.sampled_from(places(team)))
    holder[key] = data.draw(VALUES)
    loaded_or_told(json.dumps(team))


@pytest.mark.parametrize("kind", ["kind: vote", "kind: debate", "kind: moa, aggregator: planner"])
def test_nobody_is_named_twice_where_all_are_asked_at_once(kind: str) -> None:
    named = GOOD.replace(COORDINATOR, f"coordinator: {{{kind}, agents: [coder, checker, coder]}}")
    with pytest.raises(TeamFileError, match=r"agents: coder is named twice, and all .* a vote has samples") as raised:
        parse_team(named)
    assert len(raised.value.problems) == 1
    in_turn = GOOD.replace(COORDINATOR, "coordinator: {kind: round_robin, order: [coder, checker, coder]}")
    assert parse_team(in_turn).coordinator.kind == "round_robin"
