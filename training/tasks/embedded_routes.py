"""The right way through each embedded task type: which agents, in which order, with how many samples.

This is the answer key of the embedded team. A hand-written router that is told the type (which no policy is) can be
built from it, and that router is the ceiling a learned coordinator is measured against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Step:
    """Ask one agent. samples: 1, or an odd number whose majority is taken."""

    agent: str
    samples: int = 1


ROUTES: Final[Mapping[str, tuple[Step, ...]]] = {
    "reverse": (Step("scribe"),),
    "shift": (Step("encoder"),),
    "sort": (Step("sorter"),),
    "order": (Step("sorter"),),
    "multiply": (Step("abacus", samples=5),),
    "flip": (Step("scribe", samples=5),),
    "order_reverse": (Step("sorter"), Step("scribe")),
    "order_shift": (Step("sorter"), Step("encoder")),
    "sort_reverse": (Step("sorter"), Step("scribe")),
    "reverse_shift": (Step("scribe"), Step("encoder")),
}
"""Task type -> its steps. The last step's answer is the run's answer."""
