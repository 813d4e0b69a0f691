"""The first reading of a file: counts it and finds the ids that come twice, before anything of it is delivered.

Ids are kept in a temporary SQLite database on disk, so that memory does not grow with the catalog.


The ids of a record, without understanding it: what the first reading of a file looks at."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import Annotated, Final

import msgspec
from catalogsync_common.threads import run_in_thread

from connector_svc.domain.fault import InvalidRecord
from connector_svc.platforms.feed.file_reader import Record
from connector_svc.platforms.feed.record_salvage import (
    FAULTS,
    Raws,
    fields_of,
    id_in,
    is_tombstone,
    raw_variants,
)
from connector_svc.platforms.feed.wire import MAX_VARIANTS, RecordId

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


class _VariantIds(msgspec.Struct):
    id: RecordId


class _Ids(msgspec.Struct):
    id: RecordId
    deleted: bool = False
    variants: Annotated[list[_VariantIds], msgspec.Meta(max_length=MAX_VARIANTS)] = []


@dataclass(frozen=True, slots=True)
class Glance:
    """What a record is about."""

    id: str
    """Empty when it has none."""
    gone: bool = False
    variant_ids: tuple[str, ...] = ()


_DECODER = msgspec.json.Decoder(_Ids, strict=False)


def glance(record: Record) -> Glance:
    """The same ids that parsing the record finds. Never raises."""
    if not record.text:
        return Glance(record.id)
    try:
        found = _DECODER.decode(record.text)
    except FAULTS:
        return _closer(record.text)
    if found.deleted:
        return Glance(str(found.id), gone=True)
    return Glance(str(found.id), variant_ids=tuple(str(variant.id) for variant in found.variants))


def _closer(text: bytes) -> Glance:
    fields: Raws = {}
    try:
        fields = fields_of(text)
        if is_tombstone(fields) and id_in(fields):
            return Glance(id_in(fields), gone=True)
        ids = [_variant_id(raw) for raw in raw_variants(fields)]
    except InvalidRecord:
        ids = []
    return Glance(id_in(fields), variant_ids=tuple(identifier for identifier in ids if identifier))


def _variant_id(raw: msgspec.Raw) -> str:
    try:
        return id_in(fields_of(bytes(raw)))
    except InvalidRecord:
        return ""
