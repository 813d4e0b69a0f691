"""The custom feed as a platform: any shop whose publisher follows docs/custom-feed.md.

Which file of a manifest a pass reads.

One pass over a feed: header, batches, end."""

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
from connector_svc.platforms.feed.csv_records import BadHeader, csv_records
from connector_svc.platforms.feed.errors import FeedCountMismatch, FeedInvalid, FeedStale, FileMismatch
from connector_svc.platforms.feed.file_reader import Damaged, Record, lines, ndjson_records, spooled
from connector_svc.platforms.feed.id_scan import MOST_REPEATED, Scan, TooManyRepeated, scanned
from connector_svc.platforms.feed.wire import FORMAT, DeltaFile, FeedFile, Manifest

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter, so that an IPv4 address is no domain.
_DOMAIN = rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"


class FeedPlatform:
    """Reads published feeds; keeps nothing between calls."""

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
        """What the manifest says, once its signature fits; the files are not read. Raises SourceFailure."""
        client = FeedClient(shop, self._http.to_shop(shop), self._credentials)
        return facts_of(await client.manifest(self._clock()))

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        http = self._http.to_shop(request.shop, on_wait=on_wait)
        client = FeedClient(request.shop, http, self._credentials)
        async with aclosing(PassReader(request, client, self._clock).events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Nothing runs for us there."""
        return False


@dataclass(frozen=True, slots=True)
class Choice:
    """A file, and why it."""

    file: FeedFile
    delta: bool
    reason: str

    def position(self, manifest: Manifest) -> Position:
        """The beginning of a pass over it."""
        file = self.file
        plain = FeedFile(**{name: getattr(file, name) for name in FeedFile.__struct_fields__})
        return Position(
            file=plain,
            delta=self.delta,
            generated_at=manifest.generated_at.astimezone(UTC),
            currency=manifest.currency,
        )


def choose(manifest: Manifest, updated_after: datetime | None) -> Choice:
    """The shortest delta that reaches back to `updated_after`, else the full file."""
    if updated_after is None:
        return Choice(manifest.full, False, "the full file")
    reaching: list[DeltaFile] = [delta for delta in manifest.deltas if delta.since <= updated_after]
    if not reaching:
        return Choice(manifest.full, False, "the full file: no delta reaches back far enough")
    delta = max(reaching, key=lambda one: one.since)
    return Choice(delta, True, f"the delta since {delta.since.astimezone(UTC).isoformat()}")


_TRIES: Final = 3
_PAUSE: Final = 0.2
"""Seconds before a manifest is read again whose file was just being replaced; doubles."""


class PassReader:
    """Reads one feed once."""

    def __init__(self, request: FetchRequest, client: FeedClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._shop = request.shop
        self._client = client
        self._clock = clock

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        resumed = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
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
                raise SourceCurrencyChanged(self._shop, expected=resumed.currency, received=manifest.currency)
            if manifest.generated_at < resumed.generated_at:
                raise FeedStale(self._shop, "it is older than the one that the pass began with")
            return resumed, "the file that the pass began with"
        after = self._request.updated_after
        if after is not None and manifest.generated_at < after:
            raise FeedStale(self._shop, "it is older than what was read before")
        choice = choose(manifest, after)
        return choice.position(manifest), choice.reason

    async def _pass(
        self, manifest: Manifest, position: Position, reason: str, content: IO[bytes]
    ) -> AsyncGenerator[FetchEvent, None]:
        stop = Event()
        scan = await self._scanned(position.file, content, stop)
        _check_counts(self._shop, position.file, scan)
        yield self._header(manifest, position, reason, scan)
        builder = BatchBuilder(self._request, _records(content, position.file, stop), scan, position)
        while batch := await run_in_thread(builder.next, on_cancel=stop.set):
            yield batch
        yield self._end(builder, scan)

    async def _scanned(self, file: FeedFile, content: IO[bytes], stop: Event) -> Scan:
        try:
            return await scanned(_records(content, file, stop), stop)
        except (Damaged, BadHeader) as fault:
            raise FeedInvalid(self._shop, f"a file cannot be read: {fault}") from None
        except TooManyRepeated:
            raise FeedInvalid(self._shop, f"more than {MOST_REPEATED} ids come twice") from None

    def _header(self, manifest: Manifest, position: Position, reason: str, scan: Scan) -> Header:
        asked = len(self._request.product_ids)
        return Header(
            shop_info=replace(facts_of(manifest), product_count=None, item_count=None),
            strategy="delta file" if position.delta else "full file",
            strategy_reason=reason,
            watermark=position.generated_at,
            resumed=bool(self._request.checkpoint),
            estimated_product_count=asked or scan.products,
            estimated_item_count=None if asked else position.file.item_count,
            resume_is_expensive=True,
        )

    def _end(self, builder: BatchBuilder, scan: Scan) -> End:
        warnings: tuple[str, ...] = ()
        if scan.nameless:
            warnings = (f"{scan.nameless} records came without an id and were set aside.",)
        counts = builder.position.counts
        asked_for = counts.emitted + counts.rejected
        return End(
            source_count=asked_for if self._request.product_ids else scan.products,
            emitted_count=counts.emitted,
            rejected_count=counts.rejected,
            emitted_item_count=counts.emitted_items,
            warnings=warnings,
            all_listed=builder.lists_all,
            # A record without an id may be any product.
            absence_proven=not (builder.position.delta or self._request.product_ids or scan.nameless),
        )


def facts_of(manifest: Manifest) -> ShopInfo:
    """What a manifest tells of its shop."""
    return ShopInfo(
        currency_code=manifest.currency,
        shop_name=manifest.shop_name,
        served_api_version=FORMAT,
        product_count=manifest.full.product_count,
        item_count=manifest.full.item_count,
        notes=() if manifest.deltas else ("No delta files: an incremental sync reads the whole feed.",),
    )


def _names(manifest: Manifest, file: FeedFile) -> bool:
    return any((one.path, one.sha256) == (file.path, file.sha256) for one in (manifest.full, *manifest.deltas))


def _records(content: IO[bytes], file: FeedFile, stop: Event) -> Iterator[Record]:
    """From the first on. Raises Damaged, BadHeader, Stopped."""
    source = lines(content, file, stop)
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
