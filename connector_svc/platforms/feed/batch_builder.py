"""The second reading of a file: its records as batches of products.

Everything here blocks, and runs in a thread. One batch is in memory at a time.


Where a pass over a feed stands, as its checkpoint keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import PassCounts, encode_checkpoint
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.platforms.feed.duplicate_ids import Repeats
from connector_svc.platforms.feed.file_reader import Record
from connector_svc.platforms.feed.id_scan import Scan, glance
from connector_svc.platforms.feed.parse import Parsed, Parser
from connector_svc.platforms.feed.wire import FORMAT, FeedFile

BATCH_BYTES: Final = 512 * 1024
"""Of the records behind one batch, unless one alone is larger; messages must stay below 1 MiB."""


class BatchBuilder:
    """Builds the batches of one pass, from its position on."""

    def __init__(self, request: FetchRequest, records: Iterator[Record], scan: Scan, position: Position) -> None:
        self.position = position
        """After the last batch."""
        self._request = request
        self._scan = scan
        self._repeats = Repeats(scan)
        self._parser = Parser()
        self._missing = dict.fromkeys(request.product_ids)
        """Of the products that were asked for by id, those that did not come yet, in their order."""
        self._groups = self._grouped(self._selected(self._unread(records)))

    @property
    def lists_all(self) -> bool:
        """Whether an incremental pass reads the full file: then what the file lacks is gone."""
        return self._request.updated_after is not None and not self.position.delta

    def next(self) -> Batch | None:
        """The next batch; None: there are no more. Raises what the records raise."""
        group = next(self._groups, None)
        if group is not None:
            return self._batch(group)
        if self._missing and not self._scan.nameless:
            # The file is the whole catalog, by signature and counts. A record without an id may be any product.
            gone, self._missing = tuple(self._missing), {}
            return Batch(products=(), checkpoint=self._sealed(), deleted_product_ids=gone)
        return None

    def _unread(self, records: Iterator[Record]) -> Iterator[Record]:
        """Those behind the position."""
        for record in islice(records, self.position.records):
            self._pass_over(record)
        yield from records

    def _selected(self, records: Iterator[Record]) -> Iterator[Record]:
        """Those that were asked for."""
        if not self._request.product_ids:
            return records
        wanted = frozenset(self._request.product_ids)
        return (record for record in records if glance(record).id in wanted or self._pass_over(record))

    def _pass_over(self, record: Record) -> bool:
        """Note the ids of a record that is not delivered; never true."""
        if self._repeats.any:
            self._repeats.skip(glance(record))
        return False

    def _grouped(self, records: Iterator[Record]) -> Iterator[list[Record]]:
        """At most `max_batch_products` records together, and no more than a message holds."""
        group: list[Record] = []
        size = 0
        for record in records:
            if group and (len(group) >= self._request.max_batch_products or size + len(record.text) > BATCH_BYTES):
                yield group
                group, size = [], 0
            group.append(record)
            size += len(record.text)
        if group:
            yield group

    def _batch(self, records: Iterable[Record]) -> Batch:
        found = [self._repeats.without_repeats(record, self._parser.parse(record)) for record in records]
        products = tuple(parsed.product for parsed in found if parsed.product is not None)
        issues = tuple(issue for parsed in found for issue in parsed.issues)
        self.position = msgspec.structs.replace(
            self.position,
            records=self.position.records + len(found),
            counts=self.position.counts.plus(
                emitted=len(products),
                emitted_items=sum(len(product.variants) for product in products),
                rejected=sum(issue.product_rejected for issue in issues),
            ),
        )
        for parsed in found:
            self._missing.pop(parsed.id, None)
        return Batch(
            products=products,
            checkpoint=self._sealed(),
            issues=issues,
            deleted_product_ids=tuple(parsed.id for parsed in found if parsed.gone),
            listed_product_ids=self._listed(found),
        )

    def _listed(self, found: Iterable[Parsed]) -> tuple[str, ...]:
        if not self.lists_all:
            return ()
        return tuple(parsed.id for parsed in found if parsed.id and not parsed.gone)

    def _sealed(self) -> bytes:
        return encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=self.position)


FINGERPRINT: Final = FORMAT
"""Of passes whose positions mean the same."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a later call needs to go on, also when a newer manifest stands in the old one's place."""

    file: FeedFile
    """As a manifest that we trusted named it."""
    delta: bool
    generated_at: datetime
    """The manifest's; the watermark of the pass."""
    currency: str
    records: int = 0
    """How many records of the file were delivered."""
    counts: PassCounts = PassCounts()
