"""One pass over a shop, from its header to its counted end."""

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
from connector_svc.platforms.shopify import read_strategy
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.bulk_jobs import BulkJobs
from connector_svc.platforms.shopify.bulk_reader import BulkReader
from connector_svc.platforms.shopify.bulk_result import BulkJobWaiter
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.deletion_detection import DeletionDetection
from connector_svc.platforms.shopify.error_mapping import MaxCostExceeded, ShopifyInternalError, internal_error
from connector_svc.platforms.shopify.hydration import HydratedPages, ProductsById, requested_products
from connector_svc.platforms.shopify.pages import PageCursor, ProductPages
from connector_svc.platforms.shopify.pass_start import PassStart, read_pass_start
from connector_svc.platforms.shopify.position import FINGERPRINT, Position
from connector_svc.platforms.shopify.queries import PAGE_PRODUCTS, PRODUCT_COUNT, created_until, updated_between
from connector_svc.platforms.shopify.read_strategy import BulkPolicy, ReadStrategy
from connector_svc.platforms.shopify.reconciliation import Reconciliation, TooManyChanges
from connector_svc.platforms.shopify.stock_scan import StockScan, is_scan_due, unseen
from connector_svc.platforms.shopify.variant_drain import VariantDrain
from connector_svc.platforms.shopify.wire import CountData

_log = logging.getLogger(__name__)
_MOST_TURNS = 2
"""A pass that cannot be proven whole is read once more from its beginning."""
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
        pause: timedelta,
        bulk: BulkPolicy,
        wanted: ReadStrategy,
    ) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._on_wait = on_wait
        self._pause = pause
        self._bulk = bulk
        self._wanted = wanted
        self._jobs = BulkJobs(client, bulk)
        self._currency = ""
        self._settled = 0
        """The last settled count."""

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """Header, batches, end."""
        resumed = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
        opening = await read_pass_start(self._client, search=self._rough_search())
        if self._request.product_ids:
            async with aclosing(self._named(opening)) as events:
                async for event in events:
                    yield event
            return
        choice, position = await self._chosen(opening, resumed)
        self._currency = position.currency or opening.shop_info.currency_code
        self._check_currency(opening.shop_info.currency_code)
        yield self._header(opening, position, choice, is_resumed=resumed is not None)
        tally = BatchBuilder(self._request, position)
        pages = self._pages(opening, choice)
        search = self._search(position.watermark)
        if position.job:
            async with aclosing(self._bulk_pass(tally, opening).batches()) as batches:
                async for batch in batches:
                    yield batch
        async with aclosing(self._whole(tally, opening, pages, search)) as batches:
            async for batch in batches:
                yield batch
        yield self._end(tally, self._settled)

    async def _named(self, opening: PassStart) -> AsyncGenerator[FetchEvent, None]:
        """The products that the request names."""
        ids = self._request.product_ids
        position = msgspec.structs.replace(self._start(opening), estimated_products=len(ids), estimated_items=None)
        yield self._header(opening, position, read_strategy.named(), is_resumed=False)
        tally = BatchBuilder(self._request, position)
        async with aclosing(requested_products(self._by_id(opening), tally, ids)) as batches:
            async for batch in batches:
                yield batch
        counts = tally.position.counts
        yield self._end(tally, counts.emitted + counts.rejected)

    async def _whole(
        self, tally: BatchBuilder, opening: PassStart, pages: ProductPages | HydratedPages, search: str | None
    ) -> AsyncGenerator[Batch, None]:
        """Products until none is missing, then what is gone."""
        for part in (self._in_turn(tally, pages, search), self._missing(tally, opening, search)):
            try:
                async with aclosing(part) as batches:
                    async for batch in batches:
                        yield batch
            except TooManyChanges:
                count = await self._settled_count(tally, search)
                yield Batch(products=(), checkpoint=self._anew(tally, count))
                async with aclosing(self._whole(tally, opening, pages, search)) as batches:
                    async for batch in batches:
                        yield batch
                return
        for part in (self._departed(tally), self._stock(tally, opening)):
            async with aclosing(part) as batches:
                async for batch in batches:
                    yield batch

    async def _stock(self, tally: BatchBuilder, opening: PassStart) -> AsyncGenerator[Batch, None]:
        """What changed of variants whose product's date did not move."""
        if not is_scan_due(self._request, tally.position.watermark, opening.shop_info.item_count):
            return
        sweep = StockScan(self._client, tally, inventory=opening.inventory, pause=self._pause)
        async with aclosing(sweep.batches()) as batches:
            async for batch in batches:
                yield batch

    def _anew(self, tally: BatchBuilder, count: int) -> bytes:
        if tally.position.turns >= _MOST_TURNS:
            received = tally.position.settled
            raise SourceCountMismatch(self._request.shop, expected=count, received=received)
        _log.info("too much has changed since the pass was resumed", extra={"shop": str(self._request.shop)})
        return tally.begin_anew(count)

    async def _in_turn(
        self, tally: BatchBuilder, pages: ProductPages | HydratedPages, search: str | None
    ) -> AsyncGenerator[Batch, None]:
        """Products in the order of their ids, until no fewer came than the platform counts.

        Those that were made while we read have the highest ids, so looking again behind the last one finds them;
        what the search index does not show yet belongs to the next pass.
        """
        place = PageCursor(search, bound=tally.position.last_id)
        before = -1
        while True:
            async with aclosing(pages.read_from(place)) as loaded:
                async for page in loaded:
                    tally.warn(self._client.warnings)
                    for batch in tally.batches(page.records):
                        yield batch
                    place = page.end
            settled = tally.position.settled
            if settled >= await self._settled_count(tally, search) or settled == before:
                return
            before = settled
            await asyncio.sleep(self._pause.total_seconds())

    async def _missing(
        self, tally: BatchBuilder, opening: PassStart, search: str | None
    ) -> AsyncGenerator[Batch, None]:
        """What never came, looked for unless the numbers prove that there is nothing.

        They do when as many products came as were counted when the pass began and are counted still: then none was
        deleted meanwhile and could make up for another.
        """
        position = tally.position
        if position.settled == self._settled == position.estimated_products:
            return
        reconciliation = Reconciliation(
            self._client,
            tally,
            self._by_id(opening),
            search=search,
            count=lambda: self._settled_count(tally, search),
            pause=self._pause,
        )
        async with aclosing(reconciliation.batches()) as batches:
            async for batch in batches:
                yield batch

    async def _settled_count(self, tally: BatchBuilder, search: str | None) -> int:
        """Products that were there when the pass began, or changed before it, and still are."""
        self._settled = await self._count(search or created_until(tally.position.watermark))
        return self._settled

    def _by_id(self, opening: PassStart) -> ProductsById:
        return ProductsById(
            self._client,
            inventory=opening.inventory,
            largest=PAGE_PRODUCTS,
            pause=self._pause,
            has_alternative=False,
        )

    async def _departed(self, tally: BatchBuilder) -> AsyncGenerator[Batch, None]:
        """What an incremental pass finds gone; a full one shows it by what it does not deliver."""
        after = self._request.updated_after
        if after is None:
            return
        departures = DeletionDetection(self._client, tally, after=after, pause=self._pause)
        async with aclosing(departures.batches()) as batches:
            async for batch in batches:
                yield batch

    async def _count(self, search: str | None) -> int:
        try:
            answer = await self._client.call(PRODUCT_COUNT, {"query": search})
        except (ShopifyInternalError, MaxCostExceeded) as error:
            raise internal_error(self._request.shop) from error
        data = self._client.decoded(answer, _COUNT)
        self._check_currency(data.shop.currency_code)
        return data.products_count.count

    def _check_currency(self, now: str) -> None:
        if now != self._currency:
            raise SourceCurrencyChanged(self._request.shop, expected=self._currency, received=now)

    async def _chosen(
        self, opening: PassStart, resumed: Position | None
    ) -> tuple[read_strategy.StrategyChoice, Position]:
        """How the pass is read, and where it begins; a bulk job runs by then."""
        if resumed is not None:
            return read_strategy.resumed(resumed, self._wanted), resumed
        position = self._start(opening)
        choice = read_strategy.first(self._request, opening, self._bulk, self._wanted)
        if choice.strategy == read_strategy.BULK:
            start = await self._jobs.start(inventory=opening.inventory)
            position = msgspec.structs.replace(position, job=start.job_id)
            choice = choice if start.job_id else read_strategy.refused(start.refusal, opening, self._wanted)
        _log.info("strategy %s: %s", choice.strategy, choice.reason, extra={"shop": str(self._request.shop)})
        return choice, position

    def _bulk_pass(self, tally: BatchBuilder, opening: PassStart) -> BulkReader:
        wait = BulkJobWaiter(
            self._jobs,
            self._bulk,
            clock=self._clock,
            on_wait=self._on_wait,
            total=tally.position.estimated_products,
        )
        completion = VariantDrain(self._client, inventory=opening.inventory, pause=self._pause)
        return BulkReader(self._client, tally, wait, self._bulk, completion=completion, count=self._count)

    def _pages(self, opening: PassStart, choice: read_strategy.StrategyChoice) -> ProductPages | HydratedPages:
        """What a bulk job does not deliver is read by pages: mostly few products."""
        way = HydratedPages if choice.strategy == read_strategy.HYDRATION else ProductPages
        largest = max(1, min(PAGE_PRODUCTS, self._request.max_batch_products))
        return way(self._client, inventory=opening.inventory, largest=largest, pause=self._pause)

    def _start(self, opening: PassStart) -> Position:
        is_full = self._request.updated_after is None
        return Position(
            watermark=opening.platform_time or self._clock(),
            estimated_products=opening.shop_info.product_count,
            estimated_items=opening.shop_info.item_count if is_full else None,
            currency=opening.shop_info.currency_code,
        )

    def _rough_search(self) -> str | None:
        after = self._request.updated_after
        return None if after is None else updated_between(after)

    def _search(self, watermark: datetime) -> str | None:
        """Bounded above by the watermark, so that what changes meanwhile leaves the set instead of joining it."""
        after = self._request.updated_after
        return None if after is None else updated_between(after, watermark)

    def _header(
        self, opening: PassStart, position: Position, choice: read_strategy.StrategyChoice, *, is_resumed: bool
    ) -> Header:
        return Header(
            shop_info=opening.shop_info,
            strategy=choice.strategy,
            strategy_reason=choice.reason,
            watermark=position.watermark,
            resumed=is_resumed,
            estimated_product_count=position.estimated_products,
            estimated_item_count=position.estimated_items,
            resume_is_expensive=bool(position.job),
            notes=unseen(self._request, opening.shop_info.item_count),
        )

    def _end(self, tally: BatchBuilder, count: int) -> End:
        tally.warn(self._client.warnings)
        counts, departures = tally.position.counts, tally.position.departures
        return End(
            source_count=count,
            emitted_count=counts.emitted,
            rejected_count=counts.rejected,
            emitted_item_count=counts.emitted_items,
            warnings=tally.position.warnings,
            all_listed=departures is not None and departures.all_listed,
            notes=tally.position.notes,
        )
