"""The first reading of a file: counts it and finds the ids that come twice, before anything of it is delivered.

Ids are kept in a temporary SQLite database on disk, so that memory does not grow with the catalog.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import Final

from catalogsync_common.threads import run_in_thread

from connector_svc.platforms.feed.glance import Glance, glance
from connector_svc.platforms.feed.record import Record

MOST_REPEATED: Final = 10_000
"""Ids that come twice; a file with more is not a catalog."""
STEP_BYTES: Final = 8 * 1024 * 1024
STEP_RECORDS: Final = 5_000
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


async def scanned(records: Iterable[Record], stop: Event | None = None) -> Scan:
    """Read all `records` in a thread. Raises TooManyRepeated and what `records` raises.

    When it is cancelled, `stop` is set and the thread is waited for.
    """
    stop = stop or Event()
    with closing(sqlite3.connect("", check_same_thread=False)) as ids:
        ids.execute("PRAGMA journal_mode = OFF")
        ids.execute("CREATE TABLE met (kind INTEGER, id TEXT, gone INTEGER)")
        scan, source = Scan(), iter(records)
        # One step after the other, so that the threads are shared with the other passes of the process.
        while await run_in_thread(lambda: _step(ids, scan, source), on_cancel=stop.set):
            pass
        await run_in_thread(lambda: _conclude(ids, scan), on_cancel=ids.interrupt)
    return scan


def _step(ids: sqlite3.Connection, scan: Scan, records: Iterator[Record]) -> bool:
    """Count the next records, until STEP_BYTES or STEP_RECORDS of them were read; False: there are no more.

    Holds one record at a time.
    """
    size = 0
    for taken, record in enumerate(records, 1):
        seen = glance(record)
        scan.rows += record.rows
        scan.records += 1
        scan.nameless += not seen.id
        ids.executemany("INSERT INTO met VALUES (?, ?, ?)", _named(seen))
        size += len(record.text)
        if size >= STEP_BYTES or taken >= STEP_RECORDS:
            return True
    return False


def _named(seen: Glance) -> Iterator[tuple[int, str, bool]]:
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
