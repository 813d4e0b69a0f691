"""Reads the part of a pass that a bulk operation delivers."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from connector_svc.domain.fetch import Batch
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.bulk_jobs import BulkJob
from connector_svc.platforms.shopify.bulk_join import BulkJoin, JoinedProduct
from connector_svc.platforms.shopify.bulk_result import (
    BulkJobWaiter,
    BulkReadFailed,
    ExpectedCounts,
    download_rows,
)
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.node_decoding import decode_product
from connector_svc.platforms.shopify.parse import Record, to_record
from connector_svc.platforms.shopify.queries import ids_between
from connector_svc.platforms.shopify.read_strategy import BulkPolicy
from connector_svc.platforms.shopify.variant_drain import VariantDrain
from connector_svc.platforms.shopify.wire import Count

_PAGE_PRODUCTS = 250
_SLICE_PRODUCTS = 25
_SLICE_BYTES = 256 * 1024
"""What is decoded without a pause: other calls and streams are served after a few milliseconds."""
_PROGRESS_INTERVAL = timedelta(seconds=2)
_log = logging.getLogger(__name__)

CountProducts = Callable[[str | None], Awaitable[int]]


class _MediaCount(msgspec.Struct, frozen=True, rename="camel"):
    media_count: Count | None = None


_MEDIA_COUNT = msgspec.json.Decoder(_MediaCount)


class BulkReader:
    """Reads the result of the bulk job at the builder's position, as far as it is provably complete.

    Pages deliver the rest: products that were created meanwhile, and everything after the last product when the
    job was refused, cancelled, failed, expired or stalled, or when its file is not what it should be.
    """

    def __init__(
        self,
        client: ShopifyClient,
        builder: BatchBuilder,
        waiter: BulkJobWaiter,
        policy: BulkPolicy,
        *,
        variant_drain: VariantDrain,
        count: CountProducts,
    ) -> None:
        self._client = client
        self._builder = builder
        self._waiter = waiter
        self._policy = policy
        self._variant_drain = variant_drain
        self._count = count

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches; the first has no products and records the job, the last marks it as not needed any more.

        Raises:
            SourceFailure: The shop cannot be asked about the job.
        """
        job_id = self._builder.position.bulk_job_id
        yield Batch(products=(), checkpoint=self._builder.checkpoint(bulk_job_id=job_id))
        try:
            job = await self._waiter.wait_until_ended(job_id)
            async with aclosing(self._read_result(job)) as batches:
                async for batch in batches:
                    yield batch
        except BulkReadFailed as error:
            self._builder.add_note(
                f"Shopify's bulk job did not deliver everything: {error}. The rest was read by pages."
            )
            _log.warning(
                "reading the rest by pages: %s",
                error,
                extra={"shop": str(self._client.shop), "job": job_id, "last_id": self._builder.position.last_id},
            )
        yield Batch(products=(), checkpoint=self._builder.checkpoint(bulk_job_id=""))

    async def _read_result(self, job: BulkJob) -> AsyncGenerator[Batch, None]:
        is_complete = job.status == "COMPLETED"
        url = job.url if is_complete else job.partial_data_url
        expected = ExpectedCounts.of(job)
        if not url:
            if is_complete and not expected.rows:
                return
            raise BulkReadFailed(f"the bulk job is {job.status} ({job.error_code or 'no code'}) and has no file")
        join = await self._download(url, expected)
        try:
            if is_complete:
                await self._check_count(join)
            async with aclosing(self._read_products(join, is_complete=is_complete)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            join.close()
        if not is_complete:
            raise BulkReadFailed(f"the bulk job is {job.status} ({job.error_code or 'no code'})")

    async def _download(self, url: str, expected: ExpectedCounts) -> BulkJoin:
        reported_at = -_PROGRESS_INTERVAL.total_seconds()

        def on_progress(products: int, received_bytes: int) -> None:
            nonlocal reported_at
            now = asyncio.get_running_loop().time()
            if now - reported_at >= _PROGRESS_INTERVAL.total_seconds():
                reported_at = now
                self._waiter.report_download(products, received_bytes, _PROGRESS_INTERVAL)

        return await download_rows(
            lambda: self._client.download(url, max_bytes=self._policy.max_file_bytes),
            expected,
            after=self._builder.position.last_id,
            on_progress=on_progress,
        )

    async def _check_count(self, join: BulkJoin) -> None:
        """Raise BulkReadFailed when the shop has more products than the file, up to the last id of the file."""
        last_id = join.last_product_id
        if not last_id:
            return
        counted = await self._count(ids_between(self._builder.position.last_id, last_id))
        if join.product_count < counted:
            raise BulkReadFailed(f"the bulk job's file holds {join.product_count} of {counted} products")

    async def _read_products(self, join: BulkJoin, *, is_complete: bool) -> AsyncGenerator[Batch, None]:
        """Yield the products of the file; of an incomplete one only those before the first unproven product."""
        page = _Page(last_id=self._builder.position.last_id)
        while not page.is_last:
            page = await self._next_page(join, page.last_id, is_complete=is_complete)
            for batch in self._builder.batches(page.records):
                yield batch

    async def _next_page(self, join: BulkJoin, after: int, *, is_complete: bool) -> _Page:
        """Read the next products, slice by slice, until there are `_PAGE_PRODUCTS` or `page_bytes`."""
        page, size_bytes = _Page(last_id=after), 0
        while len(page.records) < _PAGE_PRODUCTS and size_bytes < self._policy.page_bytes:
            products = self._next_slice(join, page.last_id)
            if not products:
                page.is_last = True
                return page
            for product in products:
                page.last_id, size_bytes = product.product_id, size_bytes + product.size_bytes
                record = to_bulk_record(product)
                if not (is_complete or is_provably_complete(product, record)):
                    page.is_last = True
                    return page
                completed = await self._variant_drain.complete(record)
                page.records.extend([completed] if completed is not None else [])
            await asyncio.sleep(0)
        return page

    def _next_slice(self, join: BulkJoin, after: int) -> list[JoinedProduct]:
        # Not in a thread: a slice takes milliseconds, and a thread would outlive a cancelled pass.
        try:
            return join.page(after, max_products=_SLICE_PRODUCTS, max_bytes=_SLICE_BYTES)
        except sqlite3.Error as error:
            raise BulkReadFailed(f"the bulk job's file cannot be read ({error})") from error


@dataclass(slots=True)
class _Page:
    """Products of the file that are cut into batches together."""

    last_id: int
    """Of the last product that was read, delivered or not."""
    records: list[Record] = field(default_factory=list)
    is_last: bool = False
    """Whether nothing more can be read of the file."""


def to_bulk_record(product: JoinedProduct) -> Record:
    """Return the record of a joined product; it needs a reread when other media arrived than Shopify counts."""
    node = decode_product(msgspec.Raw(b'{"product":' + product.node + b"}"), ())
    if node is None:
        raise ValueError("a product row was decoded as null")
    record = to_record(node)
    if record.product is None or _has_all_media(product):
        return record
    return msgspec.structs.replace(record, is_suspect=True)


def is_provably_complete(product: JoinedProduct, record: Record) -> bool:
    """Return whether nothing can be missing of a product, although the file ended early.

    A child row may stand anywhere after its parent, so only counts prove completeness: of variants, of media, and
    a row with the image of every variant, since images of variants are not counted.
    """
    is_counted = record.variants_count is not None and not record.is_miscounted
    return record.product is not None and is_counted and not record.is_suspect and product.variant_images_known


def _has_all_media(product: JoinedProduct) -> bool:
    try:
        counted = _MEDIA_COUNT.decode(product.node).media_count
    except msgspec.DecodeError:
        return False
    return counted is not None and counted.agrees_with(product.media_count)
