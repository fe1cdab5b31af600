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
    "spell_backward": (Step("scribe"),),
    "caesar_cipher": (Step("encoder"),),
    "number_sorting": (Step("sorter"),),
    "word_sorting": (Step("sorter"),),
    "products": (Step("abacus", samples=5),),
    "word_sequence_reversal": (Step("scribe", samples=5),),
    "word_sorting+spell_backward": (Step("sorter"), Step("scribe")),
    "word_sorting+caesar_cipher": (Step("sorter"), Step("encoder")),
    "number_sorting+spell_backward": (Step("sorter"), Step("scribe")),
    "spell_backward+caesar_cipher": (Step("scribe"), Step("encoder")),
}
"""Task type -> its steps. The last step's answer is the run's answer."""
