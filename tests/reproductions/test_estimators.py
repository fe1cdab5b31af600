"""The study of estimators: its pool is as it says, and its program's figures hang together."""

from __future__ import annotations

import asyncio
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from podium.agents.model import Prompt, complete
from podium.protocols.record import Sampling
from tests.reproductions.small import ROOT, run


@pytest.fixture(scope="module")
def pool() -> ModuleType:
    spec = util.spec_from_file_location("estimators_pool", ROOT / "reproductions" / "estimators" / "pool.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_workers_are_as_good_as_their_skills_and_wrong_together(pool: ModuleType) -> None:
    async def answers(name: str, number: int) -> str:
        prompt = Prompt(name, pool.task(number).text, tuple)
        return (await complete(pool.Worker(name), prompt, Sampling(seed=number))).text

    async def found(name: str) -> list[str]:
        return [await answers(name, number) for number in range(3000)]

    given = {name: asyncio.run(found(name)) for name in ("ada", "medium", "large")}
    right = {
        name: np.array([pool.task(number).score(text).passed for number, text in enumerate(texts)])
        for name, texts in given.items()
    }
    kinds = np.array([tuple(pool.KINDS).index(pool.kind_of(number)) for number in range(3000)])
    for name, passed in right.items():
        for kind, skill in enumerate(pool.SKILLS[name]):
            assert passed[kinds == kind].mean() == pytest.approx(skill, abs=0.05)
    both = (right["medium"] & right["large"]).mean()
    assert both > right["medium"].mean() * right["large"].mean() + 0.05
    wrong = [(one, two) for one, two in zip(given["medium"], given["large"], strict=True)]
    alike = [one == two for (one, two), a, b in zip(wrong, right["medium"], right["large"], strict=True) if not a | b]
    assert np.mean(alike) == pytest.approx(1 / pool.LURES, abs=0.06)


def test_the_program_runs_small(tmp_path: Path) -> None:
    found = run("estimators", tmp_path)
    assert set(found["final"]) == {"leave_one_out", "none", "evolution"}
    for final in found["final"].values():
        mean, low, high = final["gain"]
        assert low <= mean <= high <= 1
        assert final["gain"][0] <= final["score"][0]
    (noise,) = found["noise"]
    for policy in noise.values():
        # the group's mean holds the run itself, an eighth of it (of the cost, one part in as many as passed)
        assert policy["group"]["trace"] == pytest.approx((7 / 8) ** 2 * policy["leave_one_out"]["trace"], rel=0.25)
        assert policy["group"]["agreement"] == pytest.approx(policy["leave_one_out"]["agreement"], abs=0.1)
    told, dollars = found["told"]
    assert told * (1 - dollars / found["knob"]) > max(
        score * (1 - price / found["knob"]) for score, price in found["alone"].values()
    )
