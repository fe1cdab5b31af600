"""Python's garbage collector, set for a process that works many runs at once.

A run is many objects that live until the journal has them, and hardly a cycle. The collector, as it comes, looks for
cycles after every 700 new objects, at those of all runs under way again and again. Whether it should is for the
application to say: nothing else in Podium touches it but `podium serve`, whose process is its own.
"""

from __future__ import annotations

import gc

__all__ = ["collect_seldom"]

SELDOM = 50_000
"""New objects after which the collector looks for cycles: at Python's own 700 that takes a third of the time of a
thousand runs at once."""


def collect_seldom() -> None:
    """Have this process look for garbage seldom, and never among what is there now.

    Call it once, when modules are imported and teams are loaded: the collector no longer looks at those either.
    Memory in cycles is given back later; all other memory at once, as ever. `gc.unfreeze()` and
    `gc.set_threshold(700, 10, 10)` undo it.
    """
    gc.freeze()
    gc.set_threshold(SELDOM)
