"""Reads one pass over a shop, from its header to its end with the completeness check."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta

import msgspec

from connector_svc.domain.checkpoint import decode_checkpoint
from connector_svc.domain.errors import SourceCountMismatch, SourceCurrencyChanged
from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header, WaitReporter
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.bulk_jobs import BulkJobs
from connector_svc.platforms.shopify.bulk_reader import BulkReader
from connector_svc.platforms.shopify.bulk_result import BulkJobWaiter
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.deletion_detection import DeletionDetection
from connector_svc.platforms.shopify.hydration import HydratedPages, ProductsById, requested_products
from connector_svc.platforms.shopify.pages import PageCursor, ProductPages
from connector_svc.platforms.shopify.pass_start import PassStart, read_pass_start
from connector_svc.platforms.shopify.position import FINGERPRINT, Position
from connector_svc.platforms.shopify.queries import PAGE_PRODUCTS, PRODUCT_COUNT, created_until, updated_between
from connector_svc.platforms.shopify.read_strategy import (
    BULK,
    HYDRATION,
    BulkPolicy,
    ReadStrategy,
    StrategyChoice,
    strategy_for_new_pass,
    strategy_for_requested_ids,
    strategy_for_resumed_pass,
    strategy_without_bulk,
)
from connector_svc.platforms.shopify.reconciliation import Reconciliation, TooManyChanges
from connector_svc.platforms.shopify.stock_scan import StockScan, is_scan_due, undetected_change_notes
from connector_svc.platforms.shopify.variant_drain import VariantDrain
from connector_svc.platforms.shopify.wire import CountData

_log = logging.getLogger(__name__)
_MAX_ATTEMPTS = 2
"""A pass whose completeness cannot be proven is read once more from its beginning."""
_COUNT = msgspec.json.Decoder(CountData)


class Reader:
    """Reads the products of one request."""

    def __init__(
        self,
        request: FetchRequest,
        client: ShopifyClient,
        *,
        clock: Callable[[], datetime],
        on_wait: WaitReporter,
        retry_delay: timedelta,
        bulk_policy: BulkPolicy,
        strategy: ReadStrategy,
    ) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._on_wait = on_wait
        self._retry_delay = retry_delay
        self._bulk_policy = bulk_policy
        self._strategy = strategy
        self._bulk_jobs = BulkJobs(client, bulk_policy)
        self._currency = ""
        self._preexisting_count = 0
        """The last result of `_count_preexisting`."""

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """Yield the header, the batches and the end."""
        resumed = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
        start = await read_pass_start(self._client, search=self._search())
        if self._request.product_ids:
            async with aclosing(self._requested_products(start)) as events:
                async for event in events:
                    yield event
            return
        choice, position = await self._choose_strategy(start, resumed)
        self._currency = position.currency or start.shop_info.currency_code
        self._check_currency(start.shop_info.currency_code)
        yield self._header(start, position, choice, is_resumed=resumed is not None)
        builder = BatchBuilder(self._request, position)
        pages = self._product_pages(start, choice)
        search = self._search(position.watermark)
        if position.bulk_job_id:
            async with aclosing(self._bulk_reader(builder, start).batches()) as batches:
                async for batch in batches:
                    yield batch
        async with aclosing(self._all_batches(builder, start, pages, search)) as batches:
            async for batch in batches:
                yield batch
        yield self._end(builder, self._preexisting_count)

    async def _requested_products(self, start: PassStart) -> AsyncGenerator[FetchEvent, None]:
        """Yield the events of a request that names product ids."""
        ids = self._request.product_ids
        position = msgspec.structs.replace(
            self._initial_position(start), estimated_products=len(ids), estimated_items=None
        )
        yield self._header(start, position, strategy_for_requested_ids(), is_resumed=False)
        builder = BatchBuilder(self._request, position)
        async with aclosing(requested_products(self._products_by_id(start), builder, ids)) as batches:
            async for batch in batches:
                yield batch
        counts = builder.position.counts
        yield self._end(builder, counts.emitted + counts.rejected)

    async def _all_batches(
        self, builder: BatchBuilder, start: PassStart, pages: ProductPages | HydratedPages, search: str | None
    ) -> AsyncGenerator[Batch, None]:
        """Yield products until none is missing, then deletions and stock changes."""
        for phase in (
            self._products_in_id_order(builder, pages, search),
            self._missing_products(builder, start, search),
        ):
            try:
                async with aclosing(phase) as batches:
                    async for batch in batches:
                        yield batch
            except TooManyChanges:
                count = await self._count_preexisting(builder, search)
                yield Batch(products=(), checkpoint=self._restart(builder, count))
                async with aclosing(self._all_batches(builder, start, pages, search)) as batches:
                    async for batch in batches:
                        yield batch
                return
        for phase in (self._deletions(builder), self._stock_changes(builder, start)):
            async with aclosing(phase) as batches:
                async for batch in batches:
                    yield batch

    def _restart(self, builder: BatchBuilder, count: int) -> bytes:
        if builder.position.attempt >= _MAX_ATTEMPTS:
            received = builder.position.preexisting
            raise SourceCountMismatch(self._request.shop, expected=count, received=received)
        _log.info(
            "restarting the pass: too much has changed since it was resumed",
            extra={"shop": str(self._request.shop)},
        )
        return builder.restart(count)

    async def _products_in_id_order(
        self, builder: BatchBuilder, pages: ProductPages | HydratedPages, search: str | None
    ) -> AsyncGenerator[Batch, None]:
        """Yield products in id order, until as many arrived as Shopify counts.

        Products created meanwhile have the highest ids, so reading again after the last one finds them; what the
        search index does not show yet belongs to the next pass.
        """
        cursor = PageCursor(search, after_id=builder.position.last_id)
        previous = -1
        while True:
            async with aclosing(pages.read_from(cursor)) as loaded:
                async for page in loaded:
                    builder.add_warnings(self._client.warnings)
                    for batch in builder.batches(page.records):
                        yield batch
                    cursor = page.end
            received = builder.position.preexisting
            if received >= await self._count_preexisting(builder, search) or received == previous:
                return
            previous = received
            await asyncio.sleep(self._retry_delay.total_seconds())

    async def _missing_products(
        self, builder: BatchBuilder, start: PassStart, search: str | None
    ) -> AsyncGenerator[Batch, None]:
        """Yield products that never arrived, unless the counts prove that there are none.

        They do when as many products arrived as were counted when the pass began and as are counted now: then none
        was deleted meanwhile, which could make up for another.
        """
        position = builder.position
        if position.preexisting == self._preexisting_count == position.estimated_products:
            return
        reconciliation = Reconciliation(
            self._client,
            builder,
            self._products_by_id(start),
            search=search,
            count=lambda: self._count_preexisting(builder, search),
            retry_delay=self._retry_delay,
        )
        async with aclosing(reconciliation.batches()) as batches:
            async for batch in batches:
                yield batch

    async def _deletions(self, builder: BatchBuilder) -> AsyncGenerator[Batch, None]:
        """Yield the deletions that an incremental pass detects; a full one reveals them by what is absent."""
        after = self._request.updated_after
        if after is None:
            return
        detection = DeletionDetection(self._client, builder, after=after, retry_delay=self._retry_delay)
        async with aclosing(detection.batches()) as batches:
            async for batch in batches:
                yield batch

    async def _stock_changes(self, builder: BatchBuilder, start: PassStart) -> AsyncGenerator[Batch, None]:
        """Yield stock and prices of variants whose product's date may not have moved."""
        if not is_scan_due(self._request, builder.position.watermark, start.shop_info.variant_count):
            return
        scan = StockScan(self._client, builder, inventory=start.can_read_inventory, retry_delay=self._retry_delay)
        async with aclosing(scan.batches()) as batches:
            async for batch in batches:
                yield batch

    async def _count_preexisting(self, builder: BatchBuilder, search: str | None) -> int:
        """Count the products that existed when the pass began, or changed before it, and still exist."""
        self._preexisting_count = await self._count(search or created_until(builder.position.watermark))
        return self._preexisting_count

    async def _count(self, search: str | None) -> int:
        response = await self._client.call_or_fail(PRODUCT_COUNT, {"query": search})
        data = self._client.decode(response, _COUNT)
        self._check_currency(data.shop.currency_code)
        return data.products_count.count

    def _check_currency(self, received: str) -> None:
        if received != self._currency:
            raise SourceCurrencyChanged(self._request.shop, expected=self._currency, received=received)

    async def _choose_strategy(
        self, start: PassStart, resumed: Position | None
    ) -> tuple[StrategyChoice, Position]:
        """Return how the pass is read and where it begins; a chosen bulk job has been started."""
        if resumed is not None:
            return strategy_for_resumed_pass(resumed, self._strategy), resumed
        position = self._initial_position(start)
        choice = strategy_for_new_pass(self._request, start, self._bulk_policy, self._strategy)
        if choice.strategy == BULK:
            result = await self._bulk_jobs.start(inventory=start.can_read_inventory)
            position = msgspec.structs.replace(position, bulk_job_id=result.job_id)
            if not result.job_id:
                choice = strategy_without_bulk(result.refusal, start, self._strategy)
        _log.info("strategy %s: %s", choice.strategy, choice.reason, extra={"shop": str(self._request.shop)})
        return choice, position

    def _bulk_reader(self, builder: BatchBuilder, start: PassStart) -> BulkReader:
        waiter = BulkJobWaiter(
            self._bulk_jobs,
            self._bulk_policy,
            clock=self._clock,
            on_wait=self._on_wait,
            total_products=builder.position.estimated_products,
        )
        variant_drain = VariantDrain(
            self._client, inventory=start.can_read_inventory, retry_delay=self._retry_delay
        )
        return BulkReader(
            self._client, builder, waiter, self._bulk_policy, variant_drain=variant_drain, count=self._count
        )

    def _products_by_id(self, start: PassStart) -> ProductsById:
        return ProductsById(
            self._client,
            inventory=start.can_read_inventory,
            max_page_size=PAGE_PRODUCTS,
            retry_delay=self._retry_delay,
            can_fall_back=False,
        )

    def _product_pages(self, start: PassStart, choice: StrategyChoice) -> ProductPages | HydratedPages:
        """Return the reader of pages; the rest of a bulk job, mostly few products, is read by product pages."""
        pages_type = HydratedPages if choice.strategy == HYDRATION else ProductPages
        return pages_type(
            self._client,
            inventory=start.can_read_inventory,
            max_page_size=max(1, min(PAGE_PRODUCTS, self._request.max_batch_products)),
            retry_delay=self._retry_delay,
        )

    def _initial_position(self, start: PassStart) -> Position:
        is_full = self._request.updated_after is None
        return Position(
            watermark=start.platform_time or self._clock(),
            estimated_products=start.shop_info.product_count,
            estimated_items=start.shop_info.variant_count if is_full else None,
            currency=start.shop_info.currency_code,
        )

    def _search(self, watermark: datetime | None = None) -> str | None:
        """Return the filter of an incremental pass; None: a full pass.

        The watermark is an upper bound, so that products changed meanwhile leave the set instead of joining it.
        """
        after = self._request.updated_after
        return None if after is None else updated_between(after, watermark)

    def _header(self, start: PassStart, position: Position, choice: StrategyChoice, *, is_resumed: bool) -> Header:
        return Header(
            shop_info=start.shop_info,
            strategy=choice.strategy,
            strategy_reason=choice.reason,
            watermark=position.watermark,
            resumed=is_resumed,
            estimated_product_count=position.estimated_products,
            estimated_variant_count=position.estimated_items,
            resume_is_expensive=bool(position.bulk_job_id),
            notes=undetected_change_notes(self._request, start.shop_info.variant_count),
        )

    def _end(self, builder: BatchBuilder, count: int) -> End:
        builder.add_warnings(self._client.warnings)
        counts, deletions = builder.position.counts, builder.position.deletion_detection
        return End(
            source_count=count,
            emitted_count=counts.emitted,
            rejected_count=counts.rejected,
            emitted_variant_count=counts.emitted_items,
            warnings=builder.position.warnings,
            all_listed=deletions is not None and deletions.all_listed,
            notes=builder.position.notes,
        )
