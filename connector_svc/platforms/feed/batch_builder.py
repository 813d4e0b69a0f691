"""Batch builder: the second read of a file, whose records become batches of products with checkpoints.

Everything here blocks and runs in a thread. One batch is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import PassCounts, encode_checkpoint
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.platforms.feed.duplicate_ids import DuplicateFilter
from connector_svc.platforms.feed.file_reader import Record
from connector_svc.platforms.feed.id_scan import FileScan, read_ids
from connector_svc.platforms.feed.parse import ParsedRecord, RecordParser
from connector_svc.platforms.feed.wire import FORMAT, FeedFile

FINGERPRINT: Final = FORMAT
"""Checkpoints with another fingerprint are expired."""
MAX_BATCH_BYTES: Final = 512 * 1024
"""Of the records in one batch, unless a single record is larger; a gRPC message must stay below 1 MiB."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """State of a pass after a batch, as the checkpoint stores it; also valid once there is a newer manifest."""

    file: FeedFile
    """The file that the pass reads, from a verified manifest."""
    delta: bool
    generated_at: datetime
    """Of the manifest; the watermark of the pass."""
    currency: str
    records: int = 0
    """Number of records of the file that were delivered."""
    counts: PassCounts = PassCounts()


class BatchBuilder:
    """Builds the batches of one pass from its position on."""

    def __init__(
        self, request: FetchRequest, records: Iterator[Record], scan: FileScan, position: Position
    ) -> None:
        """Create a builder; `records` are those of the whole file, from its beginning."""
        self.position = position
        """After the last batch."""
        self._request = request
        self._scan = scan
        self._duplicates = DuplicateFilter(scan)
        self._parser = RecordParser()
        self._missing_ids = dict.fromkeys(request.product_ids)
        """Requested product ids that were not read yet, in the order of the request."""
        self._groups = self._grouped(self._requested(self._after_position(records)))

    @property
    def lists_all_products(self) -> bool:
        """Whether an incremental pass reads the full file: then products that the file lacks are deleted."""
        return self._request.updated_after is not None and not self.position.delta

    def next_batch(self) -> Batch | None:
        """Return the next batch; None after the last one. Raises what the records raise."""
        group = next(self._groups, None)
        if group is not None:
            return self._build(group)
        if self._missing_ids and not self._scan.missing_id:
            # Signature and counts prove that the file is the whole catalog. A record without an id could be any
            # of the missing products.
            deleted, self._missing_ids = tuple(self._missing_ids), {}
            return Batch(products=(), checkpoint=self._checkpoint(), deleted_product_ids=deleted)
        return None

    def _after_position(self, records: Iterator[Record]) -> Iterator[Record]:
        """Yield the records after the position."""
        for record in islice(records, self.position.records):
            self._skip(record)
        yield from records

    def _requested(self, records: Iterator[Record]) -> Iterator[Record]:
        """Yield the requested records."""
        if not self._request.product_ids:
            yield from records
            return
        product_ids = frozenset(self._request.product_ids)
        for record in records:
            if read_ids(record).id in product_ids:
                yield record
            else:
                self._skip(record)

    def _skip(self, record: Record) -> None:
        """Remember the ids of a record that is not delivered."""
        if self._duplicates.has_duplicates:
            self._duplicates.add_skipped(read_ids(record))

    def _grouped(self, records: Iterator[Record]) -> Iterator[list[Record]]:
        """Yield groups of at most max_batch_products records and MAX_BATCH_BYTES."""
        group: list[Record] = []
        size = 0
        for record in records:
            is_full = len(group) >= self._request.max_batch_products
            if group and (is_full or size + len(record.text) > MAX_BATCH_BYTES):
                yield group
                group, size = [], 0
            group.append(record)
            size += len(record.text)
        if group:
            yield group

    def _build(self, records: Iterable[Record]) -> Batch:
        parsed = [self._duplicates.filter(record, self._parser.parse(record)) for record in records]
        products = tuple(one.product for one in parsed if one.product is not None)
        issues = tuple(issue for one in parsed for issue in one.issues)
        self.position = msgspec.structs.replace(
            self.position,
            records=self.position.records + len(parsed),
            counts=self.position.counts.plus(
                emitted=len(products),
                emitted_items=sum(len(product.variants) for product in products),
                rejected=sum(issue.product_rejected for issue in issues),
            ),
        )
        for one in parsed:
            self._missing_ids.pop(one.id, None)
        return Batch(
            products=products,
            checkpoint=self._checkpoint(),
            issues=issues,
            deleted_product_ids=tuple(one.id for one in parsed if one.deleted),
            listed_product_ids=self._listed_ids(parsed),
        )

    def _listed_ids(self, parsed: Iterable[ParsedRecord]) -> tuple[str, ...]:
        if not self.lists_all_products:
            return ()
        return tuple(one.id for one in parsed if one.id and not one.deleted)

    def _checkpoint(self) -> bytes:
        return encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=self.position)
