"""Ids of shops and syncs. The id of a sync contains the id of its shop, so that its rows are found by key.

Both are UUIDs of version 8 (RFC 9562, vendor-specific):

| Bits | Content |
|---|---|
| 48 | milliseconds since 1970 when the shop was registered; orders shops roughly, decides nothing |
| 4 | version, 8 |
| 12 | random |
| 2 | variant, 0b10 |
| 22 | random |
| 40 | number of the sync within its shop, from 1; 0 in the id of the shop itself |

The numbers of a shop's syncs are counted in the transaction that creates the sync, under the shop's write lock:
the ids of a shop's syncs are in the order of their creation, whatever the clocks of the replicas say.
"""

from __future__ import annotations

import secrets
import time
from functools import lru_cache
from typing import Final
from uuid import UUID

_NUMBER_BITS: Final = 40
_MAX_NUMBER: Final = (1 << _NUMBER_BITS) - 1
_VERSION: Final = 8
_VARIANT: Final = 0b10


def new_shop_id() -> UUID:
    """Return a new shop id; 34 of its bits are random."""
    milliseconds = (time.time_ns() // 1_000_000) & ((1 << 48) - 1)
    high = (milliseconds << 16) | (_VERSION << 12) | secrets.randbits(12)
    low = (_VARIANT << 62) | (secrets.randbits(22) << _NUMBER_BITS)
    return UUID(int=(high << 64) | low)


def sync_id_of(shop_id: UUID, number: int) -> UUID:
    """Return the id of a sync.

    Args:
        shop_id: The id of its shop.
        number: The number of the sync within its shop, from 1.
    """
    if not 0 < number <= _MAX_NUMBER:
        raise ValueError(f"{number} is not the number of a sync")
    return UUID(int=shop_id.int | number)


# The watch hub asks for thousands of ids in each poll, always the same ones.
@lru_cache(maxsize=1 << 14)
def shop_id_of(sync_id: UUID) -> UUID:
    """Return the id of the sync's shop; for a UUID that is no sync id, probably one that no shop has."""
    return UUID(int=sync_id.int & ~_MAX_NUMBER)
