"""The first reading of a file: counts it and finds the ids that come twice, before anything of it is delivered.

Ids are kept in a temporary SQLite database on disk, so that memory does not grow with the catalog.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from connector_svc.platforms.feed.glance import Glance, glance
from connector_svc.platforms.feed.record import Record

MOST_REPEATED: Final = 10_000
"""Ids that come twice; a file with more is not a catalog."""
_AT_ONCE: Final = 500
_PRODUCT: Final = 0
_VARIANT: Final = 1


class TooManyRepeated(Exception):
    """More than MOST_REPEATED ids come twice."""


@dataclass(kw_only=True, slots=True)
class Scan:
    """What a whole file holds."""

    rows: int = 0
    records: int = 0
    """Products and tombstones, repeated ones and those that make no sense included."""
    tombstones: int = 0
    nameless: int = 0
    """Records without an id."""
    repeats: int = 0
    """Records whose id came before."""
    repeated: frozenset[str] = field(default_factory=frozenset)
    """Ids of products and tombstones that come more than once."""
    repeated_variants: frozenset[str] = field(default_factory=frozenset)

    @property
    def products(self) -> int:
        """Different products."""
        return self.records - self.tombstones - self.repeats


async def scanned(records: Iterable[Record]) -> Scan:
    """Reads all `records`, letting others work in between. Raises TooManyRepeated and what `records` raises."""
    scan = Scan()
    with closing(sqlite3.connect("")) as ids:
        ids.execute("PRAGMA journal_mode = OFF")
        ids.execute("CREATE TABLE met (kind INTEGER, id TEXT, gone INTEGER)")
        source = iter(records)
        while some := list(islice(source, _AT_ONCE)):
            glances = [glance(record) for record in some]
            scan.rows += sum(record.rows for record in some)
            scan.records += len(some)
            scan.nameless += sum(not seen.id for seen in glances)
            ids.executemany("INSERT INTO met VALUES (?, ?, ?)", _named(glances))
            await asyncio.sleep(0)
        _conclude(ids, scan)
    return scan


def _named(glances: Iterable[Glance]) -> Iterator[tuple[int, str, bool]]:
    for seen in glances:
        if seen.id:
            yield _PRODUCT, seen.id, seen.gone
        for identifier in seen.variant_ids:
            yield _VARIANT, identifier, False


def _conclude(ids: sqlite3.Connection, scan: Scan) -> None:
    scan.repeated, scan.repeats = _repeated(ids, _PRODUCT)
    scan.repeated_variants, _ = _repeated(ids, _VARIANT)
    [scan.tombstones] = ids.execute("SELECT count(DISTINCT id) FROM met WHERE gone").fetchone()


def _repeated(ids: sqlite3.Connection, kind: int) -> tuple[frozenset[str], int]:
    query = "SELECT id, count(*) FROM met WHERE kind = ? GROUP BY id HAVING count(*) > 1 LIMIT ?"
    found = ids.execute(query, (kind, MOST_REPEATED + 1)).fetchall()
    if len(found) > MOST_REPEATED:
        raise TooManyRepeated
    return frozenset(identifier for identifier, _ in found), sum(times - 1 for _, times in found)
