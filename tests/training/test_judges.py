"""Models of the team file as judges of eval, train and record: a real endpoint, asked over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from podium.agents.model import Price
from podium.agents.reply_cache import CachedModel
from podium.agents.scripted import ScriptedModel
from podium.cli import app
from podium.protocols.pool import read_pool, write_pool
from podium.training.checkpoint import Checkpoint, read_checkpoint
from podium.training.judges import TeamJudges
from podium.training.rollouts import Cap, Patient
from podium.training.tasks.judge import AT_ONCE, Judge
from podium.training.tasks.spec import load_tasks
from tests.agents.endpoint_server import USAGE, Server, chunk, in_a_thread
from tests.training.school import pool, question, school, training

RUNNER = CliRunner()
VERDICT = 11 * 1e-6 + 3 * 10e-6
"""Dollars of a verdict: the server's usage at the price of the team file."""


class Bench(Server):
    """An endpoint that judges: 1 where the reply is the reference. slow: seconds that it thinks.

    babbles: it states no score. most: verdicts that it was asked for at the same time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.slow = 0.0
        self.babbles = False
        self.most = self._now = 0

    @property
    def parts(self) -> list[Any]:
        asked = self.requests[-1]["messages"][-1]["content"]
        right = re.search(r"<reference>\n(.*)\n</reference>", asked)
        said = re.search(r"<reply>\n(.*)\n</reply>", asked)
        assert right
        assert said
        words = "Well done!" if self.babbles else f"Score: {int(right[1] == said[1])}"
        return [chunk({"content": ""}), self.slow, chunk({"content": words}), chunk({}, "stop", usage=USAGE)]

    @parts.setter
    def parts(self, _: object) -> None: ...  # pyright: ignore[reportIncompatibleVariableOverride]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await super().serve(reader, writer)
        finally:
            self._now -= 1


@pytest.fixture
def bench() -> Generator[Bench]:
    """A judging endpoint in a thread of its own. Whoever was asked leaves no thread behind."""
    server = Bench()
    with in_a_thread(server) as server.port:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
        yield server
        signal.signal(signal.SIGINT, before)
        assert not [each for each in threading.enumerate() if each.name == "podium-judge"]


def judged(folder: Path, server: Bench, count: int = 40, **line: Any) -> str:
    """The school beside an endpoint that may judge, and its questions as JSON lines; their source."""
    team = folder / "team.yaml"
    if not team.exists():
        school(folder)
    at = f"http://127.0.0.1:{server.port}/v1"
    large = f"  large: {{provider: openai, base_url: '{at}', model: q, price: {{input: 1, output: 10}}}}"
    human = "  me: {provider: human}"
    given = team.read_text().replace("agents:", f"{large}\n{human}\nretry: {{attempts: 1}}\nagents:")
    team.write_text(given)
    with (folder / "tasks.jsonl").open("w") as file:
        for number in range(count):
            prompt, reference = question(number)
            file.write(json.dumps({"prompt": prompt, "reference": reference} | line) + "\n")
    return f"jsonl:{folder}/tasks.jsonl"


def podium(*arguments: object) -> Any:
    done = RUNNER.invoke(app, [str(each) for each in arguments])
    assert "Traceback" not in done.output
    return done


def kept(folder: Path) -> Checkpoint:
    found = read_checkpoint(folder / "out")
    assert found is not None
    return found


def _nothing(*_: object, **__: object) -> None: ...


def _interrupt(_: Server) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _unplug(server: Server) -> None:
    server.deaf = True


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds."""
    monkeypatch.setattr("podium.training.curves.training_curves", _nothing)
    monkeypatch.setattr("podium.training.curves.diagnosis_curves", _nothing)


def test_eval_scores_by_a_model_of_the_team(tmp_path: Path, bench: Bench) -> None:
    spec = judged(tmp_path, bench)
    bench.slow = 0.05
    asked = ("eval", tmp_path / "team.yaml", "--tasks", f"{spec}?verifier=judge&judge=large")
    done = podium(*asked, "--coordinators", "single?agent=adder,vote", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rows"][0]["score"] == 0.5
    count = len(bench.requests)
    assert told["details"]["judge large"] == f"{count} verdicts, {count * VERDICT:.3g} dollars"
    assert 40 <= count <= 80  # the vote's answers are the adder's, or the timer's
    assert 4 < bench.most <= AT_ONCE
    table = podium(*asked, "--limit", 1)
    assert "judge large: 1 verdict, 0.000041 dollars" in table.stdout


def test_single_lines_may_be_judged(tmp_path: Path, bench: Bench) -> None:
    spec = judged(tmp_path, bench, 6, verifier="judge")
    done = podium("eval", tmp_path / "team.yaml", "--tasks", f"{spec}?judge=large&verifier=exact", "--json")
    assert done.exit_code == 0, done.output
    assert "6 verdicts" in json.loads(done.stdout)["details"]["judge large"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("verifier=judge", "the verifier judge needs a model: add judge=NAME; allowed are large"),
        ("verifier=judge&judge=lrge", "no model 'lrge' can judge; allowed are large; did you mean 'large'?"),
        ("verifier=judge&judge=past", "no model 'past' can judge; allowed are large"),
        ("verifier=judge&judge=me", "no model 'me' can judge; allowed are large"),
        ("verifier=exact&judge=large", "judge is for the verifier judge, and no task uses that"),
    ],
)
@pytest.mark.parametrize("command", ["eval", "train", "record"])
def test_who_cannot_judge(command: str, options: str, words: str, tmp_path: Path, bench: Bench) -> None:
    file = training(tmp_path, tasks={"train": f"jsonl:tasks.jsonl?{options}"})
    spec = judged(tmp_path, bench)
    arguments = [file] if command == "train" else [tmp_path / "team.yaml", "--tasks", f"{spec}?{options}"]
    if command == "record":
        arguments += ["-o", tmp_path / "made.jsonl"]
    done = podium(command, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_team_without_anybody_who_can_judge(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text('{"prompt": "a"}\n')
    spec = f"jsonl:{tmp_path}/tasks.jsonl?verifier=judge&judge=past"
    done = podium("eval", school(tmp_path), "--tasks", spec)
    assert done.exit_code == 2
    assert "allowed are none; add one to the models of the team file" in done.stderr


def test_a_judge_that_fails_ends_an_evaluation(tmp_path: Path, bench: Bench) -> None:
    spec = judged(tmp_path, bench)
    asked = ("eval", tmp_path / "team.yaml", "--tasks", f"{spec}?verifier=judge&judge=large")
    bench.babbles = True
    done = podium(*asked)
    assert done.exit_code == 1
    assert "the judge large: it ended without `Score: X` from 0 to 1: ...'Well done!'" in done.stderr
    bench.deaf = True
    done = podium(*asked)
    assert done.exit_code == 1
    assert "the judge large: cannot reach model large" in done.stderr


def test_a_judge_is_asked_again_after_what_passes(tmp_path: Path, bench: Bench) -> None:
    spec = judged(tmp_path, bench, 3)
    team = tmp_path / "team.yaml"
    team.write_text(team.read_text().replace("attempts: 1", "attempts: 2, wait: 0.01"))

    def busy(server: Server) -> None:
        server.status, server.kind = 503, "text/plain"
        server.turns.append(well)

    def well(server: Server) -> None:
        server.status, server.kind = 200, "text/event-stream"

    bench.turns = [busy]
    done = podium("eval", team, "--tasks", f"{spec}?verifier=judge&judge=large&limit=1")
    assert done.exit_code == 0, done.output
    assert len(bench.requests) == 2


def test_ctrl_c_does_not_wait_for_the_judge(tmp_path: Path, bench: Bench) -> None:
    spec = judged(tmp_path, bench)
    bench.slow = 60.0
    bench.turns = [_nothing] * (AT_ONCE - 1) + [_interrupt]  # connections that are being made would be left open
    done = podium("eval", tmp_path / "team.yaml", "--tasks", f"{spec}?verifier=judge&judge=large")
    assert done.exit_code == 1
    assert "stopped by Ctrl-C" in done.stderr


JUDGED = "jsonl:tasks.jsonl?verifier=judge&judge=large"
TASKS = {"train": f"{JUDGED}&split=train", "test": f"{JUDGED}&split=test"}


def test_train_pays_its_judge_once(tmp_path: Path, bench: Bench) -> None:
    file = training(tmp_path, tasks=TASKS, cache="replies.db", dollars=1.0, iterations=2)
    judged(tmp_path, bench)
    done = podium("train", file)
    assert done.exit_code == 0, done.output
    asked = len(bench.requests)
    assert re.search(r"judge large: \d+ verdicts, 0\.00\d+ dollars", done.stdout)
    found = kept(tmp_path)
    assert found.spent == pytest.approx(asked * VERDICT)
    assert "spent $0.00" in done.stderr
    assert bench.most > 4
    again = podium("train", file, "--fresh")
    assert again.exit_code == 0, again.output
    assert len(bench.requests) == asked


def test_an_interrupted_training_asks_its_judge_nothing_more(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 60  # each has two replies, about which the judge is asked: far more than at once
    settings: dict[str, Any] = {"tasks_per_iteration": count, "iterations": 50, "evaluate_every": 50}
    file = training(tmp_path, tasks={"train": JUDGED, "validation": 0}, **settings)
    write_pool(pool(count), tmp_path / "pool.jsonl")
    judged(tmp_path, bench, count)
    bench.slow = 0.7
    bench.turns = [_nothing] * (AT_ONCE - 1) + [_interrupt]
    drawn: list[int] = []

    def draw(*_: object, **__: object) -> None:
        time.sleep(2 * bench.slow)  # long enough for a judge that nobody has closed
        drawn.append(len(bench.requests))

    monkeypatch.setattr("podium.training.curves.training_curves", draw)
    done = podium("train", file)
    assert done.exit_code == 1
    assert AT_ONCE <= drawn[0] < 2 * AT_ONCE


def test_the_cap_of_a_training_holds_its_judge(tmp_path: Path, bench: Bench) -> None:
    cap = 0.0065  # the worst case of one verdict is 0.0053
    file = training(tmp_path, tasks=TASKS, dollars=cap, iterations=200, evaluate_every=1)
    judged(tmp_path, bench)
    done = podium("train", file)
    assert done.exit_code == 1
    assert "the judge large: the spending cap of $0.0065 does not hold this call" in done.stderr
    assert "raise dollars in the training file" in done.stderr
    found = kept(tmp_path)
    assert found.iteration > 0
    assert cap - 0.0055 < len(bench.requests) * VERDICT <= cap
    assert found.spent == pytest.approx(len(bench.requests) * VERDICT)


def test_a_judge_that_goes_down_keeps_the_work(tmp_path: Path, bench: Bench) -> None:
    file = training(tmp_path, tasks={"train": JUDGED}, iterations=50, evaluate_every=50)
    judged(tmp_path, bench)
    asked = 30  # more than the first iteration asks
    bench.turns = [_nothing] * asked + [_unplug]
    done = podium("train", file)
    assert done.exit_code == 1
    assert "the judge large: cannot reach model large" in done.stderr
    assert "the same command goes on from there" in done.stderr
    found = kept(tmp_path)
    assert found.iteration > 0


def test_record_scores_by_a_model_of_the_team(tmp_path: Path, bench: Bench) -> None:
    spec, pool = judged(tmp_path, bench, 8), tmp_path / "made.jsonl"
    asked = ("record", tmp_path / "team.yaml", "--tasks", f"{spec}?verifier=judge&judge=large", "-o", pool)
    low = podium(*asked, "--dollars", 0.006)
    assert low.exit_code == 1
    assert "the cap of $0.0060 held" in low.stderr
    paid = len(bench.requests)
    assert 0 < paid < 16
    done = podium(*asked)
    assert done.exit_code == 0, done.output
    assert len(bench.requests) == 16
    assert "judge large: 16 verdicts" in done.stdout
    told = [float(about) for about in re.findall(r"of about \$(\S+)", done.stderr)]
    spent = [float(amount) for amount in re.findall(r"spent \$(\S+)", done.stderr)]
    assert len(told) > 1
    assert told == pytest.approx([spent[-1]] * len(told), rel=0.2)  # a task with half its verdicts counts as a whole
    again = podium(*asked, "--dollars", 0.0001)
    assert again.exit_code == 0
    assert again.stderr.splitlines() == ["8 of 8 tasks, spent $0 of about $0"]
    more = podium(*asked[:-1], tmp_path / "more.jsonl", "--dollars", 0.0001)
    assert "would cost" not in more.stderr  # no verdict came, so nobody knows what one costs
    assert len(bench.requests) == 16
    scores = [(task.replies["adder"].score, task.replies["timer"].score) for task in read_pool(pool).tasks]
    assert sorted(scores) == [(0.0, 1.0)] * 4 + [(1.0, 0.0)] * 4
    bench.deaf = True
    failed = podium(*asked, "--samples", 2, "--force")
    assert failed.exit_code == 1
    assert "the judge large: cannot reach model large" in failed.stderr


def test_judges_from_python(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text('{"prompt": "a"}\n')
    spec = f"jsonl:{tmp_path}/tasks.jsonl?verifier=judge&judge="
    strict, kind = Judge(ScriptedModel("Score: 0")), Judge(ScriptedModel("Score: 1"))
    judges = {"strict": strict, "kind": kind}
    assert load_tasks(f"{spec}strict", judge=judges)[0].score("x").score == 0.0
    assert load_tasks(f"{spec}kind", judge=judges)[0].score("x").passed
    assert load_tasks(f"{spec}any", judge=kind)[0].score("x").passed
    strict.close()
    kind.close()


def test_a_crowded_cap_is_waited_for() -> None:
    price = Price(0.0, 100.0)
    cap = Cap(0.0525)  # the worst case of one verdict is 0.0512
    model = ScriptedModel("Score: 1", delay=0.01, price=price)
    judge = Judge(Patient(CachedModel(model, cap=cap), cap))

    async def ask() -> None:
        await asyncio.gather(*(judge.ahead("task", None, f"reply {number}") for number in range(4)))

    asyncio.run(ask())
    assert model.calls == 4
    assert not cap.refusal
    assert judge.score("task", None, "reply 3") == 1.0
    assert model.calls == 4
    judge.close()
    judge.close()


def test_judges_are_made_when_they_are_named(tmp_path: Path, bench: Bench) -> None:
    from podium.orchestrator.team_file import load_team

    judged(tmp_path, bench)
    judges = TeamJudges(load_team(tmp_path / "team.yaml"))
    assert list(judges) == ["large"]
    assert len(judges) == 1
    assert not judges.used
    assert judges["large"] is judges["large"]
    assert judges.details == {"judge large": "0 verdicts, 0 dollars"}
    judges.close()
