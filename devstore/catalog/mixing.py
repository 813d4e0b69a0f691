"""Numbers that look random and follow from a seed alone, cheaper than random.Random."""

from __future__ import annotations

import zlib

_MASK = (1 << 64) - 1


def seed_of(seed: int, name: str) -> int:
    """One seed for one named thing: two shops of one process do not sell the same products."""
    return mix(seed & _MASK, zlib.crc32(name.encode()))


def mix(seed: int, index: int) -> int:
    """64 well-spread bits for (seed, index): splitmix64."""
    word = (seed + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
