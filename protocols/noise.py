"""Random numbers that depend on what they are for, and on nothing else.

A coordinator's sampling noise is a hash of (run seed, step, agent name, head, pick). So the same decision is taken
whatever the order of the agents, whoever else is in the batch, and after a resume or a fork; and there is no random
state to save.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import log
from struct import unpack

TWO_64 = 2.0**64


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything with a stable text."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return unpack("<Q", digest)[0] >> 1


def uniform(*parts: object) -> float:
    """A number in the open interval (0, 1)."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return (unpack("<Q", digest)[0] + 0.5) / TWO_64


def gumbel(*parts: object) -> float:
    """Standard Gumbel noise: the argmax of logits plus such noise is a sample of their softmax."""
    return -log(-log(uniform(*parts)))


class Noise:
    """The noise of one step of a run, of which many numbers are asked: what they share is hashed once."""

    __slots__ = ("_copy",)

    def __init__(self, seed: int, step: int) -> None:
        self._copy = blake2b(f"{seed}\x1f{step}\x1f".encode(), digest_size=8).copy

    def digests(self, ends: Iterable[bytes]) -> list[bytes]:
        """What `uniform(seed, step, *rest)` is made of, for each end: eight bytes, the lowest first.

        end: the rest as text, joined by \\x1f.
        """
        copy, digests = self._copy, list[bytes]()
        for end in ends:
            each = copy()
            each.update(end)
            digests.append(each.digest())
        return digests

    def gumbels(self, ends: Iterable[bytes]) -> list[float]:
        """`gumbel(seed, step, *rest)` for each end."""
        digests = self.digests(ends)
        numbers = unpack(f"<{len(digests)}Q", b"".join(digests))
        return [-log(-log((number + 0.5) / TWO_64)) for number in numbers]
