"""The commands about files: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from podium import Team
from podium.cli import PodiumGroup, app
from podium.orchestrator.coordinators.saved_table import save_table
from podium.orchestrator.coordinators.skill_table import Arm, Key, SkillTable
from podium.orchestrator.team_file import load_team
from podium.protocols.errors import RunError, TaskError
from podium.protocols.pool import Pool, write_pool

RUNNER = CliRunner()

TEAM = """\
name: desk
models:
  small: {provider: openai, base_url: "http://localhost:1/v1", model: q, price: {input: 1, output: 2}}
agents:
  planner: {role: planner, model: small}
  coder: {role: solver, model: small}
topology: {edges: [[planner, coder]]}
coordinator: {kind: sequential}
budget: {tokens: 9000, calls: 5}
"""


@pytest.fixture
def team(tmp_path: Path) -> Path:
    path = tmp_path / "desk.yaml"
    path.write_text(TEAM)
    return path


def test_validate_says_what_is_in_a_good_file(team: Path) -> None:
    done = RUNNER.invoke(app, ["validate", str(team)])
    assert done.exit_code == 0
    assert "2 agents, 1 model, coordinator sequential" in done.stdout
    assert done.stderr == ""


def test_validate_json(team: Path) -> None:
    done = RUNNER.invoke(app, ["validate", str(team), "--json"])
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert told["agents"] == ["planner", "coder"]
    assert told["digest"] == load_team(team).digest
    assert told["missing_files"] == []


def test_validate_tells_every_problem_on_standard_error(team: Path) -> None:
    team.write_text(TEAM.replace("calls: 5", "cals: 5").replace("role: solver", "role: sovler"))
    done = RUNNER.invoke(app, ["validate", str(team)])
    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{team}:6: agents.coder.role")
    assert 'did you mean "calls"?' in lines[1]
    assert "Traceback" not in done.stderr
    as_json = RUNNER.invoke(app, ["validate", str(team), "--json"])
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout) == {"file": str(team), "ok": False, "problems": lines}


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere.yaml")
    for arguments in (["validate", missing, "--debug"], ["--debug", "validate", missing]):
        done = RUNNER.invoke(app, arguments)
        assert done.exit_code == 2
        assert "Traceback" in done.stderr
        assert "there is no such file" in done.stderr


def test_validate_names_files_that_are_not_there_yet(team: Path) -> None:
    team.write_text(TEAM.replace("{kind: sequential}", "{kind: learned, policy: policies/desk}"))
    done = RUNNER.invoke(app, ["validate", str(team)])
    assert done.exit_code == 0
    assert f"not there yet: {team.parent}/policies/desk" in done.stdout


def test_validate_looks_at_tools_documents_and_model_folders(team: Path) -> None:
    (team.parent / "own.py").write_text("def good(x: int) -> int:\n    return x\n")
    (team.parent / "bare").mkdir()
    more = "  here: {provider: transformers, model: ./bare}\n  gone: {provider: transformers, model: ./gone}\nagents:\n"
    told = TEAM.replace("agents:\n", more).replace(
        "coder: {role: solver,",
        'coder: {role: retriever, documents: [bare, x.md], tools: [clock, "own:good", "own:bad"],',
    )
    team.write_text(told)
    done = RUNNER.invoke(app, ["validate", str(team)])
    assert done.exit_code == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"{team}:4: models.here.model: this is no model folder: it has no config.json")
    assert lines[1].startswith(f"{team}:5: models.gone.model: there is no such model folder")
    assert lines[2].startswith(f"{team}:8: agents.coder.documents.0: no documents are in this folder")
    assert lines[3].startswith(f"{team}:8: agents.coder.documents.1: there is no such document")
    assert lines[4] == f"{team}:8: agents.coder.tools.2: the module own has no function bad; it has: good"
    team.write_text(TEAM.replace("{role: solver,", '{role: solver, tools: ["own:good"],'))
    assert RUNNER.invoke(app, ["validate", str(team)]).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("run", "x", "--no-journal"),
        ("serve", "--port", "0"),
        ("eval", "--tasks", "reasoning_gym:chain_sum?size=2"),
        ("record", "--tasks", "reasoning_gym:chain_sum?size=2", "-o", "pool.jsonl"),
    ],
    ids=lambda command: command[0],
)
def test_every_command_says_the_same_as_validate(team: Path, command: tuple[str, ...]) -> None:
    team.write_text(TEAM.replace("{role: solver,", "{role: retriever, documents: x.md, tools: [clok],"))
    told = RUNNER.invoke(app, ["validate", str(team)]).stderr
    assert f"{team}:6: agents.coder.tools.0: there is no tool 'clok'" in told
    assert f"{team}:6: agents.coder.documents: there is no such document" in told
    done = RUNNER.invoke(app, [command[0], str(team), *command[1:]])
    assert (done.exit_code, done.stderr) == (2, told)


def test_validate_looks_into_policies_and_tables(team: Path) -> None:
    old = team.parent / "old"
    old.mkdir()
    at = f"{team}:{len(TEAM.partition('coordinator')[0].splitlines()) + 1}: coordinator"
    team.write_text(TEAM.replace("{kind: sequential}", "{kind: learned, policy: old}"))
    ran = ["run", str(team), "x", "--no-journal"]
    for content, words in ((None, "no policy here"), ({"format": 1, "kind": "podium-coordinator"}, "another version")):
        if content:
            (old / "policy.json").write_text(json.dumps(content))
            (old / "policy.safetensors").touch()
        done = RUNNER.invoke(app, ["validate", str(team)])
        assert done.exit_code == 2
        assert done.stderr.startswith(f"{at}.policy: {old}")
        assert words in done.stderr
        assert RUNNER.invoke(app, ran).stderr == done.stderr
    table = save_table(SkillTable(arms={Key(0, 0, "ann", 1): Arm()}), old / "table.json")
    team.write_text(TEAM.replace("{kind: sequential}", "{kind: skill_table, table: old/table.json}"))
    done = RUNNER.invoke(app, ["validate", str(team)])
    assert done.stderr.startswith(f"{at}.table: {table}: made for another team: it knows ann; this team has ")
    assert RUNNER.invoke(app, ran).stderr == done.stderr


def test_validate_looks_at_the_sandbox(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "{role: solver, tools: [{name: python, seconds: 3}, {name: absent:f}, {nam: x}],"
    team.write_text(TEAM.replace("{role: solver,", told))
    monkeypatch.setattr("podium.agents.sandbox.problem", lambda: "there is none")
    lines = RUNNER.invoke(app, ["validate", str(team)]).stderr.strip().splitlines()
    at = f"{team}:6: agents.coder.tools"
    assert (
        lines[0] == f"{at}.0: the tool python needs a sandbox: there is none; or accept what code may do: unsafe: true"
    )
    assert lines[1].startswith(f"{at}.1: the tool absent:f cannot be imported")
    assert [line.split(";")[0] for line in lines[2:]] == [
        f'{at}.2: the key "name" is missing',
        f'{at}.2.nam: unknown key "nam"',
    ]
    team.write_text(
        TEAM.replace("{role: solver,", "{role: solver, tools: [{name: python, unsafe: true, approve: true}],")
    )
    done = RUNNER.invoke(app, ["validate", str(team)])
    assert (done.exit_code, done.stderr) == (0, "")


def test_validate_looks_into_pools(tmp_path: Path) -> None:
    _pool(tmp_path / "pool.jsonl", ["planner", "coder"])
    team = tmp_path / "desk.yaml"
    recorded = "{provider: recorded, path: pool.jsonl}"
    team.write_text(
        f"name: desk\nmodels:\n  past: {recorded}\n  one: {{provider: recorded, path: pool.jsonl, agent: codr}}\n"
        "agents:\n  coder: {role: solver, model: past}\n  plannr: {role: planner, model: past}\n"
        "coordinator: {kind: sequential}\n"
    )
    done = RUNNER.invoke(app, ["validate", str(team)])
    first, second = done.stderr.strip().splitlines()
    assert first.startswith(f"{team}:4: models.one.agent: the pool has no agent of this name")
    assert 'did you mean "coder"?' in first
    assert second.startswith(f"{team}:7: agents.plannr: the pool of the model past has no agent plannr; rename it")
    assert "allowed: planner, coder" in second
    (tmp_path / "pool.jsonl").write_text("nonsense\n")
    assert "not the first line of a pool" in RUNNER.invoke(app, ["validate", str(team)]).stderr


def test_validate_and_plan_warn_of_what_is_hardly_meant(team: Path) -> None:
    free = "  free: {provider: openai, base_url: http://x/v1, model: q}\n"
    more = f"{free}agents:\n  seeker: {{role: retriever, model: free}}\n"
    team.write_text(TEAM.replace("agents:\n", more).replace("9000, calls", "20, dollars: 0.00001, calls"))
    done = RUNNER.invoke(app, ["validate", str(team)])
    assert done.exit_code == 0
    for words in (
        "agents.seeker: a retriever without documents",
        "budget.dollars 1e-05 does not bound calls of the model free, which has no price",
        "budget.tokens 20 does not hold one call of planner, which takes about",
        "budget.dollars 1e-05 does not hold one call of coder, which costs about",
    ):
        assert f"warning: {words}" in done.stderr
    planned = RUNNER.invoke(app, ["plan", str(team), "--task-tokens", "70"])
    assert "70 of them the task" in planned.stderr
    as_json = json.loads(RUNNER.invoke(app, ["plan", str(team), "--json"]).stdout)
    assert len(as_json["warnings"]) == len(done.stderr.splitlines()) == 7
    team.write_text(TEAM)
    assert RUNNER.invoke(app, ["plan", str(team)]).stderr == ""


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["validate"], ["plan", "x", "--task-tokens", "0"], ["init", "--provider", "x"]]
)
def test_wrong_arguments_exit_with_two(arguments: list[str]) -> None:
    assert RUNNER.invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize(("error", "code"), [(RunError("it broke", run="r1"), 1), (TaskError("no such task"), 2)])
def test_exit_codes_follow_the_kind_of_error(error: Exception, code: int) -> None:
    other = typer.Typer(cls=PodiumGroup)

    @other.callback()
    def nothing() -> None:
        """A group."""

    @other.command()
    def work() -> None:
        raise error

    done = RUNNER.invoke(other, ["work"])
    assert done.exit_code == code
    assert done.stderr.strip() == str(error)


def test_plan_draws_the_team_and_its_worst_case(team: Path) -> None:
    done = RUNNER.invoke(app, ["plan", str(team)])
    assert done.exit_code == 0
    for fragment in ("coder <- planner", "planner <- nobody", "planner -> coder", "one run, at most", "9,000"):
        assert fragment in done.stdout


@pytest.mark.parametrize("topology", ["{kind: star}", "{kind: chain}", "{kind: full}"])
@pytest.mark.parametrize(
    "coordinator", ["{kind: learned, policy: p}", "{kind: llm_selector, model: small}", "{kind: vote}"]
)
def test_plan_works_for_every_shape(team: Path, topology: str, coordinator: str) -> None:
    text = TEAM.replace("{edges: [[planner, coder]]}", topology).replace("{kind: sequential}", coordinator)
    for budget in ("{tokens: 9000, calls: 5}", "{tokens: null, calls: null, seconds: null}", "{tokens: 600}"):
        team.write_text(text.replace("{tokens: 9000, calls: 5}", budget))
        assert RUNNER.invoke(app, ["plan", str(team)]).exit_code == 0
        told = json.loads(RUNNER.invoke(app, ["plan", str(team), "--json"]).stdout)
        assert set(told["worst_case"]) == {"calls", "tokens", "dollars", "cut_by", "task_tokens"}


def test_plan_json(team: Path) -> None:
    told: dict[str, Any] = json.loads(RUNNER.invoke(app, ["plan", str(team), "--json", "--task-tokens", "100"]).stdout)
    assert told["worst_case"]["calls"] == 2
    assert told["worst_case"]["task_tokens"] == 100
    assert told["agents"][1]["may_see"] == ["coder", "planner"]
    assert told["agents"][0]["price"] == {"input": 1.0, "output": 2.0}
    assert told["topology"] == {"edges": [["planner", "coder"]]}
    total = sum(agent["worst_case"]["tokens"] for agent in told["agents"])
    assert total == told["worst_case"]["tokens"]


def test_plan_of_a_broken_file_exits_with_two(team: Path) -> None:
    team.write_text("name: [")
    done = RUNNER.invoke(app, ["plan", str(team), "--json"])
    assert done.exit_code == 2
    assert f"{team}:1: " in done.stderr


@pytest.mark.parametrize(
    "command",
    [("run", "{}", "x"), ("plan", "{}"), ("train", "{}"), ("record", "{}", "--tasks", "embedded:", "-o", "pool.jsonl")],
    ids=lambda command: command[0],
)
def test_a_wrong_file_is_an_object_where_json_is_asked_for(team: Path, command: tuple[str, ...]) -> None:
    team.write_text(TEAM.replace("calls: 5", "cals: 5").replace("role: solver", "role: sovler"))
    given = [each.format(team) for each in command]
    plain, done = RUNNER.invoke(app, given), RUNNER.invoke(app, [*given, "--json"])
    assert (plain.exit_code, plain.stdout) == (2, "")
    assert (done.exit_code, done.stderr) == (2, plain.stderr)
    told = json.loads(done.stdout)
    assert told == {"error": plain.stderr.strip(), "kind": "TeamFileError", "problems": plain.stderr.splitlines()}
    assert all(line.startswith(f"{team}:") for line in told["problems"])


def test_wrong_arguments_are_an_object_where_json_is_asked_for(team: Path) -> None:
    done = RUNNER.invoke(app, ["plan", str(team), "--task-tokens", "0", "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["kind"]) == (2, "InputError")
    assert "--task-tokens" in told["error"]
    debugged = RUNNER.invoke(app, ["plan", "nowhere.yaml", "--json", "--debug"])
    assert json.loads(debugged.stdout)["problems"] == ["nowhere.yaml: there is no such file"]
    assert "Traceback" in debugged.stderr


@pytest.mark.parametrize(
    ("raised", "printed", "told"),
    [
        (RunError("it broke", run="r1"), "", {"error": "run r1: it broke", "kind": "RunError"}),
        (KeyboardInterrupt(), "", {"error": "stopped by Ctrl-C", "kind": "RunCancelled"}),
        (RunError("it broke"), '{"rows": []}', {"rows": []}),
        (KeyboardInterrupt(), '{"rows": []}', {"rows": []}),
    ],
)
def test_a_failure_is_one_object_where_json_is_asked_for(
    raised: BaseException, printed: str, told: dict[str, Any]
) -> None:
    made = typer.Typer(cls=PodiumGroup)

    @made.callback()
    def _group() -> None:  # pyright: ignore[reportUnusedFunction]
        pass

    @made.command()
    def work(as_json: bool = typer.Option(False, "--json")) -> None:  # pyright: ignore[reportUnusedFunction]
        if printed and as_json:
            typer.echo(printed)
        raise raised

    done = RUNNER.invoke(made, ["work", "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (1, told)
    plain = RUNNER.invoke(made, ["work"])
    assert (plain.exit_code, plain.stdout, plain.stderr) == (1, "", done.stderr)


def test_schema_is_json() -> None:
    done = RUNNER.invoke(app, ["schema"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["title"] == "Podium team file"


@pytest.mark.parametrize("provider", ["scripted", "openai"])
def test_init_writes_a_team_that_loads(provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUNNER.invoke(app, ["init", "--provider", provider])
    assert done.exit_code == 0
    assert "team.yaml" in done.stdout
    assert "podium run team.yaml" in Path("team.yaml").read_text()
    team = load_team("team.yaml")
    assert {model.provider for model in team.models.values()} == {provider}
    assert RUNNER.invoke(app, ["plan", "team.yaml"]).exit_code == 0


def test_the_starter_team_answers(tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    RUNNER.invoke(app, ["init", str(path)])
    with Team.load(path) as team:
        assert team.run("What is 17 + 25?").answer.endswith("42")


def test_the_commented_endpoint_of_the_starter_loads_too(tmp_path: Path) -> None:
    path = tmp_path / "my team.yaml"
    RUNNER.invoke(app, ["init", str(path)])
    text = path.read_text()
    scripted = text[text.index("  small: ") : text.index("  # small:")]
    lines = [line.replace("  # ", "  ", 1) if line.startswith("  # ") else line for line in text.splitlines()]
    path.write_text("\n".join(lines).replace(scripted.rstrip("\n"), "", 1))
    team = load_team(path)
    assert team.name == "my-team"
    assert team.models["small"].provider == "openai"


def test_init_refuses_to_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    path.write_text("mine")
    done = RUNNER.invoke(app, ["init", str(path)])
    assert done.exit_code == 2
    assert "--force" in done.stderr
    assert path.read_text() == "mine"
    assert RUNNER.invoke(app, ["init", str(path), "--force"]).exit_code == 0
    assert load_team(path).name == "team"
    nowhere = RUNNER.invoke(app, ["init", str(tmp_path / "no" / "team.yaml")])
    assert nowhere.exit_code == 2
    assert "cannot be written" in nowhere.stderr


def _pool(path: Path, names: list[str]) -> Path:
    replies = {name: {"score": 1.0, "completion_tokens": 40 + n, "text": "4"} for n, name in enumerate(names)}
    pool = Pool.model_validate(
        {
            "name": "small sums",
            "agents": {name: {"price": {"output": 0.5 + n}} for n, name in enumerate(names)},
            "tasks": [{"id": "t", "prompt": "2 + 2", "replies": replies}],
        }
    )
    write_pool(pool, path)
    return path


def test_init_tells_a_wrong_provider_or_pool_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (("--provider", "foo"), "provider: expected scripted or openai, found 'foo'\n"),
        (("--provider", "opnai"), "provider: expected scripted or openai, found 'opnai'; did you mean \"openai\"?\n"),
        (("--from-pool", ""), ".: this is a folder; name the file of the pool\n"),
    ):
        done = RUNNER.invoke(app, ["init", *arguments])
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", words)
    assert not list(tmp_path.iterdir())


def test_a_wrong_choice_is_told_without_the_readers_prefix(team: Path) -> None:
    done = RUNNER.invoke(app, ["run", str(team), "x", "--mode", "wild"])
    assert (done.exit_code, "Value error" in done.stderr) == (2, False)


def test_init_from_a_pool_gives_one_agent_per_pool_agent(tmp_path: Path) -> None:
    names = ["6b", "gpt-4", "org/model: x", "org model  x", "-", "_"]
    pool = _pool(tmp_path / "pool.jsonl.gz", names)
    (tmp_path / "teams").mkdir()
    path = tmp_path / "teams" / "pool.yaml"
    done = RUNNER.invoke(app, ["init", "--from-pool", str(pool), str(path)])
    assert done.exit_code == 0, done.output
    team = load_team(path)
    assert team.name == "small-sums"
    assert len(team.agents) == len(names)
    told = [model for model in team.models.values() if model.provider == "recorded"]
    assert [model.agent for model in told] == names
    assert [model.price.output for model in told if model.price] == [0.5 + n for n in range(len(names))]
    assert [model.max_tokens for model in told] == [40 + n for n in range(len(names))]
    assert {model.path.resolve() for model in told} == {pool}
    assert RUNNER.invoke(app, ["plan", str(path)]).exit_code == 0


def test_plan_takes_prices_from_the_pool(tmp_path: Path) -> None:
    _pool(tmp_path / "pool.jsonl", ["cheap", "dear"])
    path = tmp_path / "team.yaml"
    path.write_text(
        "name: t\nmodels: {pool: {provider: recorded, path: pool.jsonl}}\n"
        "agents: {cheap: {role: solver, model: pool}, dear: {role: solver, model: pool}}\ncoordinator: {kind: vote}\n"
    )
    told = json.loads(RUNNER.invoke(app, ["plan", str(path), "--json"]).stdout)
    assert told["agents"][1]["price"] == {"input": 0.0, "output": 1.5}


def test_init_from_a_pool_that_is_not_one(tmp_path: Path) -> None:
    for name in ("nowhere.jsonl", "empty.jsonl"):
        (tmp_path / "empty.jsonl").write_text("")
        done = RUNNER.invoke(app, ["init", "--from-pool", str(tmp_path / name), str(tmp_path / "t.yaml")])
        assert done.exit_code == 2
        assert name in done.stderr
        assert not (tmp_path / "t.yaml").exists()


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from podium.cli import app;"
        "done = CliRunner().invoke(app, ['--help']); assert done.exit_code == 0 and 'validate' in done.output;"
        "heavy = {'pydantic', 'networkx', 'yaml', 'torch', 'transformers', 'openai', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_validate_and_plan_never_import_torch(team: Path) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from podium.cli import app;"
        f"assert CliRunner().invoke(app, ['plan', {str(team)!r}]).exit_code == 0;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
