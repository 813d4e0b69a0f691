"""One pass over a shop, from its header to its counted end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta

import msgspec

from connector_svc.domain.checkpoint import unseal
from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.domain.fetch import End, FetchEvent, FetchRequest, Header
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.faults import PlatformStumbled, QueryTooDear, platform_fails
from connector_svc.platforms.shopify.opening import Opening, open_shop
from connector_svc.platforms.shopify.pages import Pages, Place
from connector_svc.platforms.shopify.position import FINGERPRINT, Position
from connector_svc.platforms.shopify.queries import PAGE_PRODUCTS, PRODUCT_COUNT
from connector_svc.platforms.shopify.search import behind, changed_between
from connector_svc.platforms.shopify.tally import Tally
from connector_svc.platforms.shopify.wire import CountData

_COUNT = msgspec.json.Decoder(CountData)


class Reader:
    """Reads the products of one request."""

    def __init__(
        self, request: FetchRequest, client: ShopifyClient, *, clock: Callable[[], datetime], pause: timedelta
    ) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._pause = pause

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """Header, batches, end."""
        resumed = unseal(self._request, fingerprint=FINGERPRINT, position_type=Position)
        opening = await open_shop(self._client, search=self._rough_search())
        position = resumed or self._start(opening)
        yield self._header(opening, position, is_resumed=resumed is not None)
        tally = Tally(self._request, position)
        pages = Pages(
            self._client,
            inventory=opening.inventory,
            largest=max(1, min(PAGE_PRODUCTS, self._request.max_batch_products)),
            pause=self._pause,
        )
        search = self._search(position.watermark)
        async with aclosing(self._counted(tally, pages, search)) as events:
            async for event in events:
                yield event

    async def _counted(self, tally: Tally, pages: Pages, search: str | None) -> AsyncGenerator[FetchEvent, None]:
        """All batches, then the end once no fewer products came than the platform counts.

        Products that were made while we read have the highest ids, so looking again behind the last one finds
        them. When that brings nothing and the count still stands above, something was not delivered.
        """
        place = Place(behind(tally.position.last_id, search))
        before = -1
        while True:
            async with aclosing(pages.from_place(place)) as loaded:
                async for page in loaded:
                    tally.warn(self._client.warnings)
                    for batch in tally.batches(page.records):
                        yield batch
                    place = page.end
            count = await self._count(search)
            if tally.delivered >= count:
                yield self._end(tally, count)
                return
            if tally.delivered == before:
                raise SourceCountMismatch(self._request.shop, expected=count, received=tally.delivered)
            before = tally.delivered
            await asyncio.sleep(self._pause.total_seconds())

    async def _count(self, search: str | None) -> int:
        try:
            answer = await self._client.call(PRODUCT_COUNT, {"query": search})
        except (PlatformStumbled, QueryTooDear) as error:
            raise platform_fails(self._request.shop) from error
        return self._client.decoded(answer, _COUNT).products_count.count

    def _start(self, opening: Opening) -> Position:
        is_full = self._request.updated_after is None
        return Position(
            watermark=opening.platform_time or self._clock(),
            estimated_products=opening.facts.product_count,
            estimated_items=opening.facts.item_count if is_full else None,
        )

    def _rough_search(self) -> str | None:
        after = self._request.updated_after
        return None if after is None else changed_between(after)

    def _search(self, watermark: datetime) -> str | None:
        """Bounded above by the watermark, so that what changes meanwhile leaves the set instead of joining it."""
        after = self._request.updated_after
        return None if after is None else changed_between(after, watermark)

    def _header(self, opening: Opening, position: Position, *, is_resumed: bool) -> Header:
        return Header(
            facts=opening.facts,
            strategy="paging",
            strategy_reason="pages in the order of ids, which neither new nor deleted products shift",
            watermark=position.watermark,
            resumed=is_resumed,
            estimated_product_count=position.estimated_products,
            estimated_item_count=position.estimated_items,
        )

    def _end(self, tally: Tally, count: int) -> End:
        tally.warn(self._client.warnings)
        counts = tally.position.counts
        return End(
            source_count=count,
            emitted_count=counts.emitted,
            set_aside_count=counts.set_aside,
            emitted_item_count=counts.emitted_items,
            warnings=tally.position.warnings,
        )
