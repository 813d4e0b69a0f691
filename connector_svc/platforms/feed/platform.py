"""The custom feed as a platform of the connector, and one pass over a feed: header, batches, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event
from typing import IO, Final

from catalogsync_common.threads import run_in_thread

from connector_svc.domain.checkpoint import decode_checkpoint
from connector_svc.domain.errors import CheckpointExpired, SourceCurrencyChanged
from connector_svc.domain.fetch import End, FetchEvent, FetchRequest, Header, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.platforms.base import Capabilities, CredentialsProvider, HttpFactory
from connector_svc.platforms.feed.batch_builder import FINGERPRINT, BatchBuilder, Position
from connector_svc.platforms.feed.client import FeedClient
from connector_svc.platforms.feed.csv_records import InvalidHeader, csv_records
from connector_svc.platforms.feed.errors import FeedCountMismatch, FeedInvalid, FeedStale, FileMismatch
from connector_svc.platforms.feed.file_reader import (
    FileCorrupt,
    Record,
    downloaded_file,
    ndjson_records,
    read_lines,
)
from connector_svc.platforms.feed.id_scan import MAX_DUPLICATE_IDS, FileScan, TooManyDuplicateIds, scan_records
from connector_svc.platforms.feed.wire import FORMAT, DeltaFile, FeedFile, Manifest

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter, so that an IPv4 address does not match.
_DOMAIN = rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"
_MAX_ATTEMPTS: Final = 3
_RETRY_DELAY_SECONDS: Final = 0.2
"""Before the manifest is read again after one of its files was replaced; doubles."""


class FeedPlatform:
    """Reads published feeds, of any shop whose publisher follows docs/custom-feed.md; has no state of its own."""

    name = "feed"
    display_name = "Custom feed"
    domain_pattern = _DOMAIN
    domain_example = "shop.example"
    capabilities = Capabilities(incremental=True, bulk=True, deletions=True)

    def __init__(self, http: HttpFactory, credentials: CredentialsProvider, clock: Callable[[], datetime]) -> None:
        self._http = http
        self._credentials = credentials
        self._clock = clock

    async def check(self, shop: Shop) -> ShopInfo:
        """Return the verified manifest's shop info; the files are not read. Raises SourceFailure."""
        client = FeedClient(shop, self._http.to_shop(shop), self._credentials)
        return shop_info_of(await client.manifest(self._clock()))

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        http = self._http.to_shop(request.shop, on_wait=on_wait)
        client = FeedClient(request.shop, http, self._credentials)
        async with aclosing(PassReader(request, client, self._clock).events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Return False: publishers run no jobs for a pass."""
        return False


class PassReader:
    """Reads one feed once."""

    def __init__(self, request: FetchRequest, client: FeedClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._shop = request.shop
        self._client = client
        self._clock = clock

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """Yield the events of the pass; see `Platform.fetch`."""
        resumed = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
        for attempt in range(_MAX_ATTEMPTS):
            manifest = await self._client.manifest(self._clock())
            position, reason = self._start_position(manifest, resumed)
            try:
                async with downloaded_file(self._client, position.file) as content:
                    async for event in self._read_file(manifest, position, reason, content):
                        yield event
                    return
            except FileMismatch as mismatch:
                if resumed is not None and not _has_file(manifest, resumed.file):
                    raise CheckpointExpired(self._shop, "the file was replaced meanwhile") from None
                if attempt + 1 == _MAX_ATTEMPTS:
                    raise FeedInvalid(self._shop, f"a file is not what its manifest says: {mismatch}") from None
            await asyncio.sleep(_RETRY_DELAY_SECONDS * 2**attempt)

    def _start_position(self, manifest: Manifest, resumed: Position | None) -> tuple[Position, str]:
        """Return the position to read from, and why its file was selected."""
        if resumed is not None:
            if manifest.currency != resumed.currency:
                raise SourceCurrencyChanged(self._shop, expected=resumed.currency, received=manifest.currency)
            if manifest.generated_at < resumed.generated_at:
                raise FeedStale(self._shop, "it is older than the one that the pass began with")
            return resumed, "the file that the pass began with"
        after = self._request.updated_after
        if after is not None and manifest.generated_at < after:
            raise FeedStale(self._shop, "it is older than what was read before")
        selection = select_file(manifest, after)
        return selection.start_position(manifest), selection.reason

    async def _read_file(
        self, manifest: Manifest, position: Position, reason: str, content: IO[bytes]
    ) -> AsyncGenerator[FetchEvent, None]:
        cancelled = Event()
        scan = await self._scan(position.file, content, cancelled)
        _check_counts(self._shop, position.file, scan)
        yield self._header(manifest, position, reason, scan)
        builder = BatchBuilder(self._request, _records(content, position.file, cancelled), scan, position)
        while batch := await run_in_thread(builder.next_batch, on_cancel=cancelled.set):
            yield batch
        yield self._end(builder, scan)

    async def _scan(self, file: FeedFile, content: IO[bytes], cancelled: Event) -> FileScan:
        try:
            return await scan_records(_records(content, file, cancelled), cancelled)
        except (FileCorrupt, InvalidHeader) as error:
            raise FeedInvalid(self._shop, f"a file cannot be read: {error}") from None
        except TooManyDuplicateIds:
            raise FeedInvalid(self._shop, f"more than {MAX_DUPLICATE_IDS} ids occur twice") from None

    def _header(self, manifest: Manifest, position: Position, reason: str, scan: FileScan) -> Header:
        requested = len(self._request.product_ids)
        return Header(
            shop_info=replace(shop_info_of(manifest), product_count=None, variant_count=None),
            strategy="delta file" if position.delta else "full file",
            strategy_reason=reason,
            watermark=position.generated_at,
            resumed=bool(self._request.checkpoint),
            estimated_product_count=requested or scan.products,
            estimated_variant_count=None if requested else position.file.item_count,
            resume_is_expensive=True,
        )

    def _end(self, builder: BatchBuilder, scan: FileScan) -> End:
        warnings: tuple[str, ...] = ()
        if scan.missing_id:
            warnings = (f"{scan.missing_id} records have no id and were rejected.",)
        counts = builder.position.counts
        read = counts.emitted + counts.rejected
        return End(
            source_count=read if self._request.product_ids else scan.products,
            emitted_count=counts.emitted,
            rejected_count=counts.rejected,
            emitted_variant_count=counts.emitted_items,
            warnings=warnings,
            all_listed=builder.lists_all_products,
            # A record without an id could be any product.
            absence_proven=not (builder.position.delta or self._request.product_ids or scan.missing_id),
        )


@dataclass(frozen=True, slots=True)
class FileSelection:
    """The file that a pass reads, and the reason for people."""

    file: FeedFile
    delta: bool
    reason: str

    def start_position(self, manifest: Manifest) -> Position:
        """Return the position at the beginning of the file."""
        file = self.file
        return Position(
            file=FeedFile(**{name: getattr(file, name) for name in FeedFile.__struct_fields__}),
            delta=self.delta,
            generated_at=manifest.generated_at.astimezone(UTC),
            currency=manifest.currency,
        )


def select_file(manifest: Manifest, updated_after: datetime | None) -> FileSelection:
    """Select the shortest delta that reaches back to `updated_after`, else the full file."""
    if updated_after is None:
        return FileSelection(manifest.full, False, "the full file")
    candidates: list[DeltaFile] = [delta for delta in manifest.deltas if delta.since <= updated_after]
    if not candidates:
        return FileSelection(manifest.full, False, "the full file: no delta reaches back far enough")
    delta = max(candidates, key=lambda one: one.since)
    return FileSelection(delta, True, f"the delta since {delta.since.astimezone(UTC).isoformat()}")


def shop_info_of(manifest: Manifest) -> ShopInfo:
    """Return what a manifest says about its shop."""
    return ShopInfo(
        currency_code=manifest.currency,
        display_name=manifest.shop_name,
        served_api_version=FORMAT,
        product_count=manifest.full.product_count,
        variant_count=manifest.full.item_count,
        notes=() if manifest.deltas else ("No delta files: an incremental sync reads the whole feed.",),
    )


def _has_file(manifest: Manifest, file: FeedFile) -> bool:
    return any((one.path, one.sha256) == (file.path, file.sha256) for one in (manifest.full, *manifest.deltas))


def _records(content: IO[bytes], file: FeedFile, cancelled: Event) -> Iterator[Record]:
    """Yield all records of a file. Raises FileCorrupt, InvalidHeader, ReadCancelled."""
    lines = read_lines(content, file, cancelled)
    if file.format == "csv":
        return csv_records(lines)
    return ndjson_records(lines)


def _check_counts(shop: Shop, file: FeedFile, scan: FileScan) -> None:
    """Raise FeedCountMismatch unless the scan found the numbers of the manifest."""
    if scan.rows != file.row_count:
        raise FeedCountMismatch(shop, expected=file.row_count, received=scan.rows)
    # Publishers may count a duplicate id once or twice, and a record without an id may belong to any product.
    lowest, highest = scan.products - scan.missing_id, scan.products + scan.duplicate_records
    if not lowest <= file.product_count <= highest:
        raise FeedCountMismatch(shop, expected=file.product_count, received=scan.products)
