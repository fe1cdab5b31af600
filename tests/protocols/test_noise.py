"""Noise depends on what it is for and on nothing else, however many numbers are asked for at once."""

from __future__ import annotations

import math

from podium.protocols.noise import TWO_64, Noise, gumbel, seed_of, uniform

NAMES = ("ann", "bob", "ünal", "")


def test_many_at_once_are_the_same_numbers() -> None:
    noise = Noise(7, 3)
    ends = [f"{name}\x1fpick\x1f0".encode() for name in NAMES]
    expected = [gumbel(7, 3, name, "pick", 0) for name in NAMES]
    assert noise.gumbels(ends) == expected
    assert noise.gumbels(reversed(ends)) == expected[::-1]
    assert noise.gumbels([]) == []
    numbers = [int.from_bytes(digest, "little") for digest in noise.digests(ends)]
    assert [(number + 0.5) / TWO_64 for number in numbers] == [uniform(7, 3, n, "pick", 0) for n in NAMES]
    assert Noise(8, 3).gumbels(ends) != expected


def test_numbers_depend_on_every_part() -> None:
    numbers = {uniform(*parts) for parts in [(1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1), ("1a", 0)]}
    assert len(numbers) == 5
    assert all(0 < number < 1 for number in numbers)
    assert 0 <= seed_of(1, "a") < 2**63


def test_gumbels_are_gumbels() -> None:
    numbers = [gumbel(seed, "x") for seed in range(4000)]
    assert abs(sum(numbers) / 4000 - 0.5772) < 0.07
    below = sum(number < 0 for number in numbers) / 4000
    assert abs(below - math.exp(-1)) < 0.03
