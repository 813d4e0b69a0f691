"""Id scan: the first read of a file counts its records and finds duplicate ids before anything is delivered.

Ids are kept in a temporary SQLite database on disk, so that memory does not grow with the catalog.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import Annotated, Final

import msgspec
from catalogsync_common.threads import run_in_thread

from connector_svc.domain.records import InvalidRecord
from connector_svc.platforms.feed.file_reader import Record
from connector_svc.platforms.feed.record_salvage import (
    DECODE_ERRORS,
    RawFields,
    is_tombstone,
    raw_fields,
    raw_variants,
    record_id,
)
from connector_svc.platforms.feed.wire import MAX_VARIANTS, RecordId

MAX_DUPLICATE_IDS: Final = 10_000
"""A file with more is not a catalog."""
STEP_BYTES: Final = 8 * 1024 * 1024
STEP_RECORDS: Final = 5_000
_PRODUCT: Final = 0
_VARIANT: Final = 1


class TooManyDuplicateIds(Exception):
    """The file has more than MAX_DUPLICATE_IDS duplicate ids."""


@dataclass(kw_only=True, slots=True)
class FileScan:
    """Counts and duplicate ids of a whole file."""

    rows: int = 0
    records: int = 0
    """Products and tombstones, duplicates and invalid ones included."""
    tombstones: int = 0
    missing_id: int = 0
    """Records without an id."""
    duplicate_records: int = 0
    """Records whose id occurred before."""
    duplicate_ids: frozenset[str] = field(default_factory=frozenset)
    """Ids of products and tombstones that occur more than once."""
    duplicate_variant_ids: frozenset[str] = field(default_factory=frozenset)

    @property
    def products(self) -> int:
        """Distinct products."""
        return self.records - self.tombstones - self.duplicate_records


async def scan_records(records: Iterable[Record], cancelled: Event | None = None) -> FileScan:
    """Read all `records` in a thread.

    When the task is cancelled, `cancelled` is set and the thread is waited for.

    Raises:
        TooManyDuplicateIds: More than MAX_DUPLICATE_IDS; further, whatever `records` raises.
    """
    cancelled = cancelled or Event()
    with closing(sqlite3.connect("", check_same_thread=False)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE seen (kind INTEGER, id TEXT, deleted INTEGER)")
        scan, source = FileScan(), iter(records)
        # One thread call per step, so that the threads are shared with the other passes of the process.
        while await run_in_thread(lambda: _scan_step(database, scan, source), on_cancel=cancelled.set):
            pass
        await run_in_thread(lambda: _find_duplicates(database, scan), on_cancel=database.interrupt)
    return scan


def _scan_step(database: sqlite3.Connection, scan: FileScan, records: Iterator[Record]) -> bool:
    """Scan the next STEP_BYTES or STEP_RECORDS; return whether there may be more. Holds one record in memory."""
    size = 0
    for count, record in enumerate(records, 1):
        ids = read_ids(record)
        scan.rows += record.rows
        scan.records += 1
        scan.missing_id += not ids.id
        database.executemany("INSERT INTO seen VALUES (?, ?, ?)", _seen_rows(ids))
        size += len(record.text)
        if size >= STEP_BYTES or count >= STEP_RECORDS:
            return True
    return False


def _seen_rows(ids: RecordIds) -> Iterator[tuple[int, str, bool]]:
    if ids.id:
        yield _PRODUCT, ids.id, ids.deleted
    for variant_id in ids.variant_ids:
        yield _VARIANT, variant_id, False


def _find_duplicates(database: sqlite3.Connection, scan: FileScan) -> None:
    scan.duplicate_ids, scan.duplicate_records = _duplicates(database, _PRODUCT)
    scan.duplicate_variant_ids, _ = _duplicates(database, _VARIANT)
    [scan.tombstones] = database.execute("SELECT count(DISTINCT id) FROM seen WHERE deleted").fetchone()


def _duplicates(database: sqlite3.Connection, kind: int) -> tuple[frozenset[str], int]:
    """Return the ids that occur more than once, and the number of their further occurrences."""
    query = "SELECT id, count(*) FROM seen WHERE kind = ? GROUP BY id HAVING count(*) > 1 LIMIT ?"
    found = database.execute(query, (kind, MAX_DUPLICATE_IDS + 1)).fetchall()
    if len(found) > MAX_DUPLICATE_IDS:
        raise TooManyDuplicateIds
    return frozenset(identifier for identifier, _ in found), sum(count - 1 for _, count in found)


class _VariantIdOnly(msgspec.Struct):
    id: RecordId


class _IdsOnly(msgspec.Struct):
    id: RecordId
    deleted: bool = False
    variants: Annotated[list[_VariantIdOnly], msgspec.Meta(max_length=MAX_VARIANTS)] = []


_IDS_DECODER: Final = msgspec.json.Decoder(_IdsOnly, strict=False)


@dataclass(frozen=True, slots=True)
class RecordIds:
    """Ids of a record, without its other fields."""

    id: str
    """Empty when it has none."""
    deleted: bool = False
    variant_ids: tuple[str, ...] = ()


def read_ids(record: Record) -> RecordIds:
    """Return the same ids that parsing the record returns. Never raises."""
    if not record.text:
        return RecordIds(record.id)
    try:
        found = _IDS_DECODER.decode(record.text)
    except DECODE_ERRORS:
        return _salvage_ids(record.text)
    if found.deleted:
        return RecordIds(str(found.id), deleted=True)
    return RecordIds(str(found.id), variant_ids=tuple(str(variant.id) for variant in found.variants))


def _salvage_ids(text: bytes) -> RecordIds:
    fields: RawFields = {}
    try:
        fields = raw_fields(text)
        if is_tombstone(fields) and record_id(fields):
            return RecordIds(record_id(fields), deleted=True)
        variant_ids = [_variant_id(raw) for raw in raw_variants(fields)]
    except InvalidRecord:
        variant_ids = []
    return RecordIds(record_id(fields), variant_ids=tuple(one for one in variant_ids if one))


def _variant_id(raw: msgspec.Raw) -> str:
    try:
        return record_id(raw_fields(bytes(raw)))
    except InvalidRecord:
        return ""
