"""A purse: what is asked once, what is kept apart while figures are taken, and which models it leaves alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from podium.agents.endpoint import EndpointModel
from podium.agents.model import Model, Price, Prompt, complete
from podium.agents.reply_cache import CachedModel
from podium.agents.scripted import ScriptedModel
from podium.protocols.record import Sampling
from podium.protocols.task import Message
from podium.training.purse import Allowed, Purse

ASKED = Prompt("ann", "How much?", lambda: (Message("user", "How much?"),))


def made() -> dict[str, Model]:
    counter = iter(range(100))
    endpoint = EndpointModel("large", "q", price=Price(1.0, 1.0))
    return {"counts": ScriptedModel(lambda _: str(next(counter)), "counts"), "large": endpoint}


def says(purse: Purse) -> str:
    return asyncio.run(complete(purse.models["counts"], ASKED, Sampling(seed=1))).text


def test_what_is_measured_apart_is_asked_anew_and_forgotten() -> None:
    purse = Purse(made(), Allowed())
    assert [says(purse), says(purse), purse.hits] == ["0", "0", 1]
    with purse.apart():
        assert [says(purse), says(purse), purse.hits] == ["1", "1", 2]
    with purse.apart():
        assert says(purse) == "2"
    assert says(purse) == "0"
    purse.close()


def test_a_file_is_not_kept_apart(tmp_path: Path) -> None:
    purse = Purse(made(), Allowed(cache=tmp_path / "replies.db"))
    assert purse.keeps
    assert says(purse) == "0"
    with purse.apart():
        assert says(purse) == "0"
    purse.close()


def test_only_endpoints_are_paid_for() -> None:
    models = made()
    purse = Purse(models, Allowed(dollars=1.0), free=False)
    assert purse.models["counts"] is models["counts"]
    behind = purse.models["large"]
    assert isinstance(behind, CachedModel)
    assert behind.cap is purse.cap is not None
    assert purse.paid
    assert not Purse({"counts": models["counts"]}, Allowed()).paid
    purse.close()
