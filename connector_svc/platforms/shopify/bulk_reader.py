"""The part of a pass that a bulk operation delivers.

Products out of the rows of a bulk operation, through the same parser as those of a page."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta

import msgspec

from connector_svc.domain.fetch import Batch
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.bulk_jobs import BulkJob
from connector_svc.platforms.shopify.bulk_join import BulkJoin, JoinedProduct
from connector_svc.platforms.shopify.bulk_result import BulkJobWaiter, BulkReadFailed, ExpectedCounts, filled
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.node_decoding import decode_product
from connector_svc.platforms.shopify.parse import Record, to_record
from connector_svc.platforms.shopify.queries import between
from connector_svc.platforms.shopify.read_strategy import BulkPolicy
from connector_svc.platforms.shopify.variant_drain import VariantDrain
from connector_svc.platforms.shopify.wire import Count

_log = logging.getLogger(__name__)

_PAGE_PRODUCTS = 250
_TELL_EVERY = timedelta(seconds=2)

CountProducts = Callable[[str | None], Awaitable[int]]


class BulkReader:
    """Reads what the job of the tally's position gives, and goes no further than it can prove.

    Whatever is left, pages deliver: products that were made meanwhile, and everything behind the last product when
    the job was refused, cancelled, failed, expired, stood still, or its file is not what it should be.
    """

    def __init__(
        self,
        client: ShopifyClient,
        tally: BatchBuilder,
        wait: BulkJobWaiter,
        policy: BulkPolicy,
        *,
        completion: VariantDrain,
        count: CountProducts,
    ) -> None:
        self._client = client
        self._tally = tally
        self._wait = wait
        self._policy = policy
        self._completion = completion
        self._count = count

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """First a batch without products, so that the job is found again; last one after which it is not needed.

        Raises SourceFailure when the shop cannot be asked about the job.
        """
        job_id = self._tally.position.job
        yield Batch(products=(), checkpoint=self._tally.moved(job=job_id))
        try:
            job = await self._wait.ended(job_id)
            async with aclosing(self._delivered(job)) as batches:
                async for batch in batches:
                    yield batch
        except BulkReadFailed as reason:
            self._tally.note(
                f"Shopify's bulk job did not deliver everything: {reason}. The rest was read by pages."
            )
            _log.warning(
                "the rest is read by pages: %s",
                reason,
                extra={"shop": str(self._client.shop), "job": job_id, "last_id": self._tally.position.last_id},
            )
        yield Batch(products=(), checkpoint=self._tally.moved(job=""))

    async def _delivered(self, job: BulkJob) -> AsyncGenerator[Batch, None]:
        is_whole = job.status == "COMPLETED"
        address = job.url if is_whole else job.partial_data_url
        expected = ExpectedCounts.of(job)
        if not address:
            if is_whole and not expected.rows:
                return
            raise BulkReadFailed(f"the bulk job is {job.status} ({job.error_code or 'no code'}) and has no file")
        spill = await self._spilled(address, expected)
        try:
            if is_whole:
                await self._check(spill)
            async with aclosing(self._emitted(spill, is_whole=is_whole)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            spill.close()
        if not is_whole:
            raise BulkReadFailed(f"the bulk job is {job.status} ({job.error_code or 'no code'})")

    async def _spilled(self, address: str, expected: ExpectedCounts) -> BulkJoin:
        told_at = -_TELL_EVERY.total_seconds()

        def on_progress(products: int, received: int) -> None:
            nonlocal told_at
            now = asyncio.get_running_loop().time()
            if now - told_at >= _TELL_EVERY.total_seconds():
                told_at = now
                self._wait.tell_reading(products, received, _TELL_EVERY)

        return await filled(
            lambda: self._client.download(address, max_bytes=self._policy.max_file_bytes),
            expected,
            after=self._tally.position.last_id,
            on_progress=on_progress,
        )

    async def _check(self, spill: BulkJoin) -> None:
        """Raises BulkReadFailed when the shop has more products between the first and the last id than the file."""
        highest = spill.highest
        if not highest:
            return
        counted = await self._count(between(self._tally.position.last_id, highest))
        if spill.kept < counted:
            raise BulkReadFailed(f"the bulk job's file holds {spill.kept} of {counted} products")

    async def _emitted(self, spill: BulkJoin, *, is_whole: bool) -> AsyncGenerator[Batch, None]:
        after = self._tally.position.last_id
        while page := await self._page(spill, after):
            after = page[-1].number
            records: list[Record] = []
            is_proven_so_far = True
            for whole in page:
                record = record_from(whole)
                is_proven_so_far = is_whole or is_provably_complete(whole, record)
                if not is_proven_so_far:
                    break
                finished = await self._completion.finish(record)
                records.extend([finished] if finished is not None else [])
            for batch in self._tally.batches(records):
                yield batch
            if not is_proven_so_far:
                return

    async def _page(self, spill: BulkJoin, after: int) -> list[JoinedProduct]:
        # Not in a thread: a page takes milliseconds, and a thread would outlive a cancelled pass.
        try:
            return spill.page(after, most=_PAGE_PRODUCTS, most_bytes=self._policy.page_bytes)
        except sqlite3.Error as error:
            raise BulkReadFailed(f"the bulk job's file cannot be read ({error})") from error


class _Counts(msgspec.Struct, frozen=True, rename="camel"):
    media_count: Count | None = None


_COUNTS = msgspec.json.Decoder(_Counts)


def record_from(whole: JoinedProduct) -> Record:
    """The product of `whole`; one whose media are not as many as Shopify counts needs a second look."""
    found = decode_product(msgspec.Raw(b'{"product":' + whole.node + b"}"), ())
    if found is None:
        raise ValueError("a row that was a product is none")
    record = to_record(found)
    if record.product is None or _has_all_media(whole):
        return record
    return msgspec.structs.replace(record, blamed=True)


def is_provably_complete(whole: JoinedProduct, record: Record) -> bool:
    """Whether nothing can be missing, although the file ended early.

    A child may stand anywhere behind its parent, so only counts prove: of variants, of media, and a row with the
    image of every variant, since the image of a variant is counted nowhere.
    """
    counted = record.counted is not None and not record.is_miscounted
    return record.product is not None and counted and not record.blamed and whole.variant_images_known


def _has_all_media(whole: JoinedProduct) -> bool:
    try:
        counted = _COUNTS.decode(whole.node).media_count
    except msgspec.DecodeError:
        return False
    return counted is not None and counted.agrees_with(whole.media)
