"""Recorded pools: written, read, and refused line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from podium.protocols.errors import TaskError
from podium.protocols.pool import Pool, PoolAgent, PoolPrice, PoolReply, PoolTask, read_pool, write_pool

HEADER: dict[str, Any] = {
    "pool": {"name": "p", "score": "1 = right", "agents": {"a": {"price": {"output": 2.0}}, "b": {}}, "note": "n"}
}

NO_AGENTS: dict[str, Any] = {"pool": {"agents": {}}}


def task(id: str = "t1", prompt: str = "2 + 2?", **changed: Any) -> dict[str, Any]:
    replies = {
        "a": {"score": 1.0, "completion_tokens": 3, "text": "4"},
        "b": {"score": 0, "completion_tokens": 5},
    }
    return {"id": id, "prompt": prompt, "replies": replies, "tags": ["sums"]} | changed


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("name", ["pool.jsonl", "pool.jsonl.gz"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    more = (PoolReply(score=0.5, completion_tokens=2, text="five"),)
    pool = Pool(
        name="mine",
        agents={"a": PoolAgent(price=PoolPrice(output=3.0))},
        tasks=(PoolTask(id="1", prompt="é?", replies={"a": PoolReply(score=1, completion_tokens=1, more=more)}),),
    )
    write_pool(pool, tmp_path / name)
    assert read_pool(tmp_path / name) == pool
    first = (tmp_path / name).read_bytes()
    write_pool(pool, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


def test_a_pool_by_hand(tmp_path: Path) -> None:
    pool = read_pool(write(tmp_path / "p.jsonl", HEADER, task(), "", task("t2", "3 + 3?", tags={"skill": "sums"})))
    assert list(pool.agents) == ["a", "b"]
    assert pool.agents["a"].price.output == 2.0
    assert [one.id for one in pool.tasks] == ["t1", "t2"]
    assert pool.tasks[0].replies["b"].text is None
    assert pool.by_prompt()["3 + 3?"].tags == {"skill": "sums"}


def test_a_task_that_comes_twice_is_one_task(tmp_path: Path) -> None:
    other = task()
    other["replies"]["a"] = {"score": 0.0, "completion_tokens": 9, "text": "5"}
    pool = read_pool(write(tmp_path / "p.jsonl", HEADER, task(), task(), other))
    assert len(pool.tasks) == 1
    assert [reply.text for reply in pool.tasks[0].replies["a"].samples] == ["4", "5"]
    assert len(pool.tasks[0].replies["b"].samples) == 1


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "the pool is empty"),
        ([HEADER], "no tasks"),
        ([task()], r":1: not the first line of a pool: pool: Field required"),
        ([NO_AGENTS, task()], r":1: .*agents"),
        ([HEADER, task(), "{broken"], r":3: not a task of a pool: .*JSON"),
        ([HEADER, {"id": "x", "prompt": "y"}], r":2: .*replies: Field required"),
        ([HEADER, task(replies={"a": {"score": 1, "completion_tokens": 1}})], r":2: task t1 has no reply of b"),
        ([HEADER, task(replies={**task()["replies"], "c": task()["replies"]["a"]})], "replies of c, which"),
        (
            [HEADER, task(replies={**task()["replies"], "a": {"score": 2, "completion_tokens": 1}})],
            r"a.score: .*found '2'",
        ),
        (
            [HEADER, task(replies={**task()["replies"], "a": {"score": 1, "completion_tokens": -1}})],
            "completion_tokens",
        ),
        ([HEADER, task(prompt="")], "prompt"),
        ([HEADER, task(), task(prompt="another?")], r":3: the id t1 was already used"),
    ],
)
def test_a_broken_pool_says_where(tmp_path: Path, lines: list[Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        read_pool(write(tmp_path / "p.jsonl", *lines))


def test_no_such_file_and_a_broken_archive(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"there is no such pool$"):
        read_pool(tmp_path / "none.jsonl")
    (tmp_path / "desk.jsonl.gz").write_bytes(b"")
    (tmp_path / "desk.jsonl.gz.replies").write_bytes(b"")
    with pytest.raises(TaskError, match=r"dsk.jsonl.gz: there is no such pool; did you mean 'desk.jsonl.gz'\?"):
        read_pool(tmp_path / "dsk.jsonl.gz")
    with pytest.raises(TaskError, match=r"there is no such pool$"):
        read_pool(tmp_path / "nowhere" / "desk.jsonl.gz")
    (tmp_path / "x.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(TaskError, match="cannot read the pool"):
        read_pool(tmp_path / "x.gz")
