"""One pass over a feed: header, batches, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import IO, Final

import msgspec

from connector_svc.domain.checkpoint import seal, unseal
from connector_svc.domain.errors import CheckpointExpired
from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header
from connector_svc.domain.issue import RecordIssue
from connector_svc.domain.product import Product
from connector_svc.domain.shop import Shop, ShopFacts
from connector_svc.platforms.feed.choice import choose
from connector_svc.platforms.feed.client import FeedClient
from connector_svc.platforms.feed.csv_columns import BadHeader
from connector_svc.platforms.feed.csv_rows import csv_records
from connector_svc.platforms.feed.failures import FeedCountMismatch, FeedInvalid, FeedStale, FileMismatch
from connector_svc.platforms.feed.glance import glance
from connector_svc.platforms.feed.lines import Damaged, lines
from connector_svc.platforms.feed.ndjson import ndjson_records
from connector_svc.platforms.feed.parse import Parsed, Parser
from connector_svc.platforms.feed.position import FINGERPRINT, Position
from connector_svc.platforms.feed.record import Record
from connector_svc.platforms.feed.repeats import Repeats
from connector_svc.platforms.feed.scan import MOST_REPEATED, Scan, TooManyRepeated, scanned
from connector_svc.platforms.feed.spool import spooled
from connector_svc.platforms.feed.wire import FORMAT, FeedFile, Manifest

_BATCH_BYTES: Final = 512 * 1024
"""Of the lines behind one batch; messages must stay below 1 MiB."""
_TRIES: Final = 3
_PAUSE: Final = 0.2
"""Seconds before a manifest is read again whose file was just being replaced; doubles."""
_SKIP_AT_ONCE: Final = 1_000


class PassReader:
    """Reads one feed once."""

    def __init__(self, request: FetchRequest, client: FeedClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._shop = request.shop
        self._client = client
        self._clock = clock
        self._parser = Parser()

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        resumed = unseal(self._request, fingerprint=FINGERPRINT, position_type=Position)
        for attempt in range(_TRIES):
            manifest = await self._client.manifest(self._clock())
            position, reason = self._beginning(manifest, resumed)
            try:
                async with spooled(self._client, position.file) as content:
                    async for event in self._pass(manifest, position, reason, content):
                        yield event
                    return
            except FileMismatch as mismatch:
                if resumed is not None and not _names(manifest, resumed.file):
                    raise CheckpointExpired(self._shop, "the file was replaced meanwhile") from None
                if attempt + 1 == _TRIES:
                    raise FeedInvalid(self._shop, f"a file is not what its manifest says: {mismatch}") from None
            await asyncio.sleep(_PAUSE * 2**attempt)

    def _beginning(self, manifest: Manifest, resumed: Position | None) -> tuple[Position, str]:
        if resumed is not None:
            if manifest.currency != resumed.currency:
                raise CheckpointExpired(self._shop, "the feed has another currency now")
            return resumed, "the file that the pass began with"
        after = self._request.updated_after
        if after is not None and manifest.generated_at < after:
            raise FeedStale(self._shop, "it is older than what was read before")
        choice = choose(manifest, after)
        return choice.position(manifest), choice.reason

    async def _pass(
        self, manifest: Manifest, position: Position, reason: str, content: IO[bytes]
    ) -> AsyncGenerator[FetchEvent, None]:
        file = position.file
        try:
            scan = await scanned(_records(content, file))
        except (Damaged, BadHeader) as fault:
            raise FeedInvalid(self._shop, f"a file cannot be read: {fault}") from None
        except TooManyRepeated:
            raise FeedInvalid(self._shop, f"more than {MOST_REPEATED} ids come twice") from None
        _check_counts(self._shop, file, scan)
        yield Header(
            facts=replace(facts_of(manifest), product_count=None, item_count=None),
            strategy="delta file" if position.delta else "full file",
            strategy_reason=reason,
            watermark=position.generated_at,
            resumed=bool(self._request.checkpoint),
            estimated_product_count=scan.products,
            estimated_item_count=file.item_count,
        )
        records = _records(content, file)
        repeats = Repeats(scan)
        await _skip(records, position.records, repeats)
        for some in _chunks(records, self._request.max_batch_products):
            batch, position = self._batch(some, repeats, position)
            yield batch
            await asyncio.sleep(0)
        yield self._end(position, scan)

    def _batch(self, records: Iterable[Record], repeats: Repeats, position: Position) -> tuple[Batch, Position]:
        found = [repeats.without_repeats(record, self._parser.parse(record)) for record in records]
        products = tuple(parsed.product for parsed in found if parsed.product is not None)
        issues = tuple(issue for parsed in found for issue in parsed.issues)
        after = msgspec.structs.replace(
            position,
            records=position.records + len(found),
            counts=position.counts.plus(
                emitted=len(products),
                emitted_items=sum(len(product.variants) for product in products),
                set_aside=sum(issue.product_set_aside for issue in issues),
            ),
        )
        batch = Batch(
            products=products,
            checkpoint=seal(self._request, fingerprint=FINGERPRINT, position=after),
            issues=issues,
            deleted_product_ids=tuple(parsed.id for parsed in found if parsed.gone),
            listed_product_ids=self._listed(position, found, products, issues),
        )
        return batch, after

    def _listed(
        self,
        position: Position,
        found: Iterable[Parsed],
        products: Iterable[Product],
        issues: Iterable[RecordIssue],
    ) -> tuple[str, ...]:
        """What is there, where an incremental pass reads the full file: then what it lacks is gone."""
        if not self._lists(position):
            return ()
        return tuple(parsed.id for parsed in found if parsed.id and not parsed.gone)

    def _lists(self, position: Position) -> bool:
        return self._request.updated_after is not None and not position.delta

    def _end(self, position: Position, scan: Scan) -> End:
        warnings: tuple[str, ...] = ()
        if scan.nameless:
            warnings = (f"{scan.nameless} records came without an id and were set aside.",)
        return End(
            source_count=scan.products,
            emitted_count=position.counts.emitted,
            set_aside_count=position.counts.set_aside,
            emitted_item_count=position.counts.emitted_items,
            warnings=warnings,
            all_listed=self._lists(position),
        )


def facts_of(manifest: Manifest) -> ShopFacts:
    """What a manifest tells of its shop."""
    return ShopFacts(
        currency_code=manifest.currency,
        shop_name=manifest.shop_name,
        served_api_version=FORMAT,
        product_count=manifest.full.product_count,
        item_count=manifest.full.item_count,
        notes=() if manifest.deltas else ("No delta files: an incremental sync reads the whole feed.",),
    )


def _names(manifest: Manifest, file: FeedFile) -> bool:
    return any((one.path, one.sha256) == (file.path, file.sha256) for one in (manifest.full, *manifest.deltas))


def _records(content: IO[bytes], file: FeedFile) -> Iterator[Record]:
    """From the first on. Raises Damaged, BadHeader."""
    source = lines(content, file)
    if file.format == "csv":
        return csv_records(source)
    return ndjson_records(source)


def _check_counts(shop: Shop, file: FeedFile, scan: Scan) -> None:
    """Raises FeedCountMismatch."""
    if scan.rows != file.row_count:
        raise FeedCountMismatch(shop, expected=file.row_count, received=scan.rows)
    # A publisher may count an id that comes twice once or twice; CSV rows without an id may be of any product.
    most = scan.products + scan.repeats
    fits = scan.products - scan.nameless <= file.product_count <= most
    if not fits:
        raise FeedCountMismatch(shop, expected=file.product_count, received=scan.products)


async def _skip(records: Iterator[Record], count: int, repeats: Repeats) -> None:
    while count > 0:
        for record in islice(records, min(count, _SKIP_AT_ONCE)):
            if repeats.any:
                repeats.skip(glance(record))
        count -= _SKIP_AT_ONCE
        await asyncio.sleep(0)


def _chunks(records: Iterator[Record], most: int) -> Iterator[list[Record]]:
    """At most `most` records together, and no more than a message holds."""
    some: list[Record] = []
    size = 0
    for record in records:
        if some and (len(some) >= most or size + len(record.text) > _BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append(record)
        size += len(record.text)
    if some:
        yield some
